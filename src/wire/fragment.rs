//! Pieces of IP packets (RFC 791, section 3.2; RFC 8200, section 4.5).
//!
//! ```text
//! packet            | IP | TCP or UDP header | data ......................... |
//! first fragment    | IP | TCP or UDP header | data ... |
//! later fragment    | IP |                              | data .............. |   no ports
//!                                            offset ----^
//! ```

use super::parse::first_piece;
use super::{Layout, Network, Packet, Transport};
use crate::model::Protocol;

/// What a fragment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the fragments of one packet share, besides addresses: 16 bits for IPv4, 32 for IPv6.
    pub identification: u32,
    /// Where its content stands in that of the whole packet, in octets.
    pub offset: u16,
    /// Whether another one follows.
    pub more: bool,
    /// The IP protocol number (IANA) of what the content of the whole packet begins with.
    pub protocol: u8,
    /// Where its content begins in the frame.
    start: u16,
    /// The first octet behind it.
    end: u16,
}

const TCP: u8 = Protocol::Tcp as u8;
const UDP: u8 = Protocol::Udp as u8;

impl Fragment {
    /// Reads the fragment that `packet` was found to be in `head`; `None` if it is none.
    #[must_use]
    pub fn read(packet: &Packet, head: &[u8]) -> Option<Self> {
        if packet.transport != Transport::Fragment {
            return None;
        }
        let Layout { l3, l4, end } = packet.layout;
        match packet.network {
            Network::V4 => {
                let header: &[u8; 20] = head.get(usize::from(l3)..)?.first_chunk()?;
                let place = u16::from_be_bytes([header[6], header[7]]);
                Some(Self {
                    identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
                    // Counted in units of eight octets, in 13 bits.
                    offset: place << 3,
                    more: place & 0x2000 != 0,
                    protocol: header[9],
                    start: l4,
                    end,
                })
            }
            Network::V6 => {
                let header: &[u8; 8] = head.get(usize::from(l4)..)?.first_chunk()?;
                let place = u16::from_be_bytes([header[2], header[3]]);
                Some(Self {
                    identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                    offset: place & 0xfff8,
                    more: place & 1 != 0,
                    protocol: header[0],
                    start: l4 + 8,
                    end,
                })
            }
        }
    }

    /// Whether a packet of which this is a piece can be TCP or UDP: by the number, or behind IPv6 extension headers,
    /// which are in the first fragment alone.
    #[must_use]
    pub const fn may_have_ports(&self, network: Network) -> bool {
        match network {
            Network::V4 => matches!(self.protocol, TCP | UDP),
            // Hop-by-hop options, routing, destination options.
            Network::V6 => matches!(self.protocol, TCP | UDP | 0 | 43 | 60),
        }
    }

    /// Where its content ends in that of the whole packet, in octets; `None` if that is more than a packet can have, or
    /// if the fragment can be no honest one: without content, of a length that the next cannot begin behind, or with a
    /// part of what every first fragment has of the TCP header (RFC 1858, section 3.2; RFC 3128, section 4).
    #[must_use]
    pub const fn last(&self) -> Option<u16> {
        // RFC 9293, 3.1: the header without options.
        const TCP_HEADER: u16 = 20;
        let octets = self.end - self.start;
        let in_header = self.protocol == TCP && self.offset > 0 && self.offset < TCP_HEADER;
        if octets == 0 || self.more && !octets.is_multiple_of(8) || in_header {
            return None;
        }
        self.offset.checked_add(octets)
    }

    /// The packet that this is the first fragment of, as far as it is in the fragment, which `packet` was found to be in
    /// `head`: with ports, flags and places as if it ended here. `None` if the fragment does not hold all headers, or is
    /// not the first.
    #[must_use]
    pub fn first(&self, packet: &Packet, head: &[u8]) -> Option<Packet> {
        if self.offset != 0 {
            return None;
        }
        let mut first = Packet {
            transport: Transport::Other,
            protocol: self.protocol,
            layout: Layout { l4: self.start, ..packet.layout },
            ..*packet
        };
        first_piece(&mut first, head).ok()?;
        // A piece of a piece does not exist (RFC 8200, 4.5: one fragment header, and all behind it is content).
        (first.transport != Transport::Fragment).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, parse};

    /// A frame with an IPv4 packet of this content.
    fn v4(protocol: u8, place: u16, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let total = u16::try_from(20 + content.len()).unwrap();
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0xab, 0xcd]);
        header.extend(place.to_be_bytes());
        header.extend([64, protocol, 0, 0, 192, 0, 2, 1, 203, 0, 113, 80]);
        let sum = !crate::wire::checksum::fold(crate::wire::checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        frame.extend(content);
        frame
    }

    /// A frame with an IPv6 packet of this content behind a fragment header.
    fn v6(next: u8, place: u16, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0];
        frame.extend(u16::try_from(8 + content.len()).unwrap().to_be_bytes());
        frame.extend([44, 64]);
        frame.extend([0x20; 32]);
        frame.extend([next, 0]);
        frame.extend(place.to_be_bytes());
        frame.extend(0xdead_beef_u32.to_be_bytes());
        frame.extend(content);
        frame
    }

    fn packet(frame: &[u8]) -> Packet {
        let link = Link::read(frame).unwrap();
        match parse(&link, frame, frame.len()) {
            Ok(Parsed::Ip(packet)) => packet,
            other => panic!("{other:?}"),
        }
    }

    fn fragment(frame: &[u8]) -> Fragment {
        Fragment::read(&packet(frame), frame).unwrap()
    }

    fn first(frame: &[u8]) -> Option<Packet> {
        fragment(frame).first(&packet(frame), frame)
    }

    /// A UDP header that promises 2000 octets.
    const DATAGRAM: [u8; 16] = [0x9c, 0x40, 0, 53, 7, 0xd0, 1, 2, 9, 9, 9, 9, 9, 9, 9, 9];

    #[test]
    fn the_fields_of_both_families_are_read_alike() {
        let four = fragment(&v4(17, 0x2000 | 185, &[7; 16]));
        assert_eq!((four.identification, four.offset, four.more), (0xabcd, 1480, true));
        assert_eq!((four.protocol, four.last()), (17, Some(1496)));
        let six = fragment(&v6(17, 1480, &[7; 5]));
        assert_eq!((six.identification, six.offset, six.more), (0xdead_beef, 1480, false));
        assert_eq!((six.protocol, six.last()), (17, Some(1485)));
    }

    #[test]
    fn a_first_fragment_reads_like_the_packet_it_is_of() {
        let frame = v4(17, 0x2000, &DATAGRAM);
        let whole = first(&frame).unwrap();
        assert_eq!((whole.transport, whole.layout.l4), (Transport::Udp, 34));
        assert_eq!(whole.tuple::<crate::model::V4>(&frame).unwrap().destination_port(), 53);
        // Behind destination options.
        let mut content = vec![17, 0, 1, 4, 0, 0, 0, 0];
        content.extend(DATAGRAM);
        let frame = v6(60, 1, &content);
        let whole = first(&frame).unwrap();
        assert_eq!((whole.transport, whole.protocol, whole.layout.l4), (Transport::Udp, 17, 70));
        assert_eq!(first(&v4(17, 1, &DATAGRAM)), None, "it is not the first");
    }

    #[test]
    fn a_first_fragment_without_all_headers_is_none() {
        assert_eq!(first(&v4(6, 0x2000, &[0x50; 16])), None, "no TCP flags");
        let mut header = [0; 24];
        (header[12], header[13]) = (0x70, 0x10);
        assert_eq!(first(&v4(6, 0x2000, &header)), None, "four octets of options are missing");
        header[12] = 0x60;
        assert!(first(&v4(6, 0x2000, &header)).is_some());
        header[13] = 0x13;
        assert_eq!(first(&v4(6, 0x2000, &header)), None, "SYN and FIN");
        assert_eq!(first(&v6(60, 1, &[17, 1, 1, 4, 0, 0, 0, 0])), None, "cut inside an extension header");
        assert_eq!(first(&v6(44, 1, &[17, 0, 0, 1, 0, 0, 0, 0])), None, "a piece of a piece");
    }

    #[test]
    fn impossible_pieces_are_told_from_honest_ones() {
        assert_eq!(fragment(&v4(17, 0x2000, &[0; 12])).last(), None, "the next cannot begin at 12");
        assert_eq!(fragment(&v4(17, 5, &[])).last(), None, "nothing in it");
        assert_eq!(fragment(&v4(17, 0x1fff, &[0; 16])).last(), None, "beyond 65,535 octets");
        assert_eq!(fragment(&v4(6, 1, &[0; 16])).last(), None, "over the TCP flags");
        assert_eq!(fragment(&v4(6, 2, &[0; 16])).last(), None, "over the TCP checksum");
        assert_eq!(fragment(&v4(6, 3, &[0; 16])).last(), Some(40));
        assert_eq!(fragment(&v4(17, 1, &[0; 16])).last(), Some(24));
    }
}
