//! Per-connection consistency without flows: the real control over real workers, whatever fails, comes and goes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use evenkeel::config::parse;
use evenkeel::control::health::{Asked, ProbeFailure, ProbeReport};
use evenkeel::control::ledger::Ledger;
use evenkeel::control::state::{Effect, Event, Order, State};
use evenkeel::model::{BackendId, BackendState, Nanos, ServiceId};
use evenkeel::shared::Snapshot;
use proptest::prelude::*;

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, RST, SYN};

/// Control and a worker, with one service in direct routing whose backends are numbered by the last octet of their
/// addresses.
struct Cluster {
    lab: Lab,
    state: State,
    /// Weights of the configured backends.
    configured: BTreeMap<u8, u32>,
    probes: BTreeMap<BackendId, u64>,
    snapshot: Snapshot,
    udp: bool,
}

fn config(backends: &BTreeMap<u8, u32>, udp: bool) -> Box<evenkeel::config::Config> {
    let protocol = if udp { "udp" } else { "tcp" };
    let mut text = format!(
        r#"[[port]]
name = "front"
device = "net_null0"
[[service]]
name = "web"
vip = "203.0.113.80"
port = 80
protocol = "{protocol}"
mode = "direct-routing"
[service.health]
kind = "tcp"
fall = 1
rise = 1
"#
    );
    for (number, weight) in backends {
        write!(text, "[[service.backend]]\naddress = \"10.0.9.{number}\"\nweight = {weight}\n").unwrap();
    }
    Box::new(parse("lb.toml", &text).unwrap_or_else(|errors| panic!("{errors}")))
}

impl Cluster {
    fn new(backends: u8, udp: bool) -> Self {
        let configured = (1..=backends).map(|number| (number, 100)).collect();
        let lab = Lab::new(Plan { flows: 8192, ..Plan::default() });
        let (state, effects) = State::new(lab.now, *config(&configured, udp)).unwrap();
        let snapshot = Snapshot::empty();
        let mut cluster = Self { lab, state, configured, probes: BTreeMap::new(), snapshot, udp };
        cluster.perform(effects);
        cluster.pass();
        let ids: Vec<BackendId> = cluster.probes.keys().copied().collect();
        ids.into_iter().for_each(|id| cluster.probe(id, true));
        cluster.pass();
        cluster
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::StartProbe(spec) => {
                    self.probes.insert(spec.backend, spec.generation);
                }
                Effect::StopProbe(id) => {
                    self.probes.remove(&id);
                }
                Effect::Publish(snapshot) => {
                    self.snapshot = (*snapshot).clone();
                    self.lab.snapshots.publish(*snapshot);
                }
                _ => {}
            }
        }
    }

    fn apply(&mut self, event: Event) {
        let effects = self.state.apply(self.lab.now, event);
        self.perform(effects);
    }

    /// Time enough for everything that is under way.
    fn pass(&mut self) {
        for _ in 0..3 {
            self.lab.now = self.lab.now + Nanos::from_secs(1);
            self.apply(Event::Tick { flowless: Vec::new() });
        }
        self.lab.settle();
    }

    fn probe(&mut self, backend: BackendId, good: bool) {
        let result = if good { Ok(()) } else { Err(ProbeFailure::Timeout) };
        let Some(generation) = self.probes.get(&backend).copied() else { return };
        self.apply(Event::Probe(ProbeReport {
            backend,
            generation,
            asked: Asked::Check,
            outcome: result.into(),
        }));
    }

    fn id(&self, number: u8) -> Option<BackendId> {
        let service = self.snapshot.service(ServiceId(0))?;
        let octet = |address| match address {
            std::net::IpAddr::V4(v4) => v4.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        service.backends.iter().find(|backend| octet(backend.endpoint.address) == number).map(|b| b.id)
    }

    fn serves(&self, backend: BackendId) -> bool {
        matches!(self.snapshot.backend_state(backend), BackendState::Up | BackendState::Resting)
    }

    fn load(&mut self) {
        let config = config(&self.configured, self.udp);
        self.apply(Event::Load(config));
        // New backends are found healthy.
        self.pass();
        let unknown = self.configured.keys().filter_map(|number| self.id(*number));
        let unknown: Vec<_> = unknown
            .filter(|id| {
                let backend = self.state.registry().backend(*id).unwrap();
                backend.health.state() == evenkeel::control::health::HealthState::Unknown
            })
            .collect();
        unknown.into_iter().for_each(|id| self.probe(id, true));
        self.pass();
    }

    /// The backend that the packet of this client goes to; `None`: to none.
    fn send(&mut self, client: u16, flags: u8) -> Option<BackendId> {
        let packets = |lab: &Lab| -> Vec<u64> {
            let of = |id| lab.counters[0].backend(BackendId(id)).unwrap().totals().in_packets;
            (0..128).map(of).collect()
        };
        let before = packets(&self.lab);
        let build = Build::new(&format!("198.51.100.7:{client}"), "203.0.113.80:80").flags(flags);
        self.lab.deliver_to(0, &if self.udp { build.udp() } else { build.tcp() });
        self.lab.settle();
        self.lab.sent();
        let after = packets(&self.lab);
        let place = before.iter().zip(&after).position(|(before, after)| before != after)?;
        Some(BackendId(u32::try_from(place).unwrap()))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Fail(u8),
    Recover(u8),
    Add(u8),
    Remove(u8),
    Weigh(u8, u32),
    Drain(u8),
    Enable(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 1..=8_u8;
    prop_oneof![
        3 => number.clone().prop_map(Step::Fail),
        4 => number.clone().prop_map(Step::Recover),
        2 => number.clone().prop_map(Step::Add),
        1 => number.clone().prop_map(Step::Remove),
        1 => (number.clone(), prop_oneof![Just(0), Just(10), Just(100), Just(300)])
            .prop_map(|(number, weight)| Step::Weigh(number, weight)),
        1 => number.clone().prop_map(Step::Drain),
        1 => number.prop_map(Step::Enable),
    ]
}

impl Cluster {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Fail(number) | Step::Recover(number) => {
                if let Some(id) = self.id(number) {
                    self.probe(id, matches!(step, Step::Recover(_)));
                }
            }
            Step::Add(number) => {
                self.configured.entry(number).or_insert(100);
                self.load();
            }
            Step::Remove(number) => {
                if self.configured.len() > 1 {
                    self.configured.remove(&number);
                    self.load();
                }
            }
            Step::Weigh(number, weight) => {
                if let Some(configured) = self.configured.get_mut(&number) {
                    *configured = weight;
                    self.load();
                }
            }
            Step::Drain(number) | Step::Enable(number) => {
                if let Some(id) = self.id(number) {
                    let drains = matches!(step, Step::Drain(_));
                    let order = if drains { Order::Drain(None) } else { Order::Enable };
                    self.apply(Event::Administer(id, order));
                }
            }
        }
        self.pass();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_session_of_a_backend_that_stays_healthy_ever_changes_its_target(
        udp: bool,
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let mut cluster = Cluster::new(5, udp);
        let mut sessions: BTreeMap<u16, Option<BackendId>> = BTreeMap::new();
        let mut next = 10_000;
        for step in &steps {
            for _ in 0..30 {
                sessions.insert(next, cluster.send(next, SYN));
                next += 1;
            }
            cluster.take(step);
            for (client, target) in &mut sessions {
                let now = cluster.send(*client, ACK);
                if let Some(before) = target.filter(|before| cluster.serves(*before)) {
                    prop_assert_eq!(now, Some(before), "session {} after {:?}", client, step);
                }
                *target = now;
            }
            prop_assert!(cluster.lab.tally().flows() <= sessions.len() as u64);
        }
        cluster.lab.assert_conserved();
    }
}

#[test]
fn with_one_of_a_hundred_backends_out_there_are_records_of_its_sessions_alone() {
    let mut cluster = Cluster::new(100, false);
    let first: BTreeMap<u16, BackendId> =
        (10_000..13_000).map(|client| (client, cluster.send(client, SYN).unwrap())).collect();
    assert_eq!(cluster.lab.tally().flows_created, 0);
    let failed = cluster.id(42).unwrap();
    cluster.probe(failed, false);
    cluster.pass();
    let mut displaced = 0;
    for (client, target) in &first {
        let now = cluster.send(*client, ACK).unwrap();
        if *target == failed {
            displaced += 1;
            assert_ne!(now, failed);
        } else {
            assert_eq!(now, *target);
        }
    }
    assert!((10..60).contains(&displaced), "{displaced}");
    assert_eq!((cluster.lab.tally().flows(), cluster.lab.tally().displaced), (displaced, displaced));
}

#[test]
fn a_drain_leaves_its_sessions_where_they_are_and_takes_no_new_ones() {
    let mut cluster = Cluster::new(3, false);
    let drained = cluster.id(2).unwrap();
    let clients: Vec<u16> =
        (10_000..10_300).filter(|client| cluster.send(*client, SYN) == Some(drained)).collect();
    assert!(clients.len() > 50);
    cluster.apply(Event::Administer(drained, Order::Drain(None)));
    cluster.pass();
    // No worker counts a flow yet, and still the drain goes on.
    let now = cluster.lab.now;
    let effects = cluster.state.apply(now, Event::Tick { flowless: vec![drained] });
    cluster.perform(effects);
    cluster.pass();
    for client in &clients {
        assert_eq!(cluster.send(*client, ACK), Some(drained));
    }
    for client in 20_000..20_200 {
        let target = cluster.send(client, SYN);
        assert_ne!(target, Some(drained));
        assert_eq!(cluster.send(client, ACK), target, "the handshake goes on where it began");
    }
    // After the transition records alone hold it up.
    cluster.lab.now = cluster.lab.now + Nanos::from_secs(900);
    cluster.pass();
    cluster.apply(Event::Tick { flowless: vec![drained] });
    cluster.pass();
    assert_eq!(cluster.snapshot.backend_state(drained), BackendState::Dead);
}

/// What is left of the flows of a backend that waits for them, as control's loop sees it.
fn tick(cluster: &mut Cluster) {
    let ledger = Ledger::new(
        cluster.lab.counters.clone(),
        Arc::clone(&cluster.lab.limits),
        Arc::clone(&cluster.lab.persistence),
        Arc::clone(&cluster.lab.syn_proxies),
    );
    let flowless = ledger.flowless(cluster.state.registry(), cluster.lab.now);
    cluster.apply(Event::Tick { flowless });
    cluster.pass();
}

/// Three backends, the second one's clients, and the second one taken out of the configuration.
fn removed(udp: bool) -> (Cluster, BackendId, Vec<u16>) {
    let mut cluster = Cluster::new(3, udp);
    let second = cluster.id(2).unwrap();
    let clients: Vec<u16> =
        (10_000..10_300).filter(|client| cluster.send(*client, SYN) == Some(second)).collect();
    assert!(clients.len() > 50);
    cluster.configured.remove(&2);
    cluster.load();
    (cluster, second, clients)
}

#[test]
fn a_removed_backend_keeps_its_sessions_for_the_transition_and_what_is_at_work_until_it_ends() {
    for udp in [false, true] {
        let (mut cluster, second, clients) = removed(udp);
        let (at_work, silent) = clients.split_at(30);
        for client in at_work {
            assert_eq!(cluster.send(*client, ACK), Some(second), "udp: {udp}");
        }
        if !udp {
            for client in 20_000..20_200 {
                assert_ne!(cluster.send(client, SYN), Some(second), "nothing new");
            }
        }
        cluster.lab.now = cluster.lab.now + Nanos::from_secs(800);
        tick(&mut cluster);
        // A packet of theirs now and then.
        for client in at_work {
            assert_eq!(cluster.send(*client, ACK), Some(second), "udp: {udp}");
        }
        cluster.lab.now = cluster.lab.now + Nanos::from_secs(120);
        tick(&mut cluster);
        for client in at_work {
            let target = cluster.send(*client, ACK);
            assert_eq!(target == Some(second), !udp, "a UDP session loses nothing on another backend");
        }
        for client in silent {
            assert_ne!(cluster.send(*client, ACK), Some(second), "silent for the whole transition");
        }
        if !udp {
            assert!(cluster.probes.contains_key(&second));
            at_work.iter().for_each(|client| assert_eq!(cluster.send(*client, RST), Some(second)));
            cluster.lab.now = cluster.lab.now + Nanos::from_secs(10);
            cluster.pass();
        }
        tick(&mut cluster);
        assert!(cluster.state.registry().backend(second).is_none(), "its id is free");
        assert!(!cluster.probes.contains_key(&second), "and nobody asks after it");
        assert!(cluster.id(2).is_none(), "nor does a worker know it");
    }
}

#[test]
fn the_sessions_of_a_removed_backend_that_fails_go_elsewhere() {
    for udp in [false, true] {
        let (mut cluster, second, clients) = removed(udp);
        for client in &clients[..30] {
            assert_eq!(cluster.send(*client, ACK), Some(second));
        }
        cluster.probe(second, false);
        cluster.pass();
        for client in &clients {
            let target = cluster.send(*client, ACK);
            assert!(target.is_some() && target != Some(second), "{target:?}");
        }
    }
}

#[test]
fn a_removed_backend_that_is_put_back_has_its_slots_and_sessions_again() {
    let (mut cluster, second, clients) = removed(false);
    for client in &clients[..30] {
        assert_eq!(cluster.send(*client, ACK), Some(second));
    }
    cluster.configured.insert(2, 100);
    let config = config(&cluster.configured, false);
    cluster.apply(Event::Load(config));
    cluster.pass();
    // No probe in between: it was being asked all the time.
    for client in clients {
        assert_eq!(cluster.send(client, ACK), Some(second));
    }
}

#[test]
fn without_a_transition_the_sessions_of_a_removed_backend_move_at_once() {
    let mut cluster = Cluster::new(3, false);
    let second = cluster.id(2).unwrap();
    let client = (10_000..10_300).find(|client| cluster.send(*client, SYN) == Some(second)).unwrap();
    cluster.configured.remove(&2);
    let mut config = config(&cluster.configured, false);
    config.services[0].transition = std::time::Duration::ZERO;
    cluster.apply(Event::Load(config));
    cluster.pass();
    let target = cluster.send(client, ACK);
    assert!(target.is_some() && target != Some(second));
    assert!(!cluster.probes.contains_key(&second));
}
