//! One task per probed backend.
//!
//! The first probe runs at once. The second follows after a random part of the interval, and from then on each
//! starts one interval after the last one started: thousands of backends that were configured together are not
//! probed together. No probe starts before the one before it has ended.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::ProbeResult;
use super::ProbeSpec;
use super::probe;
use crate::model::BackendId;

/// The tasks that probe.
#[derive(Debug)]
pub struct Probes {
    tasks: HashMap<BackendId, AbortHandle>,
    reports: mpsc::Sender<ProbeReport>,
    phases: RandomState,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// As in the specification.
    pub backend: BackendId,
    /// As in the specification.
    pub generation: u64,
    /// The outcome.
    pub result: ProbeResult,
}

impl Probes {
    /// No tasks; those to come report to `reports`.
    #[must_use]
    pub fn new(reports: mpsc::Sender<ProbeReport>) -> Self {
        Self { tasks: HashMap::new(), reports, phases: RandomState::new() }
    }

    /// Probes a backend from now on, in place of what was asked of it before. Needs a tokio runtime.
    pub fn start(&mut self, spec: ProbeSpec) {
        let backend = spec.backend;
        let first_wait = part_of(spec.interval, self.phases.hash_one((backend, spec.generation)));
        let task = tokio::spawn(keep_probing(spec, first_wait, self.reports.clone()));
        if let Some(old) = self.tasks.insert(backend, task.abort_handle()) {
            old.abort();
        }
    }

    /// Stops probing a backend. A result that is under way may still arrive.
    pub fn stop(&mut self, backend: BackendId) {
        if let Some(task) = self.tasks.remove(&backend) {
            task.abort();
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

async fn keep_probing(spec: ProbeSpec, first_wait: Duration, reports: mpsc::Sender<ProbeReport>) {
    let mut start = Instant::now();
    let mut wait = first_wait;
    let mut able = true;
    loop {
        let outcome = probe(&spec).await;
        if able && outcome.is_none() {
            tracing::warn!(target = %spec.target, "probe_not_sent");
        }
        able = outcome.is_some();
        if let Some(result) = outcome {
            let report = ProbeReport { backend: spec.backend, generation: spec.generation, result };
            if reports.send(report).await.is_err() {
                return;
            }
        }
        // Not before the probe has ended; and after a pause of the process the missed probes are not made up for.
        start = (start + wait).max(Instant::now());
        wait = spec.interval;
        tokio::time::sleep_until(start).await;
    }
}

/// An even spread over `span` by `random`.
fn part_of(span: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(nanos))
}
