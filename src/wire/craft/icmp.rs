//! ICMP errors.

use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::icmpv6::{self, DestUnreachableCode};
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber};

use super::{Answer, Way, header_v4, header_v6};
use crate::wire::{Packet, Transport};

/// IPv4 errors quote as much as fits 576 octets (RFC 1812, 4.3.2.3).
const ICMPV4_QUOTE: usize = 576 - 20 - 8;

/// IPv6 errors quote as much as fits the minimum MTU (RFC 4443, 2.4 c).
const ICMPV6_QUOTE: usize = 1280 - 40 - 8;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    PortUnreachable,
    TimeExceeded,
}

pub(super) fn v4(answer: &mut Answer, error: Error, packet: &Packet, head: &[u8]) -> Option<()> {
    let start = usize::from(packet.layout.l3);
    if !may_answer(packet, 1, head.get(usize::from(packet.layout.l4)..)?, |kind| {
        // Everything but the queries of RFC 792 is an error or unknown.
        matches!(kind, 0 | 8 | 13..=18)
    }) {
        return None;
    }
    let end = usize::from(packet.layout.end).min(start + ICMPV4_QUOTE).min(head.len());
    let quote = head.get(start..end)?;
    let kind = match error {
        Error::PortUnreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
        Error::TimeExceeded => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
    };
    let icmp = Icmpv4Header::with_checksum(kind, quote);
    let ip = header_v4(packet, head, Way::Back, IpNumber::ICMP, icmp.header_len() + quote.len())?;
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&icmp.to_bytes()).ok()?;
    answer.try_extend_from_slice(quote).ok()
}

pub(super) fn v6(answer: &mut Answer, error: Error, packet: &Packet, head: &[u8]) -> Option<()> {
    let start = usize::from(packet.layout.l3);
    // RFC 4443, 2.1: error messages have a type below 128.
    if !may_answer(packet, 58, head.get(usize::from(packet.layout.l4)..)?, |kind| kind >= 128) {
        return None;
    }
    let end = usize::from(packet.layout.end).min(start + ICMPV6_QUOTE).min(head.len());
    let quote = head.get(start..end)?;
    let kind = match error {
        Error::PortUnreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
        Error::TimeExceeded => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
    };
    let ip = header_v6(packet, head, Way::Back, IpNumber::IPV6_ICMP, 8 + quote.len())?;
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
