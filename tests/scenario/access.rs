//! Which clients a service lets in.

use std::sync::Arc;

use evenkeel::model::{AccessRules, Encapsulation, ForwardingMode, Nanos, ServiceLimits};
use evenkeel::shared::{Access, DropReason};

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, Kind, SYN};

const BANNED: &str = "198.51.100.66:40000";
const GOOD: &str = "198.51.100.7:40000";
const WEB: &str = "203.0.113.80:80";
const DNS: &str = "203.0.113.80:53";

fn access(rules: &[(&str, bool)], otherwise: bool) -> Option<Arc<Access>> {
    let mut rules: Vec<_> =
        rules.iter().map(|(prefix, allowed)| (prefix.parse().unwrap(), *allowed)).collect();
    rules.sort_unstable();
    Some(Arc::new(Access::new(&AccessRules { rules, otherwise })))
}

fn ban() -> Option<Arc<Access>> {
    access(&[("198.51.100.66/32", false), ("2001:db8:6::/48", false)], true)
}

#[test]
fn a_denied_client_hears_nothing_and_others_are_served() {
    let mut lab = Lab::new(Plan { access: ban(), ..Plan::default() });
    lab.lose(&Build::new(BANNED, WEB).tcp(), DropReason::Denied);
    lab.lose(&Build::new(BANNED, WEB).flags(ACK).tcp(), DropReason::Denied);
    lab.lose(&Build::new(BANNED, DNS).payload(b"q").udp(), DropReason::Denied);
    lab.lose(&Build::new("[2001:db8:6::1]:40000", "[2001:db8::80]:80").tcp(), DropReason::Denied);
    assert_eq!(lab.forward(&Build::new(GOOD, WEB).tcp()).flags, SYN);
    assert_eq!(lab.forward(&Build::new("[2001:db8:7::1]:40000", "[2001:db8::80]:80").tcp()).flags, SYN);
    let denied = lab.counters[0].service(evenkeel::model::ServiceId(0)).unwrap().totals().denied;
    assert_eq!(denied, 2);
    lab.assert_conserved();
}

#[test]
fn with_a_list_of_those_who_may_nobody_else_may() {
    let mut lab = Lab::new(Plan {
        access: access(&[("198.51.100.0/24", true), ("198.51.100.66/32", false)], false),
        ..Plan::default()
    });
    assert_eq!(lab.forward(&Build::new(GOOD, WEB).tcp()).flags, SYN);
    lab.lose(&Build::new(BANNED, WEB).tcp(), DropReason::Denied);
    lab.lose(&Build::new("192.0.2.7:40000", WEB).tcp(), DropReason::Denied);
    lab.lose(&Build::new("[2001:db8:7::1]:40000", "[2001:db8::80]:80").tcp(), DropReason::Denied);
}

#[test]
fn a_ban_ends_the_clients_flows_and_leaves_those_of_others() {
    for workers in [1, 3] {
        let limits = ServiceLimits { connections: 100, ..ServiceLimits::default() };
        let mut lab = Lab::new(Plan { workers, limits, ..Plan::default() });
        let open = |lab: &mut Lab, client: &str| {
            let syn = lab.forward(&Build::new(client, WEB).tcp());
            lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
            lab.forward(&Build::new(client, WEB).flags(ACK).tcp());
            syn
        };
        let banned = open(&mut lab, BANNED);
        open(&mut lab, GOOD);
        lab.forward(&Build::new(BANNED, DNS).payload(b"q").udp());
        lab.plan.access = ban();
        lab.reload();
        lab.settle();
        assert_eq!(lab.tally().flows(), 1, "whether packets come or not");
        assert_eq!(lab.limits.service_connections(evenkeel::model::ServiceId(0)), 1);
        lab.lose(&Build::new(BANNED, WEB).flags(ACK).payload(b"more").tcp(), DropReason::Denied);
        let told = lab.forward(&Build::answer(&banned).flags(ACK).payload(b"more").tcp());
        assert_eq!(told.kind, Kind::Tcp, "the backend is told by a reset");
        lab.forward(&Build::new(GOOD, WEB).flags(ACK).payload(b"more").tcp());
        lab.plan.access = None;
        lab.reload();
        open(&mut lab, BANNED);
    }
}

#[test]
fn a_ban_reaches_every_flow_of_a_large_table() {
    let mut lab = Lab::new(Plan { flows: 4096, ..Plan::default() });
    for n in 0..3000_u16 {
        let client = format!("{}.51.100.66:{}", if n % 3 == 0 { 198 } else { 192 }, 10_000 + n);
        lab.forward(&Build::new(&client, DNS).payload(b"q").udp());
    }
    lab.plan.access = ban();
    lab.reload();
    lab.settle();
    assert_eq!(lab.tally().flows(), 2000);
}

/// How many frames leave because of one, whatever they are.
fn send(lab: &mut Lab, bytes: &[u8]) -> usize {
    lab.deliver_to(0, bytes);
    lab.settle();
    lab.sent().len()
}

#[test]
fn services_without_flows_look_at_each_packet() {
    for mode in [ForwardingMode::DirectRouting, ForwardingMode::Tunnel(Encapsulation::Ip)] {
        let mut lab = Lab::new(Plan { mode, ..Plan::default() });
        let data = |client| Build::new(client, WEB).flags(ACK).payload(b"data").tcp();
        assert_eq!(send(&mut lab, &data(BANNED)), 1);
        lab.plan.access = ban();
        lab.reload();
        lab.settle();
        lab.lose(&data(BANNED), DropReason::Denied);
        assert_eq!(send(&mut lab, &data(GOOD)), 1);
        // A session with a record.
        lab.plan.access = None;
        lab.reload();
        for number in 1..=2 {
            lab.set_backend(number, false);
        }
        for port in 1..40 {
            send(&mut lab, &Build::new(&format!("198.51.100.66:{port}"), WEB).tcp());
        }
        assert!(lab.tally().flows() > 10);
        lab.plan.access = ban();
        lab.reload();
        lab.settle();
        assert_eq!(lab.tally().flows(), 0);
        lab.wait(Nanos::from_secs(1));
        lab.assert_conserved();
    }
}
