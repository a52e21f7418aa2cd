//! The choices an operator makes for a virtual service, and the states of its backends.

use std::fmt;

use super::Nanos;

/// A transport protocol that services balance. The number is the IP protocol number (IANA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
}

impl Protocol {
    /// The protocol with this IANA number.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What a service balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceProtocol {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// Both.
    Any,
}

impl ServiceProtocol {
    /// Every choice with its name in configurations.
    pub const ALL: [(&'static str, Self); 3] = [("tcp", Self::Tcp), ("udp", Self::Udp), ("any", Self::Any)];

    /// Which these are.
    #[must_use]
    pub const fn protocols(self) -> &'static [Protocol] {
        match self {
            Self::Tcp => &[Protocol::Tcp],
            Self::Udp => &[Protocol::Udp],
            Self::Any => &[Protocol::Tcp, Protocol::Udp],
        }
    }
}

impl fmt::Display for ServiceProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, protocol)| protocol == self).map(|(name, _)| name);
        f.write_str(name.copied().unwrap_or_default())
    }
}

/// The ports a service listens on, both ends included. Prints as `80`, `8000-8009` or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port, from 1.
    pub first: u16,
    /// The highest port, at least `first`.
    pub last: u16,
}

/// How closely a [`PortRange`] says which ports it means. Of services that have a port in common the closest gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Closeness {
    /// One port.
    Exact,
    /// Some.
    Range,
    /// Every port.
    Wildcard,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// How closely it says which ports it means.
    #[must_use]
    pub const fn closeness(self) -> Closeness {
        match (self.first, self.last) {
            (1, u16::MAX) => Closeness::Wildcard,
            (first, last) if first == last => Closeness::Exact,
            _ => Closeness::Range,
        }
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether any port is in both ranges.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.closeness() {
            Closeness::Exact => self.first.fmt(f),
            Closeness::Range => write!(f, "{}-{}", self.first, self.last),
            Closeness::Wildcard => f.write_str("*"),
        }
    }
}

/// How a service picks the backend of a new flow. All honour weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Maglev consistent hashing (Eisenbud et al., NSDI 2016, section 3.4) over the service's [`HashFeature`].
    Maglev,
    /// Maglev over the client's address: all flows of a client reach the same backend.
    SourceHash,
    /// In turns, those of a backend spread evenly; each worker counts its own.
    WeightedRoundRobin,
    /// The backend with the fewest flows for its weight, as the worker sees it.
    WeightedLeastConnections,
    /// Of two that hashing picks, the one with fewer flows for its weight (Mitzenmacher, "The Power of Two Choices in
    /// Randomized Load Balancing", 1996).
    RandomTwoChoices,
    /// The one of the greatest weight; the others stand by.
    Failover,
}

impl Scheduler {
    /// Every scheduler with its name in configurations.
    pub const ALL: [(&'static str, Self); 6] = [
        ("maglev", Self::Maglev),
        ("source-hash", Self::SourceHash),
        ("weighted-round-robin", Self::WeightedRoundRobin),
        ("weighted-least-connections", Self::WeightedLeastConnections),
        ("random-two-choices", Self::RandomTwoChoices),
        ("failover", Self::Failover),
    ];

    /// Whether the choice follows from packet and configuration alone, so that every balancer of a cluster, and a
    /// service without flows of its own, chooses alike.
    #[must_use]
    pub const fn is_by_hash(self) -> bool {
        matches!(self, Self::Maglev | Self::SourceHash)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, scheduler)| scheduler == self).map(|(name, _)| name);
        f.write_str(name.copied().unwrap_or_default())
    }
}

/// The part of a packet that the choice of a backend hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFeature {
    /// Protocol, addresses and ports: flows of one client spread.
    FiveTuple,
    /// The client's address: all flows of a client reach the same backend.
    SourceAddress,
    /// The client's address and port: flows to several services from one client socket stay together.
    SourceAddressPort,
}

/// What a client gets when no backend is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNoBackend {
    /// TCP RST, or ICMP port unreachable for UDP.
    Reject,
    /// Silence.
    Drop,
    /// TCP only: a connection, and `503 Service Unavailable` (RFC 9110, 15.6.4) whatever the client says.
    Http503,
}

/// What becomes of established TCP connections on a backend that is dead: that answers no probe at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeadBackend {
    /// Both sides get a RST.
    Reset,
    /// They stay, in case it comes back.
    Keep,
}

/// What a TCP packet without SYN and without a flow gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnknownFlow {
    /// TCP RST (RFC 9293, 3.10.7.1).
    Reset,
    /// Silence.
    Drop,
}

/// What the data plane must know of a backend's state, a byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BackendState {
    /// In service: new flows may be placed on it.
    Up,
    /// Gets no new flows; those it has go on, of UDP too. It is being drained, stands by, or has weight 0.
    Resting,
    /// Health checks fail. Established TCP flows stay, in case the server still answers; a half-open TCP flow is
    /// placed anew by its next SYN, a UDP flow by its next packet.
    Down,
    /// The server is gone, and does not even answer that nobody listens; or it is in maintenance. Established TCP flows end at their next packet,
    /// and both sides are told; the rest is as on a backend that is down.
    Dead,
    /// No longer configured. Flows are treated as on a backend that is down.
    Removed,
}

/// How long a flow is kept without packets, by its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, from the SYN to the client's ACK that completes the handshake.
    pub tcp_syn: Nanos,
    /// TCP, established.
    pub tcp_established: Nanos,
    /// TCP, from the first FIN until both sides have sent theirs: the other direction may be silent as long as an
    /// established connection (RFC 9293, 3.6).
    pub tcp_half_closed: Nanos,
    /// TCP, after both FINs or a possible reset, and a local port's rest after a close in which the backend sent the
    /// first FIN (the backend then holds TIME_WAIT).
    pub tcp_fin: Nanos,
    /// UDP, once the client has sent a second datagram or the backend a second answer.
    pub udp: Nanos,
    /// UDP before that, from the client's first datagram on, whatever comes meanwhile. At most `udp` in effect.
    pub udp_new: Nanos,
    /// UDP of services that take each datagram by itself: from a datagram to its answer.
    pub one_packet: Nanos,
}

impl Default for Timeouts {
    /// 30 s, 900 s, 900 s, 60 s, 300 s: what IPVS users are used to for established and UDP flows, shorter where nothing is
    /// gained by waiting. 120 s for a new UDP flow: the least that RFC 4787, REQ-5, lets a mapping live. 5 s for an answer:
    /// resolvers ask again after that time (resolv.conf(5), `timeout`).
    fn default() -> Self {
        Self {
            tcp_syn: Nanos::from_secs(30),
            tcp_established: Nanos::from_secs(900),
            tcp_half_closed: Nanos::from_secs(900),
            tcp_fin: Nanos::from_secs(60),
            udp: Nanos::from_secs(300),
            udp_new: Nanos::from_secs(120),
            one_packet: Nanos::from_secs(5),
        }
    }
}
