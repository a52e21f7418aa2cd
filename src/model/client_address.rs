//! How a backend learns of the client's address where its packets come from a local address.

use std::fmt;

/// What a service's backends are told of the client's address. Only in full NAT: the other modes leave it in the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// Nothing.
    #[default]
    None,
    /// A TCP option with address and port in front of the others (TOA).
    Toa {
        /// The option's kind.
        kind: u8,
    },
    /// A header of the PROXY protocol, version 2, in front of the first octets of a connection and of datagrams.
    ProxyV2 {
        /// In front of which datagrams.
        datagrams: ProxyDatagrams,
    },
}

impl ClientAddress {
    /// The kind of the TCP option that the modules which read it on the servers expect by default.
    pub const TOA_KIND: u8 = 254;
}

/// Which datagrams of a flow towards the backend begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyDatagrams {
    /// Those before the backend's first answer.
    #[default]
    UntilAnswered,
    /// All.
    Every,
}

impl fmt::Display for ClientAddress {
    /// The word in configurations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Toa { .. } => "toa",
            Self::ProxyV2 { .. } => "proxy-v2",
        })
    }
}
