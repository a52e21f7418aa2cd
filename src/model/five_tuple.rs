//! What names a packet's flow.

use std::fmt;

use super::{Endpoint, Family, Protocol};

/// Protocol, both addresses and both ports of one direction of a flow, as the packet carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple<F: Family> {
    /// Where the packet comes from.
    pub source: F::Address,
    /// Where it goes to.
    pub destination: F::Address,
    /// The sender's transport port.
    pub source_port: u16,
    /// The receiver's transport port.
    pub destination_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl<F: Family> FiveTuple<F> {
    /// The tuple of the answer: source and destination exchanged.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

impl<F: Family> fmt::Display for FiveTuple<F> {
    /// As `tcp 192.0.2.1:40000 > 203.0.113.80:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = Endpoint::new(F::ip(self.source), self.source_port);
        let destination = Endpoint::new(F::ip(self.destination), self.destination_port);
        write!(f, "{} {source} > {destination}", self.protocol)
    }
}
