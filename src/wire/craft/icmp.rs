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
    HostUnreachable,
    /// With the MTU in octets.
    TooBig(u16),
}

pub(super) fn v4(answer: &mut Answer, error: Error, packet: &Packet, head: &[u8]) -> Option<()> {
    // Everything but the queries of RFC 792 is an error or unknown.
    may_answer::<V4>(packet, head, |kind| matches!(kind, 0 | 8 | 13..=18))?;
    let kind = match error {
        Error::PortUnreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port),
        Error::HostUnreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host),
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
        Error::HostUnreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address),
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

#[cfg(test)]
mod tests {
    use etherparse::{IpFragOffset, IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder};

    use crate::model::Mac;
    use crate::wire::craft::{Refusal, refuse};
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, parse};

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn v4() -> Ipv4Header {
        let mut header = Ipv4Header::new(0, 64, 6.into(), [198, 51, 100, 7], [203, 0, 113, 80]).unwrap();
        header.dont_fragment = true;
        header
    }

    fn v6(source: [u8; 16]) -> Ipv6Header {
        let mut destination = [0; 16];
        destination[..2].copy_from_slice(&[0x20, 0x01]);
        Ipv6Header { hop_limit: 64, source, destination, ..Ipv6Header::default() }
    }

    const HOST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

    /// A frame of this packet, whose payload, of this protocol, begins with `first`.
    fn frame(ip: IpHeaders, protocol: u8, first: u8) -> Vec<u8> {
        let mut payload = vec![0; 40];
        payload[0] = first;
        // A TCP header of 20 octets, if it is one.
        (payload[12], payload[13]) = (0x50, 0x10);
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(THEIRS, OURS).ip(ip);
        builder.write(&mut frame, protocol.into(), &payload).unwrap();
        frame
    }

    fn frame4(change: impl Fn(&mut Ipv4Header), protocol: u8, first: u8) -> Vec<u8> {
        let mut header = v4();
        change(&mut header);
        frame(IpHeaders::Ipv4(header, Default::default()), protocol, first)
    }

    fn frame6(source: [u8; 16], protocol: u8, first: u8) -> Vec<u8> {
        frame(IpHeaders::Ipv6(v6(source), Default::default()), protocol, first)
    }

    /// A fragment at this offset, with more to come, that begins with an ICMPv6 type or is TCP.
    fn fragment6(offset: u8, icmp_type: Option<u8>) -> Vec<u8> {
        let mut frame = frame6(HOST6, 59, icmp_type.map_or(6, |_| 58));
        frame[20] = 44;
        frame[54 + 3] = offset << 3 | 1;
        frame[54 + 8] = icmp_type.unwrap_or(0);
        frame
    }

    fn is_told(refusal: Refusal, frame: &[u8]) -> bool {
        let link = Link::read(frame).unwrap();
        let Ok(Parsed::Ip(packet)) = parse(&link, frame, frame.len()) else { panic!("{frame:x?}") };
        refuse(refusal, &link, &packet, frame, Mac(OURS)).is_some()
    }

    #[test]
    fn nothing_is_said_of_errors_groups_later_fragments_and_to_what_is_no_host() {
        let plain = |_: &mut Ipv4Header| {};
        let from = |source: [u8; 4]| frame4(move |ip| ip.source = source, 6, 0);
        let to = |destination: [u8; 4]| frame4(move |ip| ip.destination = destination, 6, 0);
        let piece = |offset: u16, protocol, first| {
            let change = move |ip: &mut Ipv4Header| {
                ip.more_fragments = true;
                ip.fragment_offset = IpFragOffset::try_new(offset).unwrap();
            };
            frame4(change, protocol, first)
        };
        let mut to_all = frame4(plain, 6, 0);
        to_all[..6].fill(0xff);
        let mut group6 = HOST6;
        group6[0] = 0xff;
        for (what, frame, expected) in [
            ("TCP", frame4(plain, 6, 0), true),
            ("another protocol", frame4(plain, 132, 0), true),
            ("a ping", frame4(plain, 1, 8), true),
            ("an ICMP error", frame4(plain, 1, 3), false),
            ("a redirect", frame4(plain, 1, 5), false),
            ("ICMP of an unknown type", frame4(plain, 1, 200), false),
            ("a first fragment", piece(0, 6, 0), true),
            ("a later fragment", piece(1, 6, 0), false),
            ("the first fragment of a ping", piece(0, 1, 8), true),
            ("the first fragment of an error", piece(0, 1, 3), false),
            ("from a group", from([224, 0, 0, 1]), false),
            ("from everybody", from([255; 4]), false),
            ("from nobody", from([0; 4]), false),
            ("from this network", from([0, 0, 0, 7]), false),
            ("from itself", from([127, 0, 0, 1]), false),
            ("from class E", from([240, 0, 0, 1]), false),
            ("to a group", to([224, 0, 0, 1]), false),
            ("to everybody", to([255; 4]), false),
            ("to everybody on the link", to_all, false),
            ("TCP over IPv6", frame6(HOST6, 6, 0), true),
            ("a ping over IPv6", frame6(HOST6, 58, 128), true),
            ("an ICMPv6 error", frame6(HOST6, 58, 1), false),
            ("an ICMPv6 error of an unknown type", frame6(HOST6, 58, 127), false),
            ("an ICMPv6 redirect", frame6(HOST6, 58, 137), false),
            ("a first IPv6 fragment", fragment6(0, None), true),
            ("a later IPv6 fragment", fragment6(1, None), false),
            ("the first IPv6 fragment of a ping", fragment6(0, Some(128)), true),
            ("the first IPv6 fragment of an error", fragment6(0, Some(3)), false),
            ("from an IPv6 group", frame6(group6, 6, 0), false),
            ("from nobody over IPv6", frame6([0; 16], 6, 0), false),
        ] {
            assert_eq!(is_told(Refusal::TimeExceeded, &frame), expected, "{what}");
        }
    }

    #[test]
    fn the_size_of_what_may_be_fragmented_is_nobodys_fault() {
        let too_big = Refusal::TooBig { mtu: 1400 };
        assert!(is_told(too_big, &frame4(|_| {}, 132, 0)));
        assert!(!is_told(too_big, &frame4(|ip| ip.dont_fragment = false, 132, 0)));
        assert!(is_told(too_big, &frame6(HOST6, 132, 0)));
    }
}
