//! How it ends.

use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::SERVERS;
use crate::configuration::VIP4;
use crate::configuration::WEB4;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::lab::print_of;

#[test]
fn an_end_waits_for_a_download_and_leaves_nothing_behind() {
    // 3 MB at 1 MB/s: about three seconds.
    let Some(lab) = Lab::lay("drain", Arms::Two, 3) else { return };
    let mut balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    let digest = client::digest_of_file(&lab);
    let line = format!("curl -sS --fail -m 30 {WEB4}slow | sha256sum");
    let mut download = lab.command("client", &["bash", "-o", "pipefail", "-c", &line]);
    let download = download.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let flows = || balancer.ask("status")["total"]["flows"].as_u64().unwrap() > 0;
    balancer.wait("the download has begun", Duration::from_secs(5), flows);
    balancer.signal(Signal::TERM);
    let withdrawn = || !lab.on("balancer", &["ip", "-o", "address"]).out.contains("203.0.113.80");
    balancer.wait("the VIP is withdrawn", Duration::from_secs(3), withdrawn);
    assert!(balancer.runs(), "it waits for the download\n{}", balancer.log());
    let done = print_of(download.wait_with_output().unwrap());
    assert!(done.out.starts_with(&digest), "{}{}\n{}", done.out, done.err, balancer.log());
    let began = Instant::now();
    let status = balancer.wait_end(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", balancer.log());
    eprintln!("left {:.2?} after the download", began.elapsed());
    assert_nothing_left(&lab);
}

#[test]
fn an_end_at_the_drain_timeout_resets_both_sides_of_connections_that_are_left() {
    let Some(lab) = Lab::lay("timeout", Arms::Two, 60) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    configuration.drain_timeout = "1s";
    let mut balancer = Balancer::start(&lab, &configuration);
    let url = format!("{WEB4}slow");
    let mut download = lab.command("client", &["curl", "-s", "-m", "30", "-o", "/dev/null", &url]);
    let mut download = download.spawn().unwrap();
    // A connection on which nobody speaks.
    let mut idle = lab.command("client", &["python3", "-c", IDLE, VIP4]).spawn().unwrap();
    let on_servers = |lab: &Lab| -> usize {
        let line = ["ss", "-Htn", "state", "established", "src", "10.0.9.0/24", "dst", "10.0.8.10"];
        SERVERS.iter().map(|server| lab.must(server, &line).lines().count()).sum()
    };
    balancer.wait("both connections stand", Duration::from_secs(5), || on_servers(&lab) == 2);
    let began = Instant::now();
    balancer.signal(Signal::TERM);
    let status = balancer.wait_end(Duration::from_secs(10));
    let took = began.elapsed();
    // curl(1): failure in receiving; its own time-out would be 28.
    assert_eq!(download.wait().unwrap().code(), Some(56), "{}", balancer.log());
    assert_eq!(idle.wait().unwrap().code(), Some(56), "{}", balancer.log());
    assert_eq!(on_servers(&lab), 0, "{}", balancer.log());
    assert!(took < Duration::from_secs(6), "{took:?}\n{}", balancer.log());
    assert!(status.success(), "{status}\n{}", balancer.log());
    assert!(took >= Duration::from_secs(1), "it left the download alone after {took:?}\n{}", balancer.log());
    assert_nothing_left(&lab);
}

/// Connects and waits; exit status 56 if the other side resets within 20 seconds.
const IDLE: &str = r#"
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 5)
s.settimeout(20)
try:
    s.recv(1)
except ConnectionResetError:
    sys.exit(56)
"#;

#[test]
fn an_end_without_connections_is_quick_and_a_second_start_works() {
    let Some(lab) = Lab::lay("restart", Arms::Two, 1) else { return };
    for _ in 0..2 {
        let mut balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
        client::requests(&lab, WEB4, 20).assert_complete(20);
        balancer.signal(Signal::TERM);
        let status = balancer.wait_end(Duration::from_secs(5));
        assert!(status.success(), "{status}\n{}", balancer.log());
        assert_nothing_left(&lab);
    }
    // Killed, it leaves its socket behind, and no address: the next one takes its place.
    drop(Balancer::start(&lab, &Configuration::new(Arms::Two)));
    let _balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    client::requests(&lab, WEB4, 20).assert_complete(20);
}

fn assert_nothing_left(lab: &Lab) {
    let links = lab.must("balancer", &["ip", "-o", "address"]);
    for gone in ["ek0", "ek1", "203.0.113.80", "192.0.2.10"] {
        assert!(!links.contains(gone), "{gone}: {links}");
    }
    assert!(!lab.directory().join("control.sock").exists(), "the control socket is still there");
}
