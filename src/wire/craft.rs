//! Answers that the balancer itself gives: TCP resets and ICMP errors. Off the fast path, built with etherparse.

use arrayvec::ArrayVec;
use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::icmpv6::{self, DestUnreachableCode};
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header,
    Ipv6FlowLabel, Ipv6Header, SingleVlanHeader, TcpHeader, VlanId,
};

use super::ethernet::{self, Link};
use super::{Network, Packet, Transport, WireFamily, tcp_flags};
use crate::model::{Family, Mac, V4, V6};

/// Room for the largest answer: an ICMPv6 error of the minimum MTU, 1280 octets, and a tagged Ethernet header.
pub type Answer = ArrayVec<u8, 1300>;

/// What to tell the sender of a packet that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody listens: RST for TCP (RFC 9293, 3.10.7.1), port unreachable for everything else.
    Unreachable,
    /// The hop limit ran out: ICMP time exceeded (RFC 792; RFC 4443, 3.3).
    TimeExceeded,
}

/// The frame that tells the sender of a packet about it, from `our_mac` and from the address that the packet was
/// sent to. `head` holds the packet, as received. `None` where an answer must not be given: to a reset, to an ICMP
/// error, to a fragment that is not the first (RFC 1122, 3.2.2; RFC 4443, 2.4).
#[must_use]
pub fn refuse(refusal: Refusal, link: &Link, packet: &Packet, head: &[u8], our_mac: Mac) -> Option<Answer> {
    let mut answer = Answer::new();
    write_link(&mut answer, link, our_mac)?;
    let reset = refusal == Refusal::Unreachable && packet.transport == Transport::Tcp;
    match (packet.network, reset) {
        (Network::V4, true) => reset_v4(&mut answer, packet, head)?,
        (Network::V4, false) => icmp_v4(&mut answer, refusal, packet, head)?,
        (Network::V6, true) => reset_v6(&mut answer, packet, head)?,
        (Network::V6, false) => icmp_v6(&mut answer, refusal, packet, head)?,
    }
    Some(answer)
}

/// TTL and hop limit of our own packets (RFC 1700, "IP TIME TO LIVE PARAMETER").
const HOP_LIMIT: u8 = 64;

/// IPv4 errors quote as much as fits 576 octets (RFC 1812, 4.3.2.3).
const ICMPV4_QUOTE: usize = 576 - 20 - 8;

/// IPv6 errors quote as much as fits the minimum MTU (RFC 4443, 2.4 c).
const ICMPV6_QUOTE: usize = 1280 - 40 - 8;

fn write_link(answer: &mut Answer, link: &Link, our_mac: Mac) -> Option<()> {
    let ether_type = EtherType(if link.vlan.is_some() { ethernet::VLAN } else { link.ether_type });
    let header = Ethernet2Header { source: our_mac.0, destination: link.source.0, ether_type };
    answer.try_extend_from_slice(&header.to_bytes()).ok()?;
    if let Some(id) = link.vlan {
        let tag = SingleVlanHeader {
            vlan_id: VlanId::try_new(id).ok()?,
            ether_type: EtherType(link.ether_type),
            ..SingleVlanHeader::default()
        };
        answer.try_extend_from_slice(&tag.to_bytes()).ok()?;
    }
    Some(())
}

/// The reset that answers a segment: its sequence number is the one the sender expects, or it acknowledges all that
/// the segment carried.
fn reset<F: WireFamily>(packet: &Packet, head: &[u8]) -> Option<TcpHeader> {
    let flags = packet.tcp_flags;
    if flags & tcp_flags::RST != 0 {
        return None;
    }
    let tuple = packet.tuple::<F>(head)?;
    let header: &[u8; 20] = head.get(usize::from(packet.layout.l4)..)?.first_chunk()?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (sequence, acknowledgement) = (word(4), word(8));
    let mut answer = TcpHeader::new(tuple.destination_port(), tuple.source_port(), 0, 0);
    answer.rst = true;
    if flags & tcp_flags::ACK != 0 {
        answer.sequence_number = acknowledgement;
    } else {
        let octets = u32::from(packet.layout.end - packet.layout.l4);
        let data = octets.checked_sub(u32::from(header[12] >> 4) * 4)?;
        let marks = u32::from(flags & tcp_flags::SYN != 0) + u32::from(flags & tcp_flags::FIN != 0);
        answer.ack = true;
        answer.acknowledgment_number = sequence.wrapping_add(data).wrapping_add(marks);
    }
    Some(answer)
}

fn reset_v4(answer: &mut Answer, packet: &Packet, head: &[u8]) -> Option<()> {
    let mut tcp = reset::<V4>(packet, head)?;
    let ip = header_v4(packet, head, IpNumber::TCP, 20)?;
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).ok()?;
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&tcp.to_bytes()).ok()
}

fn reset_v6(answer: &mut Answer, packet: &Packet, head: &[u8]) -> Option<()> {
    let mut tcp = reset::<V6>(packet, head)?;
    let ip = header_v6(packet, head, IpNumber::TCP, 20)?;
    tcp.checksum = tcp.calc_checksum_ipv6(&ip, &[]).ok()?;
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&tcp.to_bytes()).ok()
}

fn icmp_v4(answer: &mut Answer, refusal: Refusal, packet: &Packet, head: &[u8]) -> Option<()> {
    let start = usize::from(packet.layout.l3);
    if !may_answer(packet, 1, head.get(usize::from(packet.layout.l4)..)?, |kind| {
        // Everything but the queries of RFC 792 is an error or unknown.
        matches!(kind, 0 | 8 | 13..=18)
    }) {
        return None;
    }
    let end = usize::from(packet.layout.end).min(start + ICMPV4_QUOTE).min(head.len());
    let quote = head.get(start..end)?;
    let kind = match refusal {
        Refusal::Unreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
        Refusal::TimeExceeded => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
    };
    let icmp = Icmpv4Header::with_checksum(kind, quote);
    let ip = header_v4(packet, head, IpNumber::ICMP, icmp.header_len() + quote.len())?;
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&icmp.to_bytes()).ok()?;
    answer.try_extend_from_slice(quote).ok()
}

fn icmp_v6(answer: &mut Answer, refusal: Refusal, packet: &Packet, head: &[u8]) -> Option<()> {
    let start = usize::from(packet.layout.l3);
    // RFC 4443, 2.1: error messages have a type below 128.
    if !may_answer(packet, 58, head.get(usize::from(packet.layout.l4)..)?, |kind| kind >= 128) {
        return None;
    }
    let end = usize::from(packet.layout.end).min(start + ICMPV6_QUOTE).min(head.len());
    let quote = head.get(start..end)?;
    let kind = match refusal {
        Refusal::Unreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
        Refusal::TimeExceeded => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
    };
    let ip = header_v6(packet, head, IpNumber::IPV6_ICMP, 8 + quote.len())?;
    let icmp = Icmpv6Header::with_checksum(kind, ip.source, ip.destination, quote).ok()?;
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&icmp.to_bytes()).ok()?;
    answer.try_extend_from_slice(quote).ok()
}

/// Whether an ICMP error may be sent about a packet with this content.
fn may_answer(packet: &Packet, icmp: u8, content: &[u8], is_query: impl Fn(u8) -> bool) -> bool {
    match packet.transport {
        Transport::Tcp | Transport::Udp => true,
        Transport::Fragment => false,
        Transport::Other if packet.protocol == icmp => content.first().is_some_and(|kind| is_query(*kind)),
        Transport::Other => true,
    }
}

fn header_v4(packet: &Packet, head: &[u8], protocol: IpNumber, payload: usize) -> Option<Ipv4Header> {
    let (source, destination) = V4::addresses(V4::pair_in(head.get(usize::from(packet.layout.l3)..)?)?);
    let mut header = Ipv4Header::new(
        u16::try_from(payload).ok()?,
        HOP_LIMIT,
        protocol,
        destination.to_be_bytes(),
        source.to_be_bytes(),
    )
    .ok()?;
    header.header_checksum = header.calc_header_checksum();
    Some(header)
}

fn header_v6(packet: &Packet, head: &[u8], next_header: IpNumber, payload: usize) -> Option<Ipv6Header> {
    let (source, destination) = V6::addresses(V6::pair_in(head.get(usize::from(packet.layout.l3)..)?)?);
    Some(Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: u16::try_from(payload).ok()?,
        next_header,
        hop_limit: HOP_LIMIT,
        source: destination.to_be_bytes(),
        destination: source.to_be_bytes(),
    })
}
