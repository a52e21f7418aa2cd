use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, PacketBuilder};
use proptest::prelude::*;

use super::*;
use crate::model::Family;
use crate::wire::ethernet::Link;
use crate::wire::{Alteration, Layout, Parsed, Renumber, Rewrite, parse, rewrite};

/// A frame with an ICMP message of this type and word, and `rest` behind it.
fn message(v6: bool, (icmp_type, word): (u8, [u8; 4]), rest: &[u8], ends: &[[u8; 16]; 2]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut frame = Vec::new();
    if v6 {
        let kind = Icmpv6Type::Unknown { type_u8: icmp_type, code_u8: 0, bytes5to8: word };
        builder.ipv6(ends[0], ends[1], 64).icmpv6(kind).write(&mut frame, rest).unwrap();
    } else {
        let kind = Icmpv4Type::Unknown { type_u8: icmp_type, code_u8: 0, bytes5to8: word };
        let [from, to] = ends.map(short);
        builder.ipv4(from, to, 64).icmpv4(kind).write(&mut frame, rest).unwrap();
    }
    frame
}

fn short(address: [u8; 16]) -> [u8; 4] {
    let [.., a, b, c, d] = address;
    [a, b, c, d]
}

fn packet(frame: &[u8]) -> Packet {
    let Ok(Parsed::Ip(packet)) = parse(&Link::read(frame).unwrap(), frame, frame.len()) else {
        panic!("{frame:x?}")
    };
    packet
}

/// An error about `about`, from `router`, that quotes `octets` at most.
fn error(v6: bool, about: &[u8], router: [u8; 16], octets: usize) -> Vec<u8> {
    let mut receiver = [0; 16];
    if v6 {
        receiver.copy_from_slice(&about[22..38]);
    } else {
        receiver[12..].copy_from_slice(&about[26..30]);
    }
    let quote = &about[14..about.len().min(14 + octets)];
    let says = if v6 { (2, [0, 0, 5, 120]) } else { (3, [0, 0, 5, 120]) };
    message(v6, says, quote, &[router, receiver])
}

/// Checks all checksums of an error, but that of the quoted payload, with etherparse.
fn assert_right(v6: bool, frame: &[u8], about: &[u8]) {
    let l4 = if v6 { 54 } else { 34 };
    let (header, quote) = frame[l4..].split_at(8);
    let word = [header[4], header[5], header[6], header[7]];
    let checksum = u16::from_be_bytes([header[2], header[3]]);
    if v6 {
        let kind = Icmpv6Type::Unknown { type_u8: header[0], code_u8: header[1], bytes5to8: word };
        let ends = (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
        let expected = Icmpv6Header::with_checksum(kind, ends.0, ends.1, quote).unwrap();
        assert_eq!(checksum, expected.checksum);
    } else {
        let kind = Icmpv4Type::Unknown { type_u8: header[0], code_u8: header[1], bytes5to8: word };
        assert_eq!(checksum, Icmpv4Header::with_checksum(kind, quote).checksum);
        for ip in [&frame[14..], quote] {
            let ip = etherparse::Ipv4HeaderSlice::from_slice(ip).unwrap().to_header();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        }
    }
    assert_eq!(quote, &about[14..][..quote.len()], "the quote is the packet");
}

/// Translates a packet, then an error about the translation back to its sender, then the same again the other way
/// round: what is quoted is each time the packet as its sender knows it.
fn there_and_back<F: IcmpFamily>(
    frame: &[u8],
    to: &FiveTuple<F>,
    outer: F::Pair,
    (router, octets, shift): ([u8; 16], usize, u32),
) {
    let v6 = F::VERSION == 6;
    let original = packet(frame);
    let from = original.tuple::<F>(frame).unwrap();
    let mut translated = frame.to_vec();
    rewrite(&mut translated, original.layout, &Rewrite::between(&from, *to));
    let altered = |by: u32| Alteration {
        sequence: Renumber::by(by),
        acknowledgement: Renumber::by(by.wrapping_mul(3)),
        ..Alteration::default()
    };
    let undone = altered(shift.wrapping_neg());
    altered(shift).apply(&mut translated, &original);
    let hops = if v6 { 21 } else { 22 };
    // As if no hop had been spent, which the quote then would not have, either.
    translated[hops] = frame[hops];
    if !v6 {
        translated[24..26].fill(0);
        let sum = !checksum::fold(checksum::sum(&translated[14..34]));
        translated[24..26].copy_from_slice(&sum.to_be_bytes());
    }

    let mut complaint = error(v6, &translated, router, octets);
    let before = complaint.clone();
    let seen = packet(&complaint);
    let Ok(Message::Error(quote)) = read::<F>(&seen, &complaint) else { panic!("{complaint:x?}") };
    assert_eq!(quote.tuple, Some(*to));
    translate(&mut complaint, &seen, &quote, (outer, Some(&undone)), &from);
    assert_right(v6, &complaint, frame);
    assert_eq!(F::pair_in(&complaint[14..]), Some(outer));
    assert_eq!(complaint[hops], before[hops] - 1);

    let seen = packet(&complaint);
    let quote = Quote { tuple: Some(from), ..quote };
    let back = F::pair_in(&before[14..]).unwrap();
    translate(&mut complaint, &seen, &quote, (back, Some(&altered(shift))), to);
    assert_right(v6, &complaint, &translated);
    F::set_hop_limit(&mut complaint[14..], 64);
    assert_eq!(complaint, before, "there and back is as it was");
}

fn built(v6: bool, udp: bool, ends: &[[u8; 16]; 2], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = if v6 {
        builder.ipv6(ends[0], ends[1], 64)
    } else {
        builder.ipv4(short(ends[0]), short(ends[1]), 64)
    };
    let mut frame = Vec::new();
    if udp {
        builder.udp(ports[0], ports[1]).write(&mut frame, payload).unwrap();
    } else {
        builder.tcp(ports[0], ports[1], 1, 1024).ack(1).write(&mut frame, payload).unwrap();
    }
    frame
}

/// Rights the checksum of whatever stands where a message would, so that it is read on.
fn mend(v6: bool, frame: &mut [u8], packet: &Packet) {
    let Layout { l4, end, .. } = packet.layout;
    let (ip, message) = frame[..usize::from(end)].split_at_mut(usize::from(l4));
    if message.len() < 8 {
        return;
    }
    message[2..4].fill(0);
    let pseudo = if v6 { checksum::sum(&ip[22..54]) + u32::try_from(message.len()).unwrap() + 58 } else { 0 };
    let sum = !checksum::fold(checksum::sum(message) + pseudo);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

fn survive<F: IcmpFamily>(frame: &mut [u8], packet: &Packet) {
    match read::<F>(packet, frame) {
        Ok(Message::Error(quote)) => {
            let to = FiveTuple::new((F::Address::default(), 1), (F::Address::default(), 2), Protocol::Udp);
            translate(frame, packet, &quote, (to.addresses(), None), &to);
        }
        Ok(Message::EchoRequest) => answer_echo::<F>(frame, packet),
        Ok(Message::EchoReply | Message::Neighbour | Message::Other) | Err(_) => {}
    }
}

#[test]
fn the_answer_to_an_echo_of_nothing_but_zeros_has_a_checksum() {
    let frame = message(false, (8, [0; 4]), &[0; 20], &[[1; 16], [2; 16]]);
    let mut answer = frame.clone();
    answer_echo::<V4>(&mut answer, &packet(&frame));
    assert_eq!(answer[34..], message(false, (0, [0; 4]), &[0; 20], &[[2; 16], [1; 16]])[34..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_error_translated_there_and_back_is_as_it_was(
        shape in any::<(bool, bool)>(),
        ends in any::<[[u8; 16]; 2]>(),
        others in any::<[[u8; 16]; 4]>(),
        router in any::<[u8; 16]>(),
        ports in any::<[u16; 4]>(),
        payload in prop::collection::vec(any::<u8>(), 0..80),
        // Four octets at a time: half a number or checksum cannot be updated.
        octets in (12_usize..50).prop_map(|words| words * 4),
        shift: u32,
    ) {
        let (v6, udp) = shape;
        let [p, q, other_ports @ ..] = ports;
        let frame = built(v6, udp, &ends, [p, q], &payload);
        if v6 {
            let [a, b, c, d] = others.map(u128::from_be_bytes);
            let protocol = packet(&frame).tuple::<V6>(&frame).unwrap().protocol();
            let to = FiveTuple::<V6>::new((a, other_ports[0]), (b, other_ports[1]), protocol);
            there_and_back::<V6>(&frame, &to, V6::pair(c, d), (router, octets, shift));
        } else {
            let [a, b, c, d] = others.map(short).map(u32::from_be_bytes);
            let protocol = packet(&frame).tuple::<V4>(&frame).unwrap().protocol();
            let to = FiveTuple::<V4>::new((a, other_ports[0]), (b, other_ports[1]), protocol);
            there_and_back::<V4>(&frame, &to, V4::pair(c, d), (router, octets - 20, shift));
        }
    }

    #[test]
    fn whatever_the_bytes_nothing_panics(
        v6 in any::<bool>(),
        changes in prop::collection::vec((14_usize..140, any::<u8>()), 0..6),
        octets in 0_usize..120,
        length in 0_usize..200,
    ) {
        let about = built(v6, true, &[[0x20; 16]; 2], [53, 53], &[7; 60]);
        let mut frame = error(v6, &about, [0x30; 16], octets);
        for (place, value) in changes {
            if let Some(byte) = frame.get_mut(place) {
                *byte = value;
            }
        }
        if !v6 {
            frame[24..26].fill(0);
            let sum = !checksum::fold(checksum::sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let whole = frame.len();
        let Ok(Parsed::Ip(packet)) = parse(&Link::read(&frame).unwrap(), &frame, whole) else { return Ok(()) };
        mend(v6, &mut frame, &packet);
        // Also in a first part that ends early.
        frame.truncate(length.max(usize::from(packet.layout.l4)));
        if v6 {
            survive::<V6>(&mut frame, &packet);
        } else {
            survive::<V4>(&mut frame, &packet);
        }
    }
}
