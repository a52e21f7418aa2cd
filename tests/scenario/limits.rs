//! Limits of services, backends and clients: exact over all workers, wherever frames arrive.

use std::collections::BTreeMap;

use evenkeel::model::{BackendState, ClientPrefix, Nanos, OnNoBackend, ServiceId, ServiceLimits};
use evenkeel::shared::{Choice, DropReason};

use crate::lab::{Lab, Plan, VIP4, backend, backend_id};
use crate::packet::{ACK, Build, FIN, Kind, RST, SYN};

const WEB: &str = "203.0.113.80:80";
const DNS: &str = "203.0.113.80:53";
const WEB_ID: ServiceId = ServiceId(0);

const fn none() -> ServiceLimits {
    ServiceLimits {
        connections: 0,
        connections_per_second: 0,
        client_connections: 0,
        client_connections_per_second: 0,
        client_prefix: ClientPrefix { v4: 32, v6: 64 },
    }
}

fn lab(workers: u16, limits: ServiceLimits) -> Lab {
    Lab::new(Plan { workers, limits, ..Plan::default() })
}

fn client(n: u16) -> String {
    format!("198.51.{}.{}:40000", 100 + n / 250, 1 + n % 250)
}

/// Client `n` sends a SYN, to the worker whose turn it is; the address of the backend that it reaches.
fn open(lab: &mut Lab, n: u16) -> Option<std::net::IpAddr> {
    let worker = usize::from(n) % lab.workers.len();
    let sent = lab.exchange_at(worker, &Build::new(&client(n), WEB).tcp());
    assert_eq!(sent.len(), 1, "{:?}", lab.drops());
    (sent[0].flags == SYN).then(|| sent[0].to.ip())
}

#[test]
fn a_service_has_as_many_connections_as_its_limit_on_whatever_workers() {
    for workers in [1, 3] {
        let mut lab = lab(workers, ServiceLimits { connections: 10, ..none() });
        let opened = (0..30).filter(|n| open(&mut lab, *n).is_some()).count();
        assert_eq!(opened, 10, "{workers} workers");
        assert_eq!(lab.dropped(DropReason::ServiceLimit), 20);
        let counters: Vec<_> = lab.counters.iter().map(|c| c.service(WEB_ID).unwrap().totals()).collect();
        assert_eq!(counters.iter().map(|totals| totals.limited).sum::<u64>(), 20);
        assert_eq!(lab.limits.service_connections(WEB_ID), 10);
        lab.wait(Nanos::from_secs(32));
        assert_eq!(lab.limits.service_connections(WEB_ID), 0, "half-open ones time out");
        assert_eq!((30..60).filter(|n| open(&mut lab, *n).is_some()).count(), 10);
        lab.assert_conserved();
    }
}

#[test]
fn a_limit_of_one_is_a_limit_of_one_with_three_workers() {
    let mut lab = lab(3, ServiceLimits { connections: 1, ..none() });
    for n in 0..20 {
        assert_eq!(open(&mut lab, n).is_some(), n == 0);
    }
}

#[test]
fn a_closed_connection_makes_room_while_its_lease_still_rests() {
    for (backend_first, state) in [(true, "time_wait"), (false, "closed")] {
        let mut lab = lab(1, ServiceLimits { connections: 1, ..none() });
        let (from, to) = (client(0), WEB);
        let syn = lab.forward(&Build::new(&from, to).tcp());
        lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
        lab.forward(&Build::new(&from, to).flags(ACK).tcp());
        let close = |lab: &mut Lab, by_backend: bool, flags| {
            if by_backend {
                lab.forward(&Build::answer(&syn).closes(flags).tcp());
            } else {
                lab.forward(&Build::new(&from, to).closes(flags).tcp());
            }
        };
        close(&mut lab, backend_first, FIN | ACK);
        assert_eq!(lab.limits.service_connections(WEB_ID), 1, "half closed");
        close(&mut lab, !backend_first, FIN | ACK);
        close(&mut lab, backend_first, ACK);
        assert_eq!((lab.limits.service_connections(WEB_ID), lab.tally().flows()), (0, 1), "{state}");
        assert!(open(&mut lab, 1).is_some());
        lab.wait(Nanos::from_secs(120));
        assert_eq!((lab.limits.service_connections(WEB_ID), lab.tally().flows()), (0, 0), "given back once");
    }
}

#[test]
fn however_a_flow_ends_its_place_is_free() {
    let mut lab = lab(1, ServiceLimits { connections: 1, client_connections: 1, ..none() });
    let is_free = |lab: &Lab| lab.limits.service_connections(WEB_ID) == 0 && lab.limits.clients() == 0;

    assert!(open(&mut lab, 0).is_some());
    lab.forward(&Build::new(&client(0), WEB).flags(RST).numbers(1001, 0).tcp());
    assert!(is_free(&lab), "a reset");

    let syn = lab.forward(&Build::new(&client(1), WEB).tcp());
    lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
    lab.forward(&Build::new(&client(1), WEB).flags(ACK).tcp());
    for number in 1..=3 {
        lab.set_backend_state(number, BackendState::Dead);
    }
    lab.exchange(&Build::new(&client(1), WEB).flags(ACK).payload(b"still there?").tcp());
    assert!(is_free(&lab), "its backend is dead");
    for number in 1..=3 {
        lab.set_backend(number, true);
    }

    assert!(open(&mut lab, 2).is_some());
    lab.forward(&Build::new(&client(2), WEB).flags(RST).numbers(1001, 0).tcp());
    assert!(open(&mut lab, 2).is_some(), "the client uses its port again");
    lab.wait(Nanos::from_secs(40));
    assert!(is_free(&lab), "timed out");
}

#[test]
fn a_flow_given_up_for_another_one_gives_its_place_back() {
    let limits = ServiceLimits { connections: 1000, ..none() };
    let mut lab = Lab::new(Plan { flows: 16, limits, ..Plan::default() });
    for n in 0..200 {
        assert!(open(&mut lab, n).is_some());
    }
    assert_eq!((lab.tally().flows(), lab.limits.service_connections(WEB_ID)), (16, 16));
}

#[test]
fn a_client_prefix_has_its_own_limit_over_all_workers() {
    let client_prefix = ClientPrefix { v4: 24, v6: 64 };
    for workers in [1, 3] {
        let mut lab = lab(workers, ServiceLimits { client_connections: 4, client_prefix, ..none() });
        let opened: Vec<u16> = (0..500).filter(|n| open(&mut lab, *n).is_some()).collect();
        assert_eq!(opened, [0, 1, 2, 3, 250, 251, 252, 253], "four of each /24");
        assert_eq!(lab.dropped(DropReason::ClientLimit), 492);
        for n in 1..10 {
            let syn = Build::new(&format!("[2001:db8:7:7::{n}]:40000"), "[2001:db8::80]:80").tcp();
            let sent = lab.exchange_at(n % lab.workers.len(), &syn);
            assert_eq!(sent[0].flags == SYN, n <= 4, "four of the /64");
        }
        lab.wait(Nanos::from_secs(32));
        assert_eq!(lab.limits.clients(), 0);
    }
}

#[test]
fn new_connections_a_second_are_limited_and_come_again_with_time() {
    for workers in [1, 3] {
        let mut lab = lab(workers, ServiceLimits { connections_per_second: 10, ..none() });
        let mut next = 0;
        let mut opened = |lab: &mut Lab| {
            next += 40;
            (next - 40..next).filter(|n| open(lab, *n).is_some()).count()
        };
        assert_eq!(opened(&mut lab), 10);
        lab.wait(Nanos::from_millis(500));
        assert_eq!(opened(&mut lab), 5);
        lab.wait(Nanos::from_secs(10));
        assert_eq!(opened(&mut lab), 10, "no more than a second is saved up");
        assert_eq!(lab.dropped(DropReason::ServiceRateLimit), 95);
    }
}

#[test]
fn a_client_that_is_too_fast_takes_nothing_from_others() {
    let limits = ServiceLimits { connections_per_second: 10, client_connections_per_second: 2, ..none() };
    let mut lab = lab(1, limits);
    let mut from = |address: &str, port: u16| {
        lab.forward(&Build::new(&format!("{address}:{port}"), WEB).tcp()).flags == SYN
    };
    assert_eq!((1..100).filter(|port| from("198.51.100.7", *port)).count(), 2);
    assert_eq!((1..100).filter(|port| from("198.51.100.8", *port)).count(), 2);
    assert_eq!(lab.dropped(DropReason::ClientRateLimit), 194);
    assert_eq!(lab.dropped(DropReason::ServiceRateLimit), 0);
}

#[test]
fn a_retransmitted_syn_counts_once() {
    let mut lab = lab(1, ServiceLimits { connections: 2, connections_per_second: 2, ..none() });
    for _ in 0..5 {
        assert!(open(&mut lab, 0).is_some());
    }
    assert!(open(&mut lab, 1).is_some());
    assert!(open(&mut lab, 2).is_none());
}

#[test]
fn flows_of_udp_count_until_they_end() {
    let mut lab = lab(1, ServiceLimits { connections: 1, ..none() });
    let query = |n| Build::new(&client(n), DNS).payload(b"q").udp();
    assert_eq!(lab.forward(&query(0)).kind, Kind::Udp);
    assert_eq!(lab.forward(&query(1)).kind, Kind::Icmp(3, 3));
    assert_eq!(lab.forward(&query(0)).kind, Kind::Udp);
    lab.wait(Nanos::from_secs(302));
    assert_eq!(lab.forward(&query(1)).kind, Kind::Udp);
}

#[test]
fn what_is_refused_elsewhere_costs_no_place() {
    let mut lab = lab(1, ServiceLimits { connections: 1, client_connections: 1, ..none() });
    for number in 1..=3 {
        lab.set_backend(number, false);
    }
    for n in 0..5 {
        assert!(open(&mut lab, n).is_none());
    }
    assert_eq!(lab.dropped(DropReason::NoBackend), 5);
    assert_eq!((lab.limits.service_connections(WEB_ID), lab.limits.clients()), (0, 0));
    lab.set_backend(1, true);
    assert!(open(&mut lab, 0).is_some());
}

#[test]
fn a_service_refuses_at_its_limit_in_its_own_manner() {
    let plan = |on_no_backend| Plan {
        on_no_backend,
        limits: ServiceLimits { connections: 1, ..none() },
        ..Plan::default()
    };
    let mut silent = Lab::new(plan(OnNoBackend::Drop));
    assert!(open(&mut silent, 0).is_some());
    silent.lose(&Build::new(&client(1), WEB).tcp(), DropReason::ServiceLimit);

    let mut polite = Lab::new(plan(OnNoBackend::Http503));
    assert!(open(&mut polite, 0).is_some());
    let accepted = polite.forward(&Build::new(&client(1), WEB).numbers(100, 0).tcp());
    assert_eq!(accepted.flags, SYN | ACK);
    let get = b"GET / HTTP/1.1\r\n\r\n";
    let request = Build::new(&client(1), WEB).flags(ACK).numbers(101, accepted.sequence.wrapping_add(1));
    let page = polite.forward(&request.payload(get).tcp());
    assert!(page.payload.starts_with(b"HTTP/1.1 503"), "{page:?}");
    assert_eq!(polite.dropped(DropReason::ServiceLimit), 1);
}

#[test]
fn a_reload_changes_limits_and_keeps_the_counts() {
    let mut lab = lab(3, ServiceLimits { connections: 10, ..none() });
    assert_eq!((0..20).filter(|n| open(&mut lab, *n).is_some()).count(), 10);
    lab.plan.limits.connections = 15;
    lab.reload();
    assert_eq!((20..40).filter(|n| open(&mut lab, *n).is_some()).count(), 5);
    lab.plan.limits.connections = 5;
    lab.reload();
    assert_eq!((40..60).filter(|n| open(&mut lab, *n).is_some()).count(), 0, "none is cut off, none comes");
    assert_eq!(lab.tally().flows(), 15);
    lab.plan.limits.connections = 0;
    lab.reload();
    assert_eq!((60..70).filter(|n| open(&mut lab, *n).is_some()).count(), 10);
    lab.wait(Nanos::from_secs(32));
    assert_eq!(lab.limits.service_connections(WEB_ID), 0, "those that were counted, and no others");
}

#[test]
fn limits_that_come_with_a_reload_count_the_connections_that_are_there() {
    for workers in [1, 3] {
        let mut lab = lab(workers, none());
        assert_eq!((0..20).filter(|n| open(&mut lab, *n).is_some()).count(), 20);
        let closed = lab.forward(&Build::new(&client(0), WEB).flags(RST).numbers(1001, 0).tcp());
        assert_eq!(closed.flags, RST);
        lab.plan.limits = ServiceLimits { connections: 22, client_connections: 1, ..none() };
        lab.plan.max_connections = 100;
        lab.reload();
        lab.settle();
        assert_eq!(lab.limits.service_connections(WEB_ID), 19, "and not those that are over");
        let on_backends =
            |lab: &Lab| (1..=3).map(|n| lab.limits.backend_connections(backend_id(0, n))).sum::<u32>();
        assert_eq!((on_backends(&lab), lab.limits.clients()), (19, 19));
        let again = Build::new("198.51.100.2:50000", WEB).tcp();
        assert_eq!(lab.forward(&again).flags, RST | ACK, "a client that has a connection");
        assert_eq!(lab.dropped(DropReason::ClientLimit), 1);
        assert_eq!((30..60).filter(|n| open(&mut lab, *n).is_some()).count(), 3);
        lab.wait(Nanos::from_secs(40));
        let left = (lab.limits.service_connections(WEB_ID), on_backends(&lab), lab.limits.clients());
        assert_eq!(left, (0, 0, 0));
    }
}

#[test]
fn a_reload_of_the_client_prefix_loses_no_count() {
    let mut lab = lab(1, ServiceLimits { client_connections: 5, ..none() });
    assert_eq!((0..5).filter(|n| open(&mut lab, *n).is_some()).count(), 5);
    lab.plan.limits.client_prefix.v4 = 16;
    lab.reload();
    assert_eq!((5..20).filter(|n| open(&mut lab, *n).is_some()).count(), 5, "counted as one from now on");
    lab.wait(Nanos::from_secs(32));
    assert_eq!(lab.limits.clients(), 0);
}

#[test]
fn a_full_backend_is_passed_over_and_all_full_ones_refuse() {
    let choices = [
        None,
        Some(Choice::Turns([0, 1, 2].into())),
        Some(Choice::LeastConnections([0, 1, 2].into())),
        Some(Choice::TwoChoices([0, 1, 2].into())),
        Some(Choice::One(Some(1))),
    ];
    for (workers, choice) in choices.iter().flat_map(|choice| [(1, choice.clone()), (3, choice.clone())]) {
        let mut lab =
            Lab::new(Plan { workers, choice: choice.clone(), max_connections: 4, ..Plan::default() });
        let mut on: BTreeMap<_, u32> = BTreeMap::new();
        for n in 0..30 {
            if let Some(backend) = open(&mut lab, n) {
                *on.entry(backend).or_default() += 1;
            }
        }
        let full: BTreeMap<_, _> = (1..=3).map(|number| (backend(VIP4, number).address, 4)).collect();
        assert_eq!(on, full, "{workers} workers, {choice:?}");
        assert_eq!(lab.dropped(DropReason::BackendsFull), 18);
        assert_eq!(lab.limits.backend_connections(backend_id(0, 1)), 4);
        for number in 1..=3 {
            lab.set_backend(number, false);
        }
        assert!(open(&mut lab, 40).is_none());
        assert_eq!(lab.dropped(DropReason::NoBackend), 1, "no backend is another reason");
        lab.wait(Nanos::from_secs(32));
        assert_eq!(lab.limits.backend_connections(backend_id(0, 1)), 0);
    }
}

#[test]
fn a_full_backend_moves_no_client_but_its_own() {
    let mut unlimited = lab(1, none());
    let mut limited = Lab::new(Plan { max_connections: 40, ..Plan::default() });
    let mut on: BTreeMap<_, u32> = BTreeMap::new();
    for n in 0..100 {
        let chosen = open(&mut unlimited, n).unwrap();
        let got = open(&mut limited, n).unwrap();
        if *on.entry(chosen).or_default() < 40 && got != chosen {
            // Only one that is full by now, of its own clients and those that others passed on.
            assert_eq!(on.values().max(), Some(&40), "client {n} has gone elsewhere without need");
        }
        *on.entry(got).or_default() += 1;
    }
    assert!(on.values().all(|n| *n <= 40), "{on:?}");
    let displaced = limited.tally().displaced;
    assert!(displaced < 30, "{displaced} displaced");
}

#[test]
fn failover_goes_to_the_standby_when_the_first_is_full() {
    let mut lab =
        Lab::new(Plan { choice: Some(Choice::One(Some(0))), max_connections: 2, ..Plan::default() });
    let first = backend(VIP4, 1).address;
    let opened: Vec<_> = (0..4).map(|n| open(&mut lab, n).unwrap() == first).collect();
    assert_eq!(opened, [true, true, false, false]);
    lab.wait(Nanos::from_secs(32));
    assert_eq!(open(&mut lab, 9), Some(first), "it has room again");
}
