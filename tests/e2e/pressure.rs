//! Floods on services with one backend and one local address, which has 61,440 ports.

use std::time::Duration;

use evenkeel::wire::tcp_flags;
use serde_json::Value;

use crate::balancer::Balancer;
use crate::client;
use crate::client::Stream;
use crate::configuration::Configuration;
use crate::configuration::ECHO;
use crate::configuration::VIP4;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::flood::Flood;
use crate::flood::Kind;
use crate::lab::Arms;
use crate::lab::Lab;

/// Services on the first server alone, with room for more flows than it has leases.
fn one_backend() -> Configuration {
    Configuration { weights: [Some(100), None, None], flows: 400_000, ..Configuration::new(Arms::Two) }
}

/// The flood's packets that became flows, or cookies, of a service.
fn seen(balancer: &Balancer<'_>, service: &str) -> u64 {
    let answer = balancer.ask("services");
    let mut services = answer["services"].as_array().unwrap().iter();
    let service = services.find(|entry| entry["name"] == service).unwrap();
    service["connections"].as_u64().unwrap() + service["syn_proxy"]["cookies_sent"].as_u64().unwrap()
}

fn drops(balancer: &Balancer<'_>, reason: &str) -> u64 {
    let answer = balancer.ask("counters");
    let counters = answer["counters"].as_array().unwrap();
    let counter = counters.iter().find(|counter| counter["reason"] == reason);
    counter.map_or(0, |counter| counter["workers"].as_array().unwrap().iter().filter_map(Value::as_u64).sum())
}

#[test]
fn syn_flood_on_one_backend_refuses_no_client() {
    let Some(lab) = Lab::lay("synone", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &one_backend());
    let stream = Stream::start(&lab, &[WEB4, WEB6]);
    // 120,000 SYNs, twice as many as there are leases.
    let flood = Flood::new(Kind::Tcp { flags: tcp_flags::SYN }, VIP4, 80);
    let sent = Flood { rate: 20_000, time: Duration::from_secs(6), ..flood }.start(&lab).wait();
    let answers = stream.stop();
    let (seen, rate) = (seen(&balancer, "web"), sent.rate());
    eprintln!(
        "{} SYNs at {rate:.0}/s, {seen} seen; {} requests, {:?}",
        sent.frames,
        answers.count(),
        answers.errors
    );
    assert!(answers.errors.is_empty() && answers.count() > 100, "{answers:?}\n{}", balancer.circumstances());
    assert!(seen > 61_440, "{seen}\n{}", balancer.circumstances());
    assert_eq!(drops(&balancer, "local_ports_exhausted"), 0, "{}", balancer.circumstances());
    assert!(balancer.log().contains("syn_proxy_begins"), "{}", balancer.log());
}

#[test]
fn udp_flood_on_one_backend_refuses_no_client() {
    let Some(lab) = Lab::lay("udpone", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &one_backend());
    let stream = Stream::start(&lab, &[WEB4]);
    // 144,000 datagrams, more than twice as many as there are leases.
    let flood = Flood::new(Kind::Udp, VIP4, ECHO);
    let flood = Flood { rate: 18_000, time: Duration::from_secs(8), ..flood }.start(&lab);
    let mut asked = 0;
    while !flood.is_over() {
        client::datagrams(&lab, VIP4, ECHO, 20).assert_complete(20);
        asked += 20;
    }
    let sent = flood.wait();
    let answers = stream.stop();
    let (seen, rate) = (seen(&balancer, "echo"), sent.rate());
    eprintln!(
        "{} datagrams at {rate:.0}/s, {seen} flows; {asked} questions, {} requests",
        sent.frames,
        answers.count()
    );
    assert!(answers.errors.is_empty() && answers.count() > 100, "{answers:?}\n{}", balancer.circumstances());
    assert!(seen > 61_440, "{seen}\n{}", balancer.circumstances());
    assert_eq!(drops(&balancer, "local_ports_exhausted"), 0, "{}", balancer.circumstances());
    let log = balancer.log();
    assert!(log.contains("local_ports_nearly_full"), "{log}");
    assert!(!log.contains("local_ports_refuse"), "{log}");
}
