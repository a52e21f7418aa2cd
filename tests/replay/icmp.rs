//! ICMP errors about flows, pings, and packets that are too large: what comes out is right to the last checksum.

use std::time::Duration;

use serde_json::json;

use crate::bench::{Bench, CONFIGURATION, configuration};
use crate::files::{Captured, in_turn, nanoseconds};
use crate::icmp_message::{error, message, too_big};
use crate::packet::{ACK, Build, Kind, SYN, decode};

const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]")];

/// Frames that follow others after half a millisecond, by what each makes of the one before.
fn following(frames: &[Captured], make: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Captured> {
    let after = Duration::from_micros(500);
    frames.iter().map(|frame| Captured::new(frame.time + after, make(&frame.bytes))).collect()
}

fn is_v6(frame: &[u8]) -> bool {
    frame[14] >> 4 == 6
}

#[test]
fn errors_from_either_side_leave_by_the_other_with_right_checksums() {
    let mut requests = Vec::new();
    for (from, vip) in ENDS {
        requests.push(Build::new(from, &format!("{vip}:80")).payload(b"odd").tcp());
        requests.push(Build::new(from, &format!("{vip}:53")).payload(b"even").udp());
    }
    let requests = in_turn(requests);
    let bench = Bench::new();
    bench.file("clients.pcap", &nanoseconds(&requests));
    let to_backends = bench.run(&["front=clients.pcap"]).sent;

    let answers = following(&to_backends, |sent| {
        let seen = decode(sent);
        let answer = Build::answer(&seen).flags(SYN | ACK).payload(&[9; 301]);
        if seen.kind == Kind::Udp { answer.udp() } else { answer.tcp() }
    });
    bench.file("servers.pcap", &nanoseconds(&answers));
    let both = bench.run(&["front=clients.pcap", "back=servers.pcap"]).sent;
    let to_clients: Vec<Captured> = both.into_iter().skip(1).step_by(2).collect();

    // A router of the clients' network complains of the answers, one of the servers' of the requests.
    let complaint = |frame: &[u8]| error(frame, too_big(is_v6(frame)), 576);
    bench.file("west.pcap", &nanoseconds(&following(&to_clients, complaint)));
    bench.file("east.pcap", &nanoseconds(&following(&to_backends, complaint)));
    let all = ["front=clients.pcap", "back=servers.pcap", "front=west.pcap", "back=east.pcap"];
    let outcome = bench.run(&all);
    assert_eq!((outcome.drops(), outcome.report()["icmp_errors"].as_u64()), (json!({}), Some(8)));
    let errors: Vec<_> =
        outcome.sent.iter().filter(|sent| matches!(decode(&sent.bytes).kind, Kind::Icmp(..))).collect();
    assert_eq!(errors.len(), 8);
    for sent in errors {
        let decoded = decode(&sent.bytes);
        let towards_backend = decoded.source_mac.0 == [2, 0, 0, 0, 0, 2];
        let known = if towards_backend { &answers } else { &requests };
        // But for the hop that was spent, and the header's checksum.
        let hops = if is_v6(&sent.bytes) { 7..8 } else { 8..12 };
        let alike = known.iter().filter(|frame| {
            let (frame, quote) = (&frame.bytes[14..], &decoded.payload);
            frame.len() == quote.len()
                && frame[..hops.start] == quote[..hops.start]
                && frame[hops.end..] == quote[hops.end..]
        });
        assert_eq!(alike.count(), 1, "it quotes what its receiver has sent: {decoded:?}");
    }
    bench.assert_sound(0);
}

#[test]
fn pings_are_answered_and_written() {
    let pings = ENDS.map(|(from, vip)| {
        let build = Build::new(from, &format!("{vip}:0"));
        let kind = if build.to.is_ipv6() { 128 } else { 8 };
        message(&build.from.ip().to_string(), build.to.ip(), (kind, 0, [0, 1, 0, 2]), b"abcde")
    });
    let bench = Bench::new();
    let outcome = bench.replay(&in_turn(pings));
    let kinds: Vec<Kind> = outcome.decoded().iter().map(|sent| sent.kind).collect();
    assert_eq!(kinds, [Kind::Icmp(0, 0), Kind::Icmp(129, 0)]);
    assert_eq!(outcome.report()["echoes"], 2);
    bench.assert_sound(0);
}

#[test]
fn who_sends_too_large_packets_is_told_so_with_right_checksums() {
    let narrow = CONFIGURATION.replace("name = \"back\"\n", "name = \"back\"\nmtu = 1300\n");
    let bench = Bench::with(&configuration(&narrow));
    let frames = ENDS.into_iter().flat_map(|(from, vip)| {
        let build = Build::new(from, &format!("{vip}:80"));
        [build.tcp(), build.flags(ACK).payload(&[3; 1401]).tcp()]
    });
    let outcome = bench.replay(&in_turn(frames));
    let kinds: Vec<Kind> = outcome.decoded().iter().map(|sent| sent.kind).collect();
    assert_eq!(kinds, [Kind::Tcp, Kind::Icmp(3, 4), Kind::Tcp, Kind::Icmp(2, 0)]);
    assert_eq!(outcome.drops(), json!({ "mtu_exceeded": 2 }));
    assert_eq!(outcome.report()["originated"], 2);
}
