//! Requests, downloads, datagrams and pings.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::balancer::Balancer;
use crate::client;
use crate::client::Answers;
use crate::configuration::Configuration;
use crate::configuration::ECHO;
use crate::configuration::SERVERS;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;

#[test]
fn requests_and_datagrams_of_both_families_reach_every_server() {
    let Some(lab) = Lab::lay("spread", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    assert_traffic(&lab);
    let status = balancer.ask("status");
    // 4 services, each of 60 requests; the probes are the kernel's and no flows. Of the datagrams, each from a socket of
    // its own, some may get a port that an earlier one had, and then belong to its flow.
    let created = status["total"]["flows_created"].as_u64().unwrap();
    let all = 4 * REQUESTS as u64;
    assert!((all - 5..=all).contains(&created), "{created} flows for {all} requests");
    let backends = balancer.ask("backends");
    let connections = backends["backends"].as_array().unwrap().iter();
    let sum: u64 = connections.map(|backend| backend["connections"].as_u64().unwrap()).sum();
    assert_eq!(sum, created);
}

#[test]
fn a_large_download_arrives_intact_over_both_families() {
    let Some(lab) = Lab::lay("download", Arms::Two, 200) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    let digest = client::digest_of_file(&lab);
    for url in [WEB4, WEB6] {
        let began = std::time::Instant::now();
        let downloaded = client::digest_of_download(&lab, &format!("{url}file"));
        assert_eq!(downloaded, digest, "{url}\n{}", balancer.circumstances());
        eprintln!("{url}file: 200 MB in {:.2?}", began.elapsed());
    }
}

#[test]
fn a_vip_and_the_ports_addresses_answer_a_ping() {
    let Some(lab) = Lab::lay("ping", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    for address in [VIP4, VIP6, "192.0.2.10", "2001:db8:2::10"] {
        let done = lab.on("client", &["ping", "-c", "3", "-i", "0.2", "-W", "2", address]);
        let clean = done.success && done.out.contains(" 0% packet loss") && !done.out.contains("DUP!");
        assert!(clean, "{}\n{}", done.out, balancer.circumstances());
    }
}

#[test]
fn the_kernels_side_carries_the_addresses_and_no_service_of_the_machine_answers_on_a_vip() {
    let Some(lab) = Lab::lay("kernel", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    let front = lab.must("balancer", &["ip", "-o", "address", "show", "dev", "ek0"]);
    for address in ["192.0.2.10/24", "2001:db8:2::10/64", "203.0.113.80/32", "2001:db8:80::80/128"] {
        assert!(front.contains(address), "{address}: {front}");
    }
    let back = lab.must("balancer", &["ip", "-o", "address", "show", "dev", "ek1"]);
    for address in ["10.0.9.254/24", "fd00:9::254/64"] {
        assert!(back.contains(address), "{address}: {back}");
    }
    // The API listens on the loopback of the balancer's namespace, as a machine's sshd would on every address.
    let metrics = lab.must("balancer", &["curl", "-sS", "--fail", "http://127.0.0.1:9180/metrics"]);
    assert!(metrics.contains("evenkeel_ready 1"), "{metrics}");
    let mut listener =
        lab.command("balancer", &["python3", "-m", "http.server", "--bind", "0.0.0.0", "8022"]);
    let quiet = std::process::Stdio::null;
    let mut listener = listener.stdout(quiet()).stderr(quiet()).spawn().unwrap();
    let listens = || lab.on("balancer", &["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:8022/"]).success;
    balancer.wait("the listener listens", Duration::from_secs(10), listens);
    let of = |address: &str| {
        let url = format!("http://{address}:8022/");
        lab.on("client", &["curl", "-s", "-o", "/dev/null", "-m", "3", &url])
    };
    let (own, vip) = (of("192.0.2.10"), of(VIP4));
    let _ = listener.kill();
    let _ = listener.wait();
    assert!(own.success, "the port's own address is the kernel's\n{}", balancer.circumstances());
    // 7: refused at once; 28 would be silence.
    assert_eq!(vip.code, Some(7), "{}\n{}", vip.err, balancer.circumstances());
}

/// Requests and datagrams of both families, and that every server took part.
pub(crate) fn assert_traffic(lab: &Lab) {
    for url in [WEB4, WEB6] {
        assert_spread(&client::requests(lab, url, REQUESTS));
    }
    for address in [VIP4, VIP6] {
        assert_spread(&client::datagrams(lab, address, ECHO, REQUESTS));
    }
}

fn assert_spread(answers: &Answers) {
    answers.assert_complete(REQUESTS);
    for server in SERVERS {
        // A third is expected; fewer than five of sixty happens once in 10^5 runs.
        let share = answers.by_server.get(server).copied().unwrap_or(0);
        assert!(share >= 5, "{server} answered {share} times: {answers:?}");
    }
}

const REQUESTS: usize = 60;

#[test]
fn frames_that_the_kernel_drops_in_front_of_a_packet_socket_are_counted() {
    let Some(lab) = Lab::lay("missed", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    client::requests(&lab, WEB4, 5).assert_complete(5);
    let front = |status: &Value| status["ports"][0]["rx_missed"].as_u64();
    let missed = || front(&balancer.ask("status")).unwrap_or_default();
    assert_eq!(missed(), 0);
    balancer.signal(Signal::STOP);
    let flood = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                 for n in range(5000): s.sendto(b'x', ('203.0.113.80', 5353))\n";
    lab.must("client", &["python3", "-c", flood]);
    balancer.signal(Signal::CONT);
    // The ring has room for some 500.
    balancer.wait("the losses are counted", Duration::from_secs(10), || missed() >= 4000);
    assert!(missed() <= 5000, "{}", balancer.circumstances());
    let lost = balancer.run(&["status"]).out;
    let row = lost.lines().find(|line| line.starts_with("front")).unwrap();
    assert!(row.contains(&missed().to_string()), "{lost}");
}
