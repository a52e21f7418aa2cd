//! One task per question, however many backends share its answer.
//!
//! The first probe runs at once. The second follows after a random part of the interval, and from then on each
//! starts one interval after the last one started: thousands of backends that were configured together are not
//! probed together. No probe starts before the one before it has ended.
//!
//! A first probe that fails, or that cannot be sent, is repeated before it counts. Silence while this machine itself was
//! late ([`Punctuality`]) is discarded and the probe repeated, [`MOST_DISCARDED`] times in a row at most.
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

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::ProbeFailure;
use super::ProbeOutcome;
use super::ProbeSpec;
use super::Prober;
use super::Question;
use super::punctuality::MOST_DISCARDED;
use super::punctuality::Punctuality;
use super::punctuality::explains;
use crate::model::BackendId;

/// The tasks that probe.
#[derive(Debug)]
pub struct Probes {
    prober: Arc<Prober>,
    tasks: HashMap<Arc<Question>, Task>,
    /// What is asked about a backend.
    asked: HashMap<BackendId, Vec<(Arc<Question>, Asked)>>,
    reports: mpsc::Sender<ProbeNews>,
    punctuality: Arc<Punctuality>,
    phases: RandomState,
}

/// What becomes of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeNews {
    /// It has a result.
    Result(ProbeReport),
    /// It could not be sent.
    NotSent(NotSent),
}

/// A probe that this machine could not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSent {
    /// As in the specification.
    pub backend: BackendId,
    /// As in the specification.
    pub generation: u64,
    /// Which question of the specification was not asked.
    pub asked: Asked,
    /// Why.
    pub reason: Arc<str>,
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
    hurry: Arc<Notify>,
}

/// Who is told the answers.
#[derive(Debug, Default)]
struct Audience {
    members: Vec<Member>,
    last: Option<Finding>,
}

/// What a question came to; an error is why it could not be asked.
type Finding = Result<ProbeOutcome, Arc<str>>;

#[derive(Clone, Copy, Debug)]
struct Member {
    backend: BackendId,
    generation: u64,
    asked: Asked,
}

impl Probes {
    /// No tasks; those to come report to `reports`.
    #[must_use]
    pub fn new(reports: mpsc::Sender<ProbeNews>) -> Self {
        Self::punctual(reports, Arc::default())
    }

    /// As [`new`](Self::new); the results of probes during the delays of `punctuality` are discarded.
    #[must_use]
    pub fn punctual(reports: mpsc::Sender<ProbeNews>, punctuality: Arc<Punctuality>) -> Self {
        Self {
            prober: Arc::default(),
            tasks: HashMap::new(),
            asked: HashMap::new(),
            reports,
            punctuality,
            phases: RandomState::new(),
        }
    }

    /// Has the next probes read the files of authorities again, also those whose question stays the same.
    pub fn reread_certificates(&self) {
        self.prober.reread_certificates();
    }

    /// Asks up to [`MOST_REPEATED`] of the questions once more now, whenever their next time is.
    pub fn repeat(&self) {
        self.tasks.values().take(MOST_REPEATED).for_each(|task| task.hurry.notify_one());
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
            if let (false, Some(last)) = (known, audience.last.clone()) {
                let reports = self.reports.clone();
                tokio::spawn(async move { reports.send(member.news(last)).await });
            }
            return Arc::clone(question);
        }
        let audience = Arc::new(Mutex::new(Audience { members: vec![member], last: None }));
        let first_wait = part_of(question.interval, self.phases.hash_one(&question));
        let hurry = Arc::new(Notify::new());
        let task = Keeper {
            prober: Arc::clone(&self.prober),
            question: Arc::clone(&question),
            audience: Arc::clone(&audience),
            reports: self.reports.clone(),
            punctuality: Arc::clone(&self.punctuality),
            hurry: Arc::clone(&hurry),
            certainty: Certainty::default(),
        };
        let handle = tokio::spawn(task.keep_probing(first_wait)).abort_handle();
        self.tasks.insert(Arc::clone(&question), Task { handle, audience, hurry });
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
    fn news(self, finding: Finding) -> ProbeNews {
        let Self { backend, generation, asked } = self;
        match finding {
            Ok(outcome) => ProbeNews::Result(ProbeReport { backend, generation, asked, outcome }),
            Err(reason) => ProbeNews::NotSent(NotSent { backend, generation, asked, reason }),
        }
    }
}

/// What a task works with.
struct Keeper {
    prober: Arc<Prober>,
    question: Arc<Question>,
    audience: Arc<Mutex<Audience>>,
    reports: mpsc::Sender<ProbeNews>,
    punctuality: Arc<Punctuality>,
    hurry: Arc<Notify>,
    certainty: Certainty,
}

impl Keeper {
    async fn keep_probing(mut self, first_wait: Duration) {
        let mut start = Instant::now();
        let mut wait = first_wait;
        loop {
            if self.probe().await.is_err() {
                return;
            }
            // Not before the probe has ended; and after a pause of the process the missed probes are not made up for.
            start = (start + wait).max(Instant::now());
            wait = self.question.interval;
            let hurry = Arc::clone(&self.hurry);
            // A probe in between does not move the others: questions would be asked together from then on.
            while let Ok(()) = tokio::time::timeout_at(start, hurry.notified()).await {
                if self.probe().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Asks until the answer is certain and tells everybody; an error if nobody listens any more.
    async fn probe(&mut self) -> Result<(), mpsc::error::SendError<ProbeNews>> {
        loop {
            let late = self.punctuality.late();
            let finding =
                self.prober.ask(&self.question).await.map_err(|reason| Arc::from(reason.to_string()));
            let delayed = explains(self.punctuality.late().since(late), self.question.timeout);
            match self.certainty.judge(&finding, delayed) {
                Judgement::Counts => return self.tell(finding).await,
                Judgement::Discard => self.punctuality.count_discarded(),
                Judgement::Repeat => {}
            }
            tokio::time::sleep(REPEAT_PAUSE.min(self.question.interval)).await;
        }
    }

    async fn tell(&self, finding: Finding) -> Result<(), mpsc::error::SendError<ProbeNews>> {
        let members = {
            let mut audience = lock(&self.audience);
            audience.last = Some(finding.clone());
            audience.members.clone()
        };
        for member in members {
            self.reports.send(member.news(finding.clone())).await?;
        }
        Ok(())
    }
}

/// Which findings of a question count.
#[derive(Debug, Default)]
struct Certainty {
    /// A finding has counted, or a first failure was repeated.
    repeated: bool,
    /// The latest attempt could not be sent.
    unable: bool,
    /// Discarded in a row.
    discarded: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Counts,
    /// This machine was late.
    Discard,
    Repeat,
}

impl Certainty {
    /// `delayed`: this machine was late for long enough to explain silence.
    fn judge(&mut self, finding: &Finding, delayed: bool) -> Judgement {
        let unable = std::mem::replace(&mut self.unable, finding.is_err());
        let repeated = std::mem::replace(&mut self.repeated, true);
        let failure = match finding {
            // An address that is on its way, a descriptor that was short for a moment.
            Err(_) => return if unable { Judgement::Counts } else { Judgement::Repeat },
            Ok(outcome) => outcome.result.err(),
        };
        if failure.is_some_and(ProbeFailure::is_silence) && delayed && self.discarded < MOST_DISCARDED {
            self.discarded += 1;
            self.repeated = repeated;
            return Judgement::Discard;
        }
        if !delayed {
            self.discarded = 0;
        }
        if failure.is_some() && !repeated { Judgement::Repeat } else { Judgement::Counts }
    }
}

/// From a finding that does not count to the next attempt, at most.
pub const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// Questions that are asked once more at a time at most.
pub const MOST_REPEATED: usize = 256;

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

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Finding = Ok(ProbeOutcome { result: Err(ProbeFailure::Timeout), advice: None });
    const REFUSAL: Finding = Ok(ProbeOutcome { result: Err(ProbeFailure::Refused), advice: None });
    const GOOD: Finding = Ok(ProbeOutcome { result: Ok(()), advice: None });

    #[test]
    fn only_a_first_failure_is_repeated() {
        let mut certainty = Certainty::default();
        assert_eq!(certainty.judge(&REFUSAL, false), Judgement::Repeat);
        assert_eq!(certainty.judge(&REFUSAL, false), Judgement::Counts);
        assert_eq!(certainty.judge(&SILENCE, false), Judgement::Counts);

        let mut good = Certainty::default();
        assert_eq!(good.judge(&GOOD, false), Judgement::Counts);
        assert_eq!(good.judge(&SILENCE, false), Judgement::Counts);
    }

    #[test]
    fn a_probe_that_cannot_be_sent_counts_from_the_second_attempt_in_a_row() {
        let mut certainty = Certainty::default();
        let unable = || Finding::Err("no file descriptor".into());
        for _ in 0..2 {
            assert_eq!(certainty.judge(&unable(), false), Judgement::Repeat);
            assert_eq!(certainty.judge(&unable(), false), Judgement::Counts);
            assert_eq!(certainty.judge(&unable(), true), Judgement::Counts);
            assert_eq!(certainty.judge(&GOOD, false), Judgement::Counts);
        }
    }

    #[test]
    fn silence_during_our_own_delay_is_discarded_but_not_for_ever() {
        let mut certainty = Certainty::default();
        assert_eq!(certainty.judge(&GOOD, true), Judgement::Counts);
        assert_eq!(certainty.judge(&REFUSAL, true), Judgement::Counts, "an answer is an answer");
        for _ in 0..MOST_DISCARDED {
            assert_eq!(certainty.judge(&SILENCE, true), Judgement::Discard);
        }
        assert_eq!(certainty.judge(&SILENCE, true), Judgement::Counts);
        assert_eq!(certainty.judge(&SILENCE, true), Judgement::Counts, "a machine that is always late");
        assert_eq!(certainty.judge(&SILENCE, false), Judgement::Counts);
        assert_eq!(certainty.judge(&SILENCE, true), Judgement::Discard);
    }
}
