//! Rate limits of what a worker gives away: refusals to strangers, packets to the kernel.

use crate::model::Nanos;

/// A token bucket in virtual time.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Time that one token costs.
    cost: u64,
    /// The most time that can be saved up.
    depth: u64,
    /// Saved time, in nanoseconds.
    saved: u64,
    last: Nanos,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that gains `per_second` (1 to 10^9) a second.
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Self {
        let cost = 1_000_000_000 / per_second;
        Self { cost, depth: cost * burst, saved: cost * burst, last: Nanos(0) }
    }

    /// Whether there is no token at `now`.
    #[must_use]
    pub const fn is_empty(&self, now: Nanos) -> bool {
        self.saved.saturating_add(now.since(self.last).0) < self.cost
    }

    /// Takes a token; false if there is none.
    pub const fn take(&mut self, now: Nanos) -> bool {
        let gained = self.saved.saturating_add(now.since(self.last).0);
        self.saved = if gained < self.depth { gained } else { self.depth };
        self.last = now;
        match self.saved.checked_sub(self.cost) {
            Some(rest) => {
                self.saved = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut bucket = TokenBucket::new(10, 3);
        let taken = |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, Nanos::from_secs(5)), 3);
        assert!(bucket.is_empty(Nanos::from_secs(5)) && !bucket.is_empty(Nanos::from_millis(5_100)));
        assert_eq!(taken(&mut bucket, Nanos::from_millis(5_100)), 1);
        assert_eq!(taken(&mut bucket, Nanos::from_millis(5_350)), 2);
        assert_eq!(taken(&mut bucket, Nanos::from_secs(60)), 3);
    }
}
