use etherparse::{PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::wire::ethernet::Link;
use crate::wire::{Parsed, parse};

fn frame(v6: bool, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = if v6 { builder.ipv6([1; 16], [2; 16], 64) } else { builder.ipv4([1; 4], [2; 4], 64) };
    let mut frame = Vec::new();
    builder.tcp_header(header.clone()).write(&mut frame, payload).unwrap();
    frame
}

fn altered(before: &[u8], change: &Alteration) -> Vec<u8> {
    let mut after = before.to_vec();
    let Ok(Parsed::Ip(packet)) = parse(&Link::read(before).unwrap(), before, before.len()) else { panic!() };
    change.apply(&mut after, &packet);
    after
}

/// The header that etherparse reads, with its checksum as it would compute it.
fn read(v6: bool, frame: &[u8]) -> (TcpHeader, u16) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{frame:x?}") };
    let header = tcp.to_header();
    let sum = if v6 {
        header.calc_checksum_ipv6_raw([1; 16], [2; 16], tcp.payload())
    } else {
        header.calc_checksum_ipv4_raw([1; 4], [2; 4], tcp.payload())
    };
    (header, sum.unwrap())
}

/// What a segment says, from which it can be built.
#[derive(Clone, Debug)]
struct Said {
    numbers: [u32; 2],
    window: u16,
    ack: bool,
    syn: bool,
    clocks: Option<[u32; 2]>,
    edges: Vec<u32>,
    padding: usize,
}

impl Said {
    fn header(&self) -> TcpHeader {
        let mut header = TcpHeader::new(80, 40_000, self.numbers[0], self.window);
        (header.acknowledgment_number, header.ack, header.syn) = (self.numbers[1], self.ack, self.syn);
        // At odd places, too.
        let mut options = vec![kind::NOTHING; self.padding];
        if let Some(clocks) = self.clocks {
            options.extend([kind::TIMESTAMPS, 10]);
            options.extend(clocks.iter().flat_map(|clock| clock.to_be_bytes()));
        }
        if !self.edges.is_empty() {
            options.extend([kind::SACK, u8::try_from(2 + 4 * self.edges.len()).unwrap()]);
            options.extend(self.edges.iter().flat_map(|edge| edge.to_be_bytes()));
        }
        options.resize(options.len().next_multiple_of(4), kind::END);
        header.set_options_raw(&options).unwrap();
        header
    }

    fn altered(&self, change: &Alteration) -> Self {
        let [sequence, acknowledgement] = self.numbers;
        let echoed = |clock: u32| if self.ack { clock.wrapping_add(change.echo) } else { clock };
        let window = u32::from(self.window);
        let factor = 1 << change.scale.unsigned_abs();
        let window = if change.scale < 0 { window / factor } else { (window * factor).min(0xffff) };
        let acknowledged = |number| change.acknowledgement.of(number);
        Self {
            numbers: [
                change.sequence.of(sequence),
                if self.ack { acknowledged(acknowledgement) } else { acknowledgement },
            ],
            window: if self.syn { self.window } else { u16::try_from(window).unwrap() }
                .saturating_sub(change.narrower),
            clocks: self.clocks.map(|[clock, echo]| [clock.wrapping_add(change.clock), echoed(echo)]),
            edges: self.edges.iter().map(|edge| acknowledged(*edge)).collect(),
            ..self.clone()
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let flags = any::<[bool; 2]>();
    let options = (any::<Option<[u32; 2]>>(), prop::collection::vec(any::<[u32; 2]>(), 0..4), 0..2_usize);
    (any::<[u32; 2]>(), any::<u16>(), flags, options).prop_map(|(numbers, window, [ack, syn], options)| {
        let (clocks, edges, padding) = options;
        // What is no SYN acknowledges something.
        let ack = ack || !syn;
        Said { numbers, window, ack, syn, clocks, edges: edges.concat(), padding }
    })
}

fn renumber() -> impl Strategy<Value = Renumber> {
    any::<(u32, Option<u32>)>().prop_map(|(by, least)| Renumber { by, least })
}

fn alteration() -> impl Strategy<Value = Alteration> {
    (renumber(), renumber(), any::<(u32, u32)>(), -14..=14_i8, 0..100_u16).prop_map(
        |(sequence, acknowledgement, (clock, echo), scale, narrower)| Alteration {
            blanks_timestamps: false,
            sequence,
            acknowledgement,
            clock,
            echo,
            scale,
            narrower,
        },
    )
}

#[test]
fn a_number_before_the_least_one_becomes_it_across_the_end_of_the_numbers() {
    let renumber = Renumber { by: 28_u32.wrapping_neg(), least: Some(u32::MAX) };
    assert_eq!(renumber.of(u32::MAX), u32::MAX, "the first octet of what the sender knows nothing of");
    assert_eq!(renumber.of(u32::MAX.wrapping_add(28)), u32::MAX);
    assert_eq!(renumber.of(30), 2);
    assert!(is_before(u32::MAX, 0) && !is_before(0, u32::MAX) && !is_before(7, 7));
}

#[test]
fn the_window_of_a_syn_stays_and_others_saturate() {
    let mut header = TcpHeader::new(1, 2, 3, 0x8001);
    header.ack = true;
    let change = Alteration { scale: 1, ..Alteration::default() };
    assert_eq!(read(false, &altered(&frame(false, &header, &[]), &change)).0.window_size, u16::MAX);
    let change = Alteration { scale: -1, ..change };
    assert_eq!(read(false, &altered(&frame(false, &header, &[]), &change)).0.window_size, 0x4000);
    header.syn = true;
    assert_eq!(read(false, &altered(&frame(false, &header, &[]), &change)).0.window_size, 0x8001);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_number_is_changed_and_the_checksum_is_as_if_computed_anew(
        v6: bool,
        said in said(),
        change in alteration(),
        payload in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let after = altered(&frame(v6, &said.header(), &payload), &change);
        let (header, sum) = read(v6, &after);
        prop_assert_eq!(header.checksum, sum);
        prop_assert_eq!(after, frame(v6, &said.altered(&change).header(), &payload));
    }

    #[test]
    fn there_and_back_is_as_it_was(v6: bool, said in said(), by: u32, clock: u32) {
        let change = |by: u32, clock: u32| Alteration {
            blanks_timestamps: false,
            sequence: Renumber::by(by),
            acknowledgement: Renumber::by(by.wrapping_mul(3)),
            clock,
            echo: clock.wrapping_mul(5),
            scale: 0,
            narrower: 0,
        };
        let before = frame(v6, &said.header(), b"data");
        let there = altered(&before, &change(by, clock));
        prop_assert_eq!(altered(&there, &change(by.wrapping_neg(), clock.wrapping_neg())), before);
    }

    #[test]
    fn however_short_or_broken_nothing_panics_and_nothing_behind_the_header_changes(
        mut segment in prop::collection::vec(any::<u8>(), 0..80),
        change in alteration(),
    ) {
        let before = segment.clone();
        change.apply_to(&mut segment);
        let header = before.get(12).map_or(20, |octet| usize::from(octet >> 4) * 4).max(20);
        prop_assert_eq!(segment.get(header..), before.get(header..));
        prop_assert_eq!(segment.get(..4), before.get(..4));
    }
}
