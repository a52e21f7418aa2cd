//! Captures of every make, and what is wrong inside them.

use std::time::Duration;

use serde_json::json;

use crate::bench::Bench;
use crate::files::{self, Captured, block, in_turn};
use crate::packet::Build;

fn syn(port: u16) -> Vec<u8> {
    Build::new(&format!("198.51.100.7:{port}"), "203.0.113.80:80").tcp()
}

#[test]
fn the_same_frames_in_any_format_give_the_same_output() {
    let bench = Bench::new();
    // Whole microseconds, so that all formats can say it.
    let frames = in_turn((0..20).map(|n| syn(40_000 + n)));
    let expected = bench.replay(&frames);
    assert_eq!(expected.report()["sent"], 20);
    for (name, bytes) in [
        ("micro.pcap", files::microseconds(&frames)),
        ("big.pcap", files::big_endian(&frames)),
        ("wireshark.pcapng", files::next_generation(&frames, 6)),
        ("nano.pcapng", files::next_generation(&frames, 9)),
    ] {
        bench.file(name, &bytes);
        let outcome = bench.run(&[name]);
        assert_eq!(outcome.stdout, expected.stdout, "{name}");
        assert_eq!(outcome.sent, expected.sent, "{name}");
    }
}

#[test]
fn the_same_input_gives_the_same_octets() {
    let bench = Bench::new();
    let frames = in_turn((0..500).map(|n| syn(20_000 + n * 7)));
    bench.replay(&frames);
    let first = std::fs::read(bench.path("out.pcap")).unwrap();
    bench.replay(&frames);
    assert!(first == std::fs::read(bench.path("out.pcap")).unwrap());
}

#[test]
fn nanoseconds_reach_the_output() {
    let time = Duration::new(1_700_000_000, 123_456_789);
    let outcome = Bench::new().replay(&[Captured::new(time, syn(1))]);
    assert_eq!(outcome.sent[0].time, time);
}

#[test]
fn a_frame_that_the_capture_cut_is_a_counted_drop() {
    let whole = Build::new("198.51.100.7:1", "203.0.113.80:80").payload(&[1; 500]).tcp();
    let frames: Vec<Captured> = in_turn(vec![whole; 4])
        .into_iter()
        .zip([553, 54, 10, 0])
        .map(|(frame, snap)| frame.cut(snap))
        .collect();
    let bench = Bench::new();
    let outcome = bench.replay(&frames);
    assert_eq!(outcome.drops(), json!({ "frame_truncated": 4 }));
    assert_eq!(outcome.sent, []);
    bench.file("cut.pcapng", &files::next_generation(&frames, 6));
    assert_eq!(bench.run(&["cut.pcapng"]).drops(), json!({ "frame_truncated": 4 }));
}

#[test]
fn every_malformed_frame_is_a_drop_of_its_kind() {
    let good = syn(1);
    let change = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        // The header's checksum is mended, so that the change itself is what is seen.
        frame[24..26].fill(0);
        let sum = evenkeel::wire::checksum::fold(evenkeel::wire::checksum::sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
        frame
    };
    let mut bad_sum = good.clone();
    bad_sum[25] ^= 1;
    let mut short_udp = Build::new("198.51.100.7:1", "203.0.113.80:53").payload(b"abc").udp();
    short_udp[39] = 7;
    let six = Build::new("[2001:db8:7::7]:1", "[2001:db8::80]:80");
    let mut long_six = six.tcp();
    long_six[19] += 1;
    let chain: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    for (what, frame, reason) in [
        ("nothing", Vec::new(), "frame_truncated"),
        ("13 octets", vec![0; 13], "frame_truncated"),
        ("a tag and no more", [&good[..12], &[0x81, 0, 0]].concat(), "frame_truncated"),
        ("half a header", good[..24].to_vec(), "frame_truncated"),
        ("version 5", change(14, 0x55), "ip_header_invalid"),
        ("a header of 16 octets", change(14, 0x44), "ip_header_invalid"),
        ("a total length of 19", change(17, 19), "ip_header_invalid"),
        ("a total length beyond the frame", change(17, 200), "ip_truncated"),
        ("a wrong header checksum", bad_sum, "ip_checksum_wrong"),
        ("a TCP header of 16 octets", change(46, 0x40), "transport_header_invalid"),
        ("a TCP header beyond the packet", change(46, 0xf0), "transport_header_invalid"),
        ("no TCP flags", change(47, 0), "tcp_flags_invalid"),
        ("a Christmas tree", change(47, 0x29), "tcp_flags_invalid"),
        ("a UDP length of 7", short_udp, "transport_header_invalid"),
        ("an IPv6 payload beyond the frame", long_six, "ip_truncated"),
        ("nine extension headers", six.raw(60, &chain), "extension_headers_too_deep"),
        ("a piece of a packet over its TCP header", change(21, 2), "fragment_invalid"),
        ("from a multicast address", change(26, 224), "martian"),
    ] {
        let outcome = Bench::new().replay(&in_turn([frame]));
        assert_eq!(outcome.drops(), json!({ reason: 1 }), "{what}");
        assert_eq!(outcome.sent, [], "{what}");
    }
}

#[test]
fn noise_harms_nobody() {
    let mut state = 0x9e37_79b9_u32;
    let mut noise = |count: usize| -> Vec<u8> {
        (0..count)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_le_bytes()[0]
            })
            .collect()
    };
    let mut frames = Vec::new();
    for n in 0..2000 {
        let mut frame = noise(n % 128);
        match n % 4 {
            // Ethernet and IP begin well, the rest does not.
            1 if frame.len() > 14 => frame[12..15].copy_from_slice(&[8, 0, 0x45]),
            2 if frame.len() > 14 => frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]),
            _ => {}
        }
        frames.push(frame);
        frames.push(syn(10_000 + u16::try_from(n).unwrap()));
    }
    let bench = Bench::new();
    let outcome = bench.replay(&in_turn(frames));
    assert_eq!(outcome.report()["flows_created"], 2000);
    assert_eq!(outcome.decoded().len(), 2000);
    bench.assert_sound(0);
}

#[test]
fn frames_for_the_kernel_are_counted_and_not_written() {
    let mut arp = vec![0xff; 12];
    arp.extend([8, 6]);
    arp.extend([0; 46]);
    let elsewhere = Build::new("198.51.100.7:1", "192.0.2.99:80").tcp();
    let reply = Build::new("198.51.100.7:1", "203.0.113.80:80").raw(1, &[0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    let outcome = Bench::new().replay(&in_turn([arp, elsewhere, reply]));
    assert_eq!(outcome.report()["punted"], 2);
    assert_eq!(outcome.report()["drops"]["unsolicited"], 1, "the echo reply");
    assert_eq!(outcome.sent, []);
}

#[test]
fn a_capture_that_breaks_off_is_replayed_up_to_there_and_reported() {
    let bench = Bench::new();
    let frames = in_turn([syn(1), syn(2), syn(3)]);
    for (name, mut bytes) in
        [("torn.pcap", files::nanoseconds(&frames)), ("torn.pcapng", files::next_generation(&frames, 9))]
    {
        bytes.truncate(bytes.len() - 20);
        bench.file(name, &bytes);
        let outcome = bench.run(&[name]);
        outcome.assert_failed(1, &[name, "frame 3"]);
        assert_eq!(outcome.sent.len(), 2, "{name}");
        assert!(outcome.stdout.contains("\"sent\": 2"), "{name}: {}", outcome.stdout);
    }
}

#[test]
fn a_length_beyond_reason_in_a_capture_is_an_error_and_no_flood_of_memory() {
    let bench = Bench::new();
    let mut bytes = files::nanoseconds(&in_turn([syn(1)]));
    bytes.extend([1_u32, 0, 0x7fff_ffff, 0x7fff_ffff].into_iter().flat_map(u32::to_le_bytes));
    bytes.extend([0; 100]);
    bench.file("huge.pcap", &bytes);
    let outcome = bench.run(&["huge.pcap"]);
    outcome.assert_failed(1, &["huge.pcap", "frame 2"]);
    assert_eq!(outcome.sent.len(), 1);
}

#[test]
fn a_simple_packet_block_is_a_frame_too() {
    let bench = Bench::new();
    let frames = in_turn([syn(1)]);
    let mut bytes = files::next_generation(&frames, 9);
    let simple = syn(2);
    let length = u32::try_from(simple.len()).unwrap();
    bytes.extend(block(3, &[&length.to_le_bytes()[..], &simple].concat()));
    bench.file("simple.pcapng", &bytes);
    let outcome = bench.run(&["simple.pcapng"]);
    assert_eq!(outcome.report()["sent"], 2);
    assert_eq!(
        outcome.sent[1].time, frames[0].time,
        "it has no time of its own: that of the frame before it"
    );
}

#[test]
fn a_time_that_no_capture_can_have_is_an_error_and_no_endless_wait() {
    let bench = Bench::new();
    let mut bytes = files::next_generation(&in_turn([syn(1)]), 9);
    for port in [2, 3] {
        let frame = syn(port);
        let length = u32::try_from(frame.len()).unwrap();
        let words = [0, u32::MAX, u32::MAX, length, length];
        bytes.extend(block(6, &[&words.map(u32::to_le_bytes).concat()[..], &frame].concat()));
    }
    bench.file("late.pcapng", &bytes);
    let outcome = bench.run(&["late.pcapng"]);
    outcome.assert_failed(1, &["late.pcapng: frame 2", "between 1970 and 2106"]);
    assert_eq!(outcome.sent.len(), 1);
}

#[test]
fn the_frames_of_an_empty_capture_are_none() {
    let outcome = Bench::new().replay(&[]);
    assert_eq!(outcome.report()["received"], 0);
    assert_eq!(outcome.sent, []);
}
