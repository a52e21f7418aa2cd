//! Whether the workers turn, by their turn counters: the heartbeat that the announcement of VIPs depends on.

use std::sync::Arc;

use crate::model::Nanos;
use crate::model::WorkerId;
use crate::shared::WorkerCounters;

/// A worker that has not turned for this long is stalled. An idle worker turns far more often, also when it sleeps.
pub const STALL: Nanos = Nanos::from_secs(1);

/// The latest span over which occupancy is measured is at least this long.
const WINDOW: Nanos = Nanos::from_secs(1);

/// What was seen of each worker.
#[derive(Clone, Debug)]
pub struct WorkerWatch {
    workers: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    turns: u64,
    moved: Nanos,
    window: (Nanos, Beat),
    occupancy: f64,
}

/// A reading of a worker's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Turns so far.
    pub turns: u64,
    /// Those in which something arrived.
    pub busy_turns: u64,
}

/// How the workers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Workers that stand still.
    pub stalled: Vec<WorkerId>,
    /// Every worker has turned at least once.
    pub started: bool,
}

impl WorkerWatch {
    /// Begins to watch `workers` workers, none of which needs to have started.
    #[must_use]
    pub fn new(now: Nanos, workers: usize) -> Self {
        let seen = Seen { turns: 0, moved: now, window: (now, Beat::default()), occupancy: 0.0 };
        Self { workers: vec![seen; workers] }
    }

    /// Takes in a reading of every worker.
    pub fn observe(&mut self, now: Nanos, beats: impl Iterator<Item = Beat>) -> Pulse {
        let mut pulse = Pulse { stalled: Vec::new(), started: true };
        for ((id, seen), beat) in (0..).zip(&mut self.workers).zip(beats) {
            if beat.turns != seen.turns {
                seen.turns = beat.turns;
                seen.moved = now;
            } else if now.since(seen.moved) >= STALL {
                pulse.stalled.push(WorkerId(id));
            }
            pulse.started &= beat.turns > 0;
            seen.measure(now, beat);
        }
        pulse
    }

    /// Per worker, the share of the turns of about the last second in which something arrived, 0 to 1.
    pub fn occupancies(&self) -> impl Iterator<Item = f64> + '_ {
        self.workers.iter().map(|seen| seen.occupancy)
    }
}

impl Seen {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for a gauge")]
    fn measure(&mut self, now: Nanos, beat: Beat) {
        let (since, before) = self.window;
        if now.since(since) < WINDOW {
            return;
        }
        let turns = beat.turns.saturating_sub(before.turns);
        let busy = beat.busy_turns.saturating_sub(before.busy_turns);
        self.occupancy = if turns == 0 { 0.0 } else { (busy as f64 / turns as f64).min(1.0) };
        self.window = (now, beat);
    }
}

/// Whether every worker has turned since the last call; those that have not started yet are not late.
pub(super) fn turned(workers: Vec<Arc<WorkerCounters>>) -> impl FnMut() -> bool + Send {
    let mut before = vec![0; workers.len()];
    move || {
        let mut all = true;
        for (worker, before) in workers.iter().zip(&mut before) {
            let turns = worker.turns();
            all &= turns == 0 || turns != *before;
            *before = turns;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    fn beats<const N: usize>(turns: [u64; N]) -> impl Iterator<Item = Beat> {
        turns.into_iter().map(|turns| Beat { turns, busy_turns: turns / 2 })
    }

    #[test]
    fn a_worker_is_stalled_after_a_second_without_a_turn_until_it_turns_again() {
        let mut watch = WorkerWatch::new(at(0), 2);
        assert!(!watch.observe(at(250), beats([5, 0])).started);
        let pulse = watch.observe(at(999), beats([9, 1]));
        assert_eq!(pulse, Pulse { stalled: vec![], started: true });
        assert_eq!(watch.observe(at(1998), beats([10, 1])).stalled, []);
        assert_eq!(watch.observe(at(1999), beats([11, 1])).stalled, [WorkerId(1)]);
        assert_eq!(watch.observe(at(2200), beats([12, 2])).stalled, []);
    }

    #[test]
    fn occupancy_is_that_of_the_last_second() {
        let mut watch = WorkerWatch::new(at(0), 1);
        watch.observe(at(1000), beats([1000]));
        assert_eq!(watch.occupancies().collect::<Vec<_>>(), [0.5]);
        watch.observe(at(1500), beats([1000]));
        watch.observe(at(2000), beats([1000]));
        assert_eq!(watch.occupancies().collect::<Vec<_>>(), [0.0]);
    }
}
