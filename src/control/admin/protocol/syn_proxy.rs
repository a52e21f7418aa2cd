//! Protection of a service from floods of SYNs, as it is shown.

use serde::Deserialize;
use serde::Serialize;

/// Whether a service answers SYNs in its backends' place, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynProxyStatus {
    /// `off`, `auto` or `on`, as configured.
    pub mode: String,
    /// Half-open flows beyond which `auto` is on; nothing in the other modes.
    pub above: Option<u32>,
    /// SYNs are answered so now.
    pub active: bool,
    /// TCP flows now whose client has not completed the handshake.
    pub half_open: u64,
    /// SYNs answered with a cookie.
    pub cookies_sent: u64,
    /// Acknowledgements that brought one back.
    pub cookies_accepted: u64,
    /// Acknowledgements without a flow that brought none of ours, while one could have come.
    pub cookies_wrong: u64,
    /// Acknowledgements that brought one too late.
    pub cookies_late: u64,
}
