//! The state of control, and what follows from each event. Pure: time comes in with every event, and what is to be
//! done comes out as [`Effect`]s; `run` does them.
//!
//! It keeps this order: probes start once the network holds the addresses that they leave from; VIPs are announced
//! only once a snapshot with every backend's first probe result is published and every worker turns; the process is
//! ready once they are; a drain withdraws them first.

mod announcing;
mod backends;
mod building;
mod doubts;
mod leaving;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::building::Building;
use super::announcements::Announcements;
use super::change::Change;
use super::difference::Difference;
use super::difference::restart_only;
use super::drain::Drain;
pub use super::event::Decision;
pub use super::event::Effect;
pub use super::event::Event;
pub use super::event::Order;
pub use super::event::Refusal;
use super::health::REPEAT_PAUSE;
use super::network::Wanted;
use super::port_watch::PortFault;
use super::probe_counts::ProbeCounts;
use super::publication::Publication;
use super::publication::Urgency;
use super::registry::Backend;
use super::registry::Registry;
pub use super::review::Review;
pub use super::selection::Selection;
pub use super::selection::Standing;
use super::suspicion::Suspicion;
pub use super::tables::Slice;
use super::tables::Tables;
use super::workers::Pulse;
use crate::config::Config;
use crate::model::BackendState;
use crate::model::Nanos;
use crate::model::ServiceId;
use crate::model::WorkerId;
use crate::shared::Capacities;

/// Everything control knows and decides by.
#[derive(Debug)]
pub struct State {
    config: Arc<Config>,
    registry: Registry,
    tables: Tables,
    /// Tables that are being built, a slice of them with each event.
    building: Option<Building>,
    slice: Slice,
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
    /// Until then readiness waits for services on their way up; `None`: no longer, or not yet.
    ready_by: Option<Nanos>,
    probe_generation: u64,
    probe_counts: ProbeCounts,
    announcements: Announcements,
    /// How many services want each VIP; none is 0.
    wanting: BTreeMap<IpAddr, usize>,
    suspicion: Suspicion,
    /// The longest time-out of a probe, and whether there are several servers.
    slowest_timeout: Duration,
    several_servers: bool,
    faults: Vec<PortFault>,
}

/// What the latest snapshot tells the workers.
#[derive(Debug, Default)]
struct Published {
    version: u64,
    at: Nanos,
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

/// How long readiness waits beyond the first probes for services whose probes succeed, but not often enough yet.
const RISE_PATIENCE: Nanos = Nanos::from_secs(8);

impl State {
    /// A balancer that starts with `config` at `now`, and what to do first.
    ///
    /// # Errors
    ///
    /// If there are more services or backends than `appliance` has room for.
    pub fn new(now: Nanos, config: Config) -> Result<(Self, Vec<Effect>), Refusal> {
        Self::sliced(now, config, Slice::Whole)
    }

    /// As [`new`](Self::new), with at most `slice` of the tables built for each event.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn sliced(now: Nanos, config: Config, slice: Slice) -> Result<(Self, Vec<Effect>), Refusal> {
        let config = Arc::new(config);
        let capacities =
            Capacities::of_configured(config.appliance.max_services, config.appliance.max_backends);
        let mut state = Self {
            registry: Registry::new(capacities),
            tables: Tables::default(),
            building: None,
            slice,
            publication: Publication::default(),
            published: Published::default(),
            wanted: None,
            held: None,
            wanted_stale: true,
            pulse: Pulse::default(),
            phase: Phase::Starting,
            first_probes: FirstProbes::Wait(now + NETWORK_PATIENCE),
            ready_by: None,
            probe_generation: 0,
            probe_counts: ProbeCounts::default(),
            announcements: Announcements::default(),
            wanting: BTreeMap::new(),
            suspicion: Suspicion::default(),
            slowest_timeout: Duration::ZERO,
            several_servers: false,
            faults: Vec::new(),
            config: Arc::clone(&config),
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
                if restart_only(&self.config, &config).is_empty() {
                    let _fits = self.load(now, Arc::from(config), &mut effects);
                }
            }
            Event::Probe(report) => self.probe_result(now, report, &mut effects),
            Event::NotSent(news) => self.not_sent(now, news, &mut effects),
            Event::Decided(backend, decision) => self.decided(now, backend, decision, &mut effects),
            Event::Observed(anomalies) => self.observed(now, anomalies, &mut effects),
            Event::Workers(pulse) => self.workers(pulse, &mut effects),
            Event::Ports(faults) => self.ports(now, faults, &mut effects),
            Event::Strained(strain) => self.suspicion.strained(now, strain),
            Event::Held(wanted) => self.held(wanted, &mut effects),
            Event::Administer(backend, order) => self.administer(now, backend, order, &mut effects),
            Event::Tick { flowless } => {
                self.release(now, &flowless, &mut effects);
                self.end_drains(now, &flowless, &mut effects);
            }
            Event::Build => {}
            Event::Shutdown => self.shutdown(now, &mut effects),
            Event::NoneEstablished => self.none_established(now, &mut effects),
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
        self.begin_review().of(config)
    }

    /// What [`review`](Self::review) needs, to be done beside the loop. Costs a copy of the registry.
    #[must_use]
    pub fn begin_review(&self) -> Review {
        Review::new(Arc::clone(&self.config), self.registry.clone())
    }

    fn load(&mut self, now: Nanos, config: Arc<Config>, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let mut registry = self.registry.clone();
        let assigned = registry.load(now, &config.services)?;
        if self.config.appliance.hash_seed != config.appliance.hash_seed {
            registry
                .unpublished
                .services
                .extend(registry.services().map(|service| service.id).collect::<Vec<_>>());
        }
        self.registry = registry;
        self.config = config;
        effects.extend(assigned.into_iter().map(Effect::Assign));
        let backends = self.config.services.iter().map(|service| service.backends.len()).sum();
        let loaded = Change::ConfigurationLoaded { services: self.config.services.len(), backends };
        effects.push(Effect::Log(loaded));
        self.slowest_timeout =
            self.config.services.iter().map(|service| service.health.timeout).max().unwrap_or_default();
        let servers = self.config.services.iter().flat_map(|service| &service.backends);
        let mut servers = servers.map(|backend| backend.endpoint.address);
        let first = servers.next();
        self.several_servers = servers.any(|other| Some(other) != first);
        let changed = &self.registry.unpublished.services;
        let backends = self.registry.backends().filter(|backend| changed.contains(&backend.service));
        let ids: Vec<_> = backends.map(|backend| backend.id).collect();
        self.follow_with_probes_of(&ids, now, effects);
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
        // A first failure is repeated.
        let twice = self.slowest_timeout * 2 + REPEAT_PAUSE;
        let answered = now + twice.into() + SETTLE_MARGIN;
        self.first_probes = FirstProbes::Run(answered);
        self.ready_by = Some(answered + RISE_PATIENCE);
        self.follow_with_probes(now, effects);
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

    /// What follows from the state, whatever the event was.
    fn conclude(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        self.begin_probing(now, effects);
        let settled = self.published.settled || self.settled(now);
        let settles = self.building.as_ref().is_some_and(Building::is_settled);
        if settled && !self.published.settled && !settles {
            // Readiness waits for it.
            self.publication.request(Urgency::AtOnce);
        }
        if !self.is_building() && self.tables.due().is_some_and(|due| due <= now) {
            self.publication.request(Urgency::CanWait);
        }
        self.judge_suspicion(now, effects);
        self.end_announce_holds(now, effects);
        if self.publication.take(now) {
            self.begin_building(now, settled);
        }
        self.build(now, effects);
        if std::mem::take(&mut self.wanted_stale) {
            let wanted = self.wanted();
            if self.wanted.as_ref() != Some(&wanted) {
                self.wanted = Some(wanted.clone());
                effects.push(Effect::Hold(wanted));
            }
        }
        self.ready_by = self.ready_by.filter(|by| now < *by);
        match self.phase {
            Phase::Starting
                if self.may_announce() && self.held == self.wanted && !self.services_are_coming() =>
            {
                self.phase = Phase::Running;
                effects.push(Effect::Log(Change::Ready));
                effects.push(Effect::Ready);
            }
            Phase::Draining(_) => self.drain(now, effects),
            Phase::Starting | Phase::Running => {}
        }
    }

    /// Every configured backend's first probe has a result, or had the time for one.
    fn settled(&self, now: Nanos) -> bool {
        let mut configured = self.registry.backends().filter(|backend| backend.removed.is_none());
        matches!(self.first_probes, FirstProbes::Run(answered) if now >= answered)
            || configured.all(Backend::is_known)
    }

    /// When [`Event::Tick`] is due even if nothing happens; `None`: no need.
    #[must_use]
    pub fn wake_at(&self) -> Option<Nanos> {
        let first_probes = match self.first_probes {
            FirstProbes::Wait(until) => Some(until),
            FirstProbes::Run(answered) => (!self.published.settled).then_some(answered),
        };
        let ready = matches!(self.phase, Phase::Starting) && self.published.settled;
        let ready = self.ready_by.filter(|_| ready);
        let holds = [self.announcements.due(), self.suspicion.due(), ready].into_iter().flatten().min();
        let drain = match self.phase {
            Phase::Draining(drain) => Some(drain.due()),
            Phase::Starting | Phase::Running => None,
        };
        let tables = self.publication.due().or_else(|| self.tables.due().filter(|_| !self.is_building()));
        let drained = self.registry.draining().filter_map(|(_, deadline)| deadline).min();
        [tables, first_probes, drain, drained, holds].into_iter().flatten().min()
    }

    /// The configuration in effect.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Which backends of a service get new flows, as workers know it; `None` before they do.
    #[must_use]
    pub fn selection(&self, service: ServiceId) -> Option<&Selection> {
        self.tables.selection(service)
    }

    /// Whether a backend could serve and gets no new flows, by all that is decided at `now`: workers may not know it yet.
    #[must_use]
    pub fn rests(&self, backend: &Backend, now: Nanos) -> bool {
        let rests = |selection: &Selection| {
            let mut standings = selection.standings.iter();
            standings.any(|standing| standing.id == backend.id && standing.state == BackendState::Resting)
        };
        let published = self.tables.selection(backend.service);
        let service = self.registry.service(backend.service);
        let is_pending = self.registry.unpublished.services.contains(&backend.service);
        match (published, service.filter(|_| is_pending)) {
            (Some(before), Some(service)) => {
                let backends: Vec<_> = self.registry.backends_of(service).collect();
                let leaving: Vec<_> = self.registry.leaving(service).collect();
                rests(&Selection::next(before, &service.config, (&backends, &leaving), now))
            }
            (published, _) => published.is_some_and(rests),
        }
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

    /// What became of probes beside their results.
    #[must_use]
    pub const fn probe_counts(&self) -> ProbeCounts {
        self.probe_counts
    }

    /// Whether something has changed that the latest snapshot does not have yet.
    #[must_use]
    pub fn snapshot_pending(&self) -> bool {
        self.publication.due().is_some() || self.is_building()
    }

    /// Workers that stand still.
    #[must_use]
    pub fn stalled(&self) -> &[WorkerId] {
        &self.pulse.stalled
    }
}

#[cfg(test)]
mod tests;
