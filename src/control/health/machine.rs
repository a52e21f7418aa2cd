//! When a backend is in service, decided from the results of its probes.
//!
//! Pure, in virtual time. A backend starts closed: until its first probe has an answer it gets no flows, and that
//! answer decides at once. From then on only `fall` failures in a row take it out, or so many within a time, and only
//! `rise` successes in a row bring it back, so that one lost probe never flips it.

use std::collections::VecDeque;
use std::fmt;

use super::ProbeFailure;
use super::ProbeResult;
use crate::config::FailureWindow;
use crate::model::Nanos;

/// The health of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    state: HealthState,
    since: Nanos,
    thresholds: Thresholds,
    /// Results in a row that contradict `state`.
    contrary: u32,
    /// When the failures were that still count, with a failure window.
    failures: VecDeque<Nanos>,
    /// The failure that took it out of service.
    reason: Option<ProbeFailure>,
    /// It was said to be dead.
    given_up: bool,
    last: Option<ProbeResult>,
    /// Since when no probe has had any answer.
    silent_since: Option<Nanos>,
    transitions: u64,
}

/// What the probes of a backend say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// No probe has an answer yet: out of service.
    Unknown,
    /// In service.
    Up,
    /// Out of service.
    Down,
}

/// What it takes to change a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row that take a backend out of service, from 1.
    pub fall: u32,
    /// Successes in a row that bring it back, from 1.
    pub rise: u32,
    /// In place of `fall`: failures within a time, in a row or not.
    pub window: Option<FailureWindow>,
}

/// A backend changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The old state.
    pub from: HealthState,
    /// The new state.
    pub to: HealthState,
    /// The last failure, for a backend that went down.
    pub reason: Option<ProbeFailure>,
    /// Results in a row that led here.
    pub after: u32,
}

impl Health {
    /// Nothing known, at `now`.
    #[must_use]
    pub const fn unknown(now: Nanos, thresholds: Thresholds) -> Self {
        Self {
            state: HealthState::Unknown,
            since: now,
            thresholds,
            contrary: 0,
            failures: VecDeque::new(),
            reason: None,
            given_up: false,
            last: None,
            silent_since: None,
            transitions: 0,
        }
    }

    /// Takes in one result.
    pub fn apply(&mut self, now: Nanos, result: ProbeResult) -> Option<Transition> {
        self.take_in(now, result);
        self.settle(now)
    }

    /// As [`apply`](Self::apply), but for a backend that would go down: [`settle`](Self::settle) takes it down.
    pub fn apply_unless_down(&mut self, now: Nanos, result: ProbeResult) -> Option<Transition> {
        self.take_in(now, result);
        if self.is_falling() { None } else { self.settle(now) }
    }

    /// Whether it is up, and has failed often enough to be down.
    #[must_use]
    pub const fn is_falling(&self) -> bool {
        matches!(self.state, HealthState::Up) && self.contrary >= self.needed()
    }

    /// Whether it is up, and its latest probe was not answered at all.
    #[must_use]
    pub const fn is_up_and_silent(&self) -> bool {
        matches!(self.state, HealthState::Up) && self.silent_since.is_some()
    }

    /// Changes the state if the results so far say so.
    pub fn settle(&mut self, now: Nanos) -> Option<Transition> {
        if self.contrary < self.needed() {
            return None;
        }
        let last = self.last?;
        let to = if last.is_ok() { HealthState::Up } else { HealthState::Down };
        if to == self.state {
            return None;
        }
        Some(self.become_state(now, to, last.err()))
    }

    /// Contrary results that change the state.
    const fn needed(&self) -> u32 {
        match (self.state, self.thresholds.window) {
            (HealthState::Unknown, _) => 1,
            (HealthState::Up, Some(window)) => window.failures,
            (HealthState::Up, None) => self.thresholds.fall,
            (HealthState::Down, _) => self.thresholds.rise,
        }
    }

    fn take_in(&mut self, now: Nanos, result: ProbeResult) {
        self.note(now, result);
        if let Some(window) = self.thresholds.window
            && self.state == HealthState::Up
        {
            if result.is_err() {
                self.fail_within(now, window);
            }
            return;
        }
        let agrees = match self.state {
            HealthState::Unknown => false,
            HealthState::Up => result.is_ok(),
            HealthState::Down => result.is_err(),
        };
        self.contrary = if agrees { 0 } else { self.contrary + 1 };
    }

    fn note(&mut self, now: Nanos, result: ProbeResult) {
        self.last = Some(result);
        let is_silent = result.is_err_and(ProbeFailure::is_silence);
        self.silent_since = is_silent.then(|| self.silent_since.unwrap_or(now));
    }

    /// Takes in a failure of a backend that is up, where failures count that come within a time.
    fn fail_within(&mut self, now: Nanos, window: FailureWindow) {
        let within = Nanos::from(window.within);
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|at| now.since(*at) > within) {
            self.failures.pop_front();
        }
        self.contrary = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
    }

    /// Brings a backend that is no longer probed into service; `None` if it already is.
    pub fn trust(&mut self, now: Nanos) -> Option<Transition> {
        self.last = None;
        self.silent_since = None;
        self.contrary = 0;
        (self.state != HealthState::Up).then(|| self.become_state(now, HealthState::Up, None))
    }

    /// Takes a backend out of service whatever its thresholds are; `None` if it already is for the same reason.
    pub fn condemn(&mut self, now: Nanos, reason: ProbeFailure) -> Option<Transition> {
        self.note(now, Err(reason));
        let news = self.state != HealthState::Down || self.reason != Some(reason);
        news.then(|| self.become_state(now, HealthState::Down, Some(reason)))
    }

    /// As [`condemn`](Self::condemn), for a backend that is known to be dead.
    pub fn give_up(&mut self, now: Nanos) -> Option<Transition> {
        let transition = self.condemn(now, ProbeFailure::Timeout);
        self.given_up = true;
        transition
    }

    /// Since when no probe has had any answer; `None`: the latest had one.
    #[must_use]
    pub const fn silent_since(&self) -> Option<Nanos> {
        self.silent_since
    }

    /// Whether it was [given up](Self::give_up).
    #[must_use]
    pub const fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Changes the thresholds; the state and the results counted so far stay.
    pub const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    fn become_state(&mut self, now: Nanos, to: HealthState, reason: Option<ProbeFailure>) -> Transition {
        let after = self.contrary;
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.contrary = 0;
        self.failures.clear();
        self.reason = reason;
        self.given_up = false;
        self.transitions += 1;
        Transition { from, to, reason, after }
    }

    /// The state now.
    #[must_use]
    pub const fn state(&self) -> HealthState {
        self.state
    }

    /// When the state was entered.
    #[must_use]
    pub const fn since(&self) -> Nanos {
        self.since
    }

    /// The latest result; `None` before the first and without probes.
    #[must_use]
    pub const fn last(&self) -> Option<ProbeResult> {
        self.last
    }

    /// Changes of state so far.
    #[must_use]
    pub const fn transitions(&self) -> u64 {
        self.transitions
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: ProbeResult = Err(ProbeFailure::Timeout);

    fn health(fall: u32, rise: u32) -> Health {
        Health::unknown(Nanos(0), Thresholds { fall, rise, window: None })
    }

    #[test]
    fn the_first_answer_decides_at_once() {
        let mut up = health(3, 3);
        let transition = up.apply(Nanos(5), Ok(())).unwrap();
        assert_eq!((transition.to, transition.reason, transition.after), (HealthState::Up, None, 1));
        assert_eq!(up.since(), Nanos(5));

        let mut down = health(3, 3);
        let transition = down.apply(Nanos(5), FAILED).unwrap();
        assert_eq!(transition.to, HealthState::Down);
        assert_eq!(transition.reason, Some(ProbeFailure::Timeout));
    }

    #[test]
    fn exactly_fall_failures_in_a_row_take_a_backend_out_and_exactly_rise_successes_bring_it_back() {
        let mut health = health(3, 2);
        health.apply(Nanos(0), Ok(()));
        for result in [FAILED, FAILED, Ok(()), FAILED, FAILED] {
            assert_eq!(health.apply(Nanos(1), result), None);
        }
        assert_eq!(health.apply(Nanos(2), FAILED).unwrap().after, 3);
        for result in [Ok(()), FAILED, Ok(())] {
            assert_eq!(health.apply(Nanos(3), result), None);
        }
        assert_eq!(health.apply(Nanos(4), Ok(())).unwrap().to, HealthState::Up);
        assert_eq!(health.transitions(), 3);
    }

    #[test]
    fn a_backend_that_is_not_probed_any_more_is_in_service() {
        let mut health = health(1, 1);
        health.apply(Nanos(0), FAILED);
        assert_eq!(health.trust(Nanos(1)).unwrap().to, HealthState::Up);
        assert_eq!(health.trust(Nanos(2)), None);
        assert_eq!(health.since(), Nanos(1));
    }

    #[test]
    fn failures_within_a_time_take_a_backend_out_whatever_succeeds_between_them() {
        let window = FailureWindow { failures: 3, within: std::time::Duration::from_secs(10) };
        let mut health = Health::unknown(Nanos(0), Thresholds { fall: 1, rise: 1, window: Some(window) });
        let at = Nanos::from_secs;
        health.apply(at(0), Ok(()));
        for (second, result) in [(1, FAILED), (2, Ok(())), (6, FAILED), (12, FAILED), (13, Ok(()))] {
            assert_eq!(
                health.apply(at(second), result),
                None,
                "second {second}: two of the last ten seconds"
            );
        }
        let transition = health.apply(at(16), FAILED).unwrap();
        assert_eq!((transition.to, transition.after), (HealthState::Down, 3));
        assert_eq!(health.apply(at(17), Ok(())).unwrap().to, HealthState::Up);
        assert_eq!(health.apply(at(18), FAILED), None, "what led to the last fall counts no more");
    }

    proptest! {
        #[test]
        fn the_state_is_what_the_last_long_enough_run_said(
            fall in 1_u32..5, rise in 1_u32..5, results in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let mut health = health(fall, rise);
            let mut expected = results[0];
            let mut run = 0;
            for (n, ok) in results.iter().enumerate() {
                health.apply(Nanos(0), if *ok { Ok(()) } else { FAILED });
                run = if n > 0 && results[n - 1] == *ok { run + 1 } else { 1 };
                if run >= if *ok { rise } else { fall } {
                    expected = *ok;
                }
                prop_assert_eq!(health.state() == HealthState::Up, expected);
            }
        }
    }
}
