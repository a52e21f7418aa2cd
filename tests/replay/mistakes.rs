//! Wrong use: what is wrong is named, the status tells, and nothing is lost.

use std::process::{Command, Stdio};

use crate::bench::{Bench, CONFIGURATION, configuration};
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

/// What the events file `text` is answered with; nothing is replayed.
#[track_caller]
fn refused(bench: &Bench, text: &str) -> String {
    bench.file("events.toml", text.as_bytes());
    let outcome = bench.run(&["a.pcap", "--health", "events.toml"]);
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    assert!(!bench.path("out.pcap").exists(), "nothing was replayed");
    outcome.stderr
}

#[test]
fn every_mistake_in_an_events_file_is_reported_at_once() {
    let (bench, _) = bench();
    bench.file("bad.toml", b"[[port]]\nname = 5\n");
    let text = r#"[[event]]
at = 2
service = "web"
backend = "10.0.9.1:8080"
state = "down"

[[event]]
service = "whatever holds at its time"
backend = "10.0.9.1:8080"
state = "dwn"

[[event]]
at = "1s"
service = "web"
backend = "10.0.9.1:81"
state = "down"
probe = "tiemout"

[[event]]
at = "0.9s"
service = "mail"
backend = "web1"
share = 3

[[event]]
at = "1s"
service = "dsn"
backend = "10.0.9.3"
probe = "ok"

[[event]]
at = "2s"
config = "bad.toml"
service = "web"

[[event]]
at = "3s"
service = "whatever bad.toml has"
backend = "10.0.9.77"
state = "up"

[[event]]
at = "3s"
config = "missing.toml"
[extra]
"#;
    let expected = r#"events.toml:2:6: at is the number 2, without a unit; write a time after the first frame, as "1.5s" or "1m30s"
events.toml:7:1: missing key "at" in [[event]]; add it, as at = "1.5s"
events.toml:10:9: state "dwn" is unknown; did you mean "down"? the values are "up", "down" or "dead"
events.toml:12:1: [[event]] has state and probe; keep one, and make events of the others
events.toml:15:11: service "web" of c.toml, then in effect, has no backend 10.0.9.1:81; write one of 10.0.9.1:8080, 10.0.9.2:8080, 10.0.9.3:8080
events.toml:17:9: probe "tiemout" is unknown; did you mean "timeout"? the values are "ok", "timeout", "refused", "unreachable", "closed", "malformed" or "status=503"
events.toml:19:1: [[event]] says nothing; add state = "down", probe = "timeout" or config = "other.toml"
events.toml:21:11: c.toml, then in effect, has no service "mail"; it has web, web6, dns, dns6
events.toml:22:11: backend "web1" is no backend's address; write it as `evenkeel backends` prints it, as "10.0.9.1:80" or "[fd00:9::1]:80"
events.toml:23:1: unknown key "share" in [[event]]; remove it, the keys are at, backend, config, order, probe, service, state, weight, within
events.toml:27:11: c.toml, then in effect, has no service "dsn"; did you mean "dns"?
events.toml:33:10: config "bad.toml" is wrong; mend it, see below
events.toml:34:11: service stands beside config, which is about everything; remove service
events.toml:44:10: config "missing.toml" cannot be read (No such file or directory (os error 2)); name a file, relative to this one
events.toml:45:2: unknown key "extra" in the file; remove it, the keys are event
bad.toml:1:1: missing key "device" in [[port]]; add it, as device = "0000:03:00.0"
bad.toml:2:8: name is the number 5; put it in quotes: "5"
"#;
    assert_eq!(refused(&bench, text), expected);
}

#[test]
fn an_event_is_checked_against_the_configuration_of_its_time() {
    let (bench, _) = bench();
    let all = configuration(CONFIGURATION);
    let without = |number: u8| {
        let backend = format!("[[service.backend]]\naddress = \"10.0.9.{number}\"\nport = 8080\n");
        all.replacen(&backend, "", 1)
    };
    bench.file("without-1.toml", without(1).as_bytes());
    let on_first = |at: &str| {
        format!("[[event]]\nat = {at}\nservice = \"web\"\nbackend = \"10.0.9.1:8080\"\nstate = \"down\"\n")
    };
    let reload = |at: &str, file: &str| format!("[[event]]\nat = \"{at}\"\nconfig = \"{file}\"\n");
    // The order of the times decides, not that of the file.
    let text = on_first("\"3s\"") + &on_first("\"1s\"") + &reload("2s", "without-1.toml");
    let told = refused(&bench, &text);
    let expected = "events.toml:4:11: service \"web\" of without-1.toml, then in effect, has no backend \
                    10.0.9.1:8080; write one of 10.0.9.2:8080, 10.0.9.3:8080\n";
    assert_eq!(told, expected);

    // An event without a time may be before or after a reload.
    let told = refused(&bench, &(on_first("\"x\"") + &reload("2s", "without-1.toml")));
    assert_eq!(told.lines().count(), 1, "{told}");

    // A reload without a time may be before or after anything.
    let text = on_first("\"3s\"") + &reload("2", "without-1.toml");
    let told = refused(&bench, &text);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("events.toml:7:6: at \"2\" is not a duration"), "{told}");
}

#[test]
fn a_backend_without_its_port_must_be_the_only_one_there() {
    let second = "port = 8080\n[[service.backend]]\naddress = \"10.0.9.1\"\nport = 8081\n";
    let bench = Bench::with(&configuration(CONFIGURATION).replacen("port = 8080\n", second, 1));
    bench.file("a.pcap", &files::nanoseconds(&in_turn([])));
    let told = refused(
        &bench,
        "[[event]]\nat = \"1s\"\nservice = \"web\"\nbackend = \"10.0.9.1\"\nstate = \"up\"\n",
    );
    let expected = "events.toml:4:11: service \"web\" has several backends on 10.0.9.1; \
                    write one of 10.0.9.1:8080, 10.0.9.1:8081\n";
    assert_eq!(told, expected);
}

#[test]
fn a_result_of_a_probe_is_for_a_service_that_is_probed() {
    let (bench, _) = bench();
    let text = "[[event]]\nat = \"1s\"\nservice = \"dns\"\nbackend = \"10.0.9.3\"\nprobe = \"ok\"\n";
    let expected = "events.toml:3:11: service \"dns\" is not probed; write state, or give the service a [service.health]\n";
    assert_eq!(refused(&bench, text), expected);
}

#[test]
fn a_reload_that_would_be_refused_is_a_mistake() {
    let (bench, _) = bench();
    let moved = CONFIGURATION.replace("net_null1", "net_null2") + "[appliance]\nworkers = [2, 3]\n";
    bench.file("moved.toml", configuration(&moved).as_bytes());
    let text = "[[event]]\nat = \"1s\"\nconfig = \"moved.toml\"\n";
    let expected = "events.toml:3:10: config \"moved.toml\" is refused: only a restart can change \
                    appliance.workers, port \"back\"; restart, or take these changes back\n";
    assert_eq!(refused(&bench, text), expected);
}

#[test]
fn a_file_that_is_no_events_file_is_reported_as_a_configuration_would_be() {
    let (bench, _) = bench();
    for (text, told) in [
        (
            "[event]\nat = \"1s\"\n",
            "events.toml:1:1: event is a single table; write [[event]], in double brackets",
        ),
        ("[[event]]\nat \"1s\"\n", "events.toml:2:4: key without a value"),
        ("event = 5\n", "events.toml:1:9: event is the number 5; write tables [[event]]"),
    ] {
        let all = refused(&bench, text);
        assert!(all.starts_with(told), "{all}");
    }
    let outcome = bench.run(&["a.pcap", "--health", "none.toml"]);
    outcome.assert_failed(2, &["none.toml: cannot be read", "check the path after --health"]);
}

#[test]
fn no_file_of_an_events_file_is_written_over() {
    let (bench, _) = bench();
    let text = "[[event]]\nat = \"1s\"\nconfig = \"other.toml\"\n";
    bench.file("events.toml", text.as_bytes());
    bench.file("other.toml", configuration(CONFIGURATION).as_bytes());
    for out in ["events.toml", "other.toml"] {
        let line = ["replay", "-c", "c.toml", "--in", "a.pcap", "--health", "events.toml", "--out", out];
        let status = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(line)
            .current_dir(bench.path(""))
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(2), "{out}");
    }
    assert_eq!(std::fs::read(bench.path("events.toml")).unwrap(), text.as_bytes());
}
