//! What names a packet's flow.

use std::fmt;

use super::{Endpoint, Family, Protocol};

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the backend.
    Forward,
    /// From the backend to the client.
    Return,
}

impl Direction {
    /// The other one.
    #[must_use]
    #[inline(always)]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Return,
            Self::Return => Self::Forward,
        }
    }
}

/// Protocol, both addresses and both ports of one direction of a flow, as the packet carries them: kept in the order
/// of the octets in its headers, so that reading, hashing, comparing and writing a tuple convert nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiveTuple<F: Family> {
    addresses: F::Pair,
    ports: PortPair,
    protocol: Protocol,
}

/// Source and destination port as they stand in a TCP or UDP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortPair(u32);

impl PortPair {
    /// The ports in these octets, which TCP and UDP headers begin with.
    #[must_use]
    #[inline(always)]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(octets))
    }

    /// The octets of a header that has them.
    #[must_use]
    #[inline(always)]
    pub const fn octets(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// The octets as a number, in this machine's order.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    const fn reversed(self) -> Self {
        Self(self.0.rotate_left(16))
    }
}

impl<F: Family> FiveTuple<F> {
    /// What a packet carries from one address and port to another.
    #[must_use]
    #[inline]
    pub fn new(source: (F::Address, u16), destination: (F::Address, u16), protocol: Protocol) -> Self {
        let [[s0, s1], [d0, d1]] = [source.1, destination.1].map(u16::to_be_bytes);
        let ports = PortPair::from_octets([s0, s1, d0, d1]);
        Self { addresses: F::pair(source.0, destination.0), ports, protocol }
    }

    /// The tuple of a packet whose headers hold `addresses` and `ports`.
    #[must_use]
    #[inline(always)]
    pub const fn from_wire(addresses: F::Pair, ports: PortPair, protocol: Protocol) -> Self {
        Self { addresses, ports, protocol }
    }

    /// Where the packet comes from.
    #[must_use]
    #[inline]
    pub fn source(&self) -> F::Address {
        F::addresses(self.addresses).0
    }

    /// Where it goes to.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> F::Address {
        F::addresses(self.addresses).1
    }

    /// The sender's transport port.
    #[must_use]
    #[inline]
    pub const fn source_port(&self) -> u16 {
        let [high, low, ..] = self.ports.octets();
        u16::from_be_bytes([high, low])
    }

    /// The receiver's transport port.
    #[must_use]
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        let [.., high, low] = self.ports.octets();
        u16::from_be_bytes([high, low])
    }

    /// The sender.
    #[must_use]
    pub fn from(&self) -> Endpoint {
        Endpoint::new(F::ip(self.source()), self.source_port())
    }

    /// The receiver.
    #[must_use]
    pub fn to(&self) -> Endpoint {
        Endpoint::new(F::ip(self.destination()), self.destination_port())
    }

    /// TCP or UDP.
    #[must_use]
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Both addresses, as headers hold them.
    #[must_use]
    #[inline(always)]
    pub const fn addresses(&self) -> F::Pair {
        self.addresses
    }

    /// Both ports, as headers hold them.
    #[must_use]
    #[inline(always)]
    pub const fn ports(&self) -> PortPair {
        self.ports
    }

    /// The same from another source.
    #[must_use]
    pub fn with_source(&self, source: (F::Address, u16)) -> Self {
        Self::new(source, (self.destination(), self.destination_port()), self.protocol)
    }

    /// The same to another destination.
    #[must_use]
    pub fn with_destination(&self, destination: (F::Address, u16)) -> Self {
        Self::new((self.source(), self.source_port()), destination, self.protocol)
    }

    /// The tuple of the answer: source and destination exchanged.
    #[must_use]
    #[inline(always)]
    pub fn reversed(self) -> Self {
        Self { addresses: F::reversed(self.addresses), ports: self.ports.reversed(), protocol: self.protocol }
    }
}

impl<F: Family> fmt::Display for FiveTuple<F> {
    /// As `tcp 192.0.2.1:40000 > 203.0.113.80:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} > {}", self.protocol, self.from(), self.to())
    }
}

impl<F: Family> fmt::Debug for FiveTuple<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{V4, V6};

    fn check<F: Family>(source: (F::Address, u16), destination: (F::Address, u16)) {
        let tuple = FiveTuple::<F>::new(source, destination, Protocol::Udp);
        assert_eq!((tuple.source(), tuple.source_port()), source);
        assert_eq!((tuple.destination(), tuple.destination_port()), destination);
        assert_eq!(tuple.reversed(), FiveTuple::new(destination, source, Protocol::Udp));
        assert_eq!(tuple.with_source(destination).with_destination(source), tuple.reversed());
    }

    proptest! {
        #[test]
        fn a_tuple_gives_back_what_it_was_made_of(
            v4: (u32, u32),
            v6: (u128, u128),
            ports: (u16, u16),
        ) {
            check::<V4>((v4.0, ports.0), (v4.1, ports.1));
            check::<V6>((v6.0, ports.0), (v6.1, ports.1));
        }
    }
}
