//! Packets for the kernel: which they are, and in which class.
//!
//! The kernel has to get the answers to its own probes while anybody floods its addresses. A class is chosen by evidence
//! that a sender elsewhere cannot make up, and each class has a rate per port of arrival (RFC 6192 asks for the same of
//! routers):
//!
//! - *Port.* Buckets and rings are the port's own. What clients send by their port takes nothing from the backends' port.
//! - *Way back.* The source is a backend, a route to it uses the port, and a neighbour has sent the frame from its own MAC
//!   address. A client can write a backend's source address, but its frame comes from its router's MAC address.
//! - *Link.* Neighbour discovery has hop limit 255, which no router leaves (RFC 4861, section 7.1.1). Routing protocols
//!   talk to groups of the link or between its addresses.
//! - *Form.* An answer has ACK or RST set, or is an echo reply or an ICMP error. Anybody can send that: alone it only
//!   keeps answers apart from the rest.

use super::flow::FlowFamily;
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::Verdict;
use crate::io::Frame;
use crate::model::{FiveTuple, PortId, V4, V6};
use crate::shared::{AddressRole, DropReason, PuntClass, ReversePath};
use crate::wire::craft::Refusal;
use crate::wire::ethernet::{self, Link};
use crate::wire::icmp::Kind;
use crate::wire::tcp_flags::{ACK, RST};
use crate::wire::{Network, Packet, Parsed, Transport};

/// BGP (RFC 4271, section 8.2.1).
const BGP: u16 = 179;
/// BFD over several hops (RFC 5883, section 5).
const MULTIHOP_BFD: u16 = 4784;
/// The first port that is no system port (RFC 6335, section 6). Connections of the kernel have ports from there on: which
/// of them is a setting of the kernel's.
const FIRST_USER_PORT: u16 = 1024;
/// RFC 4861, section 7.1.1.
const DISCOVERY_HOP_LIMIT: u8 = 255;

impl Pipeline {
    /// For the kernel, if it has a side on this port.
    #[cold]
    pub(super) fn punt(&self, parsed: &Parsed, head: &[u8], port: PortId, view: View<'_>) -> Verdict {
        if !self.ports[port.index()].kernel {
            return Verdict::Drop(DropReason::NoKernelPort);
        }
        match class(parsed, head, port, view) {
            Ok(class) => Verdict::Punt(class),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// A packet of a flow's protocol to a port of a local address below those of flows: an answer of a backend to a probe
    /// of ours, or refused. No other program of the host may answer there.
    #[cold]
    pub(super) fn punt_answer<F: FlowFamily>(
        &self,
        tuple: &FiveTuple<F>,
        head: &[u8],
        arrival: &Arrival,
        view: View<'_>,
    ) -> Verdict {
        let packet = &arrival.packet;
        let is_answer = match packet.transport {
            Transport::Tcp => packet.tcp_flags & (ACK | RST) != 0,
            Transport::Udp | Transport::Fragment | Transport::Other => true,
        };
        if is_answer && view.tables.roles.is_backend(F::ip(tuple.source())) {
            return self.punt(&Parsed::Ip(*packet), head, arrival.port, view);
        }
        Verdict::Refuse(DropReason::UnknownReturn, Refusal::Unreachable)
    }

    /// A packet that is no TCP segment or UDP datagram, nor a piece of one.
    #[cold]
    pub(super) fn without_ports<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let packet = &arrival.packet;
        let head = frame.head();
        let addresses = head.get(usize::from(packet.layout.l3)..).and_then(F::pair_in);
        let destination = addresses.map(|pair| F::addresses(pair).1);
        let role = destination.and_then(|destination| view.tables.roles.of::<F>(destination));
        let (role, unknown) = match role {
            None | Some(AddressRole::Port) => {
                return self.punt(&Parsed::Ip(*packet), head, arrival.port, view);
            }
            Some(role @ AddressRole::Vip(_)) => (role, DropReason::NoService),
            Some(role @ AddressRole::Local) => (role, DropReason::UnknownReturn),
        };
        if packet.protocol == F::ICMP && packet.transport != Transport::Fragment {
            return self.icmp::<F, T>(frame, role, arrival, view);
        }
        let verdict = self.punt(&Parsed::Ip(*packet), head, arrival.port, view);
        match verdict {
            // The kernel puts pieces of echo requests together before it answers.
            Verdict::Punt(class) if packet.protocol != F::ICMP && class != PuntClass::Routing => {
                Verdict::Drop(unknown)
            }
            verdict => verdict,
        }
    }
}

/// Whether a packet is for a VIP or a local address.
#[cold]
pub(super) fn is_ours(packet: &Packet, head: &[u8], view: View<'_>) -> bool {
    fn has_role<F: FlowFamily>(packet: &Packet, head: &[u8], view: View<'_>) -> bool {
        let pair = head.get(usize::from(packet.layout.l3)..).and_then(F::pair_in);
        let role = pair.and_then(|pair| view.tables.roles.of::<F>(F::addresses(pair).1));
        match role {
            Some(AddressRole::Vip(_) | AddressRole::Local) => true,
            Some(AddressRole::Port) | None => false,
        }
    }
    match packet.network {
        Network::V4 => has_role::<V4>(packet, head, view),
        Network::V6 => has_role::<V6>(packet, head, view),
    }
}

/// The class of a frame for the kernel.
///
/// # Errors
/// Why the kernel does not get it.
fn class(parsed: &Parsed, head: &[u8], port: PortId, view: View<'_>) -> Result<PuntClass, DropReason> {
    let link = Link::read(head).ok_or(DropReason::FrameTruncated)?;
    let packet = match parsed {
        Parsed::NotIp if link.ether_type == ethernet::ARP => return Ok(neighbour_class(&link)),
        Parsed::NotIp => return Ok(PuntClass::Other),
        Parsed::Ip(packet) => packet,
    };
    let candidate = Candidate {
        packet,
        addresses: head.get(usize::from(packet.layout.l3)..).unwrap_or_default(),
        header: head.get(usize::from(packet.layout.l4)..).unwrap_or_default(),
        link,
        port,
    };
    match packet.network {
        Network::V4 => candidate.class::<V4>(view),
        Network::V6 => candidate.class::<V6>(view),
    }
}

const fn neighbour_class(link: &Link) -> PuntClass {
    if link.destination.is_multicast() { PuntClass::NeighbourGroup } else { PuntClass::Neighbour }
}

/// A packet that may be for the kernel.
struct Candidate<'a> {
    packet: &'a Packet,
    /// From the IP header on.
    addresses: &'a [u8],
    /// From the transport header on.
    header: &'a [u8],
    link: Link,
    port: PortId,
}

impl Candidate<'_> {
    fn class<F: FlowFamily>(&self, view: View<'_>) -> Result<PuntClass, DropReason> {
        let pair = F::pair_in(self.addresses).ok_or(DropReason::FrameTruncated)?;
        let (source, _) = F::addresses(pair);
        if self.is_discovery::<F>() {
            // An advertisement from an address of ours says that another host has it (RFC 4862, section 5.4.4).
            return match self.packet.hop_limit {
                DISCOVERY_HOP_LIMIT => Ok(neighbour_class(&self.link)),
                _ => Err(DropReason::NeighbourOffLink),
            };
        }
        if view.tables.roles.of::<F>(source).is_some() {
            return Err(DropReason::Martian);
        }
        let path = view.fib.reverse_path(F::ip(source), self.port);
        let is_on_link = matches!(path, ReversePath::OnLink(_)) || self.link.destination.is_multicast();
        if self.is_routing() && is_on_link {
            return Ok(PuntClass::Routing);
        }
        if view.tables.roles.is_backend(F::ip(source)) && self.may_answer_probe::<F>() {
            let is_verified = match path {
                ReversePath::Routed => true,
                ReversePath::OnLink(mac) => mac == Some(self.link.source),
                ReversePath::None => false,
            };
            return Ok(if is_verified { PuntClass::Probe } else { PuntClass::Reply });
        }
        Ok(if self.goes_on::<F>() { PuntClass::Reply } else { PuntClass::Other })
    }

    /// Neighbour and router discovery, and redirects (RFC 4861, section 4).
    fn is_discovery<F: FlowFamily>(&self) -> bool {
        F::VERSION == 6 && self.is_icmp::<F>() && matches!(self.header.first(), Some(133..=137))
    }

    /// Whether a routing protocol, or one that watches over routers, is spoken.
    fn is_routing(&self) -> bool {
        match self.packet.transport {
            // IGMP, EIGRP, OSPF, PIM, VRRP.
            Transport::Other | Transport::Fragment => matches!(self.packet.protocol, 2 | 88 | 89 | 103 | 112),
            Transport::Tcp => self.source_port() == Some(BGP) || self.destination_port() == Some(BGP),
            // RIP, RIPng; BFD: one hop, echo, several hops.
            Transport::Udp => {
                matches!(self.destination_port(), Some(520 | 521 | 3784 | 3785 | MULTIHOP_BFD))
            }
        }
    }

    /// Whether a backend may answer a probe with this.
    fn may_answer_probe<F: FlowFamily>(&self) -> bool {
        match self.packet.transport {
            Transport::Tcp => self.is_acknowledging() && self.is_to_user_port(),
            Transport::Udp => self.is_to_user_port(),
            // The rest of a large answer.
            Transport::Fragment => true,
            Transport::Other => self.is_icmp_answer::<F>(),
        }
    }

    /// Whether this may belong to something that this host has begun, or has accepted.
    fn goes_on<F: FlowFamily>(&self) -> bool {
        match self.packet.transport {
            Transport::Tcp => {
                self.is_acknowledging() && (self.is_to_user_port() || self.destination_port() == Some(BGP))
            }
            Transport::Udp => self.destination_port() == Some(MULTIHOP_BFD),
            Transport::Fragment => false,
            Transport::Other => self.is_icmp_answer::<F>(),
        }
    }

    const fn is_acknowledging(&self) -> bool {
        self.packet.tcp_flags & (ACK | RST) != 0
    }

    fn is_to_user_port(&self) -> bool {
        self.destination_port().is_some_and(|port| port >= FIRST_USER_PORT)
    }

    fn is_icmp_answer<F: FlowFamily>(&self) -> bool {
        let kind = self.header.first().map(|icmp_type| F::kind(*icmp_type));
        self.is_icmp::<F>() && matches!(kind, Some(Kind::EchoReply | Kind::Error))
    }

    fn is_icmp<F: FlowFamily>(&self) -> bool {
        self.packet.transport == Transport::Other && self.packet.protocol == F::ICMP
    }

    fn source_port(&self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.header.first_chunk()?))
    }

    fn destination_port(&self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.header.get(2..)?.first_chunk()?))
    }
}
