//! Classes of packets for the kernel.

use super::DropReason;

/// The class of a punt. Each class has a rate and a ring of its own on each port where packets come in, so that a flood
/// in one class takes nothing from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PuntClass {
    /// ARP and neighbour discovery to the port's own MAC address: answers to our requests, and probes of neighbours.
    Neighbour,
    /// Answers from backends, by the port and from the MAC address that our probes to them use.
    Probe,
    /// Routing protocols, to a link-layer group or from an address on the port's link.
    Routing,
    /// ARP and neighbour discovery to a group or to all stations: requests.
    NeighbourGroup,
    /// Other answers: to connections and pings of this host, and from backends' addresses by another way.
    Reply,
    /// Everything else: no packet of this host has asked for it.
    Other,
}

impl PuntClass {
    /// All classes, in the order of their numbers, in which the kernel port serves them.
    pub const ALL: [Self; 6] =
        [Self::Neighbour, Self::Probe, Self::Routing, Self::NeighbourGroup, Self::Reply, Self::Other];

    /// Number of classes.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason of a drop for want of tokens.
    #[must_use]
    pub const fn policed(self) -> DropReason {
        match self {
            Self::Neighbour => DropReason::PuntPolicedNeighbour,
            Self::NeighbourGroup => DropReason::PuntPolicedNeighbourGroup,
            Self::Routing => DropReason::PuntPolicedRouting,
            Self::Probe => DropReason::PuntPolicedProbe,
            Self::Reply => DropReason::PuntPolicedReply,
            Self::Other => DropReason::PuntPolicedOther,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_stands_at_the_place_of_its_number() {
        for (place, class) in PuntClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place, "{class:?}");
        }
    }
}
