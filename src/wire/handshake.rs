//! The segments of a TCP handshake, read and made at full speed: they must hold floods.

use arrayvec::ArrayVec;

use super::options::{kind, option_from};
use super::tcp_flags::ACK;
use super::{Packet, Transport, WireFamily, checksum};
use crate::model::{Family, FiveTuple, Protocol};

/// What a segment without data says in its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The largest segment that its sender takes (RFC 9293, 3.7.1).
    pub mss: Option<u16>,
    /// The scale of its sender's windows, 0 to 14 (RFC 7323, 2.2).
    pub scale: Option<u8>,
    /// Whether its sender understands selective acknowledgements (RFC 2018, 2).
    pub sack: bool,
    /// Its sender's clock, and the other's that it has heard last (RFC 7323, 3.2).
    pub timestamps: Option<(u32, u32)>,
}

/// Room for every option of an [`Offer`].
const OPTIONS: usize = 20;

/// The largest scale; a larger one means this one (RFC 7323, 2.3).
const MOST_SCALE: u8 = 14;

impl Offer {
    /// What the TCP packet that was found in `head` offers; options that are not as long as they must be do not count.
    #[must_use]
    pub fn read(packet: &Packet, head: &[u8]) -> Self {
        let mut offer = Self::default();
        let Some(options) = options(packet, head) else { return offer };
        let mut place = 0;
        while let Some((kind, at)) = option_from(options, place) {
            place = at.end;
            let value = options.get(at.start + 2..at.end).unwrap_or_default();
            match (kind, value) {
                (kind::MAXIMUM_SEGMENT_SIZE, [a, b]) => offer.mss = Some(u16::from_be_bytes([*a, *b])),
                (kind::WINDOW_SCALE, [scale]) => offer.scale = Some((*scale).min(MOST_SCALE)),
                (kind::SACK_PERMITTED, []) => offer.sack = true,
                (kind::TIMESTAMPS, [a, b, c, d, e, f, g, h]) => {
                    let (value, echo) = ([*a, *b, *c, *d], [*e, *f, *g, *h]);
                    offer.timestamps = Some((u32::from_be_bytes(value), u32::from_be_bytes(echo)));
                }
                _ => {}
            }
        }
        offer
    }

    /// [`scale`](Self::scale) alone.
    #[must_use]
    pub fn read_scale(packet: Packet, head: &[u8]) -> Option<u8> {
        let options = options(&packet, head)?;
        let (mut place, mut scale) = (0, None);
        while let Some((kind, at)) = option_from(options, place) {
            place = at.end;
            if kind == kind::WINDOW_SCALE
                && let Some([value]) = options.get(at.start + 2..at.end)
            {
                scale = Some((*value).min(MOST_SCALE));
            }
        }
        scale
    }

    /// The options, padded to whole words; timestamps stand at a word of their own.
    fn write(&self) -> ArrayVec<u8, OPTIONS> {
        let mut options = ArrayVec::new();
        let mut put = |bytes: &[u8]| {
            let fits = options.try_extend_from_slice(bytes);
            debug_assert!(fits.is_ok(), "there is room for all");
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put(&[kind::MAXIMUM_SEGMENT_SIZE, 4, high, low]);
        }
        match (self.sack, self.timestamps.is_some()) {
            (true, true) => put(&[kind::SACK_PERMITTED, 2]),
            (true, false) => put(&[kind::NOTHING, kind::NOTHING, kind::SACK_PERMITTED, 2]),
            (false, true) => put(&[kind::NOTHING, kind::NOTHING]),
            (false, false) => {}
        }
        if let Some((value, echo)) = self.timestamps {
            put(&[kind::TIMESTAMPS, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            put(&[kind::NOTHING, kind::WINDOW_SCALE, 3, scale]);
        }
        options
    }
}

/// The options of a TCP packet that was found in `head`, as far as they stand in it.
#[inline]
fn options<'a>(packet: &Packet, head: &'a [u8]) -> Option<&'a [u8]> {
    if packet.transport != Transport::Tcp {
        return None;
    }
    let end = usize::from(packet.layout.end).min(head.len());
    let header = head.get(usize::from(packet.layout.l4)..end)?;
    let length = header.get(12).map_or(0, |octet| usize::from(octet >> 4) * 4).min(header.len());
    header.get(20..length)
}

/// A TCP segment without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bare<F: Family> {
    /// From whom to whom.
    pub tuple: FiveTuple<F>,
    /// Its sequence number.
    pub sequence: u32,
    /// What its sender expects next; `None`: it acknowledges nothing.
    pub acknowledgement: Option<u32>,
    /// See [`super::tcp_flags`]; ACK follows from the above.
    pub flags: u8,
    /// What its sender takes, as it stands in the header.
    pub window: u16,
    /// Its options.
    pub offer: Offer,
}

/// An IP packet that carries nothing but a TCP header.
pub type BarePacket = ArrayVec<u8, 80>;

/// TTL and hop limit of our own packets (RFC 1700, "IP TIME TO LIVE PARAMETER").
pub const HOP_LIMIT: u8 = 64;

impl<F: WireFamily> Bare<F> {
    /// The IP packet, whole: not to be fragmented, so that its identification means nothing (RFC 6864, 4.1). About 40 ns.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "80 octets at most")]
    pub fn packet(&self) -> BarePacket {
        let options = self.offer.write();
        let segment = 20 + options.len();
        let mut packet = BarePacket::new();
        let mut put = |bytes: &[u8]| {
            let fits = packet.try_extend_from_slice(bytes);
            debug_assert!(fits.is_ok(), "there is room for all");
        };
        let protocol = Protocol::Tcp as u8;
        if F::VERSION == 4 {
            let octets = (20 + segment) as u8;
            put(&[0x45, 0, 0, octets, 0, 0, 0x40, 0, HOP_LIMIT, protocol, 0, 0]);
            put(&[0; 8]);
        } else {
            put(&[0x60, 0, 0, 0, 0, segment as u8, protocol, HOP_LIMIT]);
            put(&[0; 32]);
        }
        put(&self.tuple.ports().octets());
        put(&self.sequence.to_be_bytes());
        put(&self.acknowledgement.unwrap_or(0).to_be_bytes());
        let ack = if self.acknowledgement.is_some() { ACK } else { 0 };
        put(&[(segment as u8 / 4) << 4, self.flags & !ACK | ack]);
        put(&self.window.to_be_bytes());
        put(&[0; 4]);
        put(&options);
        self.finish(&mut packet, segment);
        packet
    }

    /// Writes addresses and checksums.
    fn finish(&self, packet: &mut BarePacket, segment: usize) {
        let pair = self.tuple.addresses();
        let header = packet.len() - segment;
        F::readdress(packet, pair, checksum::Delta::between(0, 0));
        if F::VERSION == 4
            && let Some((head, _)) = packet.split_first_chunk_mut::<20>()
        {
            head[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(head));
            head[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let Some(tcp) = packet.get_mut(header..) else { return };
        // The pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1); all of it adds up to less than 2^32.
        let length = u32::try_from(segment).unwrap_or(0);
        let pseudo = u32::from(checksum::pair_sum::<F>(pair).to_be()) + Protocol::Tcp as u32 + length;
        let sum = !checksum::fold(checksum::sum(tcp) + pseudo);
        if let Some(field) = tcp.get_mut(16..18) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::model::{V4, V6};
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, Segment, parse};

    fn offers() -> impl Strategy<Value = Offer> {
        let options =
            (any::<Option<u16>>(), prop::option::of(0..=14_u8), any::<bool>(), any::<Option<(u32, u32)>>());
        options.prop_map(|(mss, scale, sack, timestamps)| Offer { mss, scale, sack, timestamps })
    }

    fn judge<F: WireFamily>(bare: &Bare<F>, ether_type: [u8; 2]) -> Result<(), TestCaseError> {
        let frame = [&[2; 12][..], &ether_type, &bare.packet()].concat();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:x?}") };
        let sum = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                tcp.to_header().calc_checksum_ipv4(&header, &[]).unwrap()
            }
            NetSlice::Ipv6(ip) => tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), &[]).unwrap(),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(tcp.checksum(), sum);
        prop_assert_eq!(tcp.window_size(), bare.window);
        let link = Link::read(&frame).unwrap();
        let Ok(Parsed::Ip(packet)) = parse(&link, &frame, frame.len()) else { panic!("{frame:x?}") };
        prop_assert_eq!(usize::from(packet.layout.end), frame.len());
        prop_assert_eq!(packet.tuple::<F>(&frame), Some(bare.tuple));
        prop_assert_eq!(Offer::read(&packet, &frame), bare.offer);
        prop_assert_eq!(Offer::read_scale(packet, &frame), bare.offer.scale);
        let segment = Segment::read(&packet, &frame).unwrap();
        prop_assert_eq!((segment.sequence, segment.acknowledgement), (bare.sequence, bare.acknowledgement));
        prop_assert_eq!(packet.tcp_flags & !ACK, bare.flags & !ACK);
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_and_its_checksums_are_right(
            ends: ((u128, u16), (u128, u16)),
            sequence: u32,
            acknowledgement: Option<u32>,
            flags in prop_oneof![Just(0_u8), Just(2), Just(4)],
            window: u16,
            offer in offers(),
        ) {
            // What neither opens nor resets acknowledges something.
            prop_assume!(flags != 0 || acknowledgement.is_some());
            #[expect(clippy::cast_possible_truncation, reason = "any address")]
            let [from, to] = [ends.0, ends.1].map(|(address, port)| (address as u32, port));
            let tuple = FiveTuple::<V4>::new(from, to, Protocol::Tcp);
            judge(&Bare { tuple, sequence, acknowledgement, flags, window, offer }, [8, 0])?;
            let tuple = FiveTuple::<V6>::new(ends.0, ends.1, Protocol::Tcp);
            judge(&Bare { tuple, sequence, acknowledgement, flags, window, offer }, [0x86, 0xdd])?;
        }
    }
}
