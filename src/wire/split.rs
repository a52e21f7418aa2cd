//! An IPv4 packet too large for its way, and which its sender allows to be fragmented, in pieces that fit (RFC 791, 3.2;
//! RFC 1812, 4.2.2.7).

use std::ops::Range;

use arrayvec::ArrayVec;

use super::checksum;
use super::ethernet::{HEADER, Link, TAG};
use super::{Network, Packet};

/// How a packet is split. Of the frame itself remains the first piece; the others are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Octets of data of the packet.
    data: usize,
    /// Octets of data of each piece but the last: a multiple of eight.
    step: usize,
    /// Where the packet starts.
    l3: usize,
    /// The header that all pieces share.
    header: [u8; IP_HEADER],
}

/// What a piece begins with: link and IP header.
pub type Headers = ArrayVec<u8, { HEADER + 2 * TAG + IP_HEADER }>;

/// The IP header without options; with some a packet is not split, as their copies would have rules of their own.
const IP_HEADER: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// In units of eight octets.
const OFFSET: u16 = 0x1fff;

/// Whether a packet, which is in a frame that `head` is the first part of, may and can be split.
#[must_use]
pub fn may_split(packet: &Packet, head: &[u8]) -> bool {
    let layout = packet.layout;
    let flags = head.get(usize::from(layout.l3) + 6).copied().unwrap_or(u8::MAX);
    packet.network == Network::V4
        && u16::from(flags) << 8 & DONT_FRAGMENT == 0
        && usize::from(layout.l4 - layout.l3) == IP_HEADER
        && usize::from(layout.end) <= head.len()
}

impl Split {
    /// How to split the packet of a frame, of which [`may_split`] said yes, into pieces of `mtu` octets at most, all with
    /// this identification if the packet is no fragment itself (RFC 6864, section 5.3: who translates addresses sees to
    /// it that identifications are unique). `None` if it is no such packet.
    #[must_use]
    pub fn new(frame: &[u8], mtu: u16, identification: u16) -> Option<Self> {
        let l3 = usize::from(Link::read(frame)?.payload);
        let mut header: [u8; IP_HEADER] = *frame.get(l3..)?.first_chunk()?;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let data = total.checked_sub(IP_HEADER)?;
        let step = usize::from(mtu).checked_sub(IP_HEADER)? / 8 * 8;
        if step == 0 || frame.len() < l3 + total {
            return None;
        }
        if u16::from_be_bytes([header[6], header[7]]) & (MORE_FRAGMENTS | OFFSET) == 0 {
            header[4..6].copy_from_slice(&identification.to_be_bytes());
        }
        Some(Self { data, step, l3, header })
    }

    /// Into how many pieces, 1 at least.
    #[must_use]
    pub const fn pieces(&self) -> usize {
        self.data.div_ceil(self.step)
    }

    /// What piece `n`, from 0, begins with, and where in the frame its data stand. `frame` is unchanged so far.
    #[must_use]
    pub fn piece(&self, frame: &[u8], n: usize) -> Option<(Headers, Range<usize>)> {
        let data = n * self.step..self.data.min((n + 1) * self.step);
        let mut header = self.header;
        let total = u16::try_from(IP_HEADER + data.len()).ok()?;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        let own = u16::from_be_bytes([header[6], header[7]]);
        let offset = (own & OFFSET).checked_add(u16::try_from(data.start / 8).ok()?)?;
        let more = if data.end < self.data { MORE_FRAGMENTS } else { own & MORE_FRAGMENTS };
        header[6..8].copy_from_slice(&(offset | more).to_be_bytes());
        header[10..12].fill(0);
        let sum = !checksum::fold(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut headers = Headers::new();
        headers.try_extend_from_slice(frame.get(..self.l3)?).ok()?;
        headers.try_extend_from_slice(&header).ok()?;
        let start = self.l3 + IP_HEADER;
        Some((headers, start + data.start..start + data.end))
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IpFragOffset, IpHeaders, Ipv4Header, Ipv4HeaderSlice, PacketBuilder};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Parsed, parse};

    fn frame(octets: usize, change: impl Fn(&mut Ipv4Header)) -> Vec<u8> {
        let mut header = Ipv4Header::new(0, 64, 17.into(), [10, 0, 8, 10], [10, 0, 9, 1]).unwrap();
        header.identification = 7;
        header.dont_fragment = false;
        change(&mut header);
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(octets).collect();
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = builder.ip(IpHeaders::Ipv4(header, Default::default()));
        builder.write(&mut frame, 132.into(), &data).unwrap();
        frame
    }

    fn may_be_split(frame: &[u8]) -> bool {
        let Ok(Parsed::Ip(packet)) = parse(&Link::read(frame).unwrap(), frame, frame.len()) else { panic!() };
        may_split(&packet, frame)
    }

    #[test]
    fn who_forbids_it_or_has_options_is_not_split() {
        assert!(may_be_split(&frame(1480, |_| {})));
        assert!(!may_be_split(&frame(1480, |header| header.dont_fragment = true)));
        assert!(!may_be_split(&frame(1480, |header| header.options = [1, 1, 1, 0].into())));
    }

    proptest! {
        #[test]
        fn the_pieces_put_together_are_the_packet(
            octets in 1_usize..9000,
            mtu in 68_u16..9000,
            identification: u16,
            own_offset in 0_u16..100,
            own_more: bool,
        ) {
            let whole = frame(octets, |header| {
                header.fragment_offset = IpFragOffset::try_new(own_offset).unwrap();
                header.more_fragments = own_more;
            });
            let split = Split::new(&whole, mtu, identification).unwrap();
            let mut data: Vec<u8> = Vec::new();
            for n in 0..split.pieces() {
                let (headers, range) = split.piece(&whole, n).unwrap();
                prop_assert_eq!(&headers[..14], &whole[..14]);
                let header = Ipv4HeaderSlice::from_slice(&headers[14..]).unwrap().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert!(header.total_len <= mtu);
                prop_assert_eq!(usize::from(header.total_len), 20 + range.len());
                let offset = usize::from(header.fragment_offset.byte_offset()) - usize::from(own_offset) * 8;
                prop_assert_eq!(offset, data.len());
                prop_assert_eq!(header.more_fragments, own_more || n + 1 < split.pieces());
                let is_fragment = own_more || own_offset > 0;
                prop_assert_eq!(header.identification, if is_fragment { 7 } else { identification });
                data.extend(&whole[range]);
            }
            prop_assert_eq!(&data[..], &whole[34..]);
        }
    }
}
