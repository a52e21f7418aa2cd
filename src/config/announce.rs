//! When the VIP of a service is announced.

use std::fmt;
use std::time::Duration;

/// `announce`, `quorum` and `announce_hold` of `[[service]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceRules {
    /// `announce`.
    pub when: Announce,
    /// For [`Announce::Quorum`]: backends that new flows can be placed on, at least, from 1.
    pub quorum: u16,
    /// How long a change must last before the VIP is taken or given up.
    pub hold: Duration,
}

/// `announce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// Whatever the backends are.
    Always,
    /// While new flows can be placed on a backend.
    Healthy,
    /// While they can be placed on as many as `quorum` says.
    Quorum,
    /// Not for this service.
    Never,
}

impl fmt::Display for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Healthy => "healthy",
            Self::Quorum => "quorum",
            Self::Never => "never",
        })
    }
}
