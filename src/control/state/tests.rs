use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::config::AgentConfig;
use crate::config::BackendConfig;
use crate::config::FailureWindow;
use crate::config::PersistenceConfig;
use crate::config::ServiceConfig;
use crate::control::health::Advice;
use crate::control::health::Asked;
use crate::control::health::ProbeFailure;
use crate::control::health::ProbeOutcome;
use crate::control::health::ProbeReport;
use crate::model::BackendId;
use crate::model::ClientPrefix;
use crate::model::ForwardingMode;
use crate::model::OnDeadBackend;
use crate::model::PersistenceRules;
use crate::model::Scheduler;
use crate::model::ServiceProtocol;
use crate::model::V4;
use crate::shared::Snapshot;

const TEXT: &str = r#"
[appliance]
max_services = 6
max_backends = 40
[[port]]
name = "front"
device = "net_null0"
[local_addresses]
default = ["10.0.8.10"]
[[service]]
name = "web"
vip = "203.0.113.80"
port = 80
[service.health]
kind = "tcp"
fall = 2
rise = 1
[[service.backend]]
address = "10.0.9.1"
"#;

fn vip(place: u8) -> IpAddr {
    [203, 0, 113, place].into()
}

/// A service at one of four places, with backends of a small pool and whatever makes tables follow the time.
fn any_service() -> impl Strategy<Value = ServiceConfig> {
    let backend = (1_u8..7, 0_u32..3, 0_u8..3, 0_u32..2);
    let backends = prop::collection::vec(backend, 0..6);
    // Seconds of transition, slow start and hold-down.
    let times = (prop::sample::select(vec![0, 8]), prop::sample::select(vec![0, 10]), 0_u64..4);
    // By hash, as without flows, more often than not.
    let scheduler = prop_oneof![Just(Scheduler::ALL[0]), prop::sample::select(&Scheduler::ALL[..])];
    let kinds = (scheduler, 0_u8..3, any::<[bool; 6]>());
    (1_u8..5, backends, times, kinds).prop_map(|(place, backends, times, kinds)| {
        let mut service = crate::config::parse("lb.toml", TEXT).unwrap().services.remove(0);
        service.name = format!("s{place}");
        service.vip = vip(place);
        let seconds = |seconds: u64| Duration::from_secs(seconds);
        (service.transition, service.slow_start) = (seconds(times.0), seconds(times.1));
        // One that three tiers come back at different times under.
        (service.hold_down, service.dead_after) = (seconds(2 * times.2), seconds(3));
        let ((_, scheduler), mode, [resets, panics, udp, persists, agent, passive]) = kinds;
        service.scheduler = scheduler;
        service.mode = if mode == 0 { ForwardingMode::FullNat } else { ForwardingMode::DirectRouting };
        service.protocol = if udp { ServiceProtocol::Udp } else { ServiceProtocol::Tcp };
        service.on_dead_backend = if resets { OnDeadBackend::Reset } else { service.on_dead_backend };
        service.panic_threshold = if panics { 50 } else { 0 };
        let prefix = ClientPrefix { v4: 32, v6: 128 };
        let rules = PersistenceRules { timeout: Nanos::from_secs(60), prefix };
        service.persistence = persists.then_some(PersistenceConfig { rules, group: None });
        service.health.agent =
            agent.then_some(AgentConfig { port: 9, interval: seconds(2), timeout: seconds(1) });
        service.health.passive = passive.then_some(FailureWindow { failures: 2, within: seconds(10) });
        let mut known = BTreeSet::new();
        service.backends = backends
            .into_iter()
            .filter(|(number, ..)| known.insert(*number))
            .map(|(number, weight, tier, max_connections)| BackendConfig {
                endpoint: crate::model::Endpoint::new([10, 0, 9, number].into(), 80),
                weight,
                tier,
                max_connections,
            })
            .collect();
        service
    })
}

fn any_config() -> impl Strategy<Value = Config> {
    (prop::collection::vec(any_service(), 1..4), 1_u64..3).prop_map(|(services, seed)| {
        let mut config = crate::config::parse("lb.toml", TEXT).unwrap();
        config.appliance.hash_seed = seed;
        let mut places = BTreeSet::new();
        config.services = services.into_iter().filter(|service| places.insert(service.vip)).collect();
        config
    })
}

/// Something that happens, to one of the backends that there are then.
#[derive(Clone, Debug)]
enum Step {
    Probe(Index, u8),
    Advice(Index, &'static str),
    Decided(Index, Decision),
    Observed(Index),
    Administer(Index, Order),
    Load(Index),
    Pass {
        millis: u64,
        flowless: bool,
    },
    /// Until the state wants to be woken.
    Sleep,
    Stall(bool),
    Shutdown,
}

fn any_step() -> impl Strategy<Value = Step> {
    let words = vec!["up", "down", "drain", "ready", "maint", "0%", "50%", "100%"];
    let decisions = vec![Decision::Up, Decision::Down, Decision::Dead];
    let orders = vec![
        Order::Drain(None),
        Order::Drain(Some(Duration::from_secs(3))),
        Order::Disable,
        Order::Enable,
        Order::Enable,
        Order::Weight(0),
        Order::Weight(5),
    ];
    prop_oneof![
        12 => (any::<Index>(), 0_u8..6).prop_map(|(which, result)| Step::Probe(which, result)),
        2 => (any::<Index>(), prop::sample::select(words)).prop_map(|(which, word)| Step::Advice(which, word)),
        2 => (any::<Index>(), prop::sample::select(decisions)).prop_map(|(which, what)| Step::Decided(which, what)),
        1 => any::<Index>().prop_map(Step::Observed),
        4 => (any::<Index>(), prop::sample::select(orders)).prop_map(|(which, order)| Step::Administer(which, order)),
        2 => any::<Index>().prop_map(Step::Load),
        6 => (prop::sample::select(vec![0, 50, 1000, 2000, 15_000]), any::<bool>())
            .prop_map(|(millis, flowless)| Step::Pass { millis, flowless }),
        6 => Just(Step::Sleep),
        1 => any::<bool>().prop_map(Step::Stall),
    ]
}

/// The event of a step; `None`: there is no backend that it could happen to.
fn event(step: &Step, state: &State, configs: &[Config]) -> Option<Event> {
    let ids: Vec<BackendId> = state.registry.backends().map(|backend| backend.id).collect();
    let one = |which: &Index| (!ids.is_empty()).then(|| ids[which.index(ids.len())]);
    let report = |which: &Index, asked, outcome| {
        let backend = state.registry.backend(one(which)?)?;
        let generation = backend.probe.as_ref()?.generation;
        Some(Event::Probe(ProbeReport { backend: backend.id, generation, asked, outcome }))
    };
    match step {
        Step::Probe(which, result) => {
            let result = match result {
                0..3 => Ok(()),
                3 => Err(ProbeFailure::Refused),
                _ => Err(ProbeFailure::Timeout),
            };
            report(which, Asked::Check, result.into())
        }
        Step::Advice(which, word) => report(
            which,
            Asked::Agent,
            ProbeOutcome { result: Ok(()), advice: Advice::parse(word.as_bytes()) },
        ),
        Step::Decided(which, decision) => Some(Event::Decided(one(which)?, *decision)),
        Step::Observed(which) => {
            let id = one(which)?;
            Some(Event::Observed(vec![(id, 0), (id, 5)]))
        }
        Step::Administer(which, order) => Some(Event::Administer(one(which)?, *order)),
        Step::Load(which) => Some(Event::Load(Box::new(configs[which.index(configs.len())].clone()))),
        Step::Pass { flowless, .. } => Some(Event::Tick { flowless: if *flowless { ids } else { vec![] } }),
        Step::Sleep => Some(Event::Tick { flowless: vec![] }),
        Step::Stall(stalls) => {
            let stalled = if *stalls { vec![WorkerId(0)] } else { vec![] };
            Some(Event::Workers(Pulse { stalled, started: true }))
        }
        Step::Shutdown => Some(Event::Shutdown),
    }
}

/// Everything but the tables.
fn words(effects: &[Effect]) -> Vec<String> {
    let others = effects.iter().filter(|effect| !matches!(effect, Effect::Publish(_)));
    others.map(|effect| format!("{effect:?}")).collect()
}

fn published(effects: Vec<Effect>) -> Option<Snapshot> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Publish(snapshot) => Some(*snapshot),
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// One of two that hear the same is told each time that everything may have changed.
    #[test]
    fn looking_at_what_changed_finds_what_looking_at_everything_finds(
        configs in prop::collection::vec(any_config(), 1..4),
        steps in prop::collection::vec(any_step(), 1..60),
        ends: bool,
    ) {
        let mut now = Nanos(0);
        let (mut state, first) = State::new(now, configs[0].clone()).unwrap();
        let (mut whole, second) = State::new(now, configs[0].clone()).unwrap();
        prop_assert_eq!(words(&first), words(&second));
        let begins = [
            Event::Workers(Pulse { stalled: vec![], started: true }),
            Event::Held(Wanted::default()),
        ];
        let begins = begins.into_iter().map(|event| (Step::Sleep, Some(event)));
        let ends = ends.then_some((Step::Shutdown, None));
        let steps = begins.chain(steps.into_iter().map(|step| (step, None))).chain(ends);
        for (step, given) in steps {
            if let Step::Pass { millis, .. } = step {
                now = now + Nanos::from_millis(millis);
            }
            if let (Step::Sleep, None, Some(at)) = (&step, &given, state.wake_at()) {
                now = now.max(at);
            }
            let Some(event) = given.or_else(|| event(&step, &state, &configs)) else { continue };
            let ids: Vec<_> = (0..6).map(ServiceId).collect();
            whole.registry.unpublished.services.extend(&ids);
            whole.registry.unpublished.members = true;
            let (one, other) = (state.apply(now, event.clone()), whole.apply(now, event));
            prop_assert_eq!(words(&one), words(&other), "{:?}", step);
            prop_assert_eq!(state.wake_at(), whole.wake_at(), "{:?}", step);
            for id in ids {
                prop_assert_eq!(state.selection(id), whole.selection(id), "{:?}", step);
                prop_assert_eq!(state.tables.in_transition(id), whole.tables.in_transition(id));
            }
            match (published(one), published(other)) {
                (Some(one), Some(other)) => {
                    prop_assert!(one.services == other.services, "{step:?}");
                    prop_assert_eq!(&one.backend_states, &other.backend_states, "{:?}", step);
                    prop_assert_eq!(one.flow_rules, other.flow_rules, "{:?}", step);
                    prop_assert_eq!((one.version, one.choice_seed), (other.version, other.choice_seed));
                    for address in [[203, 0, 113, 1], [203, 0, 113, 2], [203, 0, 113, 3], [203, 0, 113, 4], [10, 0, 8, 10]] {
                        let role = |snapshot: &Snapshot| format!("{:?}", snapshot.roles.of::<V4>(u32::from_be_bytes(address)));
                        prop_assert_eq!(role(&one), role(&other), "{:?}", step);
                    }
                }
                (None, None) => {}
                _ => prop_assert!(false, "one publishes: {step:?}"),
            }
        }
    }
}
