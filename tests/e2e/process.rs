//! Signals, and the readers of the log: neither ends the process or holds it up.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::PipeReader;
use std::io::PipeWriter;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::process::Signal;

use crate::balancer::Balancer;
use crate::bare::Bare;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::WEB4;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::lab::print_of;
use crate::wait::wait_until;

/// A pipe without room.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    // The open file is shared with the process that gets it.
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn log_reader_that_ends_costs_lines_and_nothing_else() {
    let Some(bare) = Bare::new("log reader ends") else { return };
    let (reader, writer) = std::io::pipe().unwrap();
    let mut process = bare.start(writer);
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first).unwrap();
    process.wait_ready();
    process.wait("lost lines are counted", || {
        assert!(bare.run("backend weight web 10.0.9.1:8080 7").success);
        bare.status().is_some_and(|status| status["log_lines_dropped"].as_u64().unwrap() > 0)
    });
    assert!(bare.run("status").out.contains("lines were lost"));
    assert!(process.leave().success());
}

#[test]
fn log_on_a_full_device_costs_lines_and_nothing_else() {
    let Some(bare) = Bare::new("log on a full device") else { return };
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut process = bare.start(full);
    process.wait_ready();
    assert!(bare.status().unwrap()["log_lines_dropped"].as_u64().unwrap() > 0);
    assert!(process.leave().success());
}

#[test]
fn log_reader_that_stalls_holds_up_neither_start_nor_control_nor_leaving() {
    let Some(bare) = Bare::new("log reader stalls") else { return };
    let (reader, writer) = full_pipe();
    let mut process = bare.start(writer);
    process.wait_ready();
    assert!(bare.run("backend drain web 10.0.9.1:8080").success);
    process.signal(Signal::HUP);
    assert!(process.leave().success());
    drop(reader);
}

#[test]
fn log_reader_that_stalls_does_not_delay_health_checks() {
    let Some(lab) = Lab::lay("stalled", Arms::Two, 1) else { return };
    let (reader, writer) = full_pipe();
    let balancer = Balancer::start_logging_to(&lab, &Configuration::new(Arms::Two), writer);
    client::requests(&lab, WEB4, 20).assert_complete(20);
    lab.kill_servers("b2");
    balancer.wait_state("b2", "down", Duration::from_secs(10));
    client::requests(&lab, WEB4, 20).assert_complete(20);
    drop(reader);
}

#[test]
fn error_of_a_start_is_printed_with_a_stalled_reader_too() {
    let Some(bare) = Bare::new("error with a stalled reader") else { return };
    std::fs::write(bare.file(), "[appliance]\nworkers = 7\n").unwrap();
    let (reader, writer) = full_pipe();
    assert_eq!(bare.start(writer).wait_end().code(), Some(2));
    drop(reader);
}

#[test]
fn signals_during_the_start_do_not_end_the_process() {
    let Some(bare) = Bare::new("signals during the start") else { return };
    let log = bare.file().with_file_name("log");
    let mut process = bare.start(File::create(&log).unwrap());
    process.wait_handled(Signal::ALARM);
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM] {
        process.signal(signal);
    }
    let logged = |wanted: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().position(|line| line.contains(wanted))
    };
    process.wait("the reload comes after ready", || {
        let text = std::fs::read_to_string(&log).unwrap();
        let after = text.split_once(" ready").map(|(_, after)| after.to_owned());
        after.is_some_and(|after| after.contains("configuration_loaded"))
    });
    for name in ["SIGUSR1", "SIGUSR2", "SIGALRM"] {
        process.wait(name, || logged(&format!("signal_ignored signal=\"{name}\"")).is_some());
    }
    assert!(process.leave().success());
    assert!(!bare.socket().exists());
}

#[test]
fn sigterm_during_the_start_leaves_nothing_behind() {
    let Some(bare) = Bare::new("sigterm during the start") else { return };
    let mut process = bare.start(Stdio::null());
    process.wait_handled(Signal::TERM);
    assert!(process.leave().success());
    assert!(!bare.socket().exists());
    assert!(!process.has_runtime_directory());
}

#[test]
fn listing_for_a_reader_that_has_gone_ends_quietly() {
    let Some(bare) = Bare::new("listing without a reader") else { return };
    let mut process = bare.start(Stdio::null());
    process.wait_ready();
    let run = |line: &str, out: Stdio, err: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.args(line.split(' ')).arg("--socket").arg(bare.socket());
        print_of(command.stdout(out).stderr(err).spawn().unwrap().wait_with_output().unwrap())
    };
    let gone = || Stdio::from(std::io::pipe().unwrap().1);
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for listing in ["status", "backends --json", "counters --all"] {
        assert_eq!(run(listing, gone(), Stdio::inherit()).code, Some(0), "{listing}");
        let done = run(listing, full(), Stdio::piped());
        assert_eq!(done.code, Some(1), "{listing}");
        assert_eq!(done.err, "evenkeel: standard output: No space left on device (os error 28)\n");
    }
    // Messages that nothing reads: the exit status remains.
    assert_eq!(run("backends --service nope", Stdio::null(), gone()).code, Some(2));
    assert_eq!(run("backends --service nope", Stdio::null(), full()).code, Some(2));
    let twice = run("backends --service nope", Stdio::null(), Stdio::piped()).err;
    assert_eq!(twice.matches("no service").count(), 1, "{twice}");
    assert!(process.leave().success());
}

#[test]
fn dpdk_writes_to_the_log() {
    let Some(bare) = Bare::new("log of dpdk") else { return };
    let log = bare.file().with_file_name("log");
    let text = std::fs::read_to_string(bare.file()).unwrap();
    std::fs::write(bare.file(), text.replace("net_null0", "net_absent0")).unwrap();
    let mut process = bare.start(File::create(&log).unwrap());
    assert_eq!(process.wait_end().code(), Some(1));
    let read = || std::fs::read_to_string(&log).unwrap();
    wait_until("the log", Duration::from_secs(1), || !read().is_empty(), String::new);
    let text = read();
    assert!(text.lines().any(|line| line.contains("ERROR dpdk text=\"")), "{text}");
    assert!(text.contains("evenkeel: port \"front\""), "{text}");
}
