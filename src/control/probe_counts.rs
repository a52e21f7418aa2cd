//! What became of probes beside their results: counts for metrics, and how much of it the log is told.

use crate::model::Nanos;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeCounts {
    /// Probes that could not be sent, once for each backend that they are about.
    pub not_sent: u64,
    /// When the bucket of lines is full again.
    full: Nanos,
}

/// From one line of the log to the next, on average.
const SPACING: Nanos = Nanos::from_secs(1);

/// Lines in a row at most.
const BURST: u64 = 20;

impl ProbeCounts {
    /// Whether another change may be told: a process without a free file descriptor has thousands of them a second.
    pub fn may_tell(&mut self, now: Nanos) -> bool {
        let full = self.full.max(now);
        let may = full.since(now) <= Nanos(SPACING.0 * (BURST - 1));
        if may {
            self.full = full + SPACING;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_changes_is_told_and_then_one_a_second() {
        let mut counts = ProbeCounts::default();
        let mut told = |millis| counts.may_tell(Nanos::from_millis(millis));
        assert_eq!((0..100).filter(|_| told(0)).count(), 20);
        assert!(!told(999));
        assert!(told(1000));
        assert!(!told(1999));
        assert!(told(2000));
    }
}
