//! An IPv4 packet too large for its way, and which its sender allows to be fragmented, in pieces that fit (RFC 791, 3.2;
//! RFC 1812, 4.2.2.7).

use std::ops::Range;

use arrayvec::ArrayVec;

use super::checksum;
use super::ethernet::{HEADER, Link, TAG};
use super::{Network, Packet};

/// How a packet is split. Of the frame itself remains the first piece; the others are made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Octets of data of the packet.
    data: usize,
    /// Octets of data of each piece but the last: a multiple of eight.
    step: usize,
    /// Where the packet starts.
    l3: usize,
    /// The header of the first piece, with all options.
    first: IpHeader,
    /// That of the others, with those options that every piece has.
    later: IpHeader,
}

/// What a piece begins with: link and IP header.
pub type Headers = ArrayVec<u8, { HEADER + 2 * TAG + MOST_IP_HEADER }>;

type IpHeader = ArrayVec<u8, MOST_IP_HEADER>;

/// The IP header without options, and with as many as it can have.
const IP_HEADER: usize = 20;
const MOST_IP_HEADER: usize = 60;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// In units of eight octets.
const OFFSET: u16 = 0x1fff;

/// Whether a packet, which is in a frame that `head` is the first part of, may and can be split: its options must make
/// sense, as each piece gets those that are meant for all.
#[must_use]
pub fn may_split(packet: Packet, head: &[u8]) -> bool {
    if packet.network == Network::V6 {
        return false;
    }
    let Some(header) = head.get(usize::from(packet.layout.l3)..usize::from(packet.layout.l4)) else {
        return false;
    };
    let flags = header.get(6).copied().unwrap_or(u8::MAX);
    u16::from(flags) << 8 & DONT_FRAGMENT == 0 && (header.len() == IP_HEADER || later(header).is_some())
}

impl Split {
    /// How to split the packet of a frame of `octets`, whose first part is `head` and of which [`may_split`] said yes, into
    /// pieces of `mtu` octets at most. With an `identification` they all have that, if the packet is no fragment itself
    /// (RFC 6864, section 5.3: who translates addresses sees to it that identifications are unique). `None` if it is no
    /// such packet.
    #[must_use]
    pub fn new(head: &[u8], octets: usize, mtu: u16, identification: Option<u16>) -> Option<Self> {
        let l3 = usize::from(Link::read(head)?.payload);
        let packet = head.get(l3..)?;
        let header = packet.get(..usize::from(packet.first()? & 0x0f) * 4)?;
        let mut first = IpHeader::new();
        first.try_extend_from_slice(header).ok()?;
        let total = usize::from(word(&first, 2)?);
        let data = total.checked_sub(first.len())?;
        // All pieces as the first, which has the longest header.
        let step = usize::from(mtu).checked_sub(first.len())? / 8 * 8;
        if step == 0 || octets < l3 + total {
            return None;
        }
        if let Some(identification) = identification
            && word(&first, 6)? & (MORE_FRAGMENTS | OFFSET) == 0
        {
            first[4..6].copy_from_slice(&identification.to_be_bytes());
        }
        let later = later(&first)?;
        Some(Self { data, step, l3, first, later })
    }

    /// Into how many pieces, 1 at least.
    #[must_use]
    pub const fn pieces(&self) -> usize {
        self.data.div_ceil(self.step)
    }

    /// What piece `n`, from 0, begins with, and where in the frame its data stand. The first part of the frame, `head`, is
    /// unchanged so far.
    #[must_use]
    pub fn piece(&self, head: &[u8], n: usize) -> Option<(Headers, Range<usize>)> {
        let data = n * self.step..self.data.min((n + 1) * self.step);
        let mut header = if n == 0 { self.first.clone() } else { self.later.clone() };
        let total = u16::try_from(header.len() + data.len()).ok()?;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        let own = word(&header, 6)?;
        let offset = (own & OFFSET).checked_add(u16::try_from(data.start / 8).ok()?)?;
        let more = if data.end < self.data { MORE_FRAGMENTS } else { own & MORE_FRAGMENTS };
        header[6..8].copy_from_slice(&(offset | more).to_be_bytes());
        header[10..12].fill(0);
        let sum = !checksum::fold(checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());

        let mut headers = Headers::new();
        headers.try_extend_from_slice(head.get(..self.l3)?).ok()?;
        headers.try_extend_from_slice(&header).ok()?;
        let start = self.l3 + self.first.len();
        Some((headers, start + data.start..start + data.end))
    }
}

/// The header of later pieces, from that of the packet: of its options those whose type begins with a bit that says so
/// (RFC 791, 3.1), in whole words. `None` if the options contradict themselves.
fn later(header: &[u8]) -> Option<IpHeader> {
    const COPIED: u8 = 0x80;
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    let (fixed, mut rest) = header.split_at_checked(IP_HEADER)?;
    let mut later = IpHeader::new();
    later.try_extend_from_slice(fixed).ok()?;
    while let [kind, behind @ ..] = rest {
        let octets = match *kind {
            END => break,
            NOTHING => 1,
            // Of its type and itself at least.
            _ => usize::from(*behind.first().filter(|octets| **octets >= 2)?),
        };
        let (option, behind) = rest.split_at_checked(octets)?;
        if kind & COPIED != 0 {
            later.try_extend_from_slice(option).ok()?;
        }
        rest = behind;
    }
    while later.len() % 4 != 0 {
        later.try_push(END).ok()?;
    }
    later[0] = 0x40 | u8::try_from(later.len() / 4).ok()?;
    Some(later)
}

/// The 16 bits at a place of a header.
fn word(header: &[u8], at: usize) -> Option<u16> {
    header.get(at..)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
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
        may_split(packet, frame)
    }

    #[test]
    fn who_forbids_it_or_has_senseless_options_is_not_split() {
        let with = |options: [u8; 4]| frame(1480, |header| header.options = options.into());
        assert!(may_be_split(&frame(1480, |_| {})));
        assert!(may_be_split(&with([1, 1, 1, 0])));
        assert!(may_be_split(&with([0x94, 4, 0, 0])));
        assert!(!may_be_split(&frame(1480, |header| header.dont_fragment = true)));
        for contradiction in [[0x94, 5, 0, 0], [1, 1, 1, 7], [7, 0, 0, 0]] {
            assert!(!may_be_split(&with(contradiction)), "{contradiction:?}");
        }
    }

    /// What stands in IPv4 options, and whether later pieces have it.
    fn options() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
        let one = prop::sample::select(vec![
            (vec![1], false),
            (vec![7, 7, 4, 0, 0, 0, 0], false),
            (vec![68, 8, 5, 0, 0, 0, 0, 0], false),
            (vec![0x94, 4, 0, 0], true),
            (vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0], true),
            // CIPSO: a source route would be dropped.
            (vec![134, 7, 0, 0, 0, 1, 0], true),
        ]);
        prop::collection::vec(one, 0..4)
    }

    fn words(mut options: Vec<u8>) -> Vec<u8> {
        options.resize(options.len().next_multiple_of(4), 0);
        options
    }

    proptest! {
        #[test]
        fn the_pieces_put_together_are_the_packet(
            octets in 1_usize..9000,
            mtu in 68_u16..9000,
            identification: Option<u16>,
            own_offset in 0_u16..100,
            own_more: bool,
            options in options(),
        ) {
            let all = words(options.iter().flat_map(|(option, _)| option.clone()).collect());
            let copied = options.iter().filter(|(_, copied)| *copied);
            let copied = words(copied.flat_map(|(option, _)| option.clone()).collect());
            prop_assume!(all.len() <= 40 && usize::from(mtu) >= 28 + all.len());
            let whole = frame(octets, |header| {
                header.fragment_offset = IpFragOffset::try_new(own_offset).unwrap();
                header.more_fragments = own_more;
                header.options = all.as_slice().try_into().unwrap();
            });
            prop_assert!(may_be_split(&whole));
            let split = Split::new(&whole, whole.len(), mtu, identification).unwrap();
            let mut data: Vec<u8> = Vec::new();
            for n in 0..split.pieces() {
                let (headers, range) = split.piece(&whole, n).unwrap();
                prop_assert_eq!(&headers[..14], &whole[..14]);
                let header = Ipv4HeaderSlice::from_slice(&headers[14..]).unwrap().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert!(header.total_len <= mtu);
                prop_assert_eq!(&header.options[..], if n == 0 { &all[..] } else { &copied[..] });
                prop_assert_eq!(usize::from(header.total_len), header.header_len() + range.len());
                let offset = usize::from(header.fragment_offset.byte_offset()) - usize::from(own_offset) * 8;
                prop_assert_eq!(offset, data.len());
                prop_assert_eq!(header.more_fragments, own_more || n + 1 < split.pieces());
                let is_fragment = own_more || own_offset > 0;
                prop_assert_eq!(header.identification, if is_fragment { 7 } else { identification.unwrap_or(7) });
                data.extend(&whole[range]);
            }
            prop_assert_eq!(&data[..], &whole[34 + all.len()..]);
        }
    }
}
