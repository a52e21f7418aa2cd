//! What control makes of failures that may be its own, and of services that cannot serve, in virtual time.

mod control_support;

use std::time::Duration;

use control_support::address;
use control_support::config;
use control_support::service;
use control_support::state_rig::FAILED;
use control_support::state_rig::Rig;
use evenkeel::config::Announce;
use evenkeel::config::Config;
use evenkeel::control::change::Change;
use evenkeel::control::health::Advice;
use evenkeel::control::health::Asked;
use evenkeel::control::health::NotSent;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeOutcome;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::health::ProbeResult;
use evenkeel::control::port_watch::FaultKind;
use evenkeel::control::port_watch::PortFault;
use evenkeel::control::state::Event;
use evenkeel::control::state::Order;
use evenkeel::control::suspicion::LONGEST_HOLD;
use evenkeel::control::suspicion::Strain;
use evenkeel::control::suspicion::Verdict;
use evenkeel::control::workers::Pulse;
use evenkeel::model::BackendId;
use evenkeel::model::BackendState;
use evenkeel::model::Nanos;
use evenkeel::model::Scheduler;

const SILENT: ProbeResult = Err(ProbeFailure::Timeout);
const WEB: &str = "203.0.113.80";

/// A service with its own word about announcing.
fn announced(when: Announce, backends: &[(&str, u32)]) -> Config {
    let mut web = service("web", "203.0.113.80:80", backends);
    web.announce.when = when;
    config(vec![web])
}

fn healthy() -> Config {
    announced(Announce::Healthy, &[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)])
}

/// Two services of two servers each.
fn two_services() -> Config {
    config(vec![
        service("web", "203.0.113.80:80", &[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]),
        service("mail", "203.0.113.25:25", &[("10.0.9.3:25", 1), ("10.0.9.4:25", 1)]),
    ])
}

/// `times` results of every backend in turn.
fn probe_all(rig: &mut Rig, result: ProbeResult, times: u32) {
    let ids: Vec<BackendId> = rig.probes.keys().copied().collect();
    for _ in 0..times {
        ids.iter().for_each(|id| rig.probe(*id, result));
    }
}

fn names(rig: &Rig) -> Vec<String> {
    rig.log.iter().map(|change| change.json()["event"].as_str().expect("a name").to_owned()).collect()
}

fn not_sent(rig: &mut Rig, id: u32, reason: &str) {
    let (backend, generation) = (BackendId(id), rig.probes[&BackendId(id)].generation);
    rig.apply(Event::NotSent(NotSent { backend, generation, asked: Asked::Check, reason: reason.into() }));
}

/// The network's answers and the time that they need.
fn settle(rig: &mut Rig) {
    rig.pass(200);
    rig.hold();
}

#[test]
fn a_vip_without_an_eligible_backend_is_withdrawn_after_the_hold_and_comes_back() {
    let mut rig = Rig::ready(healthy());
    assert_eq!(rig.wanted.vips, [address(WEB)]);
    rig.log.clear();
    probe_all(&mut rig, FAILED, 3);
    assert_eq!(rig.wanted.vips, [address(WEB)], "announce_hold");
    assert_eq!(rig.state.wake_at(), Some(rig.now + Nanos::from_secs(2)));
    rig.pass(2000);
    assert!(rig.wanted.vips.is_empty());
    let reason = "no backend in service".to_owned();
    let withdrawn = Change::VipWithdrawn { vip: address(WEB), service: "web".into(), reason };
    assert_eq!(rig.log.last(), Some(&withdrawn));
    rig.hold();
    let web = rig.state.registry().service(rig.service_id("web")).expect("it is configured").clone();
    assert_eq!(rig.state.not_announced(&web).as_deref(), Some("no backend in service"));
    assert!(rig.state.not_ready().is_empty(), "the balancer itself is well");

    probe_all(&mut rig, Ok(()), 2);
    rig.pass(200);
    assert!(rig.wanted.vips.is_empty(), "announce_hold");
    rig.pass(2000);
    assert_eq!(rig.wanted.vips, [address(WEB)]);
    rig.hold();
    assert_eq!(rig.state.not_announced(&web), None);
    assert!(names(&rig).contains(&"vip_announced".to_owned()));
}

#[test]
fn a_flap_within_the_hold_withdraws_nothing() {
    let mut rig = Rig::ready(healthy());
    probe_all(&mut rig, FAILED, 3);
    rig.pass(1000);
    probe_all(&mut rig, Ok(()), 2);
    rig.pass(5000);
    assert_eq!(rig.wanted.vips, [address(WEB)]);
    assert!(!names(&rig).contains(&"vip_withdrawn".to_owned()));
}

#[test]
fn a_vip_is_held_while_any_of_its_services_wants_it() {
    let mut config = healthy();
    let mut tls = service("tls", "203.0.113.80:443", &[("10.0.9.1:443", 1)]);
    tls.announce.when = Announce::Healthy;
    config.services.push(tls);
    let mut rig = Rig::ready(config);
    for id in [0, 1] {
        (0..3).for_each(|_| rig.probe(BackendId(id), FAILED));
    }
    rig.pass(5000);
    assert_eq!(rig.wanted.vips, [address(WEB)], "of service tls");
    (0..3).for_each(|_| rig.probe(BackendId(2), FAILED));
    rig.pass(5000);
    assert!(rig.wanted.vips.is_empty());
}

#[test]
fn drain_weight_and_quorum_decide_about_the_vip_like_health() {
    let mut quorum = healthy();
    quorum.services[0].announce.when = Announce::Quorum;
    quorum.services[0].announce.quorum = 2;
    let mut rig = Rig::ready(quorum);
    rig.apply(Event::Administer(BackendId(0), Order::Drain(None)));
    rig.pass(3000);
    assert!(rig.wanted.vips.is_empty(), "one of a quorum of two");

    let mut rig = Rig::ready(healthy());
    rig.apply(Event::Administer(BackendId(0), Order::Disable));
    rig.apply(Event::Administer(BackendId(1), Order::Weight(0)));
    settle(&mut rig);
    rig.pass(3000);
    assert!(rig.wanted.vips.is_empty());

    let mut rig = Rig::ready(announced(Announce::Never, &[("10.0.9.1:80", 1)]));
    assert!(rig.wanted.vips.is_empty());
    rig.load(announced(Announce::Always, &[("10.0.9.1:80", 1)]));
    rig.pass(200);
    assert_eq!(rig.wanted.vips, [address(WEB)], "a reload needs no damping");
}

#[test]
fn a_balancer_whose_services_are_all_down_is_ready_and_announces_nothing() {
    let mut rig = Rig::new(healthy());
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.hold();
    probe_all(&mut rig, FAILED, 1);
    settle(&mut rig);
    assert!(rig.ready);
    assert!(rig.wanted.vips.is_empty());
    assert!(names(&rig).contains(&"service_down".to_owned()));
    probe_all(&mut rig, Ok(()), 2);
    rig.pass(200);
    assert_eq!(rig.wanted.vips, [address(WEB)], "the first announcement does not wait");
}

#[test]
fn readiness_waits_for_a_service_on_its_way_up_but_not_for_ever() {
    let start = || {
        let mut rig = Rig::new(healthy());
        rig.hold();
        probe_all(&mut rig, FAILED, 1);
        probe_all(&mut rig, Ok(()), 1);
        rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
        settle(&mut rig);
        assert!(!rig.ready, "one more good probe, and it is up");
        rig
    };
    let mut rig = start();
    probe_all(&mut rig, Ok(()), 1);
    settle(&mut rig);
    assert!(rig.ready);
    assert_eq!(rig.wanted.vips, [address(WEB)]);

    let mut rig = start();
    rig.now = rig.state.wake_at().expect("readiness has a bound");
    assert!(rig.now < Nanos::from_secs(11));
    rig.pass(0);
    assert!(rig.ready);
}

#[test]
fn silence_of_all_backends_is_verified_before_they_go_down() {
    let mut rig = Rig::ready(two_services());
    probe_all(&mut rig, SILENT, 2);
    rig.log.clear();
    rig.probe(BackendId(0), SILENT);
    assert_eq!(rig.log, [Change::SuspicionBegins { backends: 4, strain: None }]);
    assert_eq!(rig.repeated, 1);
    probe_all(&mut rig, SILENT, 3);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
    assert!(rig.state.suspicion().holds());
    // The time-out of a repeated probe, a second, and 300 ms.
    assert_eq!(rig.state.wake_at(), Some(rig.now + Nanos::from_millis(1300)));
    rig.pass(1300);
    assert!(rig.log.contains(&Change::SuspicionEnds { verdict: Verdict::Confirmed, strain: None }));
    for id in 0..4 {
        assert_eq!(rig.state_of(BackendId(id)), BackendState::Down);
    }
    assert_eq!(names(&rig).iter().filter(|name| *name == "backend_down").count(), 4);
    assert_eq!(names(&rig).iter().filter(|name| *name == "service_down").count(), 2);
}

#[test]
fn a_failure_near_us_takes_no_backend_down() {
    let mut rig = Rig::ready(two_services());
    for _ in 0..8 {
        rig.apply(Event::Strained(Strain::PuntsPoliced));
        probe_all(&mut rig, SILENT, 1);
        rig.pass(1000);
    }
    assert!(rig.state.suspicion().holds(), "strain prolongs the hold");
    probe_all(&mut rig, Ok(()), 1);
    assert!(!rig.state.suspicion().holds());
    assert!(!names(&rig).contains(&"backend_down".to_owned()));
    let ends = Change::SuspicionEnds { verdict: Verdict::Refuted, strain: Some(Strain::PuntsPoliced) };
    assert!(rig.log.contains(&ends));
    // What still fails then goes down as ever.
    (0..3).for_each(|_| rig.probe(BackendId(2), SILENT));
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(2)), BackendState::Down);
}

#[test]
fn a_hold_has_a_limit_whatever_strains_the_machine() {
    let mut rig = Rig::ready(two_services());
    probe_all(&mut rig, SILENT, 3);
    let began = rig.now;
    while rig.state.suspicion().holds() {
        assert!(rig.now.since(began) <= LONGEST_HOLD);
        rig.apply(Event::Strained(Strain::Late));
        rig.pass(250);
    }
    assert_eq!(rig.now.since(began), LONGEST_HOLD);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Dead, "silent for dead_after");
}

#[test]
fn a_single_backend_a_refusal_and_a_lost_link_are_believed_at_once() {
    let mut rig = Rig::ready(announced(Announce::Healthy, &[("10.0.9.1:80", 1)]));
    probe_all(&mut rig, SILENT, 3);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down, "the only one");

    let mut rig = Rig::ready(two_services());
    (0..3).for_each(|_| rig.probe(BackendId(1), SILENT));
    assert_eq!(rig.state_of(BackendId(1)), BackendState::Down, "one of four");

    let mut rig = Rig::ready(two_services());
    probe_all(&mut rig, FAILED, 3);
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(3)), BackendState::Down, "refusals are answers");

    let mut rig = Rig::ready(two_services());
    rig.apply(Event::Ports(vec![PortFault { port: "back".into(), kind: FaultKind::NoLink }]));
    probe_all(&mut rig, SILENT, 3);
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(3)), BackendState::Down, "the cause is known");

    let mut rig = Rig::ready(config(vec![
        service("web", "203.0.113.80:80", &[("10.0.9.1:80", 1)]),
        service("mail", "203.0.113.80:25", &[("10.0.9.1:25", 1)]),
    ]));
    probe_all(&mut rig, SILENT, 3);
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(1)), BackendState::Down, "one server");
}

#[test]
fn a_lost_link_ends_a_hold() {
    let mut rig = Rig::ready(two_services());
    probe_all(&mut rig, SILENT, 3);
    assert!(rig.state.suspicion().holds());
    rig.apply(Event::Ports(vec![PortFault { port: "back".into(), kind: FaultKind::NoLink }]));
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down);
}

#[test]
fn faults_of_ports_end_readiness_and_a_lost_kernel_side_withdraws_the_vips() {
    let mut rig = Rig::ready(healthy());
    let fault = |kind| Event::Ports(vec![PortFault { port: "back".into(), kind }]);
    rig.apply(fault(FaultKind::NoLink));
    assert_eq!(rig.state.not_ready(), ["port back has no link"]);
    assert_eq!(rig.wanted.vips, [address(WEB)], "its backends say whether it can serve");
    rig.apply(fault(FaultKind::KernelSideLost));
    let lost = "the kernel's side of port back is gone; restart to get it back";
    assert_eq!(rig.state.not_ready(), [lost]);
    assert!(rig.wanted.vips.is_empty());
    rig.apply(Event::Ports(vec![]));
    assert!(rig.state.not_ready().is_empty());
    assert_eq!(rig.wanted.vips, [address(WEB)]);
}

#[test]
fn a_service_whose_probes_cannot_be_sent_is_down_and_told_once() {
    let mut rig = Rig::new(healthy());
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.hold();
    for _ in 0..50 {
        not_sent(&mut rig, 0, "Cannot assign requested address");
        not_sent(&mut rig, 1, "Cannot assign requested address");
    }
    settle(&mut rig);
    assert!(rig.ready, "nothing is to be waited for");
    let told = names(&rig);
    assert_eq!(told.iter().filter(|name| *name == "probe_not_sent").count(), 1);
    assert_eq!(told.iter().filter(|name| *name == "service_down").count(), 1);
    assert!(rig.wanted.vips.is_empty());
    assert_eq!(rig.state.probe_counts().not_sent, 100);
    let backend = rig.state.registry().backend(BackendId(1)).expect("it is configured");
    assert_eq!(backend.not_sent.as_deref(), Some("Cannot assign requested address"));

    probe_all(&mut rig, Ok(()), 1);
    settle(&mut rig);
    assert_eq!(rig.wanted.vips, [address(WEB)]);
    assert!(names(&rig).contains(&"probes_sent".to_owned()));
    assert_eq!(rig.state.registry().backend(BackendId(1)).expect("it is configured").not_sent, None);
}

#[test]
fn a_backend_in_service_stays_when_its_probes_cannot_be_sent() {
    let mut rig = Rig::ready(healthy());
    (0..9).for_each(|_| not_sent(&mut rig, 0, "Too many open files"));
    rig.pass(5000);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
    assert_eq!(rig.wanted.vips, [address(WEB)]);
}

#[test]
fn slow_start_begins_with_an_enable_and_with_an_agents_ready() {
    let mut config = healthy();
    config.services[0].scheduler = Scheduler::WeightedRoundRobin;
    config.services[0].slow_start = Duration::from_secs(10);
    config.services[0].backends.iter_mut().for_each(|backend| backend.weight = 100);
    config.services[0].health.kind = evenkeel::config::ProbeKind::Agent;
    let mut rig = Rig::ready(config);
    let weight = |rig: &Rig| {
        let selection = rig.state.selection(rig.service_id("web")).expect("it is published");
        selection
            .standings
            .iter()
            .find(|standing| standing.id == BackendId(0))
            .expect("it is configured")
            .weight
    };
    assert_eq!(weight(&rig), 100, "no slow start of the first");
    rig.apply(Event::Administer(BackendId(0), Order::Enable));
    rig.pass(200);
    assert_eq!(weight(&rig), 100, "it was enabled");
    rig.apply(Event::Administer(BackendId(0), Order::Disable));
    rig.pass(5000);
    rig.apply(Event::Administer(BackendId(0), Order::Enable));
    rig.pass(200);
    assert_eq!(weight(&rig), 10);
    rig.pass(5000);
    assert_eq!(weight(&rig), 60);
    rig.pass(5000);
    assert_eq!(weight(&rig), 100);

    let advise = |rig: &mut Rig, word: &str| {
        let outcome = ProbeOutcome { result: Ok(()), advice: Advice::parse(word.as_bytes()) };
        let generation = rig.probes[&BackendId(0)].generation;
        let report = ProbeReport { backend: BackendId(0), generation, asked: Asked::Check, outcome };
        rig.apply(Event::Probe(report));
        rig.pass(200);
    };
    advise(&mut rig, "drain");
    assert_eq!(weight(&rig), 0);
    advise(&mut rig, "ready");
    assert_eq!(weight(&rig), 10);
}

#[test]
fn services_share_the_echo_request_to_a_host() {
    let mut config = two_services();
    for service in &mut config.services {
        service.health.kind = evenkeel::config::ProbeKind::Icmp;
        service.backends.truncate(1);
        service.backends[0].endpoint.address = address("10.0.9.1");
    }
    config.services[1].health.proxy_header = true;
    let mut rig = Rig::new(config);
    rig.hold();
    let checks: Vec<_> = rig.probes.values().map(|spec| spec.check.clone()).collect();
    assert_eq!(checks.len(), 2);
    assert_eq!(checks[0], checks[1]);
}
