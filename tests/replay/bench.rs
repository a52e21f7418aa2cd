//! The workbench: a directory with a configuration, captures that go in, a run of the binary, what came out.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::files::{self, Captured};
use crate::packet::{Decoded, decode};
use crate::tshark;

/// Two ports, one local address a family, TCP 80 and UDP 53 on a VIP a family, three backends each.
pub const CONFIGURATION: &str = r#"
[[port]]
name = "front"
device = "net_null0"
mac = "02:00:00:00:00:01"

[[port]]
name = "back"
device = "net_null1"
mac = "02:00:00:00:00:02"
addresses = ["10.0.9.254/24", "fd00:9::254/64"]

[local_addresses]
default = ["10.0.8.10", "fd00:8::10"]
"#;

pub struct Bench {
    directory: TempDir,
}

/// What a run left behind.
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub sent: Vec<Captured>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(&configuration(CONFIGURATION))
    }

    pub fn with(configuration: &str) -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(bench.path("c.toml"), configuration).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Replays one capture into the first port.
    pub fn replay(&self, frames: &[Captured]) -> Outcome {
        self.file("in.pcap", &files::nanoseconds(frames));
        self.run(&["in.pcap"])
    }

    /// The same with these events.
    pub fn replay_events(&self, frames: &[Captured], events: &str) -> Outcome {
        self.file("in.pcap", &files::nanoseconds(frames));
        self.file("events.toml", events.as_bytes());
        self.run(&["in.pcap", "--health", "events.toml"])
    }

    /// Replays into `out.pcap`.
    pub fn run(&self, inputs: &[&str]) -> Outcome {
        self.evenkeel(&[&["replay", "-c", "c.toml", "--out", "out.pcap", "--json", "--in"], inputs].concat())
    }

    pub fn evenkeel(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        let output = command.args(arguments).current_dir(self.directory.path()).output().unwrap();
        let out = self.path("out.pcap");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome {
            status: output.status.code().expect("it ends by itself"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            sent: if out.exists() { files::read(&out) } else { Vec::new() },
        }
    }

    /// Lets tshark judge the output; `unchecked` frames may be without a UDP checksum.
    #[track_caller]
    pub fn assert_sound(&self, unchecked: usize) {
        tshark::assert_checksums(&self.path("out.pcap"), unchecked);
    }
}

impl Outcome {
    #[track_caller]
    pub fn report(&self) -> Value {
        assert_eq!(self.status, 0, "{}", self.stderr);
        let report: Value = serde_json::from_str(&self.stdout).unwrap();
        let count = |name: &str| report[name].as_u64().unwrap();
        assert_eq!(
            count("received") + count("originated"),
            count("sent") + count("punted") + count("dropped"),
            "every frame ends somewhere: {report}"
        );
        assert_eq!(count("sent"), self.sent.len() as u64, "{report}");
        report
    }

    #[track_caller]
    pub fn drops(&self) -> Value {
        self.report()["drops"].clone()
    }

    #[track_caller]
    pub fn decoded(&self) -> Vec<Decoded> {
        self.report();
        self.sent.iter().map(|frame| decode(&frame.bytes)).collect()
    }

    /// It failed with this status; the message has these pieces and is one line for a person.
    #[track_caller]
    pub fn assert_failed(&self, status: i32, pieces: &[&str]) {
        assert_eq!(self.status, status, "{}", self.stderr);
        for piece in pieces {
            assert!(self.stderr.contains(piece), "{piece:?} is missing: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// The services for a configuration's head.
pub fn configuration(head: &str) -> String {
    let mut text = head.to_owned();
    for (name, vip, port, protocol, network) in [
        ("web", "203.0.113.80", 80, "tcp", "10.0.9."),
        ("web6", "2001:db8::80", 80, "tcp", "fd00:9::"),
        ("dns", "203.0.113.80", 53, "udp", "10.0.9."),
        ("dns6", "2001:db8::80", 53, "udp", "fd00:9::"),
    ] {
        text += &format!(
            "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\n\
             [service.health]\nkind = \"none\"\n"
        );
        for number in 1..=3 {
            text += &format!("[[service.backend]]\naddress = \"{network}{number}\"\nport = 8080\n");
        }
    }
    text
}
