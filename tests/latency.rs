//! The latency benchmark (`benches/latency`), briefly: what it measures is real, and it says what it promises.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]

#[path = "../benches/latency/rig/mod.rs"]
mod rig;

use std::time::Duration;

use rig::plan::{Idle, Plan};

#[test]
fn packets_come_back_translated_and_their_times_are_reported() {
    let cores = core_affinity::get_core_ids().unwrap();
    let [first, second, ..] = cores.as_slice() else {
        eprintln!("skipped: it takes two cores");
        return;
    };
    let plan = Plan {
        rate: Some(20_000.0),
        loads: vec![0.1, 0.5],
        duration: Duration::from_millis(300),
        flows: 100,
        idle: vec![Idle::Poll, Idle::Adaptive],
        generator_core: first.id,
        worker_core: second.id,
    };
    // EAL starts once in a process: this is the only test here.
    let measured = rig::measure(&plan).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(measured.len(), 2);
    for run in measured.iter().flat_map(|measured| &measured.runs) {
        let outcome = &run.outcome;
        // A machine that others use may pause for longer than the rings bridge; most packets come back at any rate.
        assert!(
            outcome.sent > 500 && outcome.received > outcome.sent / 2,
            "{} {}",
            outcome.sent,
            outcome.received
        );
        assert_eq!(outcome.foreign, 0);
        assert_eq!(outcome.latency.len(), outcome.received);
    }
    let table = rig::report::table(&plan, &measured);
    assert!(table.contains("adaptive") && table.contains("p99.99") && table.contains("as given"), "{table}");
    let document = rig::report::document(&plan, &measured);
    let figures = document["figures"].as_array().unwrap();
    let named = |name: &str| figures.iter().filter(|figure| figure["name"] == name).count();
    assert_eq!(named("latency_p99"), 4, "{document}");
    assert_eq!(named("rate_without_loss"), 0, "it was given");
    let figure = figures.iter().find(|figure| figure["name"] == "latency_p50").unwrap();
    assert!(figure["value"].as_f64().unwrap() > 0.0 && figure["unit"] == "us", "{figure}");
    assert_eq!(figure["parameters"]["load"], 0.1);
}
