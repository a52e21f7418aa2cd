//! Time is the captures': flows end between frames, captures are merged, clocks may step.

use std::time::Duration;

use crate::bench::Bench;
use crate::files::{self, Captured, in_turn};
use crate::packet::{ACK, Build, SYN, decode};

const START: Duration = Duration::new(1_700_000_000, 0);

fn request(port: u16) -> Build {
    Build::new(&format!("198.51.100.7:{port}"), "203.0.113.80:80")
}

fn datagram(port: u16) -> Vec<u8> {
    Build::new(&format!("198.51.100.7:{port}"), "203.0.113.80:53").payload(b"q").udp()
}

#[test]
fn a_flow_is_over_when_its_time_is_though_no_frame_came_in_between() {
    let at = |seconds, bytes| Captured::new(START + Duration::from_secs(seconds), bytes);
    let frames = [
        at(0, request(1).tcp()),
        at(0, datagram(1)),
        at(1000, request(1).flags(ACK).tcp()),
        at(1000, datagram(1)),
    ];
    let outcome = Bench::new().replay(&frames);
    let report = outcome.report();
    // The late segment finds no flow and is reset; the late datagram begins a new one.
    assert_eq!(report["flows_created"], 3);
    assert_eq!(report["drops"], serde_json::json!({ "unknown_flow": 1 }));
    assert_eq!(report["flows"], 1);
}

#[test]
fn a_flow_that_is_used_lives_on() {
    let frames: Vec<Captured> =
        (0..50).map(|n| Captured::new(START + Duration::from_secs(n * 20), datagram(1))).collect();
    let outcome = Bench::new().replay(&frames);
    assert_eq!(outcome.report()["flows_created"], 1);
}

#[test]
fn a_step_of_half_a_century_takes_no_longer_than_any_other() {
    let frames = [Captured::new(Duration::ZERO, datagram(1)), Captured::new(START, datagram(1))];
    let began = std::time::Instant::now();
    let outcome = Bench::new().replay(&frames);
    assert_eq!(outcome.report()["flows_created"], 2);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_capture_that_goes_back_in_time_keeps_its_times() {
    let times = [START + Duration::from_secs(5), START, START + Duration::from_secs(6)];
    let frames: Vec<_> = (1..).zip(times).map(|(n, time)| Captured::new(time, datagram(n))).collect();
    let outcome = Bench::new().replay(&frames);
    assert_eq!(outcome.sent.iter().map(|sent| sent.time).collect::<Vec<_>>(), times);
}

#[test]
fn captures_that_enter_several_ports_are_merged_by_time() {
    let bench = Bench::new();
    let frames = in_turn((1..=6).map(datagram));
    let (odd, even): (Vec<_>, Vec<_>) = (0..).zip(frames.clone()).partition(|(n, _)| n % 2 == 0);
    for (name, half) in [("a.pcap", odd), ("b.pcap", even)] {
        let half: Vec<Captured> = half.into_iter().map(|(_, frame)| frame).collect();
        bench.file(name, &files::nanoseconds(&half));
    }
    for inputs in [&["front=a.pcap", "front=b.pcap"][..], &["a.pcap", "back=b.pcap"]] {
        let outcome = bench.run(inputs);
        let times: Vec<_> = outcome.sent.iter().map(|sent| sent.time).collect();
        assert_eq!(times, frames.iter().map(|frame| frame.time).collect::<Vec<_>>(), "{inputs:?}");
        assert_eq!(outcome.decoded().len(), 6);
    }
}

#[test]
fn a_handshake_and_its_end_free_the_flow() {
    let bench = Bench::new();
    let first = bench.replay(&[Captured::new(START, request(1).tcp())]);
    let seen = decode(&first.sent[0].bytes);
    let at = |milliseconds, bytes| Captured::new(START + Duration::from_millis(milliseconds), bytes);
    let clients = [
        at(0, request(1).tcp()),
        at(2, request(1).flags(ACK).tcp()),
        at(4, request(1).flags(ACK | 1).tcp()),
        at(6, request(1).flags(ACK).tcp()),
        // Far behind the last time-out of a closed flow.
        at(900_000, datagram(9)),
    ];
    let servers = [
        at(1, Build::answer(&seen).flags(SYN | ACK).tcp()),
        at(5, Build::answer(&seen).flags(ACK | 1).tcp()),
    ];
    bench.file("clients.pcap", &files::nanoseconds(&clients));
    bench.file("servers.pcap", &files::nanoseconds(&servers));
    let report = bench.run(&["front=clients.pcap", "back=servers.pcap"]).report();
    assert_eq!((report["sent"].as_u64(), report["flows"].as_u64()), (Some(7), Some(1)), "{report}");
}
