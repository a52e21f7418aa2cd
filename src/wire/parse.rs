//! From the bytes of a frame to what the pipeline decides by. One entry, no panic, nothing read twice.

use super::checksum;
use super::ethernet::{self, Link};
use crate::model::{Family, FiveTuple, Protocol, V4, V6};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IPv4 packet.
    V4(Packet<V4>),
    /// An IPv6 packet.
    V6(Packet<V6>),
    /// Neither: ARP, LLDP and the like.
    NotIp,
}

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

/// A well-formed IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// What it carries.
    pub transport: Transport,
    /// Where its parts stand.
    pub layout: Layout,
    /// TTL or hop limit as received.
    pub hop_limit: u8,
}

impl<F: Family> Packet<F> {
    /// The five-tuple; `None` for anything but whole TCP and UDP packets.
    #[must_use]
    #[inline]
    pub const fn tuple(&self) -> Option<FiveTuple<F>> {
        let (protocol, source_port, destination_port) = match self.transport {
            Transport::Tcp { source_port, destination_port, .. } => {
                (Protocol::Tcp, source_port, destination_port)
            }
            Transport::Udp { source_port, destination_port } => {
                (Protocol::Udp, source_port, destination_port)
            }
            Transport::Fragment | Transport::Other { .. } => return None,
        };
        Some(FiveTuple {
            source: self.source,
            destination: self.destination,
            source_port,
            destination_port,
            protocol,
        })
    }
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A whole TCP segment.
    Tcp {
        /// The sender's port.
        source_port: u16,
        /// The receiver's port.
        destination_port: u16,
        /// See [`super::tcp_flags`].
        flags: u8,
    },
    /// A whole UDP datagram.
    Udp {
        /// The sender's port.
        source_port: u16,
        /// The receiver's port.
        destination_port: u16,
    },
    /// A piece of a packet; its ports, if it has any, say nothing of the other pieces.
    Fragment,
    /// Another protocol, or a header that hides what follows (authentication, a routing header not yet at its end).
    Other {
        /// IP protocol number (IANA).
        protocol: u8,
    },
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
        ethernet::IPV4 => ipv4(head, link.payload, octets).map(Parsed::V4),
        ethernet::IPV6 => ipv6(head, link.payload, octets).map(Parsed::V6),
        _ => Ok(Parsed::NotIp),
    }
}

#[inline]
fn ipv4(head: &[u8], l3: u16, octets: usize) -> Result<Packet<V4>, Malformed> {
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
    let whole = bytes.get(..usize::from(header_octets)).ok_or(Malformed::FrameTruncated)?;
    if !checksum::ipv4_header_is_intact(whole) {
        return Err(Malformed::IpChecksum);
    }
    let layout = Layout { l3, l4: l3 + header_octets, end };
    // More fragments, or an offset: everything in the field but the reserved and the don't-fragment bit.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let transport = if fragment { Transport::Fragment } else { transport(head, layout, header[9])? };
    Ok(Packet {
        source: u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
        destination: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
        transport,
        layout,
        hop_limit: header[8],
    })
}

#[inline]
fn ipv6(head: &[u8], l3: u16, octets: usize) -> Result<Packet<V6>, Malformed> {
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
    let (l4, transport) = extension_headers(head, Layout { l3, l4: l3 + 40, end }, header[6])?;
    let [_, _, _, _, _, _, _, _, addresses @ ..] = header;
    let (source, destination) = addresses.split_at(16);
    Ok(Packet {
        source: u128::from_be_bytes(source.try_into().unwrap_or_default()),
        destination: u128::from_be_bytes(destination.try_into().unwrap_or_default()),
        transport,
        layout: Layout { l3, l4, end },
        hop_limit: header[7],
    })
}

/// Walks from the fixed header to the transport header (RFC 8200, section 4); `next` is the first header's number.
#[inline]
fn extension_headers(head: &[u8], mut at: Layout, mut next: u8) -> Result<(u16, Transport), Malformed> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;

    for _ in 0..=MAX_EXTENSION_HEADERS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            return Ok((at.l4, transport(head, at, next)?));
        }
        if at.end - at.l4 < 8 {
            return Err(Malformed::IpHeader);
        }
        let bytes = head.get(usize::from(at.l4)..).ok_or(Malformed::FrameTruncated)?;
        let header: &[u8; 8] = bytes.first_chunk().ok_or(Malformed::FrameTruncated)?;
        let octets = match next {
            FRAGMENT => {
                // Offset and the M flag. Both zero: an atomic fragment, which is a whole packet (RFC 6946).
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff9 != 0 {
                    return Ok((at.l4, Transport::Fragment));
                }
                8
            }
            // Segments left: the destination in the header is not the last one.
            ROUTING if header[3] != 0 => return Ok((at.l4, Transport::Other { protocol: ROUTING })),
            _ => (u16::from(header[1]) + 1) * 8,
        };
        if octets > at.end - at.l4 {
            return Err(Malformed::IpHeader);
        }
        at.l4 += octets;
        next = header[0];
    }
    Err(Malformed::ExtensionHeaders)
}

#[inline]
fn transport(head: &[u8], at: Layout, protocol: u8) -> Result<Transport, Malformed> {
    const TCP: u8 = Protocol::Tcp as u8;
    const UDP: u8 = Protocol::Udp as u8;

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
            Ok(Transport::Tcp {
                source_port: u16::from_be_bytes([header[0], header[1]]),
                destination_port: u16::from_be_bytes([header[2], header[3]]),
                flags: header[13],
            })
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
            Ok(Transport::Udp {
                source_port: u16::from_be_bytes([header[0], header[1]]),
                destination_port: u16::from_be_bytes([header[2], header[3]]),
            })
        }
        protocol => Ok(Transport::Other { protocol }),
    }
}
