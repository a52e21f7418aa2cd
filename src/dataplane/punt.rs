//! What goes to the kernel: which packets, and in which class.

use super::flow::FlowFamily;
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::{PuntClass, Verdict};
use crate::io::Frame;
use crate::model::{PortId, V4, V6};
use crate::shared::{AddressRole, DropReason};
use crate::wire::ethernet::{self, Link};
use crate::wire::{Network, Packet, Parsed, Transport};

const ICMPV6: u8 = 58;

impl Pipeline {
    /// For the kernel, if it has a side on this port.
    #[cold]
    pub(super) fn punt(&self, parsed: &Parsed, head: &[u8], port: PortId) -> Verdict {
        if self.ports[port.index()].kernel {
            Verdict::Punt(class(parsed, head))
        } else {
            Verdict::Drop(DropReason::NoKernelPort)
        }
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
        let parsed = Parsed::Ip(*packet);
        let addresses = head.get(usize::from(packet.layout.l3)..).and_then(F::pair_in);
        let destination = addresses.map(|pair| F::addresses(pair).1);
        let role = destination.and_then(|destination| view.tables.roles.of::<F>(destination));
        let Some(role) = role else { return self.punt(&parsed, head, arrival.port) };
        if packet.protocol == F::ICMP && packet.transport != Transport::Fragment {
            return self.icmp::<F, T>(frame, role, arrival, view);
        }
        // The kernel puts pieces together before it answers.
        if packet.protocol == F::ICMP || class(&parsed, head) == PuntClass::Routing {
            return self.punt(&parsed, head, arrival.port);
        }
        Verdict::Drop(match role {
            AddressRole::Vip(_) => DropReason::NoService,
            AddressRole::Local => DropReason::UnknownReturn,
        })
    }
}

/// Whether a packet is for a VIP or a local address.
#[cold]
pub(super) fn is_ours(packet: &Packet, head: &[u8], view: View<'_>) -> bool {
    fn has_role<F: FlowFamily>(packet: &Packet, head: &[u8], view: View<'_>) -> bool {
        let pair = head.get(usize::from(packet.layout.l3)..).and_then(F::pair_in);
        pair.is_some_and(|pair| view.tables.roles.of::<F>(F::addresses(pair).1).is_some())
    }
    match packet.network {
        Network::V4 => has_role::<V4>(packet, head, view),
        Network::V6 => has_role::<V6>(packet, head, view),
    }
}

/// The class of a frame for the kernel.
fn class(parsed: &Parsed, head: &[u8]) -> PuntClass {
    match parsed {
        Parsed::NotIp => {
            let is_arp = Link::read(head).is_some_and(|link| link.ether_type == ethernet::ARP);
            if is_arp { PuntClass::Neighbour } else { PuntClass::Other }
        }
        Parsed::Ip(packet) => {
            packet_class(packet, head.get(usize::from(packet.layout.l4)..).unwrap_or_default())
        }
    }
}

/// The class of a packet whose transport header `header` starts with.
fn packet_class(packet: &Packet, header: &[u8]) -> PuntClass {
    let port = |at: usize| Some(u16::from_be_bytes(*header.get(at..)?.first_chunk()?));
    let (source, destination) = (port(0), port(2));
    match packet.transport {
        // Neighbour discovery (RFC 4861, section 4).
        Transport::Other if packet.protocol == ICMPV6 && matches!(header.first(), Some(133..=137)) => {
            PuntClass::Neighbour
        }
        // IGMP, EIGRP, OSPF, PIM, VRRP.
        Transport::Other | Transport::Fragment if matches!(packet.protocol, 2 | 88 | 89 | 103 | 112) => {
            PuntClass::Routing
        }
        // BGP.
        Transport::Tcp if destination == Some(179) || source == Some(179) => PuntClass::Routing,
        // RIP, RIPng, BFD (one hop, echo, several hops).
        Transport::Udp if matches!(destination, Some(520 | 521 | 3784 | 3785 | 4784)) => PuntClass::Routing,
        Transport::Tcp | Transport::Udp | Transport::Fragment | Transport::Other => PuntClass::Other,
    }
}
