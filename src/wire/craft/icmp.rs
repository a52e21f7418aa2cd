//! ICMP errors that we send.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::icmpv6::{self, DestUnreachableCode};
use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber};

use super::{Answer, Way, ends, header_v4, header_v6};
use crate::model::{V4, V6};
use crate::wire::{IcmpFamily, Packet, Transport};

/// IPv4 errors quote as much as fits 576 octets (RFC 1812, 4.3.2.3).
const ICMPV4_QUOTE: usize = 576 - 20 - 8;

/// IPv6 errors quote as much as fits the minimum MTU (RFC 4443, 2.4 c).
const ICMPV6_QUOTE: usize = 1280 - 40 - 8;

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    PortUnreachable,
    TimeExceeded,
    /// With the MTU in octets.
    TooBig(u16),
}

pub(super) fn v4(answer: &mut Answer, error: Error, packet: &Packet, head: &[u8]) -> Option<()> {
    // Everything but the queries of RFC 792 is an error or unknown.
    may_answer::<V4>(packet, head, |kind| matches!(kind, 0 | 8 | 13..=18))?;
    let kind = match error {
        Error::PortUnreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
        Error::TimeExceeded => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
        Error::TooBig(next_hop_mtu) => {
            forbids_fragments(packet, head)?;
            Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu })
        }
    };
    let quote = quote(packet, head, ICMPV4_QUOTE)?;
    let icmp = Icmpv4Header::with_checksum(kind, quote);
    let mut ip = header_v4(packet, head, Way::Back, IpNumber::ICMP, icmp.header_len() + quote.len())?;
    // RFC 1812, 4.3.2.5: with the precedence of routing protocols.
    ip.dscp = IpDscp::CS6;
    ip.header_checksum = ip.calc_header_checksum();
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&icmp.to_bytes()).ok()?;
    answer.try_extend_from_slice(quote).ok()
}

pub(super) fn v6(answer: &mut Answer, error: Error, packet: &Packet, head: &[u8]) -> Option<()> {
    const REDIRECT: u8 = 137;
    // RFC 4443, 2.1: error messages have a type below 128.
    may_answer::<V6>(packet, head, |kind| kind >= 128 && kind != REDIRECT)?;
    let kind = match error {
        Error::PortUnreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
        Error::TimeExceeded => Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
        Error::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu: mtu.into() },
    };
    let quote = quote(packet, head, ICMPV6_QUOTE)?;
    let ip = header_v6(packet, head, Way::Back, IpNumber::IPV6_ICMP, 8 + quote.len())?;
    let icmp = Icmpv6Header::with_checksum(kind, ip.source, ip.destination, quote).ok()?;
    answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
    answer.try_extend_from_slice(&icmp.to_bytes()).ok()?;
    answer.try_extend_from_slice(quote).ok()
}

/// The packet, or its first `octets`.
fn quote<'a>(packet: &Packet, head: &'a [u8], octets: usize) -> Option<&'a [u8]> {
    let start = usize::from(packet.layout.l3);
    head.get(start..usize::from(packet.layout.end).min(start + octets).min(head.len()))
}

/// Something, if an IPv4 packet must not be fragmented (RFC 791, 3.1).
fn forbids_fragments(packet: &Packet, head: &[u8]) -> Option<()> {
    const DONT_FRAGMENT: u8 = 0x40;
    let flags = head.get(usize::from(packet.layout.l3) + 6)?;
    (flags & DONT_FRAGMENT != 0).then_some(())
}

/// Something, if an ICMP error may be sent about a packet (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e).
fn may_answer<F: IcmpFamily>(packet: &Packet, head: &[u8], is_query: impl Fn(u8) -> bool) -> Option<()> {
    let (source, destination) = ends::<F>(packet, head, Way::Onward)?;
    if !is_host(F::ip(source)) || is_group(F::ip(destination)) {
        return None;
    }
    let mut protocol = packet.protocol;
    let mut content = head.get(usize::from(packet.layout.l4)..)?;
    if packet.transport == Transport::Fragment {
        (protocol, content) = first_fragment::<F>(packet, head)?;
    }
    if protocol != F::ICMP {
        return Some(());
    }
    content.first().is_some_and(|kind| is_query(*kind)).then_some(())
}

/// Protocol and content of a fragment that is the first of its packet.
fn first_fragment<'a, F: IcmpFamily>(packet: &Packet, head: &'a [u8]) -> Option<(u8, &'a [u8])> {
    let quote = head.get(usize::from(packet.layout.l3)..)?;
    let (protocol, transport) = F::transport(quote).ok()?;
    Some((protocol, quote.get(transport?..)?))
}

/// Whether `address` can be a host's, and that of one host.
fn is_host(address: IpAddr) -> bool {
    let is_reserved = match address {
        // "This network" and class E (RFC 1122, 3.2.1.3).
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(_) => false,
    };
    !is_group(address) && !address.is_unspecified() && !address.is_loopback() && !is_reserved
}

/// Whether `address` is of many hosts.
fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}
