//! Services that cannot serve: VIPs given up and taken again, links and TAPs that go, probes that cannot be sent.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::SERVERS;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;

/// The web alone: the UDP services of the lab have no probes and hold their VIPs.
fn web(health: &str) -> Configuration {
    let service = |name: &str, vip: &str, network: &str| {
        let backend = |n: u32| format!("[[service.backend]]\naddress = \"{network}{n}\"\nport = 8080\n");
        let backends: String = (1..=3).map(backend).collect();
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = 80\nannounce_hold = \"500ms\"\n\
             [service.health]\nkind = \"http\"\npath = \"/healthz\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
             fall = 2\nrise = 2\n{health}{backends}"
        )
    };
    let services = service("web", VIP4, "10.0.9.") + &service("web6", VIP6, "fd00:9::");
    Configuration { services: Some(services), ..Configuration::new(Arms::Two) }
}

/// Whether the kernel's side of the front port holds an address.
fn holds(lab: &Lab, address: &str) -> bool {
    lab.on("balancer", &["ip", "-o", "address", "show", "dev", "ek0"]).out.contains(&format!(" {address}/"))
}

fn healthz(lab: &Lab) -> String {
    lab.on("balancer", &["curl", "-s", "-m", "5", "http://127.0.0.1:9180/healthz"]).out
}

fn service(balancer: &Balancer<'_>, name: &str) -> Value {
    let answer = balancer.ask("services");
    let services = answer["services"].as_array().unwrap().iter();
    services.clone().find(|service| service["name"] == name).unwrap_or(&Value::Null).clone()
}

#[test]
fn a_vip_is_given_up_while_the_link_to_its_servers_is_down_and_taken_again() {
    let Some(lab) = Lab::lay("withdraw", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &web(""));
    assert!(holds(&lab, VIP4) && holds(&lab, VIP6));
    lab.must("balancer", &["ip", "link", "set", "back", "down"]);
    balancer.wait("the VIPs are given up", SOON, || !holds(&lab, VIP4) && !holds(&lab, VIP6));
    balancer.wait("the link is told", SOON, || healthz(&lab) == "port back has no link\n");
    let down = service(&balancer, "web");
    assert_eq!(
        (&down["up"], &down["announced"], &down["backends_up"]),
        (&false.into(), &false.into(), &0.into())
    );
    assert_eq!(balancer.ask("status")["ready"], false);
    lab.must("balancer", &["ip", "link", "set", "back", "up"]);
    balancer.wait("the VIPs are back", SOON, || holds(&lab, VIP4) && holds(&lab, VIP6));
    balancer.wait("the balancer is ready", SOON, || balancer.ask("status")["ready"] == true);
    assert_eq!(service(&balancer, "web")["announced"], true);
    client::requests(&lab, WEB4, 20).assert_complete(20);
    client::requests(&lab, WEB6, 20).assert_complete(20);
    assert!(balancer.log().contains("vip_withdrawn"), "{}", balancer.log());
}

#[test]
fn a_deleted_tap_ends_readiness_and_the_announcement() {
    let Some(lab) = Lab::lay("notap", Arms::Two, 1) else { return };
    let mut balancer = Balancer::start(&lab, &web(""));
    lab.must("balancer", &["ip", "link", "del", "ek0"]);
    let lost = || balancer.ask("status")["ready"] == false;
    balancer.wait("the balancer is not ready", SOON, lost);
    balancer.wait("nothing is announced", SOON, || balancer.ask("status")["vips_announced"] == 0);
    assert!(healthz(&lab).starts_with("the kernel's side of port front is gone"), "{}", healthz(&lab));
    assert!(balancer.log().contains("kernel_side_lost port=front"), "{}", balancer.log());
    assert!(balancer.runs());
}

#[test]
fn probes_that_cannot_be_sent_are_a_state_of_their_service() {
    let Some(lab) = Lab::lay("notsent", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &web(""));
    let mut with = web("");
    let another = "[[service]]\nname = \"lost\"\nvip = \"203.0.113.90\"\nport = 80\n[service.health]\n\
                   kind = \"tcp\"\nfrom = \"10.0.7.7\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
                   [[service.backend]]\naddress = \"10.0.9.1\"\nport = 8080\n";
    with.services = with.services.map(|services| services + another);
    let done = balancer.reload(&with);
    assert!(done.success, "{}", done.err);
    balancer.wait("the service is down", SOON, || balancer.log().contains("service_down service=lost"));
    let answer = balancer.ask("backends");
    let backends = answer["backends"].as_array().unwrap();
    let lost = backends.iter().find(|backend| backend["service"] == "lost").unwrap();
    assert_eq!(lost["last_check"], "not sent: Cannot assign requested address (os error 99)");
    let service = service(&balancer, "lost");
    assert_eq!((&service["announced"], &service["probes_not_sent"]), (&false.into(), &1.into()));
    assert!(!holds(&lab, "203.0.113.90") && holds(&lab, VIP4));
    let metric = || {
        let page = lab.must("balancer", &["curl", "-s", "http://127.0.0.1:9180/metrics"]);
        let line = page.lines().find(|line| line.starts_with("evenkeel_probes_not_sent_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    balancer.wait("attempts are counted", SOON, || metric() > 5);
    let lines = balancer.log().lines().filter(|line| line.contains("probe_not_sent")).count();
    assert_eq!(lines, 1, "{}", balancer.log());
}

#[test]
fn servers_of_both_families_pass_their_first_probe_after_every_restart() {
    let Some(lab) = Lab::lay("restarts", Arms::Two, 1) else { return };
    // As long as the kernel waits for the answer to a neighbour solicitation before it sends another.
    let mut configuration = web("");
    let in_time = |text: String| {
        text.replace("interval = \"200ms\"\ntimeout = \"150ms\"", "interval = \"1s\"\ntimeout = \"1s\"")
    };
    configuration.services = configuration.services.map(in_time);
    for round in 0..6 {
        let mut balancer = Balancer::start(&lab, &configuration);
        let log = balancer.log();
        assert!(!log.contains("backend_down") && !log.contains("no_link_local"), "round {round}:\n{log}");
        balancer.signal(Signal::TERM);
        balancer.wait_end(SOON);
    }
}

#[test]
fn silence_of_all_servers_is_verified_and_then_believed() {
    let Some(lab) = Lab::lay("allsilent", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &web(""));
    for server in SERVERS {
        lab.must(server, &["ip", "link", "set", "eth0", "down"]);
    }
    let down =
        || SERVERS.iter().all(|server| balancer.states(server, "").iter().all(|state| state == "down"));
    let took = balancer.wait("every server is down", SOON, down);
    eprintln!("all out of service after {took:.2?}");
    balancer.wait("the VIPs are given up", SOON, || !holds(&lab, VIP4) && !holds(&lab, VIP6));
}

const SOON: Duration = Duration::from_secs(15);
