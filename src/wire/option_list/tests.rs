//! With etherparse as judge, which shares no code with ours.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::model::Endpoint;
use crate::wire::ethernet::Link;
use crate::wire::{Parsed, parse, toa};

const KIND: u8 = 254;

/// A list of options as its sender meant it.
#[derive(Clone, Debug)]
struct List {
    /// What is no option of its own says nothing: kind 1.
    options: Vec<Vec<u8>>,
    /// What stands behind the end, or cannot be read.
    rest: Vec<u8>,
}

impl List {
    fn octets(&self) -> Vec<u8> {
        let mut octets = self.options.concat();
        octets.extend(&self.rest);
        octets.resize(octets.len().next_multiple_of(4), END);
        octets
    }

    /// What is to become of it without `KIND`.
    fn clean(&self) -> Vec<u8> {
        let clean = |option: &Vec<u8>| {
            if option[0] == KIND { vec![NOTHING; option.len()] } else { option.clone() }
        };
        let mut octets: Vec<u8> = self.options.iter().flat_map(clean).collect();
        octets.resize(self.octets().len(), END);
        octets
    }

    /// Those that say something, without `KIND`.
    fn substance(&self) -> Vec<u8> {
        self.options
            .iter()
            .filter(|option| ![KIND, NOTHING].contains(&option[0]))
            .flatten()
            .copied()
            .collect()
    }

    /// Those of them that stay when selective acknowledgements make room.
    fn without_blocks(&self) -> Vec<u8> {
        let stays = |option: &&Vec<u8>| ![KIND, NOTHING, SACK].contains(&option[0]);
        self.options.iter().filter(stays).flatten().copied().collect()
    }

    /// Those that never make room: the first of each kind, as long as it has to be.
    fn agreed(&self) -> Vec<u8> {
        let lengths = [(2, 4..=4), (3, 3..=3), (4, 2..=2), (8, 10..=10), (19, 18..=18), (29, 4..=40)];
        let mut kept: Vec<&Vec<u8>> = Vec::new();
        for option in &self.options {
            let fits =
                lengths.iter().any(|(kind, octets)| option[0] == *kind && octets.contains(&option.len()));
            if fits && kept.iter().all(|before| before[0] != option[0]) {
                kept.push(option);
            }
        }
        kept.into_iter().flatten().copied().collect()
    }
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    let value = |kind: u8, octets: usize| {
        prop::collection::vec(any::<u8>(), octets - 2)
            .prop_map(move |value| [vec![kind, u8::try_from(octets).unwrap()], value].concat())
    };
    prop_oneof![
        3 => Just(vec![NOTHING]),
        1 => value(2, 4),
        1 => prop_oneof![value(8, 10), value(3, 3), value(4, 2), value(19, 18), value(29, 16)],
        1 => prop_oneof![value(5, 10), value(5, 18), value(5, 26)],
        1 => (3_u8..=253, 2_usize..12).prop_flat_map(move |(kind, octets)| value(kind, octets)),
        2 => prop_oneof![value(KIND, 8), value(KIND, 20), value(KIND, 2), value(KIND, 7)],
    ]
}

fn list() -> impl Strategy<Value = List> {
    let garbage = prop::collection::vec(any::<u8>(), 0..12);
    let rest = prop_oneof![
        3 => Just(vec![]),
        // The end, and what somebody has hidden there.
        1 => garbage.clone().prop_map(|hidden| [vec![END], hidden].concat()),
        1 => garbage.clone().prop_map(|hidden| [vec![77, 1], hidden].concat()),
        1 => garbage.prop_map(|hidden| [vec![KIND, 200], hidden].concat()),
    ];
    (prop::collection::vec(option(), 0..8), rest)
        .prop_map(|(mut options, rest)| {
            let mut list = List { options: vec![], rest };
            while let Some(option) = options.pop() {
                list.options.push(option);
                if list.octets().len() > MOST {
                    list.options.pop();
                }
            }
            list.rest.truncate(MOST.saturating_sub(list.options.concat().len()));
            list
        })
        // What is cut off must still not be readable.
        .prop_filter("an unreadable rest has two octets", |list| list.rest.len() != 1 || list.rest == [END])
}

fn frame(v6: bool, ip_options: usize, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = if v6 {
        builder.ipv6([0x20; 16], [0x30; 16], 64)
    } else {
        let mut header =
            etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, [192, 0, 2, 1], [10, 0, 9, 1])
                .unwrap();
        header.options = vec![NOTHING; ip_options * 4].as_slice().try_into().unwrap();
        builder.ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
    };
    let mut frame = Vec::new();
    builder.tcp(40_000, 80, 7, 1024).ack(9).options_raw(options).unwrap().write(&mut frame, payload).unwrap();
    frame
}

fn packet(frame: &[u8]) -> Packet {
    let link = Link::read(frame).unwrap();
    let Ok(Parsed::Ip(packet)) = parse(&link, frame, frame.len()) else { panic!("{frame:x?}") };
    packet
}

/// Options and payload of a frame that etherparse finds whole, with right checksums.
fn judged(frame: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:x?}") };
    let header = tcp.to_header();
    let (sum, ip_octets) = match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip_header = ip.header().to_header();
            assert_eq!(ip_header.header_checksum, ip_header.calc_header_checksum());
            (header.calc_checksum_ipv4(&ip_header, tcp.payload()), usize::from(ip_header.total_len))
        }
        NetSlice::Ipv6(ip) => {
            let ip_header = ip.header().to_header();
            let octets = 40 + usize::from(ip_header.payload_length);
            (header.calc_checksum_ipv6(&ip_header, tcp.payload()), octets)
        }
        NetSlice::Arp(_) => panic!("{frame:x?}"),
    };
    assert_eq!(tcp.checksum(), sum.unwrap());
    assert_eq!(ip_octets + 14, frame.len());
    (tcp.options().to_vec(), tcp.payload().to_vec())
}

/// The frame with other options.
fn rewritten(frame: &[u8], options: &Options) -> Vec<u8> {
    let before = packet(frame);
    let growth = options.octets().len() - Options::read(frame, &before).unwrap().octets().len();
    let mut grown = [vec![0xee; growth], frame.to_vec()].concat();
    let after = options.write(&mut grown, &before, u16::try_from(growth).unwrap()).unwrap();
    assert_eq!(after, packet(&grown), "the packet as it is parsed anew");
    grown
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_option_goes_in_front_and_what_makes_room_for_it_is_what_can_be_done_without(
        list in list(),
        (v6, long) in any::<(bool, bool)>(),
        ip_options in 0_usize..4,
        payload in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let frame = frame(v6, ip_options, &list.octets(), &payload);
        prop_assert_eq!(judged(&frame), (list.octets(), payload.clone()), "the test's own frame");
        let address = if long { "2001:db8::7".parse() } else { "198.51.100.7".parse() }.unwrap();
        let first = toa::option(KIND, Endpoint::new(address, 40_000));
        let mut options = Options::read(&frame, &packet(&frame)).unwrap();
        prop_assert_eq!(options.take_out(KIND), list.clean() != list.octets());
        prop_assert_eq!(options.octets(), list.clean());
        let kept = [list.substance(), list.without_blocks(), list.agreed()]
            .into_iter()
            .find(|kept| first.len() + kept.len() <= MOST);
        let (Some(options), Some(kept)) = (options.behind(&first), kept.as_ref()) else {
            prop_assert_eq!((options.behind(&first).is_none(), kept), (true, None));
            return Ok(());
        };
        let (found, data) = judged(&rewritten(&frame, &options));
        prop_assert_eq!(data, payload);
        if first.len() + list.clean().len() <= MOST {
            prop_assert_eq!(found, [&first[..], &list.clean()].concat());
        } else {
            let mut wanted = [&first[..], kept].concat();
            wanted.resize(found.len(), END);
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn what_is_taken_out_leaves_everything_else_in_its_place(list in list(), v6: bool) {
        let frame = frame(v6, 0, &list.octets(), b"data");
        let mut options = Options::read(&frame, &packet(&frame)).unwrap();
        options.take_out(KIND);
        let after = rewritten(&frame, &options);
        prop_assert_eq!(judged(&after), (list.clean(), b"data".to_vec()));
        let checksum = if v6 { 14 + 40 + 16 } else { 14 + 20 + 16 };
        prop_assert_eq!(&after[..checksum], &frame[..checksum]);
    }

    #[test]
    fn no_options_however_broken_lead_astray(
        mut raw in prop::collection::vec(any::<u8>(), 0..=MOST),
        kind: u8,
        v6: bool,
    ) {
        raw.truncate(raw.len() / 4 * 4);
        let frame = frame(v6, 0, &raw, b"data");
        let mut options = Options::read(&frame, &packet(&frame)).unwrap();
        options.take_out(kind);
        prop_assert_eq!(options.octets().len(), raw.len());
        if let Some(options) = options.behind(&[kind, 4, 0, 0]) {
            judged(&rewritten(&frame, &options));
        }
    }
}

#[test]
fn a_packet_that_would_be_too_long_is_left_alone() {
    let mut bytes = frame(false, 0, &[], b"data");
    let mut packet = packet(&bytes);
    packet.layout.end = u16::MAX - 3;
    let options = Options::NONE.behind(&[KIND, 4, 0, 0]).unwrap();
    let before = bytes.clone();
    assert_eq!(options.write(&mut bytes, &packet, 4), None);
    assert_eq!(bytes, before);
}

#[test]
fn options_that_are_not_all_there_are_not_read() {
    let bytes = frame(false, 0, &[1, 1, 1, 0], b"");
    let packet = packet(&bytes);
    assert!(Options::read(&bytes[..bytes.len() - 1], &packet).is_none());
    assert!(Options::read(&bytes, &packet).is_some());
}
