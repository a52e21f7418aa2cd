//! Many flows.

use std::collections::HashSet;

use crate::bench::{Bench, CONFIGURATION, configuration};
use crate::files::in_turn;
use crate::packet::{Build, decode};

#[test]
fn seventy_thousand_flows_over_one_local_address_have_leases_of_their_own() {
    // More than one address has ports: a lease is taken for one backend, not for all.
    let frames = (0..70_000_u32).map(|n| {
        let client = format!("198.51.{}.{}:{}", n / 250 % 100, n % 250 + 1, 1024 + n / 250);
        Build::new(&client, "203.0.113.80:80").tcp()
    });
    let text = configuration(&format!("{CONFIGURATION}\n[appliance]\nflows_per_worker = 100_000\n"));
    // That many SYNs without an acknowledgement are a flood.
    let bench = Bench::with(&text.replace("port = 80\n", "port = 80\nsyn_proxy = \"off\"\n"));
    let mut frames = in_turn(frames);
    for (frame, n) in frames.iter_mut().zip(0..) {
        // All within the time that a flow waits for its handshake.
        frame.time = frames_start() + std::time::Duration::from_micros(n);
    }
    let outcome = bench.replay(&frames);
    let report = outcome.report();
    assert_eq!(report["flows_created"], 70_000, "{report}");
    let mut leases = HashSet::new();
    for sent in &outcome.sent {
        let sent = decode(&sent.bytes);
        assert_eq!(sent.from.ip().to_string(), "10.0.8.10");
        assert!(leases.insert((sent.from, sent.to)), "{} is leased twice towards {}", sent.from, sent.to);
    }
    assert_eq!(leases.len(), 70_000);
    bench.assert_sound(0);
}

const fn frames_start() -> std::time::Duration {
    std::time::Duration::from_secs(1_700_000_000)
}
