//! How packets get to the backends of a virtual service.

use std::fmt;

/// What is done to a client's packet so that it reaches the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingMode {
    /// Both addresses are replaced; answers come back through the balancer.
    FullNat,
    /// The packet stays as it is and is sent to the backend's MAC address; the backend holds the VIP, and answers the
    /// client itself. Backends are on the link.
    DirectRouting,
    /// The packet travels inside another one to the backend, which holds the VIP and answers the client itself.
    Tunnel(Encapsulation),
}

/// What is put in front of the packets of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// An IP header: RFC 2003 (IPv4 in IPv4), RFC 2473 (anything in IPv6), RFC 4213 section 3 (IPv6 in IPv4).
    Ip,
    /// IP, UDP and the header of Generic UDP Encapsulation, variant 0 (draft-ietf-intarea-gue, section 3).
    Gue {
        /// The backends' UDP port.
        port: u16,
    },
}

/// Which flows a service remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// Every one.
    Flow,
    /// Those that are not on the backend that their packets name by themselves.
    Displaced,
}

impl ForwardingMode {
    /// Which flows a service of this mode remembers. It is the mode's nature: translation back needs every flow, and
    /// where answers do not come back there is nothing else to remember.
    #[must_use]
    pub const fn tracking(self) -> Tracking {
        match self {
            Self::FullNat => Tracking::Flow,
            Self::DirectRouting | Self::Tunnel(_) => Tracking::Displaced,
        }
    }

    /// Whether packets are forwarded without a flow.
    #[must_use]
    #[inline]
    pub const fn is_stateless(self) -> bool {
        matches!(self.tracking(), Tracking::Displaced)
    }
}

impl fmt::Display for ForwardingMode {
    /// The word in configurations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FullNat => "full-nat",
            Self::DirectRouting => "direct-routing",
            Self::Tunnel(_) => "tunnel",
        })
    }
}

impl fmt::Display for Tracking {
    /// The word in configurations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flow => "flow",
            Self::Displaced => "displaced",
        })
    }
}
