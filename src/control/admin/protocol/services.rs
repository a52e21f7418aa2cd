//! Services in replies.

use serde::Deserialize;
use serde::Serialize;

use super::LimitStatus;
use super::SynProxyStatus;

/// Every service, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// See above.
    pub services: Vec<ServiceStatus>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// The address clients use.
    pub vip: String,
    /// The port or range of ports clients use.
    pub port: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// How packets get to the backends.
    #[serde(default)]
    pub mode: String,
    /// How backends are picked.
    pub scheduler: String,
    /// The tier that serves, if any does.
    pub tier: Option<u8>,
    /// So few backends are healthy that health is disregarded.
    pub panic: bool,
    /// Whether a backend gets new flows. One of which nothing is known yet does not.
    #[serde(default)]
    pub up: bool,
    /// `always`, `healthy`, `quorum` or `never`.
    #[serde(default)]
    pub announce: String,
    /// Whether the network leads the VIP here.
    #[serde(default)]
    pub announced: bool,
    /// Why not; nothing if it does.
    #[serde(default)]
    pub not_announced: Option<String>,
    /// Backends that new flows can be placed on: in service, of the tier that serves, with a weight.
    pub backends_up: usize,
    /// Backends whose probes cannot be sent.
    #[serde(default)]
    pub probes_not_sent: usize,
    /// Backends configured.
    pub backends_total: usize,
    /// Flows created.
    pub connections: u64,
    /// Flows refused.
    pub refused: u64,
    /// Those of them that a limit refused.
    #[serde(default)]
    pub limited: u64,
    /// Packets of clients that it does not let in.
    #[serde(default)]
    pub denied: u64,
    /// Segments that went on without the client's address, which they should have carried.
    #[serde(default)]
    pub toa_skipped: u64,
    /// Segments from which a forged address was taken.
    #[serde(default)]
    pub toa_forged: u64,
    /// Connections that count for its limit.
    #[serde(default)]
    pub limited_connections: u32,
    /// Its limits.
    #[serde(default)]
    pub limits: LimitStatus,
    /// Its protection from floods of SYNs.
    #[serde(default)]
    pub syn_proxy: SynProxyStatus,
}
