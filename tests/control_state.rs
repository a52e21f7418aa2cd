//! Control in virtual time: what follows from events, and when.

mod control_support;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use control_support::address;
use control_support::backend;
use control_support::config;
use control_support::endpoint;
use control_support::service;
use control_support::state_rig::FAILED;
use control_support::state_rig::Rig;
use control_support::state_rig::report;
use evenkeel::config::AgentConfig;
use evenkeel::config::Config;
use evenkeel::config::ProbeKind;
use evenkeel::control::change::Change;
use evenkeel::control::drain::DrainEnd;
use evenkeel::control::health::Advice;
use evenkeel::control::health::AdvisedState;
use evenkeel::control::health::Asked;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeOutcome;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::publication::BURST;
use evenkeel::control::registry::Assigned;
use evenkeel::control::registry::GRACE;
use evenkeel::control::state::Event;
use evenkeel::control::state::Order;
use evenkeel::control::state::Refusal;
use evenkeel::control::state::State;
use evenkeel::control::workers::Pulse;
use evenkeel::model::AccessRules;
use evenkeel::model::BackendId;
use evenkeel::model::BackendState;
use evenkeel::model::Nanos;
use evenkeel::model::ServiceId;
use evenkeel::model::WorkerId;
use evenkeel::shared::Choice;
use proptest::prelude::*;

fn web(backends: &[(&str, u32)]) -> Config {
    config(vec![service("web", "203.0.113.80:80", backends)])
}

#[test]
fn nothing_is_in_service_or_announced_before_the_first_probe_results() {
    let mut rig = Rig::new(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]));
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.hold();
    let table = rig.snapshot().services[0].clone().unwrap();
    assert!(table.choice.is_empty());
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down);
    assert_eq!((&rig.wanted.vips, &rig.wanted.local), (&vec![], &vec![address("10.0.8.10")]));

    rig.now = Nanos::from_millis(300);
    rig.probe(BackendId(0), Ok(()));
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up, "the first success counts at once");
    assert!(rig.wanted.vips.is_empty(), "the other backend has no result yet");
    rig.probe(BackendId(1), FAILED);
    assert_eq!(rig.wanted.vips, [address("203.0.113.80")], "the last result is published without waiting");
    assert!(!rig.ready, "the address is not announced yet");
    rig.hold();
    assert!(rig.ready);
}

#[test]
fn probes_start_once_the_network_holds_the_addresses_they_leave_from() {
    let mut rig = Rig::new(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]));
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.pass(1000);
    rig.load(web(&[("10.0.9.1:80", 1)]));
    assert!(rig.probes.is_empty(), "a reload does not start them either");
    assert!(rig.wanted.vips.is_empty());
    rig.hold();
    assert_eq!(rig.probes.keys().collect::<Vec<_>>(), [&BackendId(0)]);
    assert!(rig.wanted.vips.is_empty(), "no result yet");
    rig.probe(BackendId(0), Ok(()));
    assert_eq!(rig.wanted.vips, [address("203.0.113.80")]);
    let downs = rig.log.iter().filter(|change| matches!(change, Change::BackendDown { .. }));
    assert_eq!(downs.count(), 0);
}

#[test]
fn a_network_that_never_holds_everything_delays_probes_and_does_not_prevent_them() {
    let mut rig = Rig::new(web(&[("10.0.9.1:80", 1)]));
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.now = rig.state.wake_at().expect("the state waits for the network");
    assert_eq!(rig.now, Nanos::from_secs(2));
    rig.pass(0);
    rig.probe(BackendId(0), Ok(()));
    assert_eq!(rig.wanted.vips, [address("203.0.113.80")]);
    assert!(!rig.ready, "until it does");
    rig.hold();
    assert!(rig.ready);
}

#[test]
fn a_backend_that_goes_down_is_out_at_once_whatever_was_published_just_before() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1), ("10.0.9.3:80", 1)]));
    rig.pass(2000);
    rig.load(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1), ("10.0.9.3:80", 2)]));
    for id in [0, 1] {
        (0..3).for_each(|_| rig.probe(BackendId(id), FAILED));
        assert_eq!(rig.state_of(BackendId(id)), BackendState::Down);
        assert!(!rig.state.snapshot_pending());
    }
    (0..2).for_each(|_| rig.probe(BackendId(0), Ok(())));
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down, "coming back can wait");
    assert!(rig.state.snapshot_pending());
    rig.now = rig.state.wake_at().expect("a publication is due");
    rig.pass(0);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
    assert!(!rig.state.snapshot_pending());
}

#[test]
fn a_probe_that_never_answers_delays_readiness_only_to_its_timeout() {
    let mut rig = Rig::new(web(&[("10.0.9.1:80", 1)]));
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.pass(300);
    rig.hold();
    rig.now = rig.state.wake_at().expect("the state waits for the first results");
    // The time-out of the first probe and of its repetition, 1 s each, 100 ms between them and 500 ms.
    assert_eq!(rig.now, Nanos::from_millis(2900));
    rig.pass(0);
    rig.hold();
    assert!(rig.ready);
}

#[test]
fn no_vip_is_announced_before_every_worker_turns() {
    let mut rig = Rig::new(web(&[]));
    rig.pass(2000);
    assert!(rig.wanted.vips.is_empty());
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    assert_eq!(rig.wanted.vips, [address("203.0.113.80")]);
}

#[test]
fn one_lost_probe_flips_nothing_and_fall_in_a_row_do() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]));
    let published = rig.published;
    for result in [FAILED, Ok(()), FAILED, FAILED, Ok(())] {
        rig.probe(BackendId(0), result);
        rig.pass(2000);
    }
    assert_eq!(rig.published, published);
    for result in [FAILED, FAILED, FAILED] {
        assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
        rig.pass(2000);
        rig.probe(BackendId(0), result);
    }
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down);
    let table = rig.snapshot().services[0].clone().unwrap();
    assert_eq!(table.backends[0].weight, 0, "no new flows");
    let Choice::Hash { all, in_service, .. } = &table.choice else { panic!("{:?}", table.choice) };
    assert!(in_service.iter().all(|position| *position == 1));
    assert!(all.contains(&0), "health does not change the first targets");
    let down = Change::BackendDown {
        service: "web".into(),
        backend: endpoint("10.0.9.1:80"),
        reason: ProbeFailure::Refused,
        after: 3,
    };
    assert_eq!(rig.log.last(), Some(&down));
}

#[test]
fn the_loss_of_the_last_backend_is_told() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    (0..3).for_each(|_| rig.probe(BackendId(0), FAILED));
    assert_eq!(rig.log.last(), Some(&Change::ServiceDown { service: "web".into() }));
    (0..2).for_each(|_| rig.probe(BackendId(0), Ok(())));
    rig.pass(200);
    assert_eq!(rig.log.last(), Some(&Change::ServiceUp { service: "web".into() }));
}

#[test]
fn a_backend_that_is_not_probed_is_in_service_at_once() {
    let mut with_none = web(&[("10.0.9.1:80", 1)]);
    with_none.services[0].health.kind = ProbeKind::None;
    let rig = Rig::ready(with_none);
    assert!(rig.probes.is_empty());
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
}

#[test]
fn a_backend_of_weight_zero_keeps_its_flows_and_gets_no_new_ones() {
    let rig = Rig::ready(web(&[("10.0.9.1:80", 0), ("10.0.9.2:80", 5)]));
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Resting);
    let table = rig.snapshot().services[0].clone().unwrap();
    assert_eq!(
        table.backends.iter().map(|b| (b.id, b.weight)).collect::<Vec<_>>(),
        [(BackendId(0), 0), (BackendId(1), 5)]
    );
    let Choice::Hash { all, in_service, previous: None } = &table.choice else {
        panic!("{:?}", table.choice)
    };
    assert!(in_service.iter().all(|position| *position == 1));
    assert!(Arc::ptr_eq(all, in_service), "health has nothing to do with it");
}

#[test]
fn a_storm_of_changes_is_published_ten_times_a_second_after_its_burst_and_the_last_state_in_the_end() {
    let mut storm = web(&[("10.0.9.1:80", 1)]);
    storm.services[0].health.fall = 1;
    storm.services[0].health.rise = 1;
    let mut rig = Rig::ready(storm);
    rig.pass(1000);
    let before = rig.published;
    for n in 0..1000 {
        rig.now = rig.now + Nanos::from_millis(1);
        rig.probe(BackendId(0), if n % 2 == 0 { FAILED } else { Ok(()) });
    }
    assert_eq!(u64::from(rig.published - before), 10 + BURST - 1);
    rig.probe(BackendId(0), FAILED);
    rig.now = rig.state.wake_at().expect("a publication is due");
    rig.pass(0);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down);
    assert_eq!(rig.state.wake_at(), None);
}

#[test]
fn only_the_table_of_a_service_that_changed_is_built_anew() {
    let services = |weight| {
        vec![
            service("a", "203.0.113.80:80", &[("10.0.9.1:80", weight), ("10.0.9.2:80", 1)]),
            service("b", "203.0.113.80:443", &[("10.0.9.1:443", 1)]),
        ]
    };
    let mut rig = Rig::ready(config(services(1)));
    let before = rig.snapshot().services.clone();
    let mut reordered = services(1);
    reordered.reverse();
    reordered[1].backends.reverse();
    rig.load(config(reordered));
    rig.pass(200);
    let same = |rig: &Rig, id: usize| {
        Arc::ptr_eq(before[id].as_ref().unwrap(), rig.snapshot().services[id].as_ref().unwrap())
    };
    assert!(same(&rig, 0) && same(&rig, 1), "another order of the file is no change");

    rig.load(config(services(7)));
    rig.pass(200);
    assert!(!same(&rig, 0) && same(&rig, 1));

    let mut renamed = services(1);
    renamed[0].name = "c".to_owned();
    rig.load(config(renamed));
    rig.pass(200);
    let table = rig.snapshot().services[0].clone().unwrap();
    assert_eq!(&*table.name, "c");
    assert_eq!(table.choice, before[0].as_ref().unwrap().choice);
}

#[test]
fn workers_look_at_their_flows_anew_when_others_may_come_and_only_then() {
    let mut config = web(&[("10.0.9.1:80", 1)]);
    let rules = vec![("198.51.100.0/24".parse().unwrap(), false)];
    config.services[0].access = Some(Arc::new(AccessRules { rules, otherwise: true }));
    let mut rig = Rig::ready(config.clone());
    let table = |rig: &Rig| rig.snapshot().services[0].clone().unwrap();
    let list = table(&rig).access.clone().unwrap();
    let mut version = rig.snapshot().flow_rules;
    let mut load = |rig: &mut Rig, config: &Config| {
        rig.load(config.clone());
        rig.pass(200);
        let before = std::mem::replace(&mut version, rig.snapshot().flow_rules);
        before != version
    };
    config.services[0].backends[0].weight = 5;
    assert!(!load(&mut rig, &config), "weights are no reason");
    assert!(Arc::ptr_eq(table(&rig).access.as_ref().unwrap(), &list), "the list is not built anew");
    config.services[0].limits.connections = 7;
    assert!(load(&mut rig, &config));
    assert_eq!(table(&rig).limits.connections, 7);
    config.services[0].backends[0].max_connections = 3;
    assert!(load(&mut rig, &config));
    assert_eq!(table(&rig).backends[0].max_connections, 3);
    config.services[0].access = None;
    assert!(load(&mut rig, &config));
    assert!(table(&rig).access.is_none());
    assert!(!load(&mut rig, &config));
}

#[test]
fn a_reload_leaves_health_and_probes_of_what_stays_alone() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]));
    rig.probe(BackendId(0), FAILED);
    rig.probe(BackendId(0), FAILED);
    let probes = rig.probes.clone();
    rig.pass(1000);
    rig.load(web(&[("10.0.9.3:80", 1), ("10.0.9.2:80", 9), ("10.0.9.1:80", 1)]));
    assert_eq!(rig.backend_id("10.0.9.1:80"), BackendId(0));
    assert_eq!(rig.probes[&BackendId(0)], probes[&BackendId(0)]);
    assert_eq!(rig.state_of(BackendId(1)), BackendState::Up);
    assert_eq!(rig.state_of(BackendId(2)), BackendState::Down, "a new backend starts closed");
    rig.probe(BackendId(0), FAILED);
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down, "two failures before the reload, one after");
}

#[test]
fn results_of_probes_that_were_stopped_or_replaced_are_ignored() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]));
    let generation = rig.probes[&BackendId(0)].generation;
    let mut changed = web(&[("10.0.9.1:80", 1)]);
    changed.services[0].health.fall = 1;
    changed.services[0].health.port = Some(8081);
    let removed = rig.probes[&BackendId(1)].generation;
    rig.load(changed);
    assert_eq!(rig.probes[&BackendId(0)].check.target.port(), 8081);
    assert!(!rig.probes.contains_key(&BackendId(1)));
    rig.pass(200);
    let published = rig.published;
    for (backend, generation) in [(BackendId(0), generation), (BackendId(1), removed), (BackendId(9), 0)] {
        rig.apply(Event::Probe(report(backend, generation, FAILED)));
    }
    rig.pass(200);
    assert_eq!(rig.published, published);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
}

#[test]
fn an_agents_advice_is_kept_beside_the_health_until_nobody_asks_the_agent() {
    let mut config = web(&[("10.0.9.1:80", 1)]);
    let second = std::time::Duration::from_secs(1);
    config.services[0].health.agent = Some(AgentConfig { port: 9000, interval: second, timeout: second });
    let mut rig = Rig::ready(config.clone());
    let id = BackendId(0);
    let agent = rig.probes[&id].agent.clone().unwrap();
    assert_eq!((agent.target.to_string().as_str(), &agent.kind), ("10.0.9.1:9000", &ProbeKind::Agent));

    let advise = |rig: &mut Rig, line: &str| {
        let generation = rig.probes[&id].generation;
        let outcome = ProbeOutcome { result: FAILED, advice: Advice::parse(line.as_bytes()) };
        for _ in 0..9 {
            rig.apply(Event::Probe(ProbeReport { backend: id, generation, asked: Asked::Agent, outcome }));
        }
        rig.pass(200);
        rig.state.registry().backend(id).unwrap().advice
    };
    assert_eq!(advise(&mut rig, "drain 50%").state(), Some(AdvisedState::Drain));
    let advice = advise(&mut rig, "ready");
    assert_eq!((advice.state(), advice.weight_percent), (Some(AdvisedState::Up), Some(50)));
    assert_eq!(advise(&mut rig, "nothing known"), advice, "an agent that says nothing takes nothing back");
    assert_eq!(rig.state_of(id), BackendState::Up, "whether the agent answers is no matter of health");

    config.services[0].health.agent = None;
    rig.load(config);
    assert_eq!(rig.state.registry().backend(id).unwrap().advice, Advice::default());
}

#[test]
fn the_id_of_a_removed_backend_waits_for_the_grace_period_and_for_its_last_flow() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    rig.load(web(&[("10.0.9.2:80", 1)]));
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Removed);
    assert_eq!(rig.backend_id("10.0.9.2:80"), BackendId(1));

    rig.apply(Event::Tick { flowless: vec![BackendId(0)] });
    rig.load(web(&[("10.0.9.3:80", 1)]));
    assert_eq!(rig.backend_id("10.0.9.3:80"), BackendId(2), "within the grace period");

    rig.now = rig.now + GRACE;
    rig.apply(Event::Tick { flowless: vec![BackendId(1)] });
    rig.load(web(&[("10.0.9.4:80", 1)]));
    assert_eq!(rig.backend_id("10.0.9.4:80"), BackendId(1), "0 still has flows, 1 has none");

    rig.load(web(&[("10.0.9.1:80", 1)]));
    assert_eq!(rig.backend_id("10.0.9.1:80"), BackendId(0), "put back, it is who it was");
}

#[test]
fn the_id_of_a_removed_service_waits_for_those_of_its_backends() {
    let other = |name: &str, at: &str| config(vec![service(name, at, &[("10.0.9.7:80", 1)])]);
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    rig.load(other("b", "203.0.113.81:80"));
    rig.now = rig.now + GRACE;
    rig.pass(0);
    rig.load(other("c", "203.0.113.82:80"));
    assert_eq!(rig.service_id("c"), ServiceId(2));
    rig.apply(Event::Tick { flowless: vec![BackendId(0)] });
    rig.load(other("d", "203.0.113.83:80"));
    assert_eq!(rig.service_id("d"), ServiceId(0));
}

#[test]
fn a_configuration_without_room_is_refused_and_changes_nothing() {
    let full = |first: u8| {
        let names: Vec<String> = (first..first + 40).map(|n| format!("10.0.9.{n}:80")).collect();
        web(&names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>())
    };
    let mut rig = Rig::ready(full(1));
    rig.load(full(50));
    rig.load(full(100));
    // 64 are configured at most, and as many may be leaving.
    let refusal = rig.state.review(&full(150)).unwrap_err();
    assert!(refusal.to_string().contains("appliance.max_backends"), "{refusal}");
    rig.pass(1000);
    let published = rig.published;
    rig.apply(Event::Load(Box::new(full(150))));
    rig.pass(1000);
    assert_eq!(rig.published, published);
    assert_eq!(rig.state.config(), &full(100));
}

#[test]
fn reload_may_replace_every_backend_and_the_next_one_as_flows_end() {
    let full = |third: u8| {
        let names: Vec<String> = (1..=64).map(|n| format!("10.0.{third}.{n}:80")).collect();
        web(&names.iter().map(|name| (name.as_str(), 1)).collect::<Vec<_>>())
    };
    let mut rig = Rig::ready(full(9));
    rig.load(full(10));
    assert_eq!(rig.state.config(), &full(10));
    assert!(rig.state.review(&full(11)).is_err(), "the first ones may have flows");
    rig.now = rig.now + GRACE;
    let first: Vec<BackendId> = (0..64).map(BackendId).collect();
    rig.apply(Event::Workers(Pulse { stalled: vec![WorkerId(0)], started: true }));
    rig.apply(Event::Tick { flowless: first.clone() });
    assert!(rig.state.review(&full(11)).is_err(), "a worker may not have seen that they are gone");
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    rig.apply(Event::Tick { flowless: first });
    rig.load(full(11));
    assert_eq!(rig.state.config(), &full(11));
}

#[test]
fn what_only_a_restart_can_change_is_refused_by_name_and_nothing_is_loaded() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    let mut changed = web(&[("10.0.9.2:80", 1)]);
    changed.appliance.workers = vec![1, 2];
    changed.appliance.flows_per_worker = 7;
    changed.appliance.hash_seed = 99;
    let expected = ["appliance.workers", "appliance.flows_per_worker"].map(str::to_owned).to_vec();
    assert_eq!(rig.state.review(&changed), Err(Refusal::RestartNeeded(expected)));
    rig.apply(Event::Load(Box::new(changed)));
    assert_eq!(rig.state.config(), &web(&[("10.0.9.1:80", 1)]));

    let mut allowed = web(&[("10.0.9.1:80", 1)]);
    allowed.appliance.hash_seed = 99;
    allowed.appliance.drain_timeout = std::time::Duration::from_secs(1);
    allowed.appliance.min_path_mtu = 576;
    let difference = rig.state.review(&allowed).unwrap();
    assert_eq!(
        difference.settings,
        ["appliance.hash_seed", "appliance.drain_timeout", "appliance.min_path_mtu"]
    );
    let before = rig.snapshot().choice_seed;
    rig.load(allowed);
    rig.pass(200);
    assert_ne!(rig.snapshot().choice_seed, before);
    assert_eq!(rig.snapshot().min_path_mtu, 576);
}

#[test]
fn a_review_says_what_a_reload_would_change() {
    let rig = Rig::ready(config(vec![
        service("web", "203.0.113.80:80", &[("10.0.9.1:80", 1), ("10.0.9.2:80", 1)]),
        service("dns", "203.0.113.80:53", &[("10.0.9.1:53", 1)]),
    ]));
    let mut web = service("web", "203.0.113.80:80", &[("10.0.9.2:80", 5), ("10.0.9.3:80", 1)]);
    web.health.fall = 9;
    let new = config(vec![service("mail", "203.0.113.80:25", &[("10.0.9.1:25", 1)]), web]);
    let text = rig.state.review(&new).unwrap().to_string();
    let expected = "- service dns\n+ service mail\n~ service web: health\n\
                    - backend web 10.0.9.1:80\n- backend dns 10.0.9.1:53\n\
                    + backend mail 10.0.9.1:25\n+ backend web 10.0.9.3:80\n\
                    ~ backend web 10.0.9.2:80: weight 1 -> 5\n";
    assert_eq!(text, expected);
    assert!(rig.state.review(rig.state.config()).unwrap().is_empty());
}

#[test]
fn a_new_vip_is_announced_after_workers_know_it_and_an_old_one_withdrawn_before() {
    let mut rig = Rig::ready(web(&[]));
    rig.now = rig.now + Nanos::from_millis(1000);
    rig.load(web(&[("10.0.9.1:80", 1)]));
    rig.load(config(vec![service("web", "203.0.113.90:80", &[])]));
    assert!(rig.wanted.vips.is_empty(), "the publication of the new VIP is still due");
    rig.pass(100);
    assert_eq!(rig.wanted.vips, [address("203.0.113.90")]);
}

#[test]
fn a_worker_that_stands_still_withdraws_the_vips_until_it_turns_again() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    rig.apply(Event::Workers(Pulse { stalled: vec![WorkerId(0)], started: true }));
    assert!(rig.wanted.vips.is_empty());
    assert_eq!(rig.wanted.local, [address("10.0.8.10")]);
    assert_eq!(rig.log.last(), Some(&Change::WorkerStalled { worker: WorkerId(0) }));
    rig.hold();
    rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
    assert_eq!(rig.log.last(), Some(&Change::WorkerResumed { worker: WorkerId(0) }));
    assert_eq!(rig.wanted.vips, [address("203.0.113.80")]);
}

#[test]
fn a_drain_withdraws_first_and_ends_with_the_last_established_flow() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    rig.apply(Event::Shutdown);
    assert!(rig.stopping);
    assert!(rig.wanted.vips.is_empty());
    assert_eq!(rig.wanted.local, [address("10.0.8.10")], "answers of backends still come this way");
    rig.apply(Event::NoneEstablished);
    assert_eq!(rig.end, None, "the VIPs still lead here");
    rig.hold();
    assert_eq!(rig.end, None);
    rig.apply(Event::NoneEstablished);
    assert_eq!(rig.end, Some(DrainEnd::Idle));
}

#[test]
fn a_drain_ends_at_its_timeout_and_at_a_second_request() {
    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    rig.apply(Event::Shutdown);
    rig.hold();
    rig.pass(29_999);
    assert_eq!(rig.end, None);
    rig.now = rig.state.wake_at().expect("the drain has a deadline");
    let before = rig.snapshot().flow_rules;
    rig.pass(0);
    assert_eq!(rig.end, None);
    assert!(rig.snapshot().backend_states.iter().all(|state| *state == BackendState::Dead));
    assert_eq!(rig.snapshot().flow_rules, before + 1, "workers reset what is left");
    rig.now = rig.state.wake_at().expect("the farewell has an end");
    rig.pass(0);
    assert_eq!(rig.end, Some(DrainEnd::TimedOut));

    let mut rig = Rig::ready(web(&[("10.0.9.1:80", 1)]));
    rig.apply(Event::Shutdown);
    rig.hold();
    rig.pass(30_000);
    rig.apply(Event::NoneEstablished);
    assert_eq!(rig.end, None, "the last resets are on their way");
    rig.pass(50);
    assert_eq!(rig.end, Some(DrainEnd::TimedOut), "sooner than the farewell's time is up");

    let mut rig = Rig::ready(web(&[]));
    rig.apply(Event::Shutdown);
    rig.apply(Event::Shutdown);
    assert_eq!(rig.end, Some(DrainEnd::Interrupted));
}

/// Up to four services at places of a small pool, each with backends of a small pool.
fn any_config() -> impl Strategy<Value = Config> {
    let backends = prop::collection::btree_set(1_u8..8, 0..6);
    let service_at = (0_u8..6, backends, 1_u32..3).prop_map(|(place, backends, weight)| {
        let mut one = service(&format!("s{place}"), &format!("203.0.113.{place}:80"), &[]);
        one.health.kind = ProbeKind::None;
        one.backends = backends.iter().map(|n| backend(&format!("10.0.9.{n}:80"), weight)).collect();
        one
    });
    prop::collection::vec(service_at, 0..4).prop_shuffle().prop_map(|mut services| {
        let mut places = BTreeSet::new();
        services.retain(|service| places.insert(service.vip));
        config(services)
    })
}

/// The same with probes.
fn probed(mut config: Config) -> Config {
    config.services.iter_mut().for_each(|service| service.health.kind = ProbeKind::Tcp);
    config
}

type Ids = BTreeMap<String, u32>;

/// Every configured service and backend with its id.
fn ids(state: &State) -> (Ids, Ids) {
    let registry = state.registry();
    let services = registry.services().map(|s| (s.config.name.clone(), u32::from(s.id.0))).collect();
    let backends = registry.services().flat_map(|service| {
        let name = service.config.name.clone();
        registry.backends_of(service).map(move |b| (format!("{name} {}", b.endpoint), b.id.0))
    });
    (services, backends.collect())
}

fn agree(a: &Ids, b: &Ids) -> bool {
    a.iter().all(|(name, id)| b.get(name).is_none_or(|other| other == id))
}

fn distinct(ids: &Ids) -> bool {
    ids.values().collect::<BTreeSet<_>>().len() == ids.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ids_are_stable_and_distinct_over_any_two_reloads(
        a in any_config(), b in any_config(), flowless in prop::collection::vec(0_u32..24, 0..24),
    ) {
        let (mut state, _) = State::new(Nanos(0), a.clone()).unwrap();
        let first = ids(&state);
        state.apply(Nanos::from_secs(1), Event::Load(Box::new(b.clone())));
        let second = ids(&state);
        prop_assert!(agree(&first.0, &second.0) && agree(&first.1, &second.1));
        prop_assert!(distinct(&second.0) && distinct(&second.1));
        prop_assert_eq!(state.config(), &b);

        // Whatever has no flows by now may lose its id; what has flows keeps it, and nobody else gets it.
        let free: Vec<BackendId> = flowless.into_iter().map(BackendId).collect();
        state.apply(Nanos::from_secs(60), Event::Tick { flowless: free.clone() });
        state.apply(Nanos::from_secs(61), Event::Load(Box::new(a)));
        let third = ids(&state);
        prop_assert!(agree(&second.0, &third.0) && agree(&second.1, &third.1));
        prop_assert!(distinct(&third.0) && distinct(&third.1));
        for (name, id) in &first.1 {
            if !second.1.contains_key(name) && !free.contains(&BackendId(*id)) {
                prop_assert_eq!(third.1.get(name), Some(id));
            }
        }
    }

    /// Health, what the operator said, probes under way and counters of whatever is in both configurations.
    #[test]
    fn a_reload_resets_nothing_of_what_stays(
        a in any_config().prop_map(probed),
        b in any_config().prop_map(probed),
        results in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..60),
        orders in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..4), 0..6),
    ) {
        let mut rig = Rig::new(a);
        rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
        rig.hold();
        let probed: Vec<_> = rig.probes.keys().copied().collect();
        prop_assume!(!probed.is_empty());
        for (which, good) in results {
            rig.pass(100);
            rig.probe(probed[which.index(probed.len())], if good { Ok(()) } else { FAILED });
        }
        for (which, order) in orders {
            let order = match order {
                0 => Order::Drain(None),
                1 => Order::Disable,
                2 => Order::Enable,
                weight => Order::Weight(weight),
            };
            rig.apply(Event::Administer(probed[which.index(probed.len())], order));
        }
        let kept = |rig: &Rig| -> BTreeMap<_, _> {
            let registry = rig.state.registry();
            let of = |service| registry.backends_of(service).map(move |b| (service.config.name.clone(), b));
            registry.services().flat_map(of).map(|(name, b)| ((name, b.endpoint), b.clone())).collect()
        };
        let before = kept(&rig);
        rig.assigned.clear();
        rig.load(b);
        for (key, now) in kept(&rig) {
            let Some(was) = before.get(&key) else { continue };
            prop_assert_eq!((was.id, &was.health), (now.id, &now.health));
            prop_assert_eq!(was.administration, now.administration);
            prop_assert_eq!(&was.probe, &now.probe, "a probe under way is not asked anew");
            prop_assert!(!rig.assigned.contains(&Assigned::Backend(now.id)), "its counters go on");
            if was.configured_weight == now.configured_weight {
                prop_assert_eq!(was.weight_override, now.weight_override);
            }
        }
    }
}
