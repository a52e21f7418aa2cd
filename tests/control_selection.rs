//! Which backends get new flows, in virtual time: tiers, weights, slow start, panic, and what an operator says.

mod control_support;

use std::sync::Arc;
use std::time::Duration;

use control_support::config;
use control_support::endpoint;
use control_support::service;
use control_support::state_rig::FAILED;
use control_support::state_rig::Rig;
use evenkeel::config::AgentConfig;
use evenkeel::config::Config;
use evenkeel::config::FailureWindow;
use evenkeel::config::ServiceConfig;
use evenkeel::control::change::Change;
use evenkeel::control::health::Advice;
use evenkeel::control::health::Asked;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeOutcome;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::ledger::Ledger;
use evenkeel::control::state::Event;
use evenkeel::control::state::Order;
use evenkeel::hash::IndexKey;
use evenkeel::model::BackendId;
use evenkeel::model::BackendState;
use evenkeel::model::Nanos;
use evenkeel::model::OnDeadBackend;
use evenkeel::model::Scheduler;
use evenkeel::model::ServiceId;
use evenkeel::shared::Capacities;
use evenkeel::shared::Choice;
use evenkeel::shared::Limits;
use evenkeel::shared::Persistence;
use evenkeel::shared::SynProxies;
use evenkeel::shared::WorkerCounters;
use proptest::prelude::*;

const PRIMARY: BackendId = BackendId(0);
const STANDBY: BackendId = BackendId(1);

/// A service with a primary and a hot standby.
fn pair(change: impl FnOnce(&mut ServiceConfig)) -> Config {
    let mut web = service("web", "203.0.113.80:80", &[("10.0.9.1:80", 100), ("10.0.9.2:80", 100)]);
    web.backends[1].tier = 1;
    change(&mut web);
    config(vec![web])
}

fn web(weights: &[u32], change: impl FnOnce(&mut ServiceConfig)) -> Config {
    let places: Vec<String> = (1..=weights.len()).map(|n| format!("10.0.9.{n}:80")).collect();
    let backends: Vec<_> = places.iter().zip(weights).map(|(at, weight)| (at.as_str(), *weight)).collect();
    let mut web = service("web", "203.0.113.80:80", &backends);
    change(&mut web);
    config(vec![web])
}

/// The backends that new flows can reach.
fn serving(rig: &Rig) -> Vec<BackendId> {
    let table = rig.snapshot().service(ServiceId(0)).expect("the service is in the snapshot");
    let mut positions: Vec<u16> = match &table.choice {
        Choice::Hash { in_service: positions, .. }
        | Choice::Turns(positions)
        | Choice::LeastConnections(positions)
        | Choice::TwoChoices(positions) => positions.to_vec(),
        Choice::One(position) => position.iter().copied().collect(),
    };
    positions.sort_unstable();
    positions.dedup();
    positions.into_iter().map(|position| table.backends[usize::from(position)].id).collect()
}

fn weights(rig: &Rig) -> Vec<u32> {
    let table = rig.snapshot().service(ServiceId(0)).expect("the service is in the snapshot");
    table.backends.iter().map(|backend| backend.weight).collect()
}

/// Probe results until the state changes, and the publication that follows.
fn fail(rig: &mut Rig, id: BackendId) {
    (0..3).for_each(|_| rig.probe(id, FAILED));
    rig.pass(400);
}

fn recover(rig: &mut Rig, id: BackendId) {
    (0..2).for_each(|_| rig.probe(id, Ok(())));
    rig.pass(400);
}

#[test]
fn the_standby_serves_while_the_primary_is_out_and_no_longer() {
    let mut rig = Rig::ready(pair(|_| {}));
    assert_eq!(serving(&rig), [PRIMARY]);
    assert_eq!(rig.state_of(STANDBY), BackendState::Resting);

    fail(&mut rig, PRIMARY);
    assert_eq!(serving(&rig), [STANDBY]);
    assert_eq!(rig.log.last(), Some(&Change::TierServes { service: "web".into(), tier: 1 }));

    recover(&mut rig, PRIMARY);
    assert_eq!(serving(&rig), [PRIMARY], "failback at once");
    assert_eq!(rig.state_of(STANDBY), BackendState::Resting, "connections finish where they are");
}

#[test]
fn with_both_tiers_out_nobody_serves_and_the_first_to_recover_does() {
    let mut rig = Rig::ready(pair(|_| {}));
    fail(&mut rig, PRIMARY);
    fail(&mut rig, STANDBY);
    assert_eq!(serving(&rig), []);
    recover(&mut rig, STANDBY);
    assert_eq!(serving(&rig), [STANDBY]);
}

#[test]
fn a_primary_that_has_recovered_waits_for_the_hold_down_unless_nobody_else_serves() {
    let mut rig = Rig::ready(pair(|web| web.hold_down = Duration::from_secs(30)));
    assert_eq!(serving(&rig), [PRIMARY], "nothing is held down at the start");
    fail(&mut rig, PRIMARY);
    recover(&mut rig, PRIMARY);
    assert_eq!(serving(&rig), [STANDBY]);
    let due = rig.state.wake_at().expect("the end of the hold-down");
    assert!(due > rig.now + Nanos::from_secs(28) && due <= rig.now + Nanos::from_secs(30));
    rig.pass(29_000);
    assert_eq!(serving(&rig), [STANDBY]);
    rig.pass(1_000);
    assert_eq!(serving(&rig), [PRIMARY]);

    fail(&mut rig, PRIMARY);
    recover(&mut rig, PRIMARY);
    fail(&mut rig, STANDBY);
    assert_eq!(serving(&rig), [PRIMARY], "rather the one held down than none");
}

#[test]
fn the_best_of_three_tiers_takes_over_at_the_end_of_its_own_hold_down() {
    let mut rig = Rig::ready(web(&[100, 100, 100], |web| {
        web.hold_down = Duration::from_secs(30);
        web.backends.iter_mut().zip(0..).for_each(|(backend, tier)| backend.tier = tier);
    }));
    let third = BackendId(2);
    fail(&mut rig, PRIMARY);
    fail(&mut rig, STANDBY);
    recover(&mut rig, STANDBY);
    rig.pass(10_000);
    recover(&mut rig, PRIMARY);
    assert_eq!(serving(&rig), [third]);
    rig.pass(20_000);
    assert_eq!(serving(&rig), [STANDBY]);
    rig.now = rig.state.wake_at().expect("the end of the primary's hold-down");
    rig.pass(0);
    assert_eq!(serving(&rig), [PRIMARY]);
}

#[test]
fn failover_prefers_the_greatest_weight_and_then_the_first() {
    let failover = |web: &mut ServiceConfig| web.scheduler = Scheduler::Failover;
    let mut rig = Rig::ready(web(&[5, 9, 9], failover));
    assert_eq!(serving(&rig), [BackendId(1)]);
    fail(&mut rig, BackendId(1));
    assert_eq!(serving(&rig), [BackendId(2)]);
    fail(&mut rig, BackendId(2));
    assert_eq!(serving(&rig), [BackendId(0)]);
}

#[test]
fn a_backend_that_comes_back_takes_up_its_weight_step_by_step() {
    let slow = |web: &mut ServiceConfig| {
        web.scheduler = Scheduler::WeightedRoundRobin;
        web.slow_start = Duration::from_secs(100);
    };
    let mut rig = Rig::ready(web(&[50, 50], slow));
    assert_eq!(weights(&rig), [50, 50], "all start together");
    fail(&mut rig, BackendId(0));
    recover(&mut rig, BackendId(0));
    let mut seen = vec![weights(&rig)[0]];
    while let Some(due) = rig.state.wake_at() {
        rig.now = due;
        rig.pass(0);
        seen.push(weights(&rig)[0]);
    }
    assert_eq!(seen, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
}

#[test]
fn maglev_has_no_slow_start_as_balancers_must_choose_alike() {
    let mut rig = Rig::ready(web(&[50, 50], |web| web.slow_start = Duration::from_secs(100)));
    fail(&mut rig, BackendId(0));
    recover(&mut rig, BackendId(0));
    assert_eq!(weights(&rig), [50, 50]);
    assert_eq!(rig.state.wake_at(), None);
}

#[test]
fn below_the_panic_threshold_health_is_disregarded() {
    let mut rig = Rig::ready(web(&[1, 1, 1, 1], |web| web.panic_threshold = 50));
    fail(&mut rig, BackendId(0));
    fail(&mut rig, BackendId(1));
    assert_eq!(serving(&rig), [BackendId(2), BackendId(3)], "half is not below half");
    fail(&mut rig, BackendId(2));
    assert_eq!(serving(&rig).len(), 4);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Up);
    assert_eq!(rig.log.last(), Some(&Change::Panic { service: "web".into(), begins: true }));
    rig.apply(Event::Administer(BackendId(0), Order::Disable));
    rig.pass(200);
    assert!(!serving(&rig).contains(&BackendId(0)), "what an operator takes out stays out");
    recover(&mut rig, BackendId(1));
    assert_eq!(serving(&rig), [BackendId(1), BackendId(3)]);
    assert_eq!(rig.log.last(), Some(&Change::Panic { service: "web".into(), begins: false }));
}

#[test]
fn a_drained_backend_keeps_its_flows_until_the_last_has_ended_and_is_in_maintenance_then() {
    let mut rig = Rig::ready(web(&[1, 1], |_| {}));
    rig.apply(Event::Administer(BackendId(0), Order::Drain(None)));
    assert_eq!((serving(&rig), rig.state_of(BackendId(0))), (vec![BackendId(1)], BackendState::Resting));
    rig.pass(3_600_000);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Resting, "it still has flows");
    rig.apply(Event::Tick { flowless: vec![BackendId(0)] });
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Dead);
    recover(&mut rig, BackendId(0));
    assert_eq!(serving(&rig), [BackendId(1)], "health does not end maintenance");
    rig.apply(Event::Administer(BackendId(0), Order::Enable));
    rig.pass(200);
    assert_eq!(serving(&rig), [BackendId(0), BackendId(1)]);
}

#[test]
fn a_drain_waits_for_connections_that_are_open_and_not_for_ports_that_rest() {
    let capacities = Capacities { services: 16, backends: 64 };
    let counters = Arc::new(WorkerCounters::new(capacities));
    let key = IndexKey::new([1, 2, 3, 4]);
    let limits = Arc::new(Limits::new(capacities, 16, &key));
    let persistence = Arc::new(Persistence::new(16, &key));
    let ledger = Ledger::new(vec![Arc::clone(&counters)], limits, persistence, Arc::new(SynProxies::new(1)));
    let backend = counters.backend(PRIMARY).unwrap();
    (0..2).for_each(|_| backend.count_connection());
    let mut rig = Rig::ready(web(&[1, 1], |_| {}));
    rig.apply(Event::Administer(PRIMARY, Order::Drain(None)));
    backend.count_end(false);
    let mut tick = || {
        let flowless = ledger.flowless(rig.state.registry(), rig.now);
        rig.apply(Event::Tick { flowless });
        rig.pass(200);
        rig.state_of(PRIMARY)
    };
    assert_eq!(tick(), BackendState::Resting);
    backend.count_over();
    assert_eq!(tick(), BackendState::Dead);

    rig.load(web(&[1], |web| web.backends[0].endpoint = endpoint("10.0.9.2:80")));
    rig.pass(60_000);
    assert_eq!(ledger.flowless(rig.state.registry(), rig.now), [], "its id is a flow's while there is one");
    backend.count_end(true);
    assert_eq!(ledger.flowless(rig.state.registry(), rig.now), [PRIMARY]);
}

/// What operators were told of the service, oldest first.
fn told(rig: &Rig) -> Vec<&'static str> {
    let word = |change: &Change| match change {
        Change::ServiceUp { .. } => Some("up"),
        Change::ServiceDown { .. } => Some("down"),
        _ => None,
    };
    rig.log.iter().filter_map(word).collect()
}

#[test]
fn whatever_takes_the_last_backend_of_a_service_is_told_once_and_so_is_the_end_of_it() {
    let second = Duration::from_secs(1);
    let agent = |web: &mut ServiceConfig| {
        web.health.agent = Some(AgentConfig { port: 9000, interval: second, timeout: second });
    };
    type Step = fn(&mut Rig);
    let cases: [(&str, Step, Step); 5] = [
        ("probes", |rig| fail(rig, PRIMARY), |rig| recover(rig, PRIMARY)),
        (
            "an operator",
            |rig| rig.apply(Event::Administer(PRIMARY, Order::Disable)),
            |rig| rig.apply(Event::Administer(PRIMARY, Order::Enable)),
        ),
        (
            "a drain",
            |rig| rig.apply(Event::Administer(PRIMARY, Order::Drain(None))),
            |rig| rig.apply(Event::Administer(PRIMARY, Order::Enable)),
        ),
        (
            "a weight",
            |rig| rig.apply(Event::Administer(PRIMARY, Order::Weight(0))),
            |rig| rig.apply(Event::Administer(PRIMARY, Order::Weight(1))),
        ),
        ("an agent", |rig| advise(rig, "drain"), |rig| advise(rig, "ready")),
    ];
    for (by, goes, comes) in cases {
        let mut rig = Rig::ready(web(&[1], agent));
        assert_eq!(told(&rig), ["up"], "{by}: with its first probe");
        goes(&mut rig);
        rig.pass(400);
        assert_eq!(told(&rig), ["up", "down"], "{by}");
        rig.apply(Event::Administer(PRIMARY, Order::Weight(0)));
        rig.pass(400);
        fail(&mut rig, PRIMARY);
        recover(&mut rig, PRIMARY);
        rig.apply(Event::Administer(PRIMARY, Order::Weight(1)));
        comes(&mut rig);
        rig.pass(400);
        assert_eq!(told(&rig), ["up", "down", "up"], "{by}");
    }
}

#[test]
fn a_service_is_not_down_while_a_tier_serves_or_health_is_disregarded_or_nothing_is_known() {
    let mut rig = Rig::ready(pair(|_| {}));
    rig.apply(Event::Administer(PRIMARY, Order::Disable));
    rig.pass(400);
    assert_eq!(told(&rig), ["up"], "the standby serves");

    let mut rig = Rig::ready(web(&[1, 1], |web| web.panic_threshold = 50));
    fail(&mut rig, PRIMARY);
    fail(&mut rig, STANDBY);
    assert_eq!(told(&rig), ["up"], "clients are still served, as nobody else could");

    let mut rig = Rig::new(web(&[1, 1], |_| {}));
    rig.hold();
    rig.pass(200);
    (0..3).for_each(|_| rig.probe(PRIMARY, FAILED));
    rig.pass(400);
    assert_eq!(told(&rig), [""; 0], "the other one may be found up");
    rig.probe(STANDBY, FAILED);
    rig.pass(400);
    assert_eq!(told(&rig), ["down"]);
}

#[test]
fn a_drain_ends_at_its_deadline_with_flows_left() {
    let mut rig = Rig::ready(web(&[1, 1], |_| {}));
    rig.apply(Event::Administer(BackendId(0), Order::Drain(Some(Duration::from_secs(60)))));
    assert_eq!(rig.state.wake_at(), Some(rig.now + Nanos::from_secs(60)));
    rig.pass(59_999);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Resting);
    rig.pass(1);
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Dead);
    let drained = rig.log.iter().find(|change| matches!(change, Change::BackendDrained { .. }));
    assert!(matches!(drained, Some(Change::BackendDrained { timed_out: true, .. })));
}

#[test]
fn connections_are_told_of_a_backend_that_is_silent_but_not_of_one_that_refuses() {
    let out = |failure: ProbeFailure, on_dead_backend: OnDeadBackend| {
        let mut rig = Rig::ready(web(&[1, 1], |web| web.on_dead_backend = on_dead_backend));
        (0..3).for_each(|_| rig.probe(BackendId(0), Err(failure)));
        rig.pass(9_900);
        assert_eq!(rig.state_of(BackendId(0)), BackendState::Down, "it may only be slow");
        rig.pass(300);
        rig.state_of(BackendId(0))
    };
    assert_eq!(out(ProbeFailure::Timeout, OnDeadBackend::Reset), BackendState::Dead);
    assert_eq!(out(ProbeFailure::Unreachable, OnDeadBackend::Reset), BackendState::Dead);
    assert_eq!(out(ProbeFailure::Timeout, OnDeadBackend::Keep), BackendState::Down);
    for alive in [ProbeFailure::Refused, ProbeFailure::Status(503), ProbeFailure::Closed] {
        assert_eq!(out(alive, OnDeadBackend::Reset), BackendState::Down, "{alive}");
    }
}

/// An agent of the first backend says this.
fn advise(rig: &mut Rig, line: &str) {
    let generation = rig.probes[&BackendId(0)].generation;
    let outcome = ProbeOutcome { result: Ok(()), advice: Advice::parse(line.as_bytes()) };
    rig.apply(Event::Probe(ProbeReport { backend: BackendId(0), generation, asked: Asked::Agent, outcome }));
    rig.pass(400);
}

#[test]
fn an_agent_sets_state_and_weight_and_what_it_wants_is_logged() {
    let mut rig = Rig::ready(web(&[10, 10], |web| {
        let second = Duration::from_secs(1);
        web.health.agent = Some(AgentConfig { port: 9000, interval: second, timeout: second });
    }));
    for (line, weight, state) in [
        ("up", 10, BackendState::Up),
        ("75%", 8, BackendState::Up),
        ("drain", 0, BackendState::Resting),
        ("ready 200%", 20, BackendState::Up),
        ("down", 0, BackendState::Down),
        ("up", 20, BackendState::Up),
        ("maint", 0, BackendState::Down),
        ("ready 0%", 0, BackendState::Resting),
        ("100%", 10, BackendState::Up),
    ] {
        advise(&mut rig, line);
        assert_eq!((weights(&rig)[0], rig.state_of(BackendId(0))), (weight, state), "{line}");
        assert_eq!(weights(&rig)[1], 10);
    }
    let table = rig.snapshot().service(ServiceId(0)).unwrap();
    let Choice::Hash { all, in_service, .. } = &table.choice else { panic!("{:?}", table.choice) };
    assert!(Arc::ptr_eq(all, in_service));
    let wanted = |change: &Change| match change {
        Change::BackendAdvised { state, .. } => Some(state.to_string()),
        _ => None,
    };
    let logged: Vec<String> = rig.log.iter().filter_map(wanted).collect();
    assert_eq!(logged, ["drain", "up", "down", "up", "maint", "up"]);
}

#[test]
fn a_backend_that_falls_silent_while_it_is_down_is_dead_in_its_time_and_alive_with_its_next_word() {
    let mut rig = Rig::ready(web(&[1, 1], |_| {}));
    (0..3).for_each(|_| rig.probe(BackendId(0), Err(ProbeFailure::Status(503))));
    rig.pass(60_000);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down);
    rig.probe(BackendId(0), Err(ProbeFailure::Timeout));
    rig.pass(200);
    let due = rig.state.wake_at().expect("it may be dead");
    let rules = rig.snapshot().flow_rules;
    rig.now = due;
    rig.pass(0);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Dead);
    assert_ne!(rig.snapshot().flow_rules, rules, "its connections are to be looked for");
    rig.probe(BackendId(0), Err(ProbeFailure::Refused));
    rig.pass(200);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down);
}

#[test]
fn handshakes_that_fail_take_a_backend_out_and_probes_bring_it_back() {
    let mut rig = Rig::ready(web(&[1, 1], |web| {
        web.health.passive = Some(FailureWindow { failures: 5, within: Duration::from_secs(10) });
    }));
    let observe = |rig: &mut Rig, total: u64| {
        rig.apply(Event::Observed(vec![(BackendId(0), total)]));
        rig.pass(250);
        serving(rig)
    };
    assert_eq!(observe(&mut rig, 100).len(), 2);
    assert_eq!(observe(&mut rig, 104).len(), 2);
    assert_eq!(observe(&mut rig, 105), [BackendId(1)]);
    assert_eq!(rig.state_of(BackendId(0)), BackendState::Down, "connections that work go on");
    assert_eq!(observe(&mut rig, 105), [BackendId(1)]);
    recover(&mut rig, BackendId(0));
    assert_eq!(serving(&rig).len(), 2);
}

#[test]
fn a_weight_given_by_hand_lasts_until_the_configured_one_changes() {
    let least = |web: &mut ServiceConfig| web.scheduler = Scheduler::WeightedLeastConnections;
    let mut rig = Rig::ready(web(&[10, 10], least));
    rig.apply(Event::Administer(BackendId(0), Order::Weight(70)));
    rig.pass(200);
    assert_eq!(weights(&rig), [70, 10]);
    rig.load(web(&[10, 20], least));
    rig.pass(200);
    assert_eq!(weights(&rig), [70, 20], "a reload that does not touch it");
    rig.load(web(&[15, 20], least));
    rig.pass(200);
    assert_eq!(weights(&rig), [15, 20]);
    rig.apply(Event::Administer(BackendId(1), Order::Weight(0)));
    rig.pass(200);
    assert_eq!((serving(&rig), rig.state_of(BackendId(1))), (vec![BackendId(0)], BackendState::Resting));
}

#[test]
fn orders_and_health_survive_a_reload_that_reorders_the_file() {
    let mut rig = Rig::ready(web(&[1, 1, 1], |_| {}));
    rig.apply(Event::Administer(BackendId(0), Order::Disable));
    fail(&mut rig, BackendId(1));
    let mut reordered = web(&[1, 1, 1], |_| {});
    reordered.services[0].backends.reverse();
    rig.load(reordered);
    rig.pass(200);
    assert_eq!(serving(&rig), [BackendId(2)]);
}

/// What probes can say of the two servers, one after the other.
fn outcomes() -> impl Strategy<Value = Vec<(bool, bool)>> {
    prop::collection::vec(any::<(bool, bool)>(), 1..80)
}

proptest! {
    /// Whatever the order of failures and recoveries, within `fall` probes of a server that has failed for good and
    /// one publication the other one serves, and nobody does only if both are out.
    #[test]
    fn the_switch_over_is_bounded_by_interval_times_fall(before in outcomes(), fall in 1_u32..5, windowed: bool) {
        let mut rig = Rig::ready(pair(|web| {
            web.health.fall = fall;
            web.health.rise = 1;
            let within = Duration::from_secs(2 * u64::from(fall));
            web.health.failure_window = windowed.then_some(FailureWindow { failures: fall, within });
        }));
        let mut probe = |primary: bool, standby: bool| {
            rig.now = rig.now + Nanos::from_secs(2);
            for (id, good) in [(PRIMARY, primary), (STANDBY, standby)] {
                rig.probe(id, if good { Ok(()) } else { FAILED });
            }
            // The next publication at the latest.
            rig.pass(100);
            let expected = match (rig.state.registry().backend(PRIMARY), rig.state.registry().backend(STANDBY)) {
                (Some(one), _) if one.in_service() => vec![PRIMARY],
                (_, Some(other)) if other.in_service() => vec![STANDBY],
                _ => vec![],
            };
            assert_eq!(serving(&rig), expected);
            expected
        };
        for (primary, standby) in before {
            probe(primary, standby);
        }
        // The primary dies while the standby lives: at most `fall` probes later the standby serves.
        let switched = (0..=fall).position(|_| probe(false, true) == [STANDBY]);
        prop_assert!(switched.is_some_and(|probes| probes < fall as usize || fall == 1), "{switched:?}");
        // And back with the first good probe, as `rise` is 1.
        prop_assert_eq!(probe(true, true), vec![PRIMARY]);
    }
}
