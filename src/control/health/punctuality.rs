//! Our own delays: how late control and the workers are while a probe waits for its answer.
//!
//! A beat is due every [`BEAT`] on control's runtime. A beat that comes late counts its lateness, and a beat between which
//! a worker has not turned counts the span since the last one. A probe compares the sum at its start with the sum at its
//! end: silence during a long delay of ours says nothing about the backend.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::Nanos;

/// From one beat to the next.
pub const BEAT: Nanos = Nanos::from_millis(20);

/// Lateness of a beat that is no delay: the granularity of timers and a slice of the scheduler.
const TOLERANCE: Nanos = Nanos::from_millis(10);

/// Results in a row that are discarded at most. A machine that is always late must still notice a dead backend.
pub const MOST_DISCARDED: u32 = 3;

/// The delays of this machine, shared by the probes.
#[derive(Debug)]
pub struct Punctuality {
    started: Instant,
    lateness: Mutex<Lateness>,
    discarded: AtomicU64,
}

/// The sum of delays, in virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    sum: Nanos,
    /// The latest beat; `None`: nobody beats, and nothing is late.
    beat: Option<Nanos>,
}

impl Lateness {
    /// A beat at `now`. `turned`: every worker has turned since the last one.
    pub fn beat(&mut self, now: Nanos, turned: bool) {
        if let Some(last) = self.beat {
            let stall = if turned { Nanos(0) } else { now.since(last) };
            self.sum = self.sum + self.overdue(now).max(stall);
        }
        self.beat = Some(now);
    }

    /// All delays until `now`, including a beat that is overdue.
    #[must_use]
    pub fn until(&self, now: Nanos) -> Nanos {
        self.sum + self.overdue(now)
    }

    fn overdue(&self, now: Nanos) -> Nanos {
        let late = self.beat.map_or(Nanos(0), |last| now.since(last + BEAT));
        if late > TOLERANCE { late } else { Nanos(0) }
    }
}

impl Default for Punctuality {
    /// On time for ever, until somebody [beats](Self::keep).
    fn default() -> Self {
        Self { started: Instant::now(), lateness: Mutex::default(), discarded: AtomicU64::new(0) }
    }
}

impl Punctuality {
    /// Beats until it is dropped. `turned` says whether every worker has turned since it was last asked.
    pub async fn keep(self: Arc<Self>, mut turned: impl FnMut() -> bool + Send) {
        loop {
            let turned = turned();
            self.lock().beat(self.now(), turned);
            tokio::time::sleep(Duration::from_nanos(BEAT.0)).await;
        }
    }

    /// All delays so far.
    #[must_use]
    pub fn late(&self) -> Nanos {
        self.lock().until(self.now())
    }

    /// Probe results discarded so far.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    pub(super) fn count_discarded(&self) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Nanos {
        self.started.elapsed().into()
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Lateness> {
        self.lateness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a delay of `late` may be the reason why a probe had no answer within `timeout`: a quarter of it.
pub(super) fn explains(late: Nanos, timeout: Duration) -> bool {
    late >= Nanos(Nanos::from(timeout).0 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    #[test]
    fn late_beats_and_spans_without_a_turn_add_up() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.until(at(5000)), at(0), "nobody beats");
        lateness.beat(at(0), true);
        lateness.beat(at(20), true);
        lateness.beat(at(48), true);
        assert_eq!(lateness.until(at(70)), at(0), "8 ms are the scheduler's");
        assert_eq!(lateness.until(at(568)), at(500), "a beat that is overdue counts before it comes");
        lateness.beat(at(568), true);
        assert_eq!(lateness.until(at(588)), at(500));
        lateness.beat(at(588), false);
        assert_eq!(lateness.until(at(600)), at(520), "a worker stood still for a beat");
        lateness.beat(at(1588), false);
        assert_eq!(lateness.until(at(1588)), at(1520), "the longer of two delays at a time");
    }

    #[test]
    fn a_quarter_of_the_timeout_explains_silence() {
        let second = Duration::from_secs(1);
        assert!(!explains(at(249), second));
        assert!(explains(at(250), second));
    }
}
