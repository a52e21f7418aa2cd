//! The state of control, and what follows from each event. Pure: time comes in with every event, and what is to be
//! done comes out as [`Effect`]s; `run` does them.
//!
//! It keeps this order: probes start once the network holds the addresses that they leave from; VIPs are announced
//! only once a snapshot with every backend's first probe result is published and every worker turns; the process is
//! ready once they are; a drain withdraws them first.

mod backends;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::change::Change;
use super::difference::Difference;
use super::difference::restart_only;
use super::drain::Drain;
use super::drain::DrainEnd;
pub use super::event::Decision;
pub use super::event::Effect;
pub use super::event::Event;
pub use super::event::Order;
pub use super::event::Refusal;
use super::health::HealthState;
use super::network::Wanted;
use super::publication::Publication;
use super::publication::Urgency;
use super::registry::Registry;
pub use super::selection::Selection;
pub use super::selection::Standing;
use super::tables::Tables;
use super::tables::local_addresses;
use super::workers::Pulse;
use crate::config::Config;
use crate::model::Nanos;
use crate::model::ServiceId;
use crate::model::WorkerId;
use crate::shared::Capacities;

/// Everything control knows and decides by.
#[derive(Debug)]
pub struct State {
    config: Config,
    registry: Registry,
    tables: Tables,
    publication: Publication,
    published: Published,
    /// What the network was last asked to hold, and what it last said it holds.
    wanted: Option<Wanted>,
    held: Option<Wanted>,
    /// Something that `wanted` depends on may have changed.
    wanted_stale: bool,
    pulse: Pulse,
    phase: Phase,
    first_probes: FirstProbes,
    probe_generation: u64,
}

/// What the latest snapshot tells the workers.
#[derive(Debug, Default)]
struct Published {
    version: u64,
    vips: BTreeSet<IpAddr>,
    /// It holds every backend's first probe result.
    settled: bool,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug)]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Leaving.
    Draining(Drain),
}

/// How far the first probes are; none is sent in vain, from an address that the network does not hold yet.
#[derive(Clone, Copy, Debug)]
enum FirstProbes {
    /// For the network to hold what is wanted, until this time at most: one address that cannot be had must not keep
    /// everything out of service.
    Wait(Nanos),
    /// Probes run, and by this time every first one has an answer.
    Run(Nanos),
}

/// How long probes wait for the network: its second attempt is through by then.
const NETWORK_PATIENCE: Nanos = Nanos::from_secs(2);

/// Beyond the probes' timeout, for their results to arrive.
const SETTLE_MARGIN: Nanos = Nanos::from_millis(500);

impl State {
    /// A balancer that starts with `config` at `now`, and what to do first.
    ///
    /// # Errors
    ///
    /// If there are more services or backends than `appliance` has room for.
    pub fn new(now: Nanos, config: Config) -> Result<(Self, Vec<Effect>), Refusal> {
        let capacities =
            Capacities { services: config.appliance.max_services, backends: config.appliance.max_backends };
        let mut state = Self {
            registry: Registry::new(capacities),
            tables: Tables::default(),
            publication: Publication::default(),
            published: Published::default(),
            wanted: None,
            held: None,
            wanted_stale: true,
            pulse: Pulse::default(),
            phase: Phase::Starting,
            first_probes: FirstProbes::Wait(now + NETWORK_PATIENCE),
            probe_generation: 0,
            config: config.clone(),
        };
        let mut effects = Vec::new();
        state.load(now, config, &mut effects)?;
        state.conclude(now, &mut effects);
        Ok((state, effects))
    }

    /// Takes in an event and returns what is to be done, in this order.
    pub fn apply(&mut self, now: Nanos, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Load(config) => {
                // Whoever reads configurations asks `review` first; a refused one changes nothing.
                if self.review(&config).is_ok() {
                    let _fits = self.load(now, *config, &mut effects);
                }
            }
            Event::Probe(report) => self.probe_result(now, report, &mut effects),
            Event::Decided(backend, decision) => self.decided(now, backend, decision, &mut effects),
            Event::Observed(anomalies) => self.observed(now, anomalies, &mut effects),
            Event::Workers(pulse) => self.workers(pulse, &mut effects),
            Event::Held(wanted) => self.held(wanted, &mut effects),
            Event::Administer(backend, order) => self.administer(now, backend, order, &mut effects),
            Event::Tick { flowless } => {
                self.release(now, &flowless, &mut effects);
                self.end_drains(now, &flowless, &mut effects);
            }
            Event::Shutdown => self.shutdown(now, &mut effects),
            Event::NoneEstablished => {
                // Only once the VIPs are withdrawn: until then new flows arrive.
                if matches!(self.phase, Phase::Draining(_)) && self.held == self.wanted {
                    leave(DrainEnd::Idle, &mut effects);
                }
            }
        }
        self.conclude(now, &mut effects);
        effects
    }

    /// What loading `config` would change.
    ///
    /// # Errors
    ///
    /// If it cannot be loaded.
    pub fn review(&self, config: &Config) -> Result<Difference, Refusal> {
        let keys = restart_only(&self.config, config);
        if !keys.is_empty() {
            return Err(Refusal::RestartNeeded(keys));
        }
        self.registry.clone().load(Nanos(0), &config.services)?;
        Ok(Difference::between(&self.config, config))
    }

    fn load(&mut self, now: Nanos, config: Config, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let mut registry = self.registry.clone();
        let assigned = registry.load(now, &config.services)?;
        self.registry = registry;
        self.config = config;
        effects.extend(assigned.into_iter().map(Effect::Assign));
        let backends = self.config.services.iter().map(|service| service.backends.len()).sum();
        let loaded = Change::ConfigurationLoaded { services: self.config.services.len(), backends };
        effects.push(Effect::Log(loaded));
        self.follow_with_probes(now, effects);
        self.publication.request(Urgency::CanWait);
        self.wanted_stale = true;
        Ok(())
    }

    /// Starts the first probes once it is time.
    fn begin_probing(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let FirstProbes::Wait(until) = self.first_probes else { return };
        if self.held.is_none() && now < until {
            return;
        }
        let slowest = self.config.services.iter().map(|service| service.health.timeout).max();
        let answered = now + slowest.unwrap_or_default().into() + SETTLE_MARGIN;
        self.first_probes = FirstProbes::Run(answered);
        self.follow_with_probes(now, effects);
    }

    /// Builds the tables that may have changed and says which services are served now, and by which tiers, that were not.
    fn publish(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let mut news = std::mem::take(&mut self.registry.unpublished);
        news.services.extend(self.tables.due_by(now));
        if news.members {
            self.published.vips = self.config.services.iter().map(|service| service.vip).collect();
            self.wanted_stale = true;
        }
        let standing = |tables: &Tables, id| {
            let now = tables.selection(id)?;
            Some((now.tier, now.serves, now.panics))
        };
        let looked_at =
            self.registry.services().map(|service| service.id).filter(|id| news.services.contains(id));
        let ids: Vec<_> = looked_at.collect();
        let before: Vec<_> = ids.iter().map(|id| standing(&self.tables, *id)).collect();
        let version = self.published.version;
        let snapshot = self.tables.snapshot(&self.registry, &self.config, &news, (version, now));
        effects.push(Effect::Publish(Box::new(snapshot)));
        for (id, before) in ids.into_iter().zip(before) {
            let Some((tier, serves, panics)) = standing(&self.tables, id) else { continue };
            let Some(service) = self.registry.service(id) else { continue };
            let service: Arc<str> = service.config.name.as_str().into();
            // The lowest tier serves unless something else is said.
            let (old_tier, served, panicked) = before.unwrap_or((None, None, false));
            match serves.filter(|_| serves != served) {
                Some(true) => effects.push(Effect::Log(Change::ServiceUp { service: Arc::clone(&service) })),
                Some(false) => {
                    effects.push(Effect::Log(Change::ServiceDown { service: Arc::clone(&service) }))
                }
                None => {}
            }
            let Some(tier) = tier else { continue };
            if old_tier.map_or(tier > 0, |old| old != tier) {
                effects.push(Effect::Log(Change::TierServes { service: Arc::clone(&service), tier }));
            }
            if panicked != panics {
                effects.push(Effect::Log(Change::Panic { service, begins: panics }));
            }
        }
    }

    fn workers(&mut self, pulse: Pulse, effects: &mut Vec<Effect>) {
        self.wanted_stale |= self.pulse != pulse;
        let before = std::mem::replace(&mut self.pulse, pulse);
        for worker in self.pulse.stalled.iter().filter(|worker| !before.stalled.contains(worker)) {
            effects.push(Effect::Log(Change::WorkerStalled { worker: *worker }));
        }
        for worker in before.stalled.iter().filter(|worker| !self.pulse.stalled.contains(worker)) {
            effects.push(Effect::Log(Change::WorkerResumed { worker: *worker }));
        }
    }

    fn held(&mut self, held: Wanted, effects: &mut Vec<Effect>) {
        let before = self.held.as_ref().map_or(&[][..], |held| &held.vips);
        if before != held.vips {
            effects.push(Effect::Log(Change::VipsAnnounced { vips: held.vips.len() }));
        }
        self.held = Some(held);
    }

    fn shutdown(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Draining(_) => leave(DrainEnd::Interrupted, effects),
            Phase::Starting | Phase::Running => {
                let timeout = self.config.appliance.drain_timeout;
                self.phase = Phase::Draining(Drain::begin(now, timeout.into()));
                self.wanted_stale = true;
                effects.push(Effect::Log(Change::Draining { timeout }));
                effects.push(Effect::Stopping(timeout));
            }
        }
    }

    /// What follows from the state, whatever the event was.
    fn conclude(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        self.begin_probing(now, effects);
        let settled = self.published.settled || self.settled(now);
        if settled && !self.published.settled {
            // Readiness waits for it.
            self.publication.request(Urgency::AtOnce);
        }
        if self.tables.due().is_some_and(|due| due <= now) {
            self.publication.request(Urgency::CanWait);
        }
        if self.publication.take(now) {
            self.published.version += 1;
            self.wanted_stale |= self.published.settled != settled;
            self.published.settled = settled;
            self.publish(now, effects);
        }
        if std::mem::take(&mut self.wanted_stale) {
            let wanted = self.wanted();
            if self.wanted.as_ref() != Some(&wanted) {
                self.wanted = Some(wanted.clone());
                effects.push(Effect::Hold(wanted));
            }
        }
        match self.phase {
            Phase::Starting if self.may_announce() && self.held == self.wanted => {
                self.phase = Phase::Running;
                effects.push(Effect::Log(Change::Ready));
                effects.push(Effect::Ready);
            }
            Phase::Draining(drain) => {
                if let Some(end) = drain.end_by_time(now) {
                    leave(end, effects);
                }
            }
            Phase::Starting | Phase::Running => {}
        }
    }

    fn wanted(&self) -> Wanted {
        let configured: BTreeSet<IpAddr> = self.config.services.iter().map(|service| service.vip).collect();
        // Not before workers know the VIP: the kernel would answer in their place.
        let vips = configured.intersection(&self.published.vips).filter(|_| self.may_announce());
        let local: BTreeSet<IpAddr> = local_addresses(&self.config).collect();
        let backends = self
            .registry
            .services()
            .flat_map(|service| self.registry.backends_of(service).chain(self.registry.leaving(service)));
        let backends: BTreeSet<IpAddr> = backends.map(|backend| backend.endpoint.address).collect();
        Wanted {
            vips: vips.copied().collect(),
            local: local.into_iter().collect(),
            backends: backends.into_iter().collect(),
            next_hops: self.config.next_hops.clone(),
        }
    }

    fn may_announce(&self) -> bool {
        let leaving = matches!(self.phase, Phase::Draining(_));
        !leaving && self.published.settled && self.pulse.started && self.pulse.stalled.is_empty()
    }

    /// Every configured backend's first probe has a result, or had the time for one.
    fn settled(&self, now: Nanos) -> bool {
        let mut configured = self.registry.backends().filter(|backend| backend.removed.is_none());
        matches!(self.first_probes, FirstProbes::Run(answered) if now >= answered)
            || configured.all(|backend| backend.health.state() != HealthState::Unknown)
    }

    /// When [`Event::Tick`] is due even if nothing happens; `None`: no need.
    #[must_use]
    pub fn wake_at(&self) -> Option<Nanos> {
        let first_probes = match self.first_probes {
            FirstProbes::Wait(until) => Some(until),
            FirstProbes::Run(answered) => (!self.published.settled).then_some(answered),
        };
        let drain = match self.phase {
            Phase::Draining(drain) => Some(drain.deadline()),
            Phase::Starting | Phase::Running => None,
        };
        let tables = self.publication.due().or_else(|| self.tables.due());
        let drained = self.registry.draining().filter_map(|(_, deadline)| deadline).min();
        [tables, first_probes, drain, drained].into_iter().flatten().min()
    }

    /// The configuration in effect.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Which backends of a service get new flows, as workers know it; `None` before they do.
    #[must_use]
    pub fn selection(&self, service: ServiceId) -> Option<&Selection> {
        self.tables.selection(service)
    }

    /// Services and backends.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where the process is in its life.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The version of the latest snapshot.
    #[must_use]
    pub const fn snapshot_version(&self) -> u64 {
        self.published.version
    }

    /// Whether something has changed that the latest snapshot does not have yet.
    #[must_use]
    pub fn snapshot_pending(&self) -> bool {
        self.publication.due().is_some()
    }

    /// Workers that stand still.
    #[must_use]
    pub fn stalled(&self) -> &[WorkerId] {
        &self.pulse.stalled
    }

    /// VIPs that the network leads here.
    #[must_use]
    pub fn announced(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.vips.len())
    }
}

fn leave(end: DrainEnd, effects: &mut Vec<Effect>) {
    effects.push(Effect::Log(Change::Leaving { reason: end }));
    effects.push(Effect::Leave(end));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::config::AgentConfig;
    use crate::config::BackendConfig;
    use crate::config::FailureWindow;
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
            service.persistence =
                persists.then_some(PersistenceRules { timeout: Nanos::from_secs(60), prefix });
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
            Step::Pass { flowless, .. } => {
                Some(Event::Tick { flowless: if *flowless { ids } else { vec![] } })
            }
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
}
