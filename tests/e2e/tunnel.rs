//! Tunnels that another machine's kernel ends: the one here may have no device for them, so that it is a guest's.

use std::fs;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::GUEST4;
use crate::configuration::GUEST6;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::guest::Guest;
use crate::lab::Arms;
use crate::lab::Lab;

/// The services, and the guest's device that takes their packets out.
const SERVICES: [(&str, &str); 8] = [
    // IP in IP,
    ("http://203.0.113.80:8080/", "tunl0"),
    ("http://[2001:db8:80::80]:8080/", "in6"),
    ("http://203.0.113.80:8082/", "in6"),
    ("http://[2001:db8:80::80]:8082/", "sit0"),
    // and in GUE.
    ("http://203.0.113.80:8081/", "tunl0"),
    ("http://[2001:db8:80::80]:8081/", "in6"),
    ("http://203.0.113.80:8083/", "in6"),
    ("http://[2001:db8:80::80]:8083/", "sit0"),
];
/// Those of a client over IPv4 and one over IPv6.
const FIRST: [&str; 2] = [SERVICES[0].0, SERVICES[1].0];
/// A client whom the guest does not ask for smaller packets.
const UNASKED: [&str; 2] = ["192.0.2.101", "2001:db8:2::101"];

fn boot(lab: &Lab) -> Guest {
    let environment = format!("VIP4={VIP4}\nVIP6={VIP6}\n");
    let file = fs::read(lab.file()).unwrap();
    let mut guest = Guest::boot(
        lab,
        &["ipip", "ip6_tunnel", "sit", "fou", "fou6"],
        include_str!("tunnel_server.sh"),
        &[("environment", environment.as_bytes()), ("file", &file)],
    );
    let serves = |url: &str| lab.on("b1", &["curl", "-sS", "--fail", "-m", "2", url]).success;
    guest.wait("the guest's web servers answer", Duration::from_secs(180), || {
        [GUEST4.to_owned(), format!("[{GUEST6}]")]
            .iter()
            .all(|guest| [8080, 8081].iter().all(|port| serves(&format!("http://{guest}:{port}/healthz"))))
    });
    guest
}

/// Packets that a device of the guest has taken out of tunnels.
fn received(lab: &Lab, device: &str) -> u64 {
    let listed =
        lab.must("b1", &["curl", "-sS", "--fail", "-m", "10", "http://10.0.9.4:8080/cgi-bin/received"]);
    let count = listed.lines().find_map(|line| line.strip_prefix(device)?.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no {device} in {listed:?}"))
}

fn dropped(balancer: &Balancer<'_>, reason: &str) -> u64 {
    let listed = balancer.ask("counters");
    let mut counters = listed["counters"].as_array().unwrap().iter();
    counters.find(|counter| counter["reason"] == reason).unwrap()["total"].as_u64().unwrap()
}

/// A request that is to end within a few seconds, with more in its head than fits into two packets.
fn long_request(lab: &Lab, url: &str, source: Option<&str>, limit: &str) -> bool {
    let head = format!("X-Filling: {}", "x".repeat(3000));
    let mut line = vec!["curl", "-sS", "--fail", "-m", limit, "-H", &head, url];
    line.extend(source.iter().flat_map(|source| ["--interface", source]));
    lab.on("client", &line).success
}

#[test]
#[ignore = "boots a virtual machine: scripts/test --qemu"]
fn the_kernel_at_the_end_of_a_tunnel_takes_packets_out_and_its_server_answers_clients_itself() {
    let Some(lab) = Lab::lay("tunnel", Arms::One, 5) else { return };
    let _guest = boot(&lab);
    let mut configuration = Configuration::new(Arms::One);
    configuration.mode = "guest";
    let balancer = Balancer::start(&lab, &configuration);

    let digest = client::digest_of_file(&lab);
    for (url, device) in SERVICES {
        let before = received(&lab, device);
        let answers = client::requests(&lab, url, 10);
        answers.assert_complete(10);
        assert_eq!(answers.by_server.get("guest"), Some(&10), "{answers:?}");
        assert_eq!(client::digest_of_download(&lab, &format!("{url}file")), digest, "{url}");
        // A SYN, an acknowledgment, a request and a FIN at least.
        let taken_out = received(&lab, device) - before;
        assert!(taken_out >= 44, "{url}: {device} got {taken_out} packets");
    }
    answers_pass_by(&balancer);
    clients_learn_what_is_too_large_for_the_tunnel(&balancer);
    packets_that_are_spent_are_counted(&balancer);
}

/// Nothing was remembered and nothing came back.
fn answers_pass_by(balancer: &Balancer<'_>) {
    let flows = balancer.run(&["flows", "--json", "--limit", "1000"]);
    assert!(flows.success, "{}", flows.err);
    let flows: serde_json::Value = serde_json::from_str(&flows.out).unwrap();
    assert_eq!(flows["flows"].as_array().unwrap().len(), 0, "{flows}");
    let backends = balancer.ask("backends");
    for backend in backends["backends"].as_array().unwrap() {
        assert_ne!(backend["packets_in"], 0, "{backend}");
        assert_eq!(backend["packets_out"], 0, "{backend}");
    }
}

/// Clients send what the server asks for: with room for the outer headers all fits; without, it is dropped, and they
/// learn from the balancer what does.
fn clients_learn_what_is_too_large_for_the_tunnel(balancer: &Balancer<'_>) {
    let lab = balancer.lab();
    for (url, _) in SERVICES {
        assert!(long_request(lab, url, None, "20"), "{url}\n{}", balancer.circumstances());
    }
    assert_eq!(dropped(balancer, "mtu_exceeded"), 0);
    for (url, source) in FIRST.into_iter().zip(UNASKED) {
        lab.must("client", &["ip", "address", "replace", source, "dev", "eth0"]);
        assert!(client_at(lab, url, source), "a small request from {source}");
        let before = dropped(balancer, "mtu_exceeded");
        assert!(long_request(lab, url, Some(source), "20"), "{url}\n{}", balancer.circumstances());
        assert!(dropped(balancer, "mtu_exceeded") > before, "{}", balancer.circumstances());
    }
}

fn client_at(lab: &Lab, url: &str, source: &str) -> bool {
    lab.on("client", &["curl", "-sS", "--fail", "-m", "20", "--interface", source, url]).success
}

/// A tunnel is a hop: what would arrive with a TTL of 0 is not sent.
fn packets_that_are_spent_are_counted(balancer: &Balancer<'_>) {
    let lab = balancer.lab();
    let limits = |value: u8| {
        let v4 = format!("net.ipv4.ip_default_ttl={value}");
        let v6 = format!("net.ipv6.conf.eth0.hop_limit={value}");
        lab.must("client", &["sysctl", "-qw", &v4, &v6]);
    };
    limits(1);
    for url in FIRST {
        let before = dropped(balancer, "ttl_expired");
        assert!(!lab.on("client", &["curl", "-sS", "-m", "1", url]).success, "{url}");
        assert!(dropped(balancer, "ttl_expired") > before, "{}", balancer.circumstances());
    }
    limits(2);
    for url in FIRST {
        client::requests(lab, url, 1).assert_complete(1);
    }
}
