//! Outer headers: a packet inside another one, on its way to the end of a tunnel.
//!
//! ```text
//! IPv4 or IPv6                    | inner packet      RFC 2003, RFC 2473, RFC 4213 section 3
//! IPv4 or IPv6 | UDP | GUE        | inner packet      draft-ietf-intarea-gue, variant 0
//! ```

use std::net::IpAddr;

use super::{Layout, Network, Packet, Transport, checksum};

/// The outer headers of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    ends: Ends,
    /// The destination's UDP port, for GUE.
    udp: Option<u16>,
    /// A hash of the inner flow.
    entropy: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    V4([[u8; 4]; 2]),
    V6([[u8; 16]; 2]),
}

/// The outer TTL: IANA's recommended default (RFC 1700), as of a packet that begins its way.
const HOP_LIMIT: u8 = 64;

const UDP_HEADER: u16 = 8;
const GUE_HEADER: u16 = 4;

/// Protocol numbers (IANA) of what is inside.
const IPV4: u8 = 4;
const UDP: u8 = 17;
const IPV6: u8 = 41;

impl Outer {
    /// Headers from `source` to `destination`, with GUE to UDP port `udp` if that is given; `None` if the two are not
    /// of one family. Packets with the same `entropy` take the same of several ways through the network: it becomes the
    /// source port of UDP, and the flow label of IPv6 (RFC 6438).
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr, udp: Option<u16>, entropy: u64) -> Option<Self> {
        let ends = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Ends::V4([source.octets(), destination.octets()])
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Ends::V6([source.octets(), destination.octets()])
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        Some(Self { ends, udp, entropy })
    }

    /// The family of the outer packet.
    #[must_use]
    pub const fn network(&self) -> Network {
        match self.ends {
            Ends::V4(_) => Network::V4,
            Ends::V6(_) => Network::V6,
        }
    }

    /// Octets of all outer headers, 20 to 52.
    #[must_use]
    pub const fn octets(&self) -> u16 {
        let ip = match self.ends {
            Ends::V4(_) => 20,
            Ends::V6(_) => 40,
        };
        ip + if self.udp.is_some() { UDP_HEADER + GUE_HEADER } else { 0 }
    }

    /// Writes the headers to the start of `head`, behind which the inner packet stands: `packet` in a frame of which
    /// `head` is the rest from its outer IP header on. Both together must not exceed 65,535 octets. One too short is
    /// left half written.
    pub fn write(&self, head: &mut [u8], packet: &Packet) {
        let Layout { l3, end, .. } = packet.layout;
        let inner = end - l3;
        let Some((outer, rest)) = head.split_at_mut_checked(usize::from(self.octets())) else { return };
        let traffic_class = traffic_class(packet.network, rest);
        let next = match (self.udp, packet.network) {
            (Some(_), _) => UDP,
            (None, Network::V4) => IPV4,
            (None, Network::V6) => IPV6,
        };
        let payload = inner + if self.udp.is_some() { UDP_HEADER + GUE_HEADER } else { 0 };
        let ip = match &self.ends {
            Ends::V4(ends) => v4(outer, ends, (traffic_class, next), payload),
            Ends::V6(ends) => {
                let [.., a, b, c, d] = self.entropy.to_be_bytes();
                let label = u32::from_be_bytes([a, b, c, d]) & 0x000f_ffff;
                v6(outer, ends, (traffic_class, label, next), payload)
            }
        };
        let (Some(ip), Some(port)) = (ip, self.udp) else { return };
        let Some(udp) = outer.get_mut(ip..).and_then(<[u8]>::first_chunk_mut) else { return };
        self.udp_and_gue(udp, port, payload, (packet, rest));
    }

    /// The headers of UDP and GUE over `payload` octets, these headers included.
    fn udp_and_gue(&self, header: &mut [u8; 12], port: u16, payload: u16, (packet, rest): (&Packet, &[u8])) {
        let [high, low, ..] = self.entropy.to_be_bytes();
        // The dynamic ports (RFC 6335, section 6), as the draft has it in section 5.11.
        let [s0, s1] = (u16::from_be_bytes([high, low]) | 0xc000).to_be_bytes();
        let [d0, d1] = port.to_be_bytes();
        let [l0, l1] = payload.to_be_bytes();
        let inside = match packet.network {
            Network::V4 => IPV4,
            Network::V6 => IPV6,
        };
        // Variant 0, no control message, no optional fields, no flags.
        *header = [s0, s1, d0, d1, l0, l1, 0, 0, 0, inside, 0, 0];
        // RFC 768 and the draft, section 5.7: not needed over IPv4.
        let Ends::V6(ends) = &self.ends else { return };
        // Without one over IPv6 (RFC 6935) only where it cannot be known.
        let Some(inner) = sum_of_inner(packet, rest) else { return };
        let pseudo = checksum::sum(ends.as_flattened()) + u32::from(payload) + u32::from(UDP);
        let sum = checksum::fold(checksum::sum(header) + pseudo + u32::from(inner));
        let checksum = if sum == 0xffff { sum } else { !sum };
        header[6..8].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Writes an IPv4 header and returns its length. Of what cannot be fragmented the identification means nothing (RFC
/// 6864, section 4.1).
fn v4(
    head: &mut [u8],
    ends: &[[u8; 4]; 2],
    (traffic_class, protocol): (u8, u8),
    payload: u16,
) -> Option<usize> {
    const DONT_FRAGMENT: u8 = 0x40;
    let header: &mut [u8; 20] = head.first_chunk_mut()?;
    let [t0, t1] = (payload + 20).to_be_bytes();
    header[..12].copy_from_slice(&[
        0x45,
        traffic_class,
        t0,
        t1,
        0,
        0,
        DONT_FRAGMENT,
        0,
        HOP_LIMIT,
        protocol,
        0,
        0,
    ]);
    header[12..].copy_from_slice(ends.as_flattened());
    let sum = !checksum::fold(checksum::sum(header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(20)
}

/// Writes an IPv6 header and returns its length.
fn v6(
    head: &mut [u8],
    ends: &[[u8; 16]; 2],
    (traffic_class, label, next): (u8, u32, u8),
    payload: u16,
) -> Option<usize> {
    let header: &mut [u8; 40] = head.first_chunk_mut()?;
    let [w0, w1, w2, w3] = (6 << 28 | u32::from(traffic_class) << 20 | label).to_be_bytes();
    let [p0, p1] = payload.to_be_bytes();
    header[..8].copy_from_slice(&[w0, w1, w2, w3, p0, p1, next, HOP_LIMIT]);
    header[8..].copy_from_slice(ends.as_flattened());
    Some(40)
}

/// DSCP and ECN of the packet that `inner` starts with, which the outer one takes over (RFC 2983, section 3.1; RFC
/// 6040, section 4.1, normal mode).
fn traffic_class(network: Network, inner: &[u8]) -> u8 {
    let [first, second] = inner.first_chunk().copied().unwrap_or_default();
    match network {
        Network::V4 => second,
        Network::V6 => first << 4 | second >> 4,
    }
}

/// The one's complement sum of an inner packet that `inner` starts with. A TCP or UDP checksum says what the rest of
/// its segment sums to, so that only headers are looked at; a wrong one makes the outer one wrong, too. `None` if there
/// is none and not all of the packet is at hand.
fn sum_of_inner(packet: &Packet, inner: &[u8]) -> Option<u16> {
    let Layout { l3, l4, end } = packet.layout;
    let (transport, end) = (usize::from(l4 - l3), usize::from(end - l3));
    let word = |at: usize| Some(u16::from_be_bytes(*inner.get(at..)?.first_chunk()?));
    // The checksum of a piece is that of the packet it is of.
    let may_be_piece = match packet.network {
        Network::V4 => word(6)? & 0x3fff != 0,
        Network::V6 => transport > 40,
    };
    let is_summed = match packet.transport {
        _ if may_be_piece => false,
        Transport::Tcp => true,
        Transport::Udp => word(transport + 6)? != 0 && usize::from(word(transport + 4)?) == end - transport,
        Transport::Fragment | Transport::Other => false,
    };
    if !is_summed {
        return Some(checksum::fold(checksum::sum(inner.get(..end)?)));
    }
    let addresses = match packet.network {
        Network::V4 => inner.get(12..20)?,
        Network::V6 => inner.get(8..40)?,
    };
    let length = u32::try_from(end - transport).ok()?;
    let pseudo = checksum::sum(addresses) + length + u32::from(packet.protocol);
    let headers = checksum::sum(inner.get(..transport)?);
    Some(checksum::fold(headers + u32::from(!checksum::fold(pseudo))))
}
