//! A state of control in virtual time.

use std::collections::BTreeMap;

use super::endpoint;
use evenkeel::config::Config;
use evenkeel::control::change::Change;
use evenkeel::control::drain::DrainEnd;
use evenkeel::control::health::Asked;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::health::ProbeResult;
use evenkeel::control::health::ProbeSpec;
use evenkeel::control::network::Wanted;
use evenkeel::control::registry::Assigned;
use evenkeel::control::state::Effect;
use evenkeel::control::state::Event;
use evenkeel::control::state::State;
use evenkeel::control::workers::Pulse;
use evenkeel::model::BackendId;
use evenkeel::model::BackendState;
use evenkeel::model::Nanos;
use evenkeel::model::ServiceId;
use evenkeel::shared::Snapshot;

pub(crate) const FAILED: ProbeResult = Err(ProbeFailure::Refused);

/// What a probe of the backend's health reports.
pub(crate) fn report(backend: BackendId, generation: u64, result: ProbeResult) -> ProbeReport {
    ProbeReport { backend, generation, asked: Asked::Check, outcome: result.into() }
}

/// A state with a clock, and everything it asked for.
pub(crate) struct Rig {
    pub(crate) now: Nanos,
    pub(crate) state: State,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) published: u32,
    pub(crate) wanted: Wanted,
    pub(crate) probes: BTreeMap<BackendId, ProbeSpec>,
    pub(crate) log: Vec<Change>,
    /// Ids given out.
    pub(crate) assigned: Vec<Assigned>,
    /// How often probes were repeated at once.
    pub(crate) repeated: u32,
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
    pub(crate) end: Option<DrainEnd>,
}

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        let now = Nanos(0);
        let (state, effects) = State::new(now, config).expect("the configuration fits");
        let mut rig = Self {
            now,
            state,
            snapshot: None,
            published: 0,
            wanted: Wanted::default(),
            probes: BTreeMap::new(),
            log: vec![],
            assigned: vec![],
            repeated: 0,
            ready: false,
            stopping: false,
            end: None,
        };
        rig.perform(effects);
        rig
    }

    /// As `new`, with every worker turning and every first probe a success, announced and ready.
    pub(crate) fn ready(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.apply(Event::Workers(Pulse { stalled: vec![], started: true }));
        rig.hold();
        for id in rig.probes.keys().copied().collect::<Vec<_>>() {
            rig.probe(id, Ok(()));
        }
        rig.pass(200);
        rig.hold();
        assert!(rig.ready);
        rig
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let effects = self.state.apply(self.now, event);
        self.perform(effects);
    }

    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Assign(assigned) => self.assigned.push(assigned),
                Effect::StartProbe(spec) => {
                    self.probes.insert(spec.backend, spec);
                }
                Effect::StopProbe(id) => {
                    self.probes.remove(&id).expect("only what runs is stopped");
                }
                Effect::RepeatProbes => self.repeated += 1,
                Effect::Publish(snapshot) => {
                    self.snapshot = Some(*snapshot);
                    self.published += 1;
                }
                Effect::Hold(wanted) => self.wanted = wanted,
                Effect::Log(change) => self.log.push(change),
                Effect::Ready => self.ready = true,
                Effect::Stopping(_) => self.stopping = true,
                Effect::Leave(end) => self.end = Some(end),
            }
        }
    }

    pub(crate) fn probe(&mut self, backend: BackendId, result: ProbeResult) {
        let generation = self.probes[&backend].generation;
        self.apply(Event::Probe(report(backend, generation, result)));
    }

    /// Lets `millis` pass, with a tick at the end.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now = self.now + Nanos::from_millis(millis);
        self.apply(Event::Tick { flowless: vec![] });
    }

    /// The network has done what it was asked.
    pub(crate) fn hold(&mut self) {
        self.apply(Event::Held(self.wanted.clone()));
    }

    pub(crate) fn load(&mut self, config: Config) {
        self.state.review(&config).expect("the configuration is accepted");
        self.apply(Event::Load(Box::new(config)));
    }

    pub(crate) fn service_id(&self, name: &str) -> ServiceId {
        let mut services = self.state.registry().services();
        services.find(|service| service.config.name == name).expect("the service is configured").id
    }

    pub(crate) fn backend_id(&self, at: &str) -> BackendId {
        let mut backends = self.state.registry().backends();
        backends.find(|backend| backend.endpoint == endpoint(at)).expect("the backend is known").id
    }

    pub(crate) fn state_of(&self, id: BackendId) -> BackendState {
        self.snapshot.as_ref().expect("a snapshot is published").backend_state(id)
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.snapshot.as_ref().expect("a snapshot is published")
    }
}
