//! Control in the time of a capture: the same [`State`] as in `run`, told what the events file says.
//!
//! It has been running for a while when the capture begins, so that the first event does not wait for what was
//! published at the start. The network holds at once what it is asked to, and every first probe is good at once:
//! a backend is up unless an event says otherwise. No other probe runs.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context;
use thiserror::Error;

use super::events::{Event, Happening, Target};
use super::network::ResolvedNetwork;
use super::report::{BackendReport, HealthReport};
use crate::config::Config;
use crate::control::event::{Effect, Event as ControlEvent, Refusal};
use crate::control::health::{Asked, HealthState, ProbeReport, ProbeResult};
use crate::control::ledger::Ledger;
use crate::control::registry::Backend;
use crate::control::state::State;
use crate::model::{BackendId, Nanos};
use crate::shared::{Limits, Persistence, Publisher, Reader, Snapshot, SynProxies, WorkerCounters, channel};

/// How long control has been running at the first event or frame: publications have no reason left to wait.
const LEAD: Nanos = Nanos::from_secs(10);

/// Control, and the events that are still to come.
pub(super) struct Control {
    state: State,
    /// The capture's time that is [`LEAD`] on control's clock.
    begin: Nanos,
    coming: VecDeque<Event>,
    tables: Tables,
    events_applied: usize,
}

/// What control's effects reach.
struct Tables {
    snapshots: Publisher<Snapshot>,
    published: u64,
    network: ResolvedNetwork,
    ledger: Ledger,
}

/// A reload that only proved impossible when its time had come.
#[derive(Debug, Error)]
#[error("{place}: config is refused at this time: {refusal}")]
pub(super) struct Refused {
    /// `file:line` of the event.
    place: String,
    refusal: Refusal,
}

impl Control {
    /// Control with every backend of `config` up, and what its only worker reads. `events` are in the order of time,
    /// the capture's, and its first frame comes at `first`.
    pub(super) fn new(
        config: Config,
        network: ResolvedNetwork,
        counters: Arc<WorkerCounters>,
        (limits, persistence, syn_proxies): (Arc<Limits>, Arc<Persistence>, Arc<SynProxies>),
        (events, first): (Vec<Event>, Nanos),
    ) -> anyhow::Result<(Self, Reader<Snapshot>)> {
        let (snapshots, mut readers) = channel(Snapshot::empty(), 1);
        let reader = readers.pop().context("a channel has as many readers as it was asked for")?;
        let ledger = Ledger::new(vec![counters], limits, persistence, syn_proxies);
        let mut tables = Tables { snapshots, published: 0, network, ledger };
        let (state, effects) = State::new(Nanos(0), config)?;
        let begin = events.first().map_or(first, |event| event.time.min(first));
        let answers: Vec<_> =
            effects.into_iter().filter_map(|effect| tables.perform(effect, &state)).collect();
        let mut this = Self { state, begin, coming: events.into(), tables, events_applied: 0 };
        this.follow(Nanos(0), answers);
        this.tables.published = 0;
        Ok((this, reader))
    }

    /// When something is to be done next, in the capture's time.
    pub(super) fn due(&self) -> Option<Nanos> {
        let event = self.coming.front().map(|event| event.time);
        let woken = self.state.wake_at().map(|at| self.begin + at.since(LEAD));
        event.into_iter().chain(woken).min()
    }

    /// Does what is due at `time`.
    ///
    /// # Errors
    /// A reload that is refused, because flows still hold ids that it needs.
    pub(super) fn run(&mut self, time: Nanos) -> Result<(), Refused> {
        let now = time.since(self.begin) + LEAD;
        self.tick(now);
        while let Some(event) = self.coming.pop_front_if(|event| event.time <= time) {
            self.happen(now, event)?;
            self.events_applied += 1;
        }
        Ok(())
    }

    fn tick(&mut self, now: Nanos) {
        let flowless = self.tables.ledger.flowless(self.state.registry(), now);
        self.follow(now, vec![ControlEvent::Tick { flowless }]);
    }

    fn happen(&mut self, now: Nanos, event: Event) -> Result<(), Refused> {
        let event = match event.what {
            Happening::Decision { target, decision } => {
                self.backend(&target).map(|backend| ControlEvent::Decided(backend.id, decision))
            }
            Happening::Order { target, order } => {
                self.backend(&target).map(|backend| ControlEvent::Administer(backend.id, order))
            }
            Happening::Probe { target, result } => self.backend(&target).and_then(|backend| {
                let generation = backend.probe.as_ref()?.generation;
                Some(ControlEvent::Probe(checked(backend.id, generation, result)))
            }),
            Happening::Reload { config, path: _, place } => {
                self.state.review(&config).map_err(|refusal| Refused { place, refusal })?;
                Some(ControlEvent::Load(config))
            }
        };
        self.follow(now, event.into_iter().collect());
        Ok(())
    }

    fn backend(&self, target: &Target) -> Option<&Backend> {
        let registry = self.state.registry();
        let service = registry.services().find(|service| service.config.name == target.service)?;
        registry.backends_of(service).find(|backend| backend.endpoint == target.endpoint)
    }

    /// Tells the state of `events` and of all that follows from them.
    fn follow(&mut self, now: Nanos, mut events: Vec<ControlEvent>) {
        // The last first: the state looks for a backend without an answer from the first on, and finds it at once.
        while let Some(event) = events.pop() {
            for effect in self.state.apply(now, event) {
                events.extend(self.tables.perform(effect, &self.state));
            }
        }
    }

    /// What became of the events.
    pub(super) fn report(&self) -> HealthReport {
        let registry = self.state.registry();
        let mut backends = Vec::new();
        for service in registry.services() {
            for backend in registry.backends_of(service) {
                let totals = self.tables.ledger.backend(backend.id);
                backends.push(BackendReport {
                    service: service.config.name.clone(),
                    backend: backend.endpoint.to_string(),
                    weight: backend.weight(),
                    state: backend.health.state().to_string(),
                    connections: totals.connections,
                    flows: totals.flows,
                });
            }
        }
        HealthReport {
            events_applied: self.events_applied,
            events_left: self.coming.len(),
            snapshots_published: self.tables.published,
            backends,
        }
    }
}

impl Tables {
    /// Does what `state` asks for; returns the answer, if there is one.
    fn perform(&mut self, effect: Effect, state: &State) -> Option<ControlEvent> {
        match effect {
            Effect::Assign(assigned) => self.ledger.assign(assigned),
            Effect::Publish(snapshot) => {
                self.snapshots.publish(*snapshot);
                self.published += 1;
            }
            Effect::Hold(wanted) => {
                self.network.hold(&wanted.next_hops);
                return Some(ControlEvent::Held(wanted));
            }
            Effect::StartProbe(spec) => {
                let backend = state.registry().backend(spec.backend)?;
                let first = backend.health.state() == HealthState::Unknown;
                let good = checked(spec.backend, spec.generation, Ok(()));
                return first.then_some(ControlEvent::Probe(good));
            }
            Effect::StopProbe(_)
            | Effect::Log(_)
            | Effect::RepeatProbes
            | Effect::Ready
            | Effect::Stopping(_)
            | Effect::Leave(_) => {}
        }
        None
    }
}

/// What a probe of a backend's health found.
fn checked(backend: BackendId, generation: u64, result: ProbeResult) -> ProbeReport {
    ProbeReport { backend, generation, asked: Asked::Check, outcome: result.into() }
}
