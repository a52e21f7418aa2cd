//! The shape that nearly all packets have: untagged, no options or extension headers, TCP or UDP, in the middle of a
//! flow's life, with hops left. With every offset a constant, reading and rewriting cost a third of the general way's.
//!
//! [`Common::read`] accepts only what [`parse`](super::parse()) accepts and reads alike; property tests keep that. What
//! it does not accept says nothing but that the frame must be looked at by the general way.

use super::rewrite::rewrite_at;
use super::tcp_flags::{ACK, FIN, RST, SYN, are_possible};
use super::{Layout, Network, Packet, Rewrite, Transport, WireFamily, checksum, ethernet};
use crate::model::{FiveTuple, PortPair, Protocol, V4, V6};

/// A family, in packets of the common shape. `head` is the first part of a frame; what is said of a packet holds if
/// [`read`](Self::read) or [`read_marked`](Self::read_marked) accepted it in the same bytes.
pub trait Common: WireFamily {
    /// As packets have it.
    const NETWORK: Network;

    /// Where headers stand; `end` says nothing.
    const LAYOUT: Layout;

    /// Octets up to the end of a TCP header without options: what `head` must have at least.
    const HEADERS: usize = Self::LAYOUT.l4 as usize + 20;

    /// What the packet carries, in a frame of `octets`; `None` if it is not of the common shape.
    #[inline(always)]
    fn read(head: &[u8], octets: usize) -> Option<FiveTuple<Self>> {
        Self::read_marked(head, octets).filter(|(_, marked)| !marked).map(|(tuple, _)| tuple)
    }

    /// [`read`](Self::read) that also takes segments which are of the common shape but for their flags, as a connection
    /// begins or ends with them: whether it is one of these.
    #[inline(always)]
    fn read_marked(head: &[u8], octets: usize) -> Option<(FiveTuple<Self>, bool)> {
        let head = head.get(..Self::HEADERS)?;
        let protocol = Self::protocol_if_intact(head)?;
        let end = usize::from(Self::LAYOUT.l3) + Self::ip_octets(head);
        let l4 = usize::from(Self::LAYOUT.l4);
        let (is_common, marked) = match protocol {
            Protocol::Tcp => {
                let (header, flags) = (usize::from(head[l4 + 12] >> 4) * 4, head[l4 + 13]);
                let marked = flags & (SYN | FIN | RST | ACK) != ACK;
                (header >= 20 && l4 + header <= end && (!marked || are_possible(flags)), marked)
            }
            Protocol::Udp => {
                let length = usize::from(word(head, l4 + 4));
                (length >= 8 && l4 + length <= end, false)
            }
        };
        (is_common && end <= octets.min(LATEST_END)).then(|| (Self::tuple_in(head, protocol), marked))
    }

    /// The packet, as [`parse`](super::parse()) reads it; `None` if `head` is not the one that was accepted.
    #[inline]
    fn packet(head: &[u8]) -> Option<Packet> {
        let head = head.get(..Self::HEADERS)?;
        let end = u16::try_from(usize::from(Self::LAYOUT.l3) + Self::ip_octets(head)).ok()?;
        let protocol = Self::protocol_number(head);
        let (transport, tcp_flags) = if protocol == Protocol::Tcp as u8 {
            (Transport::Tcp, head[usize::from(Self::LAYOUT.l4) + 13])
        } else {
            (Transport::Udp, 0)
        };
        Some(Packet {
            network: Self::NETWORK,
            transport,
            protocol,
            tcp_flags,
            hop_limit: Self::hop_limit(head),
            layout: Layout { end, ..Self::LAYOUT },
        })
    }

    /// What the packet carries.
    #[inline(always)]
    fn tuple(head: &[u8]) -> FiveTuple<Self> {
        let is_tcp = Self::protocol_number(head) == Protocol::Tcp as u8;
        Self::tuple_in(head, if is_tcp { Protocol::Tcp } else { Protocol::Udp })
    }

    /// Whether the packet carries `tuple`.
    #[inline(always)]
    fn carries(head: &[u8], tuple: &FiveTuple<Self>) -> bool {
        head.get(..Self::HEADERS).is_some_and(|head| {
            Self::protocol_number(head) == tuple.protocol() as u8
                && Self::tuple_in(head, tuple.protocol()) == *tuple
        })
    }

    /// Whether a TCP packet's options are none, or timestamps alone in the form that nearly all hosts send (RFC 7323,
    /// appendix A).
    #[inline]
    fn has_common_options(head: &[u8]) -> bool {
        const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
        let Some(tcp) = head.get(usize::from(Self::LAYOUT.l4)..) else { return false };
        match tcp.get(12).map(|octet| octet >> 4) {
            Some(5) => true,
            Some(8) => tcp.get(20..24).is_some_and(|start| *start == TIMESTAMPS),
            _ => false,
        }
    }

    /// [`rewrite`](super::rewrite()) for the packet.
    #[inline(always)]
    fn rewrite(head: &mut [u8], change: &Rewrite<Self>) {
        if let Some(head) = head.get_mut(..Self::HEADERS) {
            rewrite_at(head, Self::LAYOUT, change);
        }
    }

    /// The acknowledgement number of a TCP packet; of a UDP packet four octets of its data, or what follows it.
    #[inline(always)]
    fn acknowledgement(head: &[u8]) -> u32 {
        head.get(..Self::HEADERS).map_or(0, |head| long(head, usize::from(Self::LAYOUT.l4) + 8))
    }

    /// Octets of the IP packet, by its header.
    fn ip_octets(head: &[u8]) -> usize;

    /// The number of what the packet carries.
    fn protocol_number(head: &[u8]) -> u8;

    /// TTL or hop limit.
    fn hop_limit(head: &[u8]) -> u8;

    /// What the packet carries, if its IP header is of the common shape, intact, and has hops left.
    fn protocol_if_intact(head: &[u8]) -> Option<Protocol>;

    /// The five-tuple, of this protocol.
    #[inline(always)]
    fn tuple_in(head: &[u8], protocol: Protocol) -> FiveTuple<Self> {
        let l4 = usize::from(Self::LAYOUT.l4);
        let addresses = Self::pair_in(&head[usize::from(Self::LAYOUT.l3)..l4])
            .expect("the constants of a family leave room for its header");
        let ports = PortPair::from_octets(octets(head, l4));
        FiveTuple::from_wire(addresses, ports, protocol)
    }
}

/// Where a packet can end in a frame at the latest: what [`Layout::end`] can say.
const LATEST_END: usize = u16::MAX as usize;

impl Common for V4 {
    const NETWORK: Network = Network::V4;

    const LAYOUT: Layout = Layout { l3: 14, l4: 34, end: 0 };

    #[inline(always)]
    fn ip_octets(head: &[u8]) -> usize {
        usize::from(word(head, 16))
    }

    #[inline(always)]
    fn protocol_number(head: &[u8]) -> u8 {
        head[23]
    }

    #[inline(always)]
    fn hop_limit(head: &[u8]) -> u8 {
        head[22]
    }

    #[inline(always)]
    fn protocol_if_intact(head: &[u8]) -> Option<Protocol> {
        // Ethernet type, version, header length; fragment, TTL, protocol.
        const PLAIN: u32 = (ethernet::IPV4 as u32) << 8 | 0x45;
        let (start, middle) = (long(head, 12), long(head, 20));
        if start >> 8 != PLAIN || middle & 0x3fff_0000 != 0 || middle & 0xfe00 == 0 {
            return None;
        }
        if !checksum::ipv4_header_is_intact(head[14..].first_chunk()?, &[]) {
            return None;
        }
        Protocol::from_number(head[23])
    }
}

impl Common for V6 {
    const NETWORK: Network = Network::V6;

    const LAYOUT: Layout = Layout { l3: 14, l4: 54, end: 0 };

    #[inline(always)]
    fn ip_octets(head: &[u8]) -> usize {
        40 + usize::from(word(head, 18))
    }

    #[inline(always)]
    fn protocol_number(head: &[u8]) -> u8 {
        head[20]
    }

    #[inline(always)]
    fn hop_limit(head: &[u8]) -> u8 {
        head[21]
    }

    #[inline(always)]
    fn protocol_if_intact(head: &[u8]) -> Option<Protocol> {
        const PLAIN: u32 = (ethernet::IPV6 as u32) << 4 | 6;
        let is_common = long(head, 12) >> 12 == PLAIN && head[21] > 1;
        if is_common { Protocol::from_number(head[20]) } else { None }
    }
}

#[inline(always)]
fn word(head: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(octets(head, at))
}

#[inline(always)]
fn long(head: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(octets(head, at))
}

/// Copied as a whole: octets named one by one the compiler may load one by one.
#[inline(always)]
fn octets<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    *head[at..].first_chunk().expect("the caller looks within the headers")
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, parse};

    const PAYLOAD: [u8; 20] = [0; 20];

    fn valid(v6: bool, udp: bool) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if v6 {
            builder.ipv6([0x20; 16], [0x30; 16], 64)
        } else {
            builder.ipv4([192, 0, 2, 1], [203, 0, 113, 80], 64)
        };
        let mut frame = Vec::new();
        if udp {
            builder.udp(40_000, 80).write(&mut frame, &PAYLOAD).unwrap();
        } else {
            builder.tcp(40_000, 80, 1, 1024).ack(1).write(&mut frame, &PAYLOAD).unwrap();
        }
        frame
    }

    /// Whether a frame is of the common shape; checks that the general way agrees if it is, but perhaps for its flags.
    fn is_common<F: Common>(frame: &[u8]) -> bool {
        let Some((tuple, marked)) = F::read_marked(frame, frame.len()) else { return false };
        assert_eq!(F::read(frame, frame.len()), (!marked).then_some(tuple));
        let link = Link::read(frame).unwrap();
        let Ok(Parsed::Ip(packet)) = parse(&link, frame, frame.len()) else { panic!("{frame:x?}") };
        assert_eq!(F::packet(frame), Some(packet));
        assert_eq!(packet.tuple::<F>(frame), Some(tuple));
        assert_eq!(F::tuple(frame), tuple);
        assert!(F::carries(frame, &tuple));
        assert!(!F::carries(frame, &tuple.reversed()));
        assert_eq!(F::ip_octets(frame) + 14, usize::from(packet.layout.end));
        assert_eq!((packet.layout.l3, packet.layout.l4), (F::LAYOUT.l3, F::LAYOUT.l4));
        let is_tcp = packet.transport == Transport::Tcp;
        assert_eq!(marked, packet.tcp_flags & (SYN | FIN | RST | ACK) != if is_tcp { ACK } else { 0 });
        assert!(packet.hop_limit > 1);
        assert!(link.vlan.is_none());
        !marked
    }

    #[test]
    fn the_common_shape_is_recognised() {
        for udp in [false, true] {
            assert!(is_common::<V4>(&valid(false, udp)));
            assert!(is_common::<V6>(&valid(true, udp)));
            assert!(!is_common::<V6>(&valid(false, udp)));
            assert!(!is_common::<V4>(&valid(true, udp)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_the_common_way_accepts_the_general_way_reads_alike(
            v6: bool,
            udp: bool,
            changes in prop::collection::vec((12_usize..74, any::<u8>()), 0..4),
            length in 0_usize..80,
            extra in 0_usize..8,
        ) {
            let mut frame = valid(v6, udp);
            for (place, value) in changes {
                if let Some(byte) = frame.get_mut(place) {
                    *byte = value;
                }
            }
            if !v6 {
                // Without this nearly every change would end at the header checksum.
                frame[24..26].fill(0);
                let sum = !checksum::fold(checksum::sum(&frame[14..34]));
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            frame.resize(frame.len().min(length + 40) + extra, 0);
            is_common::<V4>(&frame);
            is_common::<V6>(&frame);
        }
    }
}
