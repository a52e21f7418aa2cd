//! The loop of control: waits for what happens, asks [`State`] what follows, and does it.
//!
//! One thread, one tokio runtime. Nothing here waits for a worker or for the network: probes, announcements, listings
//! and clients are tasks of their own that report back.

mod calls;
mod signalled;
mod waking;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::waking::Inputs;
use self::waking::Waking;
use super::admin::FlowLister;
use super::admin::Handle;
use super::admin::Listeners;
use super::admin::SocketFile;
use super::admin::StartInfo;
use super::admin::serve_http;
use super::admin::serve_socket;
use super::change::Change;
use super::drain::DrainEnd;
use super::file_limit;
use super::health::ProbeNews;
use super::health::Probes;
use super::health::Punctuality;
use super::hooks::Hooks;
use super::ledger::Ledger;
use super::network::Network;
use super::network::Wanted;
use super::network::keep_held;
use super::port_watch::PortWatch;
use super::port_watch::ReadPorts;
use super::pressure_watch::PressureWatch;
use super::reload::ReadConfig;
use super::reload::Reloads;
use super::service_manager::ServiceManager;
use super::signals::ControlRuntime;
use super::signals::Signals;
use super::state::Effect;
use super::state::Event;
use super::state::Phase;
use super::state::Refusal;
use super::state::Slice;
use super::state::State;
use super::step_times::StepTimes;
use super::strain_watch::StrainWatch;
use super::workers::WorkerWatch;
use super::workers::turned;
use crate::config::Config;
use crate::model::BackendId;
use crate::model::Nanos;
use crate::shared::Limits;
use crate::shared::Persistence;
use crate::shared::Publisher;
use crate::shared::Snapshot;
use crate::shared::SynProxies;
use crate::shared::WorkerCounters;
use crate::shared::rings::CommandRings;

/// What control needs to run.
pub struct ControlPlane {
    /// The configuration to start with.
    pub config: Config,
    /// Reads the configuration again, for a reload. Runs on a thread beside control's.
    pub load: ReadConfig,
    /// The way down to the workers.
    pub snapshots: Publisher<Snapshot>,
    /// The way up, per worker.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// What workers share.
    pub limits: Arc<Limits>,
    /// What they share of clients that come again.
    pub persistence: Arc<Persistence>,
    /// What they share of floods.
    pub syn_proxies: Arc<SynProxies>,
    /// Questions to workers; control is the only reader of the event ends.
    pub rings: CommandRings,
    /// The kernel's side of the ports.
    pub network: Box<dyn Network>,
    /// What else is to run on control's runtime, such as mirroring the kernel's neighbours. One that ends with an
    /// error ends the balancer; one that ends well has done its work.
    pub tasks: Vec<BoxFuture<'static, Result<(), String>>>,
    /// Where requests arrive.
    pub listeners: Listeners,
    /// What the ports say of themselves.
    pub ports: ReadPorts,
    /// What launch found out about the machine.
    pub start_info: StartInfo,
}

/// Why control ended, or did not begin.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The operating system refused something that control cannot do without.
    #[error("control cannot start: {0}")]
    System(#[from] io::Error),
    /// The configuration does not fit.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// One of [`ControlPlane::tasks`] failed.
    #[error("{0}")]
    Task(String),
}

impl ControlPlane {
    /// Runs control on this thread until the process is to end: after SIGTERM or SIGINT, once the drain is over.
    ///
    /// # Errors
    ///
    /// If control cannot start, or one of its tasks fails.
    pub fn run(self, runtime: ControlRuntime) -> Result<DrainEnd, ControlError> {
        file_limit::raise();
        let (runtime, signals) = runtime.into_parts();
        runtime.block_on(async { Loop::start(self, signals)?.run().await })
    }
}

/// Time from one look at the workers to the next: while starting, so as to be ready soon, and later.
const LOOK_STARTING: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(250);

/// Time from one look at the ports to the next.
const PORT_LOOK: Duration = Duration::from_secs(1);

/// Messages under way from tasks to the loop.
const BACKLOG: usize = 256;

/// Services looked at in one step when tables are built.
const SLICE: Slice = Slice::Parts(128);

struct Loop {
    started: Instant,
    state: State,
    reloads: Reloads,
    steps: StepTimes,
    snapshots: Publisher<Snapshot>,
    ledger: Ledger,
    watch: WorkerWatch,
    pressure_watch: PressureWatch,
    next_look: Instant,
    ports: PortWatch,
    next_port_look: Instant,
    probes: Probes,
    punctuality: Arc<Punctuality>,
    strain_watch: StrainWatch,
    hooks: Hooks,
    lister: Arc<FlowLister>,
    start_info: StartInfo,
    service_manager: ServiceManager,
    wanted: watch::Sender<Wanted>,
    inputs: Inputs,
    established: mpsc::Sender<bool>,
    /// A look for established flows is under way.
    looking_for_flows: bool,
    tasks: JoinSet<Result<(), String>>,
    end: Option<DrainEnd>,
    /// SIGHUP came during the start.
    reload_when_ready: bool,
    _socket_file: SocketFile,
}

impl Loop {
    fn start(plane: ControlPlane, signals: Signals) -> Result<Self, ControlError> {
        let ControlPlane {
            config,
            load,
            snapshots,
            counters,
            limits,
            persistence,
            syn_proxies,
            rings,
            network,
            tasks,
            listeners,
            ports,
            start_info,
        } = plane;
        let started = Instant::now();
        let (reports, probe_reports) = mpsc::channel(BACKLOG);
        let (wanted, wishes) = watch::channel(Wanted::default());
        let (holds, held) = mpsc::channel(BACKLOG);
        let (calls, call_queue) = mpsc::channel(BACKLOG);
        let (established, established_answers) = mpsc::channel(1);
        let (loaded, loaded_configs) = mpsc::channel(1);
        let inputs = Inputs {
            signals,
            probes: probe_reports,
            held,
            calls: call_queue,
            established: established_answers,
            loaded: loaded_configs,
        };
        let lister = Arc::new(FlowLister::new(rings));
        let handle = Handle::new(calls, Arc::clone(&lister));

        let mut running = JoinSet::new();
        for task in tasks {
            running.spawn(task);
        }
        tokio::spawn(keep_held(network, wishes, holds));
        tokio::spawn(serve_socket(UnixListener::from_std(listeners.socket)?, handle.clone()));
        if let Some(http) = listeners.http {
            let server = serve_http(TcpListener::from_std(http)?, handle);
            tokio::spawn(server);
        }

        let now = Nanos(0);
        let workers = counters.len();
        let punctuality = Arc::new(Punctuality::default());
        tokio::spawn(Arc::clone(&punctuality).keep(turned(counters.clone())));
        let (state, effects) = State::sliced(now, config, SLICE)?;
        let mut this = Self {
            started,
            state,
            reloads: Reloads::new(load, loaded),
            steps: StepTimes::default(),
            snapshots,
            ledger: Ledger::new(counters, limits, persistence, syn_proxies),
            watch: WorkerWatch::new(now, workers),
            pressure_watch: PressureWatch::default(),
            next_look: started,
            ports: PortWatch::new(ports, start_info.ports.iter().map(|port| port.name.clone())),
            next_port_look: started,
            probes: Probes::punctual(reports, Arc::clone(&punctuality)),
            punctuality,
            strain_watch: StrainWatch::default(),
            hooks: Hooks::start(),
            lister,
            start_info,
            service_manager: ServiceManager::default(),
            wanted,
            inputs,
            established,
            looking_for_flows: false,
            tasks: running,
            end: None,
            reload_when_ready: false,
            _socket_file: listeners.file,
        };
        this.perform(effects);
        Ok(this)
    }

    async fn run(mut self) -> Result<DrainEnd, ControlError> {
        loop {
            if let Some(end) = self.end {
                return Ok(end);
            }
            let wake = self.wake_at();
            // In this order: a flood of probe results or questions must not delay signals or the look at the workers.
            let waking = tokio::select! {
                biased;
                meaning = self.inputs.signals.recv() => Waking::Signal(meaning),
                Some(ended) = self.tasks.join_next() => Waking::Task(ended),
                () = tokio::time::sleep_until(wake) => Waking::Look,
                Some(any) = self.inputs.established.recv() => Waking::Established(any),
                Some(held) = self.inputs.held.recv() => Waking::Held(held),
                Some(report) = self.inputs.probes.recv() => Waking::Probe(report),
                Some(config) = self.inputs.loaded.recv() => Waking::Loaded(config),
                Some(call) = self.inputs.calls.recv() => Waking::Call(call),
                // Lets the tasks run in between.
                () = tokio::task::yield_now(), if self.state.is_building() => Waking::Build,
            };
            let (step, begun) = (waking.step(), Instant::now());
            self.step(waking)?;
            self.steps.record(step, begun.elapsed());
        }
    }

    fn step(&mut self, waking: Waking) -> Result<(), ControlError> {
        match waking {
            Waking::Signal(meaning) => self.signalled(meaning),
            Waking::Task(ended) => self.task_ended(ended)?,
            Waking::Look => self.look(),
            Waking::Established(any) => self.established(any),
            Waking::Held(held) => self.apply(Event::Held(held)),
            Waking::Probe(ProbeNews::Result(report)) => self.apply(Event::Probe(report)),
            Waking::Probe(ProbeNews::NotSent(news)) => self.apply(Event::NotSent(news)),
            Waking::Loaded(config) => self.loaded(config),
            Waking::Call(call) => self.answer(call),
            Waking::Build => self.apply(Event::Build),
        }
        Ok(())
    }

    fn wake_at(&self) -> Instant {
        let due = self.state.wake_at().map(|at| self.started + at.into());
        due.map_or(self.next_look, |due| due.min(self.next_look))
    }

    fn now(&self) -> Nanos {
        self.started.elapsed().into()
    }

    fn apply(&mut self, event: Event) {
        let effects = self.state.apply(self.now(), event);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Assign(assigned) => self.ledger.assign(assigned),
                Effect::StartProbe(spec) => self.probes.start(spec),
                Effect::StopProbe(backend) => self.probes.stop(backend),
                Effect::RepeatProbes => self.probes.repeat(),
                Effect::Publish(snapshot) => self.snapshots.publish(*snapshot),
                Effect::Hold(wanted) => {
                    self.wanted.send_replace(wanted);
                }
                Effect::Log(change) => self.tell(&change),
                Effect::Ready => self.ready(),
                Effect::Stopping(within) => self.service_manager.stopping(within),
                Effect::Leave(end) => self.end = Some(end),
            }
        }
    }

    /// Writes a change to the log and tells the hooks.
    fn tell(&self, change: &Change) {
        change.log();
        let config = self.state.config();
        self.hooks.tell(&config.appliance.name, &config.hooks, change);
    }

    /// What is due by time: a look at the workers, and whatever the state is waiting for.
    fn look(&mut self) {
        let now = self.now();
        if Instant::now() >= self.next_look {
            let starting = matches!(self.state.phase(), Phase::Starting);
            self.next_look = Instant::now() + if starting { LOOK_STARTING } else { LOOK };
            self.snapshots.reclaim();
            let pulse = self.watch.observe(now, self.ledger.beats());
            let turning = pulse.stalled.is_empty();
            self.apply(Event::Workers(pulse));
            let anomalies = self.anomalies();
            self.apply(Event::Observed(anomalies));
            let flows = self.state.config().appliance.flows_per_worker;
            let changes = self.pressure_watch.look(now, self.state.registry(), &self.ledger, flows);
            changes.iter().for_each(|change| self.tell(change));
            self.service_manager.watchdog(turning, &self.state.summary());
            if let Some(strain) = self.strain_watch.look(&self.ledger, &self.ports, self.punctuality.late()) {
                self.apply(Event::Strained(strain));
            }
            self.look_for_flows();
        }
        if Instant::now() >= self.next_port_look {
            self.next_port_look = Instant::now() + PORT_LOOK;
            self.ports.look().iter().for_each(|change| self.tell(change));
            self.apply(Event::Ports(self.ports.faults()));
        }
        let flowless = self.ledger.flowless(self.state.registry(), now);
        self.apply(Event::Tick { flowless });
    }

    /// Of backends whose handshakes are watched.
    fn anomalies(&self) -> Vec<(BackendId, u64)> {
        let registry = self.state.registry();
        let watched = registry.services().filter(|service| service.config.health.passive.is_some());
        let backends = watched.flat_map(|service| service.backends.iter().copied());
        backends
            .map(|id| {
                let totals = self.ledger.backend(id);
                (id, totals.unanswered + totals.reset)
            })
            .collect()
    }

    /// During a drain: asks the workers whether any TCP connection is left.
    fn look_for_flows(&mut self) {
        if !matches!(self.state.phase(), Phase::Draining(_)) || self.looking_for_flows {
            return;
        }
        if self.ledger.flows() == 0 {
            return self.apply(Event::NoneEstablished);
        }
        self.looking_for_flows = true;
        let (lister, answer) = (Arc::clone(&self.lister), self.established.clone());
        tokio::spawn(async move {
            let any = lister.any_established().await;
            // The loop has ended: nobody needs the answer.
            let _ended = answer.send(any).await;
        });
    }

    fn established(&mut self, any: bool) {
        self.looking_for_flows = false;
        if !any {
            self.apply(Event::NoneEstablished);
        }
    }

    fn task_ended(
        &self,
        ended: Result<Result<(), String>, tokio::task::JoinError>,
    ) -> Result<(), ControlError> {
        match ended {
            Ok(result) => result.map_err(ControlError::Task),
            Err(error) => Err(ControlError::Task(error.to_string())),
        }
    }
}
