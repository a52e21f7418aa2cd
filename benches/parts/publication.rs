//! The publication of a snapshot: what control does when one backend of a thousand services' fails, and what a worker has
//! to do with it.

use std::hint::black_box;

use criterion::Criterion;
use evenkeel::config::{Config, ProbeKind, ServiceConfig};
use evenkeel::control::health::ProbeResult;
use evenkeel::control::state::{Effect, Event};
use evenkeel::model::{BackendId, Nanos};
use evenkeel::shared::{Publisher, Reader, Snapshot, channel};

use super::timing::{Watch, is_trial, per_item, per_item_timed};

#[path = "../../tests/control_support/mod.rs"]
mod control_support;

use control_support::state_rig::{FAILED, Rig, report};
use control_support::{config, service};

/// Backends of each service.
const BACKENDS: u32 = 100;

/// Readers that see a publication: so many that the watch does not count.
const READERS: usize = 1024;

/// A flip of health, the same without a change, and the readers' part.
pub(crate) fn measure(criterion: &mut Criterion) {
    let services = if is_trial() { 4 } else { 1_000 };
    let mut control = None;
    let mut group = criterion.benchmark_group(format!("publication/{services}-services-of-{BACKENDS}"));
    // Down, up, down ...: every result is another one.
    group.bench_function("health-flip", |bencher| {
        let control = control.get_or_insert_with(|| Control::new(services));
        per_item_timed(bencher, 1, |watch| control.flip(watch));
    });
    group.bench_function("probe-without-change", |bencher| {
        let control = control.get_or_insert_with(|| Control::new(services));
        per_item(bencher, 1, || control.probe_again());
    });
    group.finish();
    readers(criterion);
}

/// A worker's look for new tables at the start of its turn. What is published here is in this core's cache; a worker
/// fetches one line from control's, and what it then reads of the tables.
fn readers(criterion: &mut Criterion) {
    let (mut publisher, mut readers) = channel(Snapshot::empty(), READERS);
    let look = |readers: &mut [Reader<Snapshot>]| {
        for reader in readers {
            black_box(reader.current_numbered());
        }
    };
    let mut group = criterion.benchmark_group("publication/turn");
    group.bench_function("nothing-new", |bencher| per_item(bencher, READERS as u64, || look(&mut readers)));
    group.bench_function("new-snapshot", |bencher| {
        per_item_timed(bencher, READERS as u64, |watch| {
            publisher.publish(Snapshot::empty());
            watch.time(|| look(&mut readers));
        });
    });
    group.finish();
}

/// Control, and a worker that keeps looking.
struct Control {
    rig: Rig,
    publisher: Publisher<Snapshot>,
    reader: Reader<Snapshot>,
    /// What is probed, and how it is.
    backend: BackendId,
    up: bool,
}

impl Control {
    fn new(services: u32) -> Self {
        let mut rig = Rig::ready(configuration(services));
        let snapshot = rig.snapshot.take().expect("a balancer that is ready has published one");
        let (publisher, mut readers) = channel(snapshot, 1);
        let backend = *rig.probes.keys().next().expect("the first service is probed");
        Self { rig, publisher, reader: readers.pop().expect("one was asked for"), backend, up: true }
    }

    /// The backend's state changes: from the result of the probe to the moment from which workers see the new tables. What
    /// they replace is freed.
    fn flip(&mut self, watch: &mut Watch) {
        self.up = !self.up;
        // Long enough for control to publish at once.
        self.rig.now = self.rig.now + Nanos::from_secs(1);
        let event = self.result(if self.up { Ok(()) } else { FAILED });
        let Self { rig, publisher, reader, .. } = self;
        let published = watch.time(|| {
            let effects = rig.state.apply(rig.now, event);
            let mut published = 0;
            for effect in effects {
                if let Effect::Publish(snapshot) = effect {
                    publisher.publish(*snapshot);
                    published += 1;
                }
            }
            published
        });
        assert_eq!(published, 1, "every flip is published");
        black_box(reader.current());
    }

    /// A probe finds what the one before found.
    fn probe_again(&mut self) {
        let event = self.result(if self.up { Ok(()) } else { FAILED });
        black_box(self.rig.state.apply(self.rig.now, event));
    }

    fn result(&self, result: ProbeResult) -> Event {
        let generation = self.rig.probes[&self.backend].generation;
        Event::Probe(report(self.backend, generation, result))
    }
}

/// Services that have no backend in common. Of the first the backends are probed, and one result decides.
fn configuration(services: u32) -> Config {
    let mut all: Vec<ServiceConfig> = (0..services).map(numbered).collect();
    all[0].health.kind = ProbeKind::Tcp;
    let mut config = config(all);
    config.appliance.max_services = services as usize;
    config.appliance.max_backends = (services * BACKENDS) as usize;
    config
}

fn numbered(n: u32) -> ServiceConfig {
    let address = |base: u32, n: u32| std::net::Ipv4Addr::from_bits(base + n);
    let mut service = service(&format!("s{n}"), &format!("{}:80", address(0xc612_0000, n)), &[]);
    service.health.kind = ProbeKind::None;
    (service.health.fall, service.health.rise) = (1, 1);
    service.backends = (0..BACKENDS)
        .map(|m| control_support::backend(&format!("{}:80", address(0x0a40_0000, n * BACKENDS + m)), 100))
        .collect();
    service
}
