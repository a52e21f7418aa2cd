//! The durations of the loop's steps, by kind: the loop answers nothing else meanwhile.

use std::time::Duration;

/// A step of the loop, by its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A signal.
    Signal,
    /// The time: workers, ports, and due changes of the state.
    Look,
    /// A task has ended.
    Task,
    /// The answer of the workers whether flows are left.
    Flows,
    /// The network holds other addresses.
    Held,
    /// The result of a probe.
    Probe,
    /// A request of the control socket or HTTP.
    Call,
    /// A configuration was read.
    Load,
    /// Tables of services were built.
    Built,
}

impl Step {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Signal,
        Self::Look,
        Self::Task,
        Self::Flows,
        Self::Held,
        Self::Probe,
        Self::Call,
        Self::Load,
        Self::Built,
    ];

    /// The value of the label `step`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Look => "look",
            Self::Task => "task",
            Self::Flows => "flows",
            Self::Held => "held",
            Self::Probe => "probe",
            Self::Call => "call",
            Self::Load => "load",
            Self::Built => "built",
        }
    }
}

/// Upper bounds of the histogram's buckets, in seconds; the last one takes the rest. 20 ms is the bound that every step
/// is to keep.
pub const BOUNDS: [f64; 9] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.1, 1.0, f64::MAX];

/// The durations of one kind of step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
    /// Steps by bucket of [`BOUNDS`], each counted once.
    pub buckets: [u64; BOUNDS.len()],
    /// The sum of all steps.
    pub sum: Duration,
    /// The longest step.
    pub longest: Duration,
}

impl Durations {
    /// The number of steps.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn record(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        self.buckets[bucket] += 1;
        self.sum += duration;
        self.longest = self.longest.max(duration);
    }
}

/// The durations of all steps so far, by kind, in the order of [`Step::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes([Durations; Step::ALL.len()]);

impl StepTimes {
    /// Counts a step.
    pub fn record(&mut self, step: Step, duration: Duration) {
        self.0[step as usize].record(duration);
    }

    /// The durations of each kind.
    pub fn iter(&self) -> impl Iterator<Item = (Step, &Durations)> {
        Step::ALL.into_iter().zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_counted_in_the_first_bucket_that_holds_it() {
        let mut times = StepTimes::default();
        for micros in [100, 101, 20_000, 20_001, 5_000_000] {
            times.record(Step::Probe, Duration::from_micros(micros));
        }
        let (_, probe) = times.iter().find(|(step, _)| *step == Step::Probe).unwrap();
        assert_eq!(probe.buckets, [1, 1, 0, 0, 0, 1, 1, 0, 1]);
        assert_eq!((probe.count(), probe.longest), (5, Duration::from_secs(5)));
        assert_eq!(times.iter().map(|(_, durations)| durations.count()).sum::<u64>(), 5);
    }
}
