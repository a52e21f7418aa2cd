//! When a service completes the handshakes of its clients before a backend hears of them.

use std::fmt;

/// `syn_proxy` of a service: whether SYNs are answered in the backends' place, with a cookie and without a flow
/// (RFC 4987, 3.6), so that only who answers back gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynProxy {
    /// Never.
    Off,
    /// While there are more half-open flows than this, 1 to 1,000,000,000, over all workers.
    Above(u32),
    /// Always.
    On,
}

impl SynProxy {
    /// A tenth of a worker's flows by default. A service that takes 500,000 new connections a second from clients 100 ms
    /// away has half of this; a flood of so many SYNs a second has it after 0.2 s.
    pub const DEFAULT_ABOVE: u32 = 100_000;
}

impl fmt::Display for SynProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Above(_) => "auto",
            Self::On => "on",
        })
    }
}
