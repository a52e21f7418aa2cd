//! Large configurations: no step of control takes long, whatever its cause.
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]

mod control_support;

use std::collections::BTreeSet;

use control_support::config;
use control_support::service;
use evenkeel::config::Config;
use evenkeel::config::ProbeKind;
use evenkeel::config::ServiceConfig;
use evenkeel::control::health::Asked;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::health::ProbeResult;
use evenkeel::control::health::ProbeSpec;
use evenkeel::control::state::Effect;
use evenkeel::control::state::Event;
use evenkeel::control::state::Slice;
use evenkeel::control::state::State;
use evenkeel::control::workers::Pulse;
use evenkeel::model::Nanos;

/// Milliseconds of CPU time that a step may take here: a guard against work that grows with the square of the
/// configuration, which takes seconds. The profile of tests optimizes little, and other tests compete for the cache. A
/// running balancer shows its own steps as `evenkeel_control_step_seconds`.
const BOUND: f64 = 250.0;

/// A state that is told of events, and the CPU time of the longest step.
struct Scale {
    state: State,
    now: Nanos,
    probes: Vec<ProbeSpec>,
    snapshots: usize,
    longest: (f64, &'static str),
}

impl Scale {
    fn new(config: Config) -> Self {
        let (state, effects) = State::sliced(Nanos(0), config, Slice::Parts(128)).unwrap();
        let mut this = Self { state, now: Nanos(0), probes: vec![], snapshots: 0, longest: (0.0, "") };
        this.perform(effects);
        this.step("workers", Event::Workers(Pulse { stalled: vec![], started: true }));
        this.now = Nanos::from_secs(3);
        this.step("tick", Event::Tick { flowless: vec![] });
        this.finish();
        this
    }

    /// One step, and the time for it.
    fn step(&mut self, what: &'static str, event: Event) {
        self.now = self.now + Nanos::from_millis(1);
        let begun = cpu_time();
        let effects = self.state.apply(self.now, event);
        let took = cpu_time() - begun;
        if took > self.longest.0 {
            self.longest = (took, what);
        }
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::StartProbe(spec) => self.probes.push(spec),
                Effect::Publish(_) => self.snapshots += 1,
                _ => {}
            }
        }
    }

    /// Builds what is left.
    fn finish(&mut self) {
        self.now = self.now + Nanos::from_millis(500);
        self.step("tick", Event::Tick { flowless: vec![] });
        while self.state.is_building() {
            self.step("build", Event::Build);
        }
    }

    fn load(&mut self, config: Config) {
        let begun = cpu_time();
        let review = self.state.begin_review();
        let took = cpu_time() - begun;
        assert!(took < BOUND, "a copy for the review takes {took} ms");
        review.of(&config).unwrap();
        self.step("load", Event::Load(Box::new(config)));
        self.finish();
    }

    fn report(&mut self, from: usize, to: usize, result: ProbeResult) {
        for place in from..to {
            let ProbeSpec { backend, generation, .. } = self.probes[place];
            let report = ProbeReport { backend, generation, asked: Asked::Check, outcome: result.into() };
            self.step("probe", Event::Probe(report));
        }
    }
}

/// Milliseconds for which this thread has run.
fn cpu_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// Services with as many backends each; every service has servers of its own.
fn large(services: usize, backends: usize) -> Config {
    let one = |n: usize| -> ServiceConfig {
        let at = |m: usize| {
            let k = n * backends + m;
            format!("10.{}.{}.{}:80", k >> 16, (k >> 8) & 255, k & 255)
        };
        let backends: Vec<_> = (0..backends).map(at).collect();
        let backends: Vec<_> = backends.iter().map(|at| (at.as_str(), 100)).collect();
        service(&format!("s{n}"), &format!("203.0.113.{}:{}", n % 200, 1000 + n / 200), &backends)
    };
    let mut config = config((0..services).map(one).collect());
    config.appliance.max_services = services + 100;
    config.appliance.max_backends = services * backends + 1000;
    config
}

fn no_step_is_long(services: usize, backends: usize) {
    let config = large(services, backends);
    let mut scale = Scale::new(config.clone());
    let all = services * backends;
    assert_eq!(scale.probes.len(), all);
    // The first result of each, then a good part of them fails at once.
    let some = all.min(2000);
    scale.report(0, some, Ok(()));
    scale.finish();
    (0..3).for_each(|_| scale.report(0, some / 4, Err(ProbeFailure::Refused)));
    scale.finish();

    let (probes, snapshots) = (scale.probes.len(), scale.snapshots);
    scale.load(config.clone());
    assert_eq!(scale.probes.len(), probes, "a reload without changes asks nothing anew");
    assert!(scale.snapshots > snapshots);
    let mut changed = config;
    changed.services.iter_mut().step_by(10).for_each(|service| service.backends[0].weight = 50);
    changed.services.truncate(services - 10);
    scale.load(changed);
    let ids: BTreeSet<_> = scale.state.registry().services().map(|service| service.id).collect();
    assert!(ids.iter().all(|id| scale.state.selection(*id).is_some()), "every service has its table");
    let (longest, what) = scale.longest;
    println!("{services} x {backends}: the longest step, {what}, takes {longest:.1} ms of CPU time");
    assert!(longest < BOUND, "{what} takes {longest} ms of CPU time");
}

#[test]
fn no_step_of_control_is_long_with_10000_services_of_3_backends() {
    no_step_is_long(10_000, 3);
}

#[test]
fn no_step_of_control_is_long_with_1000_services_of_20_backends() {
    no_step_is_long(1000, 20);
}

#[test]
fn a_backend_that_fails_while_tables_are_built_is_out_of_service_before_they_are_done() {
    let mut config = large(1000, 3);
    config.services[999].health.fall = 1;
    let mut scale = Scale::new(config.clone());
    scale.report(0, 3000, Ok(()));
    scale.finish();
    config.services.iter_mut().take(999).for_each(|service| service.backends[0].weight = 50);
    assert_ne!(config.services[999].health.kind, ProbeKind::None);
    scale.step("load", Event::Load(Box::new(config)));
    // Snapshots have a distance.
    for _ in 0..100 {
        if scale.state.is_building() {
            break;
        }
        scale.now = scale.now + Nanos::from_millis(20);
        scale.step("build", Event::Build);
    }
    assert!(scale.state.is_building());
    let before = scale.snapshots;
    scale.report(2997, 2998, Err(ProbeFailure::Refused));
    while scale.snapshots == before {
        scale.now = scale.now + Nanos::from_millis(20);
        scale.step("build", Event::Build);
    }
    assert!(scale.state.is_building(), "most tables are left");
    let up = |scale: &Scale| {
        let service = scale.state.registry().services().last().unwrap().id;
        let standings = scale.state.selection(service).unwrap().standings.iter();
        standings.filter(|standing| standing.weight > 0).count()
    };
    while up(&scale) == 3 {
        assert!(scale.state.is_building(), "the failure waits for the last table");
        scale.step("build", Event::Build);
    }
}
