//! The limits of a service, as they are shown.

use serde::Deserialize;
use serde::Serialize;

/// The limits of a service; 0: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// Connections at a time.
    pub connections: u32,
    /// New connections a second.
    pub connections_per_second: u32,
    /// Connections at a time of a client prefix.
    pub client_connections: u32,
    /// New connections a second of a client prefix.
    pub client_connections_per_second: u32,
}
