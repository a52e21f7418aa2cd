//! A primary (b1) with a hot standby (b2): one serves, the other is probed and waits.

use std::time::Duration;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::HTTP_PROBE;
use crate::configuration::VIP4;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::connection::Connection;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::poller::Poller;

#[test]
fn the_standby_serves_within_the_bound_of_the_probes_however_the_primary_fails() {
    let Some(lab) = Lab::lay("standby", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    balancer.wait_state("b2", "standby", BACK);
    let mut poller = Poller::start(&lab, &[WEB4, WEB6]);
    for (how, fail, mend) in FAILURES {
        let before = poller.now();
        fail(&lab);
        let out = poller.wait_server("b2", before, true);
        let mended = poller.now();
        mend(&lab);
        let since_mended = poller.now();
        let back = poller.wait_server("b1", mended, false);
        let after = poller.since(since_mended);
        eprintln!(
            "{how}: switched over after {out}; back {after:.2?} after it was mended, without a gap ({back})"
        );
        assert!(out.longest() <= OUT, "{how}: {out}\n{}", balancer.circumstances());
        assert!(after <= BACK, "{how}: {after:?}\n{}", balancer.circumstances());
        balancer.wait_published();
        let settled = poller.now();
        poller.wait_requests(settled, 5);
        for servers in poller.servers_since(settled) {
            assert_eq!(servers.into_iter().collect::<Vec<_>>(), ["b1"], "{how}: tier 0 alone serves");
        }
    }
    let (requests, failed) = poller.stop();
    eprintln!("{requests} requests, {failed} failed, all of them while the primary was not known to be down");
}

#[test]
fn with_both_down_clients_are_told_so_and_whoever_returns_serves_at_once() {
    let Some(lab) = Lab::lay("bothdown", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    for server in ["b1", "b2"] {
        lab.kill_servers(server);
    }
    for server in ["b1", "b2"] {
        balancer.wait_state(server, "down", BACK);
    }
    for url in [WEB4, WEB6] {
        let done = lab.on("client", &["curl", "-sS", "-m", "3", "-w", "%{time_total}", url]);
        // 7: refused.
        assert_eq!(done.code, Some(7), "{}\n{}", done.err, balancer.circumstances());
        let seconds: f64 = done.out.parse().unwrap();
        assert!(seconds < 0.5, "refused after {seconds} s");
    }
    assert!(balancer.reload(&Configuration { on_no_backend: "http-503", ..configuration() }).success);
    balancer.wait_published();
    let status =
        || lab.must("client", &["curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", WEB4]);
    assert_eq!(status(), "503", "{}", balancer.circumstances());
    lab.start_servers("b2");
    balancer.wait_state("b2", "up", BACK);
    client::requests(&lab, WEB4, 10).assert_complete(10);
    let mut poller = Poller::start(&lab, &[WEB4, WEB6]);
    let began = poller.now();
    lab.start_servers("b1");
    poller.wait_server("b1", began, false);
    eprintln!("the primary serves {:.2?} after its start was called for", poller.since(began));
    balancer.wait_state("b2", "standby", BACK);
    poller.stop();
}

#[test]
fn a_primary_that_is_back_serves_only_after_the_hold_down() {
    let Some(lab) = Lab::lay("holddown", Arms::Two, 1) else { return };
    let window = "failure_window = { failures = 3, within = \"5s\" }\nrise = 2\n";
    let configuration = Configuration {
        keys: "hold_down = \"1s\"\ndead_after = \"0s\"",
        probe: format!("{HTTP_PROBE}{window}"),
        ..configuration()
    };
    let balancer = Balancer::start(&lab, &configuration);
    let mut poller = Poller::start(&lab, &[WEB4, WEB6]);
    let before = poller.now();
    lab.pause_servers("b1");
    let out = poller.wait_server("b2", before, true);
    assert!(out.longest() <= OUT, "{out}\n{}", balancer.circumstances());
    let mended = poller.now();
    lab.resume_servers("b1");
    balancer.wait_state("b1", "standby", BACK);
    poller.wait_server("b1", mended, false);
    let after = poller.since(mended);
    eprintln!("by failure window: switched over after {out}; back {after:.2?} after it was mended");
    assert!(after >= HOLD_DOWN, "{after:?}\n{}", balancer.circumstances());
    assert!(after <= HOLD_DOWN + BACK, "{after:?}\n{}", balancer.circumstances());
    poller.stop();
}

#[test]
fn connections_finish_on_a_primary_that_fails_its_health_check_alone() {
    let Some(lab) = Lab::lay("unwell", Arms::Two, 2) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    let digest = client::digest_of_file(&lab);
    let mut poller = Poller::start(&lab, &[WEB4]);
    let mut idle = Connection::open_to(&lab, VIP4, "b1");
    let mut download = Connection::open_to(&lab, VIP4, "b1");
    download.send("/slow").unwrap();
    let before = poller.now();
    std::fs::write(lab.unwell("b1"), "").unwrap();
    poller.wait_server("b2", before, false);
    balancer.wait_state("b1", "down", BACK);
    let b1 = &balancer.ask("backends")["backends"][0];
    assert!(b1["bytes_out"].as_u64().unwrap() < 2_000_000, "the download is still under way: {b1}");
    assert_eq!(idle.ask("/").unwrap().server, "b1", "{}", balancer.circumstances());
    let answer = download.receive().unwrap();
    assert_eq!((answer.server.as_str(), answer.octets, &answer.digest), ("b1", 2_000_000, &digest));
    assert_eq!(idle.ask("/").unwrap().server, "b1", "{}", balancer.circumstances());
    let (requests, failed) = poller.stop();
    assert_eq!(failed, 0, "of {requests}");
}

#[test]
fn a_connection_to_a_dead_primary_is_reset_also_for_a_client_that_only_waits() {
    let Some(lab) = Lab::lay("dead", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    // The request has arrived and is acknowledged: no packet is under way, the client waits.
    let mut waiting = Connection::open_to(&lab, VIP4, "b1");
    lab.pause_servers("b1");
    waiting.send("/").unwrap();
    balancer.wait_state("b1", "down", BACK);
    assert_eq!(waiting.receive().unwrap_err(), "ECONNRESET", "{}", balancer.circumstances());
    let left = lab.must("b1", &["ss", "-Htn", "state", "established", "dst", "10.0.8.10"]);
    assert_eq!(left, "", "the server is told too");
    lab.resume_servers("b1");
    balancer.wait_state("b1", "up", BACK);
    // The request is lost, and the client's system repeats it by itself.
    let mut repeating = Connection::open_to(&lab, VIP4, "b1");
    drop_packets(&lab);
    repeating.send("/").unwrap();
    assert_eq!(repeating.receive().unwrap_err(), "ECONNRESET", "{}", balancer.circumstances());
    open_firewall(&lab);
}

fn configuration() -> Configuration {
    Configuration {
        weights: [Some(100), Some(100), None],
        tiers: [0, 1, 0],
        keys: "dead_after = \"0s\"",
        probe: format!("{HTTP_PROBE}fall = 3\nrise = 2\n"),
        ..Configuration::new(Arms::Two)
    }
}

type Act = fn(&Lab);

/// How the primary fails, and how it is mended.
const FAILURES: [(&str, Act, Act); 6] = [
    ("killed", |lab| lab.kill_servers("b1"), |lab| lab.start_servers("b1")),
    ("stopped", |lab| lab.pause_servers("b1"), |lab| lab.resume_servers("b1")),
    ("firewall drops", drop_packets, open_firewall),
    ("firewall rejects with ICMP", |lab| firewall(lab, "reject"), open_firewall),
    ("firewall rejects with RST", |lab| firewall(lab, "reject with tcp reset"), open_firewall),
    ("cable pulled", |lab| cable(lab, "down"), |lab| cable(lab, "up")),
];

fn drop_packets(lab: &Lab) {
    firewall(lab, "drop");
}

fn firewall(lab: &Lab, verdict: &str) {
    let rules = format!(
        "table inet wall {{ chain in {{ type filter hook input priority 0; tcp dport 8080 {verdict}; }}; }}"
    );
    lab.must("b1", &["nft", &rules]);
}

fn open_firewall(lab: &Lab) {
    lab.must("b1", &["nft", "delete table inet wall"]);
}

fn cable(lab: &Lab, state: &str) {
    lab.must("fabric", &["ip", "link", "set", "b1", state]);
}

/// A server that failed right after a good probe is asked again 200 ms later, and found down by the third failure in a
/// row, 150 ms after the third of these times at the latest; the snapshot goes out within 100 ms. A client that asks
/// every 20 ms then has its answer. The rest is a busy machine's: two cores for all of this, and whatever else they do.
const OUT: Duration = Duration::from_millis(3 * 200 + 150 + 100 + 20 + 400);
/// Two good probes likewise; after a silence the kernel asks for the neighbour once a second.
const BACK: Duration = Duration::from_secs(3);
/// As configured.
const HOLD_DOWN: Duration = Duration::from_secs(1);
