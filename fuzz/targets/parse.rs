//! Any bytes as a frame: nothing panics, what the quick way accepts the general way reads alike, offsets are in order,
//! and an answer to the frame, if there is one, can be read again.
#![no_main]

mod packet_bytes;

use etherparse::SlicedPacket;
use evenkeel::model::{Mac, V4, V6};
use evenkeel::wire::craft::{Refusal, Reply, Say, refuse};
use evenkeel::wire::ethernet::Link;
use evenkeel::wire::{Common, Fragment, Network, Packet, Parsed, Transport, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first octet says how much of the frame lies in further buffers.
    let [further, frame @ ..] = data else { return };
    let octets = frame.len() + usize::from(*further) * 16;
    judge(frame, octets);
    let mut mended = frame.to_vec();
    packet_bytes::mend_ipv4_header(&mut mended);
    judge(&mended, octets);
});

fn judge(head: &[u8], octets: usize) {
    let (common_v4, common_v6) = (V4::read(head, octets), V6::read(head, octets));
    let parsed = Link::read(head).map(|link| (link, parse(&link, head, octets)));
    let Some((link, Ok(Parsed::Ip(packet)))) = parsed else {
        assert!(common_v4.is_none() && common_v6.is_none());
        return;
    };
    if common_v4.is_some() {
        assert_eq!(packet.tuple::<V4>(head), common_v4);
    }
    if common_v6.is_some() {
        assert_eq!(packet.tuple::<V6>(head), common_v6);
    }
    let at = packet.layout;
    assert!(at.l3 < at.l4 && at.l4 <= at.end && usize::from(at.end) <= octets, "{at:?}");
    let balanced = matches!(packet.transport, Transport::Tcp | Transport::Udp);
    let has_tuple = match packet.network {
        Network::V4 => packet.tuple::<V4>(head).is_some(),
        Network::V6 => packet.tuple::<V6>(head).is_some(),
    };
    assert_eq!(has_tuple, balanced, "{packet:?}");
    if balanced && usize::from(at.end) <= head.len() {
        agree_with_etherparse(&packet, head);
    }
    judge_fragment(&packet, head);
    let reply = |say| Refusal::Reply(Reply { sequence: 1, acknowledgement: 2, say });
    let replies = [Say::Accept { mss: 1460 }, Say::Acknowledge, Say::Close, Say::Page, Say::Head].map(reply);
    for refusal in [Refusal::Unreachable, Refusal::TimeExceeded].into_iter().chain(replies) {
        if let Some(answer) = refuse(refusal, &link, &packet, head, Mac([2, 0, 0, 0, 0, 1])) {
            let link = Link::read(&answer).expect("an answer has a link layer");
            let back = parse(&link, &answer, answer.len()).expect("an answer is well-formed");
            assert!(matches!(back, Parsed::Ip(_)));
        }
    }
}

/// A fragment is within its packet, and only a first one has ports, which are all there.
fn judge_fragment(packet: &Packet, head: &[u8]) {
    let fragment = Fragment::read(packet, head);
    assert_eq!(fragment.is_some(), packet.transport == Transport::Fragment);
    let Some(fragment) = fragment else { return };
    assert_eq!(fragment.offset % 8, 0);
    assert!(fragment.last().is_none_or(|last| last > fragment.offset), "{fragment:?}");
    let Some(first) = fragment.first(packet, head) else { return };
    assert_eq!((fragment.offset, first.layout.end), (0, packet.layout.end));
    assert!(packet.layout.l3 < first.layout.l4 && first.layout.l4 <= first.layout.end, "{first:?}");
    let has_tuple = match first.network {
        Network::V4 => first.tuple::<V4>(head).is_some(),
        Network::V6 => first.tuple::<V6>(head).is_some(),
    };
    assert_eq!(has_tuple, matches!(first.transport, Transport::Tcp | Transport::Udp), "{first:?}");
}

/// A second reader must find the same ports, where it finds any.
fn agree_with_etherparse(packet: &Packet, head: &[u8]) {
    let Ok(sliced) = SlicedPacket::from_ethernet(head) else { return };
    let theirs = match &sliced.transport {
        Some(etherparse::TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(etherparse::TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => return,
    };
    let ours = match packet.network {
        Network::V4 => packet.tuple::<V4>(head).map(|tuple| (tuple.source_port(), tuple.destination_port())),
        Network::V6 => packet.tuple::<V6>(head).map(|tuple| (tuple.source_port(), tuple.destination_port())),
    };
    assert_eq!(ours, Some(theirs));
}
