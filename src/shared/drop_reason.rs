//! Why a packet went no further: the only form an error takes in the data plane.

use std::fmt;

/// The cause of a drop. Each has a counter, a name in metrics and `evenkeel counters`, and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// See [`DropReason::sentence`], as for all of these.
    FrameTruncated,
    /// Destination MAC address of somebody else, or of a group where that cannot be meant.
    NotOurMac,
    /// IP header that contradicts itself.
    IpHeaderInvalid,
    /// IPv4 header checksum.
    IpChecksumWrong,
    /// Total length beyond the frame.
    IpTruncated,
    /// TCP or UDP header that contradicts itself.
    TransportHeaderInvalid,
    /// TCP flags that no TCP sends together.
    TcpFlagsInvalid,
    /// An IPv4 source route.
    SourceRoute,
    /// Extension headers beyond the depth cap.
    ExtensionHeadersTooDeep,
    /// Source or destination address that no packet may have.
    Martian,
    /// TTL or hop limit used up.
    TtlExpired,
    /// A fragment that no honest sender makes.
    FragmentInvalid,
    /// A fragment that waited and made way.
    FragmentStoreFull,
    /// A later fragment without a first one.
    FragmentWithoutFirst,
    /// TCP without SYN and without flow.
    UnknownFlow,
    /// A packet to a local address without a flow.
    UnknownReturn,
    /// A VIP without a service for the packet.
    NoService,
    /// A client that the service does not let in.
    Denied,
    /// No backend in service.
    NoBackend,
    /// As many connections to the service as may be.
    ServiceLimit,
    /// New connections to the service too fast.
    ServiceRateLimit,
    /// As many connections of the client prefix as may be.
    ClientLimit,
    /// New connections of the client prefix too fast.
    ClientRateLimit,
    /// Every backend in service has as many connections as may be.
    BackendsFull,
    /// A TCP flow on a backend that is dead.
    BackendDead,
    /// Every flow entry in use.
    FlowTableFull,
    /// Hardly any flow entry free, and the service has more than its share of them.
    ServiceShare,
    /// No local port free for the backend.
    LocalPortsExhausted,
    /// No MAC address known for the next hop.
    NextHopUnresolved,
    /// No route.
    NoRoute,
    /// The egress port's queue is full.
    TxQueueFull,
    /// The frame does not fit the egress port.
    MtuExceeded,
    /// No room for the PROXY header.
    ProxyHeaderUnsent,
    /// Data of a client's in the place of the PROXY header.
    ProxyHeaderForged,
    /// Another worker's inbox is full.
    HandoffRingFull,
    /// The ring to the kernel port is full.
    PuntRingFull,
    /// More neighbour messages to the port's MAC address than their rate.
    PuntPolicedNeighbour,
    /// More neighbour messages to groups than their rate.
    PuntPolicedNeighbourGroup,
    /// More packets of routing protocols than their rate.
    PuntPolicedRouting,
    /// More answers from backends than their rate.
    PuntPolicedProbe,
    /// More other answers than their rate.
    PuntPolicedReply,
    /// More other packets for the kernel than their rate.
    PuntPolicedOther,
    /// An answer without a question of ours.
    Unsolicited,
    /// Neighbour discovery from beyond the link.
    NeighbourOffLink,
    /// A packet from a backend by a port that does not lead there.
    ReturnWrongPort,
    /// No kernel side on this port.
    NoKernelPort,
    /// ICMP that is cut short or contradicts itself.
    IcmpMalformed,
    /// ICMP checksum.
    IcmpChecksumWrong,
    /// ICMP of a kind that VIPs and local addresses do not take.
    IcmpNotAllowed,
    /// ICMPv6 packet too big with an MTU below the minimum.
    IcmpMtuImpossible,
    /// An ICMP error without a flow.
    IcmpUnknownFlow,
    /// More pings than are answered.
    EchoPoliced,
    /// An ICMP error about an outer packet that no client can be told.
    TunnelError,
    /// A reported path MTU below `min_path_mtu`.
    PathMtuTooSmall,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 54] = [
        Self::FrameTruncated,
        Self::NotOurMac,
        Self::IpHeaderInvalid,
        Self::IpChecksumWrong,
        Self::IpTruncated,
        Self::TransportHeaderInvalid,
        Self::TcpFlagsInvalid,
        Self::SourceRoute,
        Self::ExtensionHeadersTooDeep,
        Self::Martian,
        Self::TtlExpired,
        Self::FragmentInvalid,
        Self::FragmentStoreFull,
        Self::FragmentWithoutFirst,
        Self::UnknownFlow,
        Self::UnknownReturn,
        Self::NoService,
        Self::Denied,
        Self::NoBackend,
        Self::ServiceLimit,
        Self::ServiceRateLimit,
        Self::ClientLimit,
        Self::ClientRateLimit,
        Self::BackendsFull,
        Self::BackendDead,
        Self::FlowTableFull,
        Self::ServiceShare,
        Self::LocalPortsExhausted,
        Self::NextHopUnresolved,
        Self::NoRoute,
        Self::TxQueueFull,
        Self::MtuExceeded,
        Self::ProxyHeaderUnsent,
        Self::ProxyHeaderForged,
        Self::HandoffRingFull,
        Self::PuntRingFull,
        Self::PuntPolicedNeighbour,
        Self::PuntPolicedNeighbourGroup,
        Self::PuntPolicedRouting,
        Self::PuntPolicedProbe,
        Self::PuntPolicedReply,
        Self::PuntPolicedOther,
        Self::Unsolicited,
        Self::NeighbourOffLink,
        Self::ReturnWrongPort,
        Self::NoKernelPort,
        Self::IcmpMalformed,
        Self::IcmpChecksumWrong,
        Self::IcmpNotAllowed,
        Self::IcmpMtuImpossible,
        Self::IcmpUnknownFlow,
        Self::EchoPoliced,
        Self::TunnelError,
        Self::PathMtuTooSmall,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in metrics, JSON and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrameTruncated => "frame_truncated",
            Self::NotOurMac => "not_our_mac",
            Self::IpHeaderInvalid => "ip_header_invalid",
            Self::IpChecksumWrong => "ip_checksum_wrong",
            Self::IpTruncated => "ip_truncated",
            Self::TransportHeaderInvalid => "transport_header_invalid",
            Self::TcpFlagsInvalid => "tcp_flags_invalid",
            Self::SourceRoute => "source_route",
            Self::ExtensionHeadersTooDeep => "extension_headers_too_deep",
            Self::Martian => "martian",
            Self::TtlExpired => "ttl_expired",
            Self::FragmentInvalid => "fragment_invalid",
            Self::FragmentStoreFull => "fragment_store_full",
            Self::FragmentWithoutFirst => "fragment_without_first",
            Self::UnknownFlow => "unknown_flow",
            Self::UnknownReturn => "unknown_return",
            Self::NoService => "no_service",
            Self::Denied => "denied",
            Self::NoBackend => "no_backend",
            Self::ServiceLimit => "service_limit",
            Self::ServiceRateLimit => "service_rate_limit",
            Self::ClientLimit => "client_limit",
            Self::ClientRateLimit => "client_rate_limit",
            Self::BackendsFull => "backends_full",
            Self::BackendDead => "backend_dead",
            Self::FlowTableFull => "flow_table_full",
            Self::ServiceShare => "service_share",
            Self::LocalPortsExhausted => "local_ports_exhausted",
            Self::NextHopUnresolved => "next_hop_unresolved",
            Self::NoRoute => "no_route",
            Self::TxQueueFull => "tx_queue_full",
            Self::MtuExceeded => "mtu_exceeded",
            Self::ProxyHeaderUnsent => "proxy_header_unsent",
            Self::ProxyHeaderForged => "proxy_header_forged",
            Self::HandoffRingFull => "handoff_ring_full",
            Self::PuntRingFull => "punt_ring_full",
            Self::PuntPolicedNeighbour => "punt_policed_neighbour",
            Self::PuntPolicedNeighbourGroup => "punt_policed_neighbour_group",
            Self::PuntPolicedRouting => "punt_policed_routing",
            Self::PuntPolicedProbe => "punt_policed_probe",
            Self::PuntPolicedReply => "punt_policed_reply",
            Self::PuntPolicedOther => "punt_policed_other",
            Self::Unsolicited => "unsolicited",
            Self::NeighbourOffLink => "neighbour_off_link",
            Self::ReturnWrongPort => "return_wrong_port",
            Self::NoKernelPort => "no_kernel_port",
            Self::IcmpMalformed => "icmp_malformed",
            Self::IcmpChecksumWrong => "icmp_checksum_wrong",
            Self::IcmpNotAllowed => "icmp_not_allowed",
            Self::IcmpMtuImpossible => "icmp_mtu_impossible",
            Self::IcmpUnknownFlow => "icmp_unknown_flow",
            Self::EchoPoliced => "echo_policed",
            Self::TunnelError => "tunnel_error",
            Self::PathMtuTooSmall => "path_mtu_too_small",
        }
    }

    /// Whether a limit of the configuration refused a new connection.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::ServiceLimit
                | Self::ServiceRateLimit
                | Self::ClientLimit
                | Self::ClientRateLimit
                | Self::BackendsFull
        )
    }

    /// What happened, in a sentence for operators.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::FrameTruncated => "the frame ends before its headers do, or a capture cut it short",
            Self::NotOurMac => {
                "the frame is addressed to another station's MAC address, or to a group and its packet to a VIP"
            }
            Self::IpHeaderInvalid => "the IP version, header length or total length is impossible",
            Self::IpChecksumWrong => "the IPv4 header checksum is wrong",
            Self::IpTruncated => "the IP length field promises more than the frame holds",
            Self::TransportHeaderInvalid => "the TCP or UDP header is cut short or its length is impossible",
            Self::TcpFlagsInvalid => {
                "the TCP flags contradict each other, or are those of no segment: neither SYN, nor RST, nor ACK"
            }
            Self::SourceRoute => "the packet has an IPv4 option by which its sender chooses its way",
            Self::ExtensionHeadersTooDeep => "the packet has more IPv6 extension headers than are walked",
            Self::Martian => {
                "the source is multicast, broadcast, loopback, link-local, unspecified or an address of ours, or is the destination"
            }
            Self::TtlExpired => "the TTL or hop limit does not allow another hop",
            Self::FragmentInvalid => {
                "the fragment overlaps its first one, has no part of the packet, or is a first one without all headers in order"
            }
            Self::FragmentStoreFull => {
                "the fragment waited for its first one, and made way for another that has to wait"
            }
            Self::FragmentWithoutFirst => {
                "the first fragment of the packet did not come within a second, or its flow has ended"
            }
            Self::UnknownFlow => "a TCP packet to a service is no SYN and belongs to no flow",
            Self::UnknownReturn => "a packet to a local address belongs to no flow",
            Self::NoService => "the packet is for a VIP, but no service listens on its protocol and port",
            Self::Denied => "the service denies the client's address, or allows others only",
            Self::NoBackend => "no backend of the service is in service",
            Self::ServiceLimit => "the service has as many connections as its limit allows",
            Self::ServiceRateLimit => "the service gets more new connections a second than its limit allows",
            Self::ClientLimit => {
                "the client's prefix has as many connections to the service as its limit allows"
            }
            Self::ClientRateLimit => {
                "the client's prefix opens more connections to the service a second than its limit allows"
            }
            Self::BackendsFull => {
                "every backend of the service that is in service has as many connections as its limit allows"
            }
            Self::BackendDead => {
                "the backend of the TCP flow is dead; both sides were told by RST and the flow ended"
            }
            Self::FlowTableFull => "the worker's flow table is full of flows that cannot be evicted",
            Self::ServiceShare => {
                "the worker's flow table is nearly full and the service has more than its flow_share of it"
            }
            Self::LocalPortsExhausted => {
                "no local address has a free port for the backend; add local addresses"
            }
            Self::NextHopUnresolved => "the MAC address of the next hop is not known (yet)",
            Self::NoRoute => "no route leads to the packet's new destination",
            Self::TxQueueFull => "the port did not take the frame: its transmit queue is full",
            Self::MtuExceeded => {
                "the packet is larger than its way allows, outer headers included, and must not or cannot be fragmented"
            }
            Self::ProxyHeaderUnsent => {
                "the PROXY header had no place: the packet is a fragment, or no buffer was free for a segment of its own"
            }
            Self::ProxyHeaderForged => {
                "a client numbered data in front of its first octet, where the backend is to find the PROXY header"
            }
            Self::HandoffRingFull => "the ring to the worker that owns the flow is full",
            Self::PuntRingFull => "the ring of the packet's class and port to the kernel port is full",
            Self::PuntPolicedNeighbour => {
                "the kernel gets no more ARP and neighbour discovery to this port's MAC address in this second"
            }
            Self::PuntPolicedNeighbourGroup => {
                "the kernel gets no more broadcast ARP and multicast neighbour discovery from this port in this second"
            }
            Self::PuntPolicedRouting => {
                "the kernel gets no more packets of routing protocols from this port in this second"
            }
            Self::PuntPolicedProbe => {
                "the kernel gets no more answers of backends to probes from this port in this second"
            }
            Self::PuntPolicedReply => {
                "the kernel gets no more answers to its other connections from this port in this second"
            }
            Self::PuntPolicedOther => {
                "the kernel gets no more packets that answer nothing from this port in this second"
            }
            Self::Unsolicited => {
                "the packet answers a ping or a packet that this machine did not send: an echo reply, or an ICMP error"
            }
            Self::NeighbourOffLink => {
                "the neighbour discovery message has crossed a router: its hop limit is not 255"
            }
            Self::ReturnWrongPort => {
                "the packet has the addresses and ports of a backend's answer, but no route to the backend uses the port it came in by"
            }
            Self::NoKernelPort => "the packet is for the kernel, but the port has no kernel interface",
            Self::IcmpMalformed => {
                "the ICMP message is cut short, or what it quotes contradicts itself or was sent by another host"
            }
            Self::IcmpChecksumWrong => "the ICMP checksum is wrong",
            Self::IcmpNotAllowed => {
                "ICMP to a VIP or local address is neither an error nor an echo: source quench, redirect and the like"
            }
            Self::IcmpMtuImpossible => {
                "an ICMP error reports an MTU that cannot be: ICMPv6 less than 1280 octets; of a tunnel's way less than 576, or no less than the packet"
            }
            Self::IcmpUnknownFlow => "an ICMP error to a VIP or local address is about a packet of no flow",
            Self::EchoPoliced => "no more pings are answered in this second",
            Self::TunnelError => {
                "an ICMP error about an outer packet of a tunnel: noted if it reports an MTU, but it quotes too little to tell the client"
            }
            Self::PathMtuTooSmall => {
                "an ICMP error reports a path MTU below min_path_mtu, which the backend would use for all clients"
            }
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_the_place_of_its_number() {
        for (place, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason}");
        }
    }
}
