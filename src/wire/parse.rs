//! From the bytes of a frame to what the pipeline decides by; no panic, whatever the bytes. [`parse`] reads every shape
//! and says what is wrong with the rest; [`parse_common`] is a shortcut for the shape that nearly all packets have.

use super::WireFamily;
use super::checksum;
use super::ethernet::{self, Link};
use crate::model::{FiveTuple, Protocol, V4};

/// Why a frame cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends before its headers do.
    FrameTruncated,
    /// Version, header length or total length is impossible.
    IpHeader,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
    /// The IP length field promises more than there is.
    IpTruncated,
    /// The TCP or UDP header is cut short, or its length field is impossible.
    TransportHeader,
    /// More IPv6 extension headers than [`MAX_EXTENSION_HEADERS`].
    ExtensionHeaders,
}

/// What a well-formed frame is. Small and flat, as every packet's passes through an array between two stages of the
/// pipeline; addresses and ports stay in the frame, where [`Packet::tuple`] reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet.
    Ip(Packet),
    /// Something else: ARP, LLDP and the like.
    NotIp,
}

/// A well-formed IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its family.
    pub network: Network,
    /// What it carries, as far as that can be balanced.
    pub transport: Transport,
    /// The IP protocol number (IANA) of what it carries, behind extension headers.
    pub protocol: u8,
    /// See [`super::tcp_flags`]; 0 unless it is TCP.
    pub tcp_flags: u8,
    /// TTL or hop limit as received.
    pub hop_limit: u8,
    /// Where its parts stand.
    pub layout: Layout,
}

/// The address family of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A whole TCP segment.
    Tcp,
    /// A whole UDP datagram.
    Udp,
    /// A piece of a packet; its ports, if it has any, say nothing of the other pieces.
    Fragment,
    /// Another protocol, or a header that hides what follows (authentication, a routing header not yet at its end).
    Other,
}

impl Packet {
    /// The five-tuple, read from the frame that the packet was found in; `None` for anything but whole TCP segments
    /// and UDP datagrams.
    #[must_use]
    #[inline]
    pub fn tuple<F: WireFamily>(&self, head: &[u8]) -> Option<FiveTuple<F>> {
        let protocol = match self.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            Transport::Fragment | Transport::Other => return None,
        };
        tuple_at(head, self.layout, protocol)
    }

    /// Whether it may begin or end a connection: a TCP segment with SYN, FIN or RST.
    #[must_use]
    #[inline(always)]
    pub const fn changes_state(&self) -> bool {
        use super::tcp_flags::{FIN, RST, SYN};
        self.tcp_flags & (SYN | FIN | RST) != 0
    }

    /// A SYN and nothing else that would make it an answer or an end: the only TCP packet that creates a flow.
    #[must_use]
    #[inline]
    pub const fn is_bare_syn(&self) -> bool {
        use super::tcp_flags::{ACK, FIN, RST, SYN};
        self.tcp_flags & (SYN | ACK | RST | FIN) == SYN
    }
}

/// The start of a frame up to the end of an untagged IPv4 TCP header without options: what the common shape is read
/// from.
pub type CommonHead = [u8; Layout::COMMON_HEADERS];

/// Offsets from the start of the frame, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The IP header.
    pub l3: u16,
    /// The transport header.
    pub l4: u16,
    /// The first octet behind the IP packet: what follows is Ethernet padding.
    pub end: u16,
}

impl Layout {
    /// Where headers stand in an untagged IPv4 packet without options; `end` says nothing.
    pub(super) const COMMON: Self = Self { l3: 14, l4: 34, end: 0 };

    /// Octets up to the end of a TCP header without options that stands there.
    pub const COMMON_HEADERS: usize = 54;
}

/// How many IPv6 extension headers are walked. RFC 8200, 4.1 has seven kinds, one of which may come twice; more is an
/// attempt to make us walk.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Reads a frame whose first part is `head` (all headers are in it) and that is `octets` long in all. `link` is what
/// [`Link::read`] found in the same bytes.
///
/// # Errors
/// A frame that contradicts itself. Bytes behind the transport header are never looked at.
#[inline]
pub fn parse(link: &Link, head: &[u8], octets: usize) -> Result<Parsed, Malformed> {
    match link.ether_type {
        ethernet::IPV4 => ipv4(head, link.payload, octets).map(Parsed::Ip),
        ethernet::IPV6 => ipv6(head, link.payload, octets).map(Parsed::Ip),
        _ => Ok(Parsed::NotIp),
    }
}

/// [`parse`] for the shape that nearly all packets have: untagged IPv4 without options, a whole TCP segment or UDP
/// datagram. `None` says nothing but that the frame must be looked at by the general way; a property test keeps the two
/// in agreement. Every offset is a constant, so that it costs a third.
#[inline(always)]
pub fn parse_common(bytes: &CommonHead, octets: usize) -> Option<Packet> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let total = word(16);
    let is_common = word(12) == ethernet::IPV4
        && bytes[14] == 0x45
        && word(20) & 0x3fff == 0
        && usize::from(total) + 14 <= octets
        && total < u16::MAX - 14;
    let header: &[u8; 20] = bytes[14..].first_chunk()?;
    if !is_common || !checksum::ipv4_header_is_intact(header, &[]) {
        return None;
    }
    let (transport, tcp_flags) = match bytes[23] {
        TCP if total >= 40
            && (0x50..=0xff).contains(&bytes[46])
            && u16::from(bytes[46] >> 4) * 4 + 20 <= total =>
        {
            (Transport::Tcp, bytes[47])
        }
        UDP if total >= 28 && word(38) >= 8 && word(38) <= total - 20 => (Transport::Udp, 0),
        _ => return None,
    };
    Some(Packet {
        network: Network::V4,
        transport,
        protocol: bytes[23],
        tcp_flags,
        hop_limit: bytes[22],
        layout: Layout { l3: Layout::COMMON.l3, l4: Layout::COMMON.l4, end: total + 14 },
    })
}

/// The five-tuple of a packet that [`parse_common`] accepted in these bytes.
#[must_use]
#[inline(always)]
pub fn tuple_common(bytes: &CommonHead, packet: &Packet) -> FiveTuple<V4> {
    let long = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    FiveTuple {
        source: long(26),
        destination: long(30),
        source_port: word(34),
        destination_port: word(36),
        protocol: if packet.transport == Transport::Tcp { Protocol::Tcp } else { Protocol::Udp },
    }
}

#[inline]
fn tuple_at<F: WireFamily>(head: &[u8], at: Layout, protocol: Protocol) -> Option<FiveTuple<F>> {
    let (source, destination) = F::addresses(head.get(usize::from(at.l3)..)?)?;
    let ports: &[u8; 4] = head.get(usize::from(at.l4)..)?.first_chunk()?;
    Some(FiveTuple {
        source,
        destination,
        source_port: u16::from_be_bytes([ports[0], ports[1]]),
        destination_port: u16::from_be_bytes([ports[2], ports[3]]),
        protocol,
    })
}

const TCP: u8 = Protocol::Tcp as u8;
const UDP: u8 = Protocol::Udp as u8;

#[inline(always)]
fn ipv4(head: &[u8], l3: u16, octets: usize) -> Result<Packet, Malformed> {
    let bytes = head.get(usize::from(l3)..).ok_or(Malformed::FrameTruncated)?;
    let header: &[u8; 20] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
    if header[0] >> 4 != 4 {
        return Err(Malformed::IpHeader);
    }
    let header_octets = u16::from(header[0] & 0x0f) * 4;
    let total = u16::from_be_bytes([header[2], header[3]]);
    if header_octets < 20 || total < header_octets {
        return Err(Malformed::IpHeader);
    }
    // A packet that would end beyond 65,535 octets of frame does not exist on Ethernet; the sum must not wrap.
    let end = l3.checked_add(total).ok_or(Malformed::IpTruncated)?;
    if usize::from(end) > octets {
        return Err(Malformed::IpTruncated);
    }
    let options = if header_octets == 20 {
        &[]
    } else {
        bytes.get(20..usize::from(header_octets)).ok_or(Malformed::FrameTruncated)?
    };
    if !checksum::ipv4_header_is_intact(header, options) {
        return Err(Malformed::IpChecksum);
    }
    let layout = Layout { l3, l4: l3 + header_octets, end };
    // More fragments, or an offset: everything in the field but the reserved and the don't-fragment bit.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let (transport, tcp_flags) =
        if fragment { (Transport::Fragment, 0) } else { transport(head, layout, header[9])? };
    Ok(Packet {
        network: Network::V4,
        transport,
        protocol: header[9],
        tcp_flags,
        hop_limit: header[8],
        layout,
    })
}

#[inline(never)]
fn ipv6(head: &[u8], l3: u16, octets: usize) -> Result<Packet, Malformed> {
    let bytes = head.get(usize::from(l3)..).ok_or(Malformed::FrameTruncated)?;
    let header: &[u8; 40] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
    if header[0] >> 4 != 6 {
        return Err(Malformed::IpHeader);
    }
    let payload = u16::from_be_bytes([header[4], header[5]]);
    let end =
        l3.checked_add(40).and_then(|start| start.checked_add(payload)).ok_or(Malformed::IpTruncated)?;
    if usize::from(end) > octets {
        return Err(Malformed::IpTruncated);
    }
    let mut packet = Packet {
        network: Network::V6,
        transport: Transport::Other,
        protocol: header[6],
        tcp_flags: 0,
        hop_limit: header[7],
        layout: Layout { l3, l4: l3 + 40, end },
    };
    walk(&mut packet, head)?;
    Ok(packet)
}

/// Walks from the fixed header to the transport header (RFC 8200, section 4); `packet.protocol` is the first header's
/// number.
#[inline(always)]
fn walk(packet: &mut Packet, head: &[u8]) -> Result<(), Malformed> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;

    for _ in 0..=MAX_EXTENSION_HEADERS {
        let at = &mut packet.layout;
        if !matches!(packet.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            (packet.transport, packet.tcp_flags) = transport(head, *at, packet.protocol)?;
            return Ok(());
        }
        if at.end - at.l4 < 8 {
            return Err(Malformed::IpHeader);
        }
        let bytes = head.get(usize::from(at.l4)..).ok_or(Malformed::FrameTruncated)?;
        let header: &[u8; 8] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
        let octets = match packet.protocol {
            FRAGMENT => {
                // Offset and the M flag. Both zero: an atomic fragment, which is a whole packet (RFC 6946).
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff9 != 0 {
                    packet.transport = Transport::Fragment;
                    return Ok(());
                }
                8
            }
            // Segments left: the destination in the header is not the last one.
            ROUTING if header[3] != 0 => return Ok(()),
            _ => (u16::from(header[1]) + 1) * 8,
        };
        if octets > at.end - at.l4 {
            return Err(Malformed::IpHeader);
        }
        at.l4 += octets;
        packet.protocol = header[0];
    }
    Err(Malformed::ExtensionHeaders)
}

/// What a protocol number stands for, with the TCP flags.
#[inline(always)]
fn transport(head: &[u8], at: Layout, protocol: u8) -> Result<(Transport, u8), Malformed> {
    let octets = at.end - at.l4;
    let bytes = head.get(usize::from(at.l4)..).ok_or(Malformed::FrameTruncated)?;
    match protocol {
        TCP => {
            if octets < 20 {
                return Err(Malformed::TransportHeader);
            }
            let header: &[u8; 20] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
            let header_octets = u16::from(header[12] >> 4) * 4;
            if header_octets < 20 || header_octets > octets {
                return Err(Malformed::TransportHeader);
            }
            Ok((Transport::Tcp, header[13]))
        }
        UDP => {
            if octets < 8 {
                return Err(Malformed::TransportHeader);
            }
            let header: &[u8; 8] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
            let length = u16::from_be_bytes([header[4], header[5]]);
            if length < 8 || length > octets {
                return Err(Malformed::TransportHeader);
            }
            Ok((Transport::Udp, 0))
        }
        _ => Ok((Transport::Other, 0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn valid() -> Vec<u8> {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([192, 0, 2, 1], [203, 0, 113, 80], 64)
            .tcp(40_000, 80, 1, 1024)
            .write(&mut frame, &[0; 20])
            .unwrap();
        frame
    }

    fn common(frame: &[u8]) -> Option<Packet> {
        parse_common(frame.first_chunk()?, frame.len())
    }

    #[test]
    fn the_common_shape_is_recognised() {
        let frame = valid();
        assert!(common(&frame).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_the_common_way_accepts_the_general_way_reads_alike(
            changes in prop::collection::vec((0_usize..60, any::<u8>()), 0..4),
            udp: bool,
            length in 0_usize..80,
            extra in 0_usize..8,
        ) {
            let mut frame = valid();
            if udp {
                frame[23] = UDP;
                frame[38..40].copy_from_slice(&40_u16.to_be_bytes());
            }
            for (place, value) in changes {
                frame[place] = value;
            }
            // Without this nearly every change would end at the header checksum.
            frame[24..26].fill(0);
            let sum = !checksum::fold(checksum::sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame.resize(frame.len().min(length + 40) + extra, 0);
            if let Some(packet) = common(&frame) {
                let link = Link::read(&frame).unwrap();
                let tuple = tuple_common(frame.first_chunk().unwrap(), &packet);
                prop_assert_eq!(packet.tuple::<V4>(&frame), Some(tuple));
                prop_assert_eq!(parse(&link, &frame, frame.len()), Ok(Parsed::Ip(packet)));
            }
        }
    }
}
