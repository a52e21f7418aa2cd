//! From the bytes of a frame to what the pipeline decides by; no panic, whatever the bytes. [`parse`] reads every shape
//! and says what is wrong with the rest; [`Common`](super::Common) is a shortcut for the shape that nearly all have.

use super::WireFamily;
use super::checksum;
use super::ethernet::{self, Link};
use super::options::option_from;
use super::tcp_flags::are_possible;
use crate::model::{FiveTuple, PortPair, Protocol};

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
    /// TCP flags that [no TCP sends together](super::tcp_flags::are_possible).
    TcpFlags,
    /// An IPv4 option by which the sender chooses the way (RFC 791, 3.1).
    SourceRoute,
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
    /// A piece of a packet, see [`Fragment`](super::Fragment). Over IPv6 the protocol is that of the fragment header,
    /// and the transport header is that header.
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

    /// A SYN and nothing else that would make it an answer or an end: the only TCP packet that creates a flow.
    #[must_use]
    #[inline]
    pub const fn is_bare_syn(&self) -> bool {
        use super::tcp_flags::{ACK, FIN, RST, SYN};
        self.tcp_flags & (SYN | ACK | RST | FIN) == SYN
    }
}

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

#[inline]
fn tuple_at<F: WireFamily>(head: &[u8], at: Layout, protocol: Protocol) -> Option<FiveTuple<F>> {
    let addresses = F::pair_in(head.get(usize::from(at.l3)..)?)?;
    let ports = PortPair::from_octets(*head.get(usize::from(at.l4)..)?.first_chunk()?);
    Some(FiveTuple::from_wire(addresses, ports, protocol))
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
    if has_source_route(options) {
        return Err(Malformed::SourceRoute);
    }
    let layout = Layout { l3, l4: l3 + header_octets, end };
    // More fragments, or an offset: everything in the field but the reserved and the don't-fragment bit.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let (transport, tcp_flags) =
        if fragment { (Transport::Fragment, 0) } else { transport(head, layout, header[9], true)? };
    Ok(Packet {
        network: Network::V4,
        transport,
        protocol: header[9],
        tcp_flags,
        hop_limit: header[8],
        layout,
    })
}

/// Whether IPv4 options have a loose or strict source route: it leads past filters, and answers back through whoever is
/// named in it (RFC 7126, 4.3 and 4.4). IPv4 and TCP options have one form.
fn has_source_route(options: &[u8]) -> bool {
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut place = 0;
    while let Some((kind, at)) = option_from(options, place) {
        if matches!(kind, LOOSE | STRICT) {
            return true;
        }
        place = at.end;
    }
    false
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
    walk(&mut packet, head, true)?;
    Ok(packet)
}

/// Reads what the first piece of a packet carries: `packet.layout.l4` and `packet.protocol` say where its content begins
/// and with what. Accepts and finds what [`parse`] does in a whole packet; all headers must be in the piece (RFC 7112;
/// RFC 1858, section 3), but the data may go on behind it.
pub(super) fn first_piece(packet: &mut Packet, head: &[u8]) -> Result<(), Malformed> {
    match packet.network {
        Network::V4 => {
            (packet.transport, packet.tcp_flags) = transport(head, packet.layout, packet.protocol, false)?;
            Ok(())
        }
        Network::V6 => walk(packet, head, false),
    }
}

/// Walks from the fixed header to the transport header (RFC 8200, section 4); `packet.protocol` is the first header's
/// number. `is_whole` is as for [`transport`].
#[inline(always)]
fn walk(packet: &mut Packet, head: &[u8], is_whole: bool) -> Result<(), Malformed> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;

    for _ in 0..=MAX_EXTENSION_HEADERS {
        let at = &mut packet.layout;
        if !matches!(packet.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            (packet.transport, packet.tcp_flags) = transport(head, *at, packet.protocol, is_whole)?;
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

/// What a protocol number stands for, with the TCP flags. A packet that is not `is_whole` may promise more data than it
/// has.
#[inline(always)]
fn transport(head: &[u8], at: Layout, protocol: u8, is_whole: bool) -> Result<(Transport, u8), Malformed> {
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
            if !are_possible(header[13]) {
                return Err(Malformed::TcpFlags);
            }
            Ok((Transport::Tcp, header[13]))
        }
        UDP => {
            if octets < 8 {
                return Err(Malformed::TransportHeader);
            }
            let header: &[u8; 8] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
            let length = u16::from_be_bytes([header[4], header[5]]);
            if length < 8 || is_whole && length > octets {
                return Err(Malformed::TransportHeader);
            }
            Ok((Transport::Udp, 0))
        }
        _ => Ok((Transport::Other, 0)),
    }
}
