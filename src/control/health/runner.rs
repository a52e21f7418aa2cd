//! One task per question, however many backends share its answer.
//!
//! The first probe runs at once. The second follows after a random part of the interval, and from then on each
//! starts one interval after the last one started: thousands of backends that were configured together are not
//! probed together. No probe starts before the one before it has ended.
//!
//! A backend that joins a question that is asked already is told the last answer at once; nobody who comes or goes
//! disturbs the others.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::ProbeOutcome;
use super::ProbeSpec;
use super::Prober;
use super::Question;
use crate::model::BackendId;

/// The tasks that probe.
#[derive(Debug)]
pub struct Probes {
    prober: Arc<Prober>,
    tasks: HashMap<Arc<Question>, Task>,
    /// What is asked about a backend.
    asked: HashMap<BackendId, Vec<(Arc<Question>, Asked)>>,
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
    /// Which question of the specification this answers.
    pub asked: Asked,
    /// The answer.
    pub outcome: ProbeOutcome,
}

/// The questions of a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The probe of the backend's health.
    Check,
    /// The agent beside it. Only its advice counts: one that does not answer advises nothing new.
    Agent,
}

/// A task that asks one question.
#[derive(Debug)]
struct Task {
    handle: AbortHandle,
    audience: Arc<Mutex<Audience>>,
}

/// Who is told the answers.
#[derive(Debug, Default)]
struct Audience {
    members: Vec<Member>,
    last: Option<ProbeOutcome>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    backend: BackendId,
    generation: u64,
    asked: Asked,
}

impl Probes {
    /// No tasks; those to come report to `reports`.
    #[must_use]
    pub fn new(reports: mpsc::Sender<ProbeReport>) -> Self {
        Self {
            prober: Arc::default(),
            tasks: HashMap::new(),
            asked: HashMap::new(),
            reports,
            phases: RandomState::new(),
        }
    }

    /// Has the next probes read the files of authorities again, also those whose question stays the same.
    pub fn reread_certificates(&self) {
        self.prober.reread_certificates();
    }

    /// Probes a backend from now on, in place of what was asked about it before. Needs a tokio runtime.
    pub fn start(&mut self, spec: ProbeSpec) {
        let ProbeSpec { backend, generation, check, agent } = spec;
        let wanted = [Some((check, Asked::Check)), agent.map(|agent| (agent, Asked::Agent))];
        let mut now_asked = Vec::new();
        for (question, asked) in wanted.into_iter().flatten() {
            let question = self.join(question, Member { backend, generation, asked });
            now_asked.push((question, asked));
        }
        // Only now, so that a question that stays is not asked anew.
        for (question, asked) in self.asked.insert(backend, now_asked.clone()).unwrap_or_default() {
            if !now_asked.contains(&(Arc::clone(&question), asked)) {
                self.leave(&question, backend, asked);
            }
        }
    }

    /// Stops probing a backend. A result that is under way may still arrive.
    pub fn stop(&mut self, backend: BackendId) {
        for (question, asked) in self.asked.remove(&backend).unwrap_or_default() {
            self.leave(&question, backend, asked);
        }
    }

    /// How many questions are being asked.
    #[must_use]
    pub fn questions(&self) -> usize {
        self.tasks.len()
    }

    fn join(&mut self, question: Arc<Question>, member: Member) -> Arc<Question> {
        if let Some((question, task)) = self.tasks.get_key_value(&question) {
            let mut audience = lock(&task.audience);
            let known = audience.leave(member.backend, member.asked);
            audience.members.push(member);
            if let (false, Some(last)) = (known, audience.last) {
                let reports = self.reports.clone();
                tokio::spawn(async move { reports.send(member.report(last)).await });
            }
            return Arc::clone(question);
        }
        let audience = Arc::new(Mutex::new(Audience { members: vec![member], last: None }));
        let first_wait = part_of(question.interval, self.phases.hash_one(&question));
        let task = Keeper {
            prober: Arc::clone(&self.prober),
            question: Arc::clone(&question),
            audience: Arc::clone(&audience),
            reports: self.reports.clone(),
        };
        let handle = tokio::spawn(task.keep_probing(first_wait)).abort_handle();
        self.tasks.insert(Arc::clone(&question), Task { handle, audience });
        question
    }

    fn leave(&mut self, question: &Arc<Question>, backend: BackendId, asked: Asked) {
        let Some(task) = self.tasks.get(question) else { return };
        let mut audience = lock(&task.audience);
        audience.leave(backend, asked);
        if audience.members.is_empty() {
            drop(audience);
            task.handle.abort();
            self.tasks.remove(question);
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(|task| task.handle.abort());
    }
}

impl Audience {
    /// Takes a member out; whether there was one.
    fn leave(&mut self, backend: BackendId, asked: Asked) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.backend != backend || member.asked != asked);
        self.members.len() < before
    }
}

impl Member {
    const fn report(self, outcome: ProbeOutcome) -> ProbeReport {
        ProbeReport { backend: self.backend, generation: self.generation, asked: self.asked, outcome }
    }
}

/// What a task works with.
struct Keeper {
    prober: Arc<Prober>,
    question: Arc<Question>,
    audience: Arc<Mutex<Audience>>,
    reports: mpsc::Sender<ProbeReport>,
}

impl Keeper {
    async fn keep_probing(self, first_wait: Duration) {
        let mut start = Instant::now();
        let mut wait = first_wait;
        let mut able = true;
        loop {
            let outcome = self.prober.ask(&self.question).await;
            match &outcome {
                Err(reason) if able => {
                    tracing::warn!(target = %self.question.target, %reason, "probe_not_sent");
                }
                Ok(_) | Err(_) => {}
            }
            able = outcome.is_ok();
            if let Ok(outcome) = outcome
                && self.tell(outcome).await.is_err()
            {
                return;
            }
            // Not before the probe has ended; and after a pause of the process the missed probes are not made up for.
            start = (start + wait).max(Instant::now());
            wait = self.question.interval;
            tokio::time::sleep_until(start).await;
        }
    }

    /// Tells everybody; an error if nobody listens any more.
    async fn tell(&self, outcome: ProbeOutcome) -> Result<(), mpsc::error::SendError<ProbeReport>> {
        let members = {
            let mut audience = lock(&self.audience);
            audience.last = Some(outcome);
            audience.members.clone()
        };
        for member in members {
            self.reports.send(member.report(outcome)).await?;
        }
        Ok(())
    }
}

/// Nothing panics while it holds the lock.
fn lock(audience: &Mutex<Audience>) -> MutexGuard<'_, Audience> {
    audience.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An even spread over `span` by `random`.
fn part_of(span: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(nanos))
}
