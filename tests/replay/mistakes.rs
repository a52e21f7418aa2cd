//! Wrong use: what is wrong is named, the status tells, and nothing is lost.

use std::process::{Command, Stdio};

use crate::bench::Bench;
use crate::files::{self, in_turn};
use crate::packet::Build;

fn bench() -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    let capture = files::nanoseconds(&in_turn([Build::new("198.51.100.7:1", "203.0.113.80:80").tcp()]));
    bench.file("a.pcap", &capture);
    (bench, capture)
}

#[test]
fn a_port_that_is_not_configured_is_wrong_use() {
    let (bench, _) = bench();
    bench.run(&["side=a.pcap"]).assert_failed(2, &["side", "front, back"]);
    assert!(!bench.path("out.pcap").exists(), "nothing was replayed");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let (bench, _) = bench();
    bench.run(&["front=missing.pcap"]).assert_failed(1, &["missing.pcap: No such file"]);
    bench.run(&["."]).assert_failed(1, &[".: "]);
    bench
        .evenkeel(&["replay", "-c", "none.toml", "--in", "a.pcap", "--out", "out.pcap"])
        .assert_failed(2, &["none.toml"]);
    bench
        .evenkeel(&["replay", "-c", "c.toml", "--in", "a.pcap", "--out", "no/where.pcap"])
        .assert_failed(1, &["no/where.pcap: No such file"]);
}

#[test]
fn what_is_no_capture_of_ethernet_is_refused_with_the_way_out() {
    let (bench, _) = bench();
    bench.file("letter.txt", b"dear reader, this is not a capture, however long it may be");
    bench.file("empty.pcap", b"");
    bench.file("short.pcap", &[0xd4, 0xc3]);
    bench.file("raw.pcap", &files::of_link_type(101));
    for name in ["letter.txt", "empty.pcap", "short.pcap"] {
        bench.run(&[name]).assert_failed(1, &[name, "give a pcap or pcapng file"]);
    }
    bench.run(&["raw.pcap"]).assert_failed(1, &["raw.pcap", "only Ethernet captures"]);
    assert!(!bench.path("out.pcap").exists(), "nothing was replayed");
}

#[test]
fn a_capture_is_never_written_over_itself() {
    let (bench, capture) = bench();
    std::fs::hard_link(bench.path("a.pcap"), bench.path("b.pcap")).unwrap();
    for out in ["a.pcap", "./a.pcap", "b.pcap"] {
        bench
            .evenkeel(&["replay", "-c", "c.toml", "--in", "front=a.pcap", "--out", out])
            .assert_failed(2, &[out, "--out"]);
        assert!(std::fs::read(bench.path("a.pcap")).unwrap() == capture, "{out}");
    }
}

#[test]
fn a_wrong_configuration_leaves_an_earlier_output_alone() {
    let (bench, _) = bench();
    bench.file("out.pcap", &files::nanoseconds(&[]));
    bench.file("c.toml", b"[[port]]\n");
    bench.run(&["a.pcap"]).assert_failed(2, &["c.toml"]);
    assert!(bench.path("out.pcap").metadata().unwrap().len() > 0);
}

#[test]
fn a_capture_may_come_through_a_pipe() {
    let (bench, _) = bench();
    for name in ["a.pcap", "a.pcapng"] {
        let frames = in_turn([Build::new("198.51.100.7:1", "203.0.113.80:80").tcp()]);
        if name == "a.pcapng" {
            bench.file(name, &files::next_generation(&frames, 9));
        }
        let mut cat = Command::new("cat").arg(bench.path(name)).stdout(Stdio::piped()).spawn().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["replay", "-c", "c.toml", "--in", "/dev/stdin", "--out", "out.pcap", "--json"])
            .current_dir(bench.path(""))
            .stdin(cat.stdout.take().unwrap())
            .output()
            .unwrap();
        cat.wait().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}");
        assert_eq!(files::read(&bench.path("out.pcap")).len(), 1, "{name}");
    }
}
