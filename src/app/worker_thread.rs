//! A worker's thread: gives its turns the time, and decides what to do when nothing arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::config::Idle;
use crate::dataplane::Worker;
use crate::io::Port;
use crate::model::Nanos;

/// When a worker turns.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// When its clock began: the same moment for all, as they take from limits in each other's time.
    pub(super) started: Instant,
    /// What it does when nothing arrives.
    pub(super) idle: Idle,
}

/// Turns `worker` on this thread until `stop`.
pub(super) fn turn_until<P: Port>(mut worker: Worker<P>, pace: Pace, stop: &AtomicBool) {
    let Pace { started, idle } = pace;
    let mut clock = Clock::new(started);
    let mut waiting = Waiting::new();
    let mut busy = false;
    while !stop.load(Ordering::Relaxed) {
        busy = worker.turn(clock.now(busy));
        match idle {
            Idle::Poll => {}
            Idle::Adaptive if busy => waiting = Waiting::new(),
            Idle::Adaptive => {
                if let Some(nap) = waiting.next() {
                    worker.rest();
                    std::thread::sleep(nap);
                }
            }
        }
    }
}

/// The time since the workers' common start.
struct Clock {
    start: Instant,
    now: Nanos,
    /// Turns to go by the last reading.
    turns_left: u32,
}

/// Busy turns that share a reading of the clock, which costs as much as a packet: together they last some microseconds,
/// and time-outs and rates are in milliseconds.
const TURNS_PER_READING: u32 = 8;

impl Clock {
    const fn new(start: Instant) -> Self {
        Self { start, now: Nanos(0), turns_left: 0 }
    }

    /// The time for the next turn, after one that was `busy`.
    #[inline]
    fn now(&mut self, busy: bool) -> Nanos {
        self.turns_left = if busy { self.turns_left.saturating_sub(1) } else { 0 };
        if self.turns_left == 0 {
            self.now = Nanos::from(self.start.elapsed());
            self.turns_left = TURNS_PER_READING;
        }
        self.now
    }
}

/// How long nothing has arrived.
struct Waiting {
    idle_turns: u32,
}

/// Idle turns before the first nap: the gap between the packets of a busy connection.
const PATIENCE: u32 = 200;

/// The first nap, which the following double; a kernel's timer slack adds 50 us.
const FIRST_NAP: Duration = Duration::from_micros(10);

/// The longest: the price of the first packet after a pause.
const LONGEST_NAP: Duration = Duration::from_micros(500);

impl Waiting {
    const fn new() -> Self {
        Self { idle_turns: 0 }
    }

    /// Counts an idle turn; the nap to take, if any.
    fn next(&mut self) -> Option<Duration> {
        self.idle_turns = self.idle_turns.saturating_add(1);
        let naps = self.idle_turns.checked_sub(PATIENCE)?;
        Some((FIRST_NAP * 2_u32.pow(naps.min(6))).min(LONGEST_NAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_turns_share_a_reading_of_the_clock() {
        let mut clock = Clock::new(Instant::now());
        let read = clock.now(false);
        for _ in 1..TURNS_PER_READING {
            assert_eq!(clock.now(true), read);
        }
        assert!(clock.now(true) > read, "the next one is as late as eight turns are long");
    }

    #[test]
    fn naps_begin_after_a_pause_grow_and_stay_short() {
        let mut waiting = Waiting::new();
        let naps: Vec<_> = (0..PATIENCE + 20).map(|_| waiting.next()).collect();
        assert!(naps[..PATIENCE as usize - 1].iter().all(Option::is_none));
        assert_eq!(naps[PATIENCE as usize - 1], Some(FIRST_NAP));
        assert_eq!(naps.last(), Some(&Some(LONGEST_NAP)));
    }
}
