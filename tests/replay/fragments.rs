//! Datagrams in pieces: put together again by tshark, which judges their checksums.

use serde_json::json;

use crate::bench::Bench;
use crate::files::{Captured, in_turn};
use crate::packet::{Build, decode};
use crate::pieces::{join, split};
use crate::tshark;

const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:53"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:53")];

fn text(octets: usize) -> Vec<u8> {
    (0..octets).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// What tshark puts together of the output.
#[track_caller]
fn assert_lengths(bench: &Bench, lengths: &[usize]) {
    if tshark::is_installed() {
        assert_eq!(tshark::datagrams(&bench.path("out.pcap")), lengths);
    }
}

/// In pieces that Ethernet carries, the last one first.
fn pieces(datagram: &[u8], identification: u32) -> Vec<Vec<u8>> {
    let cuts: Vec<usize> = (1..8).map(|n| n * 1448).collect();
    let mut pieces = split(datagram, identification, &cuts);
    pieces.reverse();
    pieces
}

#[test]
fn datagrams_in_pieces_out_of_order_reach_backend_and_client_whole() {
    let mut requests = Vec::new();
    for (client, vip) in ENDS {
        for (n, octets) in (0_u16..).zip([1500, 1501, 4000, 8000]) {
            let mut request = Build::new(client, vip).payload(&text(octets));
            request.from.set_port(40_000 + n);
            requests.extend(pieces(&request.udp(), n.into()));
        }
    }
    let bench = Bench::new();
    let there = bench.replay(&in_turn(requests.clone()));
    let frames: Vec<Vec<u8>> = there.sent.iter().map(|frame| frame.bytes.clone()).collect();
    assert_eq!(frames.len(), requests.len(), "{}", there.stdout);
    let whole: Vec<_> = join(&frames).iter().map(|frame| decode(frame)).collect();
    assert_eq!(whole.len(), 8);
    // Two families of each length.
    assert_lengths(&bench, &[1500, 1500, 1501, 1501, 4000, 4000, 8000, 8000]);
    bench.assert_sound(0);

    let answers = whole.iter().zip(100..).flat_map(|(request, identification)| {
        assert_eq!(request.to.port(), 8080);
        assert_eq!(request.payload, text(request.payload.len()));
        pieces(&Build::answer(request).payload(&text(7000)).udp(), identification)
    });
    let both = requests.iter().cloned().chain(answers).collect::<Vec<_>>();
    let back = bench.replay(&in_turn(both));
    let frames: Vec<Vec<u8>> = back.sent[requests.len()..].iter().map(|frame| frame.bytes.clone()).collect();
    for answer in join(&frames) {
        let answer = decode(&answer);
        assert!(ENDS.iter().any(|(_, vip)| answer.from == vip.parse().unwrap()), "{}", answer.from);
        assert!((40_000..40_004).contains(&answer.to.port()), "{}", answer.to);
        assert_eq!(answer.payload, text(7000));
    }
    let mut lengths = vec![1500, 1500, 1501, 1501, 4000, 4000];
    lengths.extend([7000; 8]);
    lengths.extend([8000; 2]);
    assert_lengths(&bench, &lengths);
    bench.assert_sound(0);
}

#[test]
fn a_fragment_waits_for_a_second_of_the_capture_and_every_frame_ends_somewhere() {
    let (client, vip) = ENDS[0];
    let datagram = |n: u32| pieces(&Build::new(client, vip).payload(&text(2000)).udp(), n);
    let bench = Bench::new();
    for (pause, sent) in [(100, 2), (900, 2), (1_200, 1)] {
        let mut frames = in_turn(datagram(1));
        frames[1].time = frames[0].time + std::time::Duration::from_millis(pause);
        let outcome = bench.replay(&frames);
        assert_eq!(outcome.sent.len(), sent, "after {pause} ms");
        let drops = if sent == 2 { json!({}) } else { json!({ "fragment_without_first": 1 }) };
        assert_eq!(outcome.drops(), drops, "after {pause} ms");
    }
    // More than may wait; nothing comes behind the last.
    let early: Vec<Captured> = in_turn((0..300).map(|n| datagram(n)[0].clone()));
    let outcome = bench.replay(&early);
    assert_eq!(outcome.drops(), json!({ "fragment_store_full": 44, "fragment_without_first": 256 }));
}
