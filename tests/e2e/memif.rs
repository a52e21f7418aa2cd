//! Load from testpmd over shared memory, as `scripts/pktgen/memif` runs it.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::lab::{alone, print_of};

#[test]
fn load_over_shared_memory_is_forwarded_as_full_nat_and_nothing_disappears() {
    let Some(_alone) = alone("memif") else { return };
    let directory = tempfile::tempdir().unwrap();
    for generator in ["flowgen", "txonly"] {
        let file = directory.path().join(generator);
        // The script itself fails if the counters of both ends do not add up, or a flow is no full NAT.
        let done = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pktgen/memif"))
            .args(["--generator", generator, "--flows", "32", "--seconds", "1", "--memory", "ordinary"])
            .args(["--evenkeel", env!("CARGO_BIN_EXE_evenkeel"), "--json"])
            .arg(&file)
            .output();
        let done = print_of(done.unwrap());
        assert!(done.success, "{generator}: {}{}", done.out, done.err);
        let figures: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let packets = |name: &str| {
            let figure = figures["figures"].as_array().unwrap().iter().find(|figure| figure["name"] == name);
            figure.unwrap()["value"].as_u64().unwrap()
        };
        let (sent, forwarded) = (packets("memif_packets_sent"), packets("memif_packets_forwarded"));
        assert!(forwarded > 1000, "{figures}");
        assert_eq!(sent, forwarded + packets("memif_packets_dropped"));
    }
}
