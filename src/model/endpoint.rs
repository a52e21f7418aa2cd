//! Where a server listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address and a port: a backend's, or one side of a flow. Prints as `10.0.9.1:80` or `[fd00::1]:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The transport port, 0 to 65535.
    pub port: u16,
}

impl Endpoint {
    /// The pair of `address` and `port`.
    #[must_use]
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}
