//! A token bucket that several workers take from, in one word.
//!
//! The bucket of Turner ("New directions in communications", IEEE Communications Magazine 24(10), 1986) in the form of the
//! virtual scheduling algorithm (ITU-T I.371, annex A): the word is the time at which the bucket will be full again. To
//! take a token moves it on by what one costs; more than a whole bucket ahead of now it does not go. One word is changed
//! by one compare-and-swap, so that workers together never get more than the rate.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Nanos;

/// Parts of a nanosecond that are counted: with them the rate is right to one in 1600 up to ten million a second. Times
/// wrap after 36 years; spans stay right.
const PARTS: u64 = 16;

const SECOND: u64 = 1_000_000_000 * PARTS;

/// Further ahead than this the time never is: what seems so is long past, or was never set. (A bucket that was never
/// used may seem empty in four seconds of 36 years.)
const FURTHEST: u64 = 4 * SECOND;

/// Takes a token of a bucket that gains `per_second` (1 to 10^7) a second and holds as many; false if there is none.
pub(super) fn take(full_at: &AtomicU64, per_second: u32, now: Nanos) -> bool {
    let cost = cost(per_second);
    let depth = cost * u64::from(per_second);
    let now = now.0.wrapping_mul(PARTS);
    let spend = |full_at| {
        let ahead = ahead(full_at, now) + cost;
        (ahead <= depth).then(|| now.wrapping_add(ahead))
    };
    full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
}

/// Gives back a token that was taken of a bucket with this rate and not used.
pub(super) fn give_back(full_at: &AtomicU64, per_second: u32) {
    full_at.fetch_sub(cost(per_second), Ordering::Relaxed);
}

/// Whether a bucket with this word is full, so that nothing is lost with it.
pub(super) const fn is_full(full_at: u64, now: Nanos) -> bool {
    ahead(full_at, now.0.wrapping_mul(PARTS)) == 0
}

const fn ahead(full_at: u64, now: u64) -> u64 {
    let ahead = full_at.wrapping_sub(now);
    if ahead > FURTHEST { 0 } else { ahead }
}

const fn cost(per_second: u32) -> u64 {
    SECOND.div_ceil(per_second as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(bucket: &AtomicU64, per_second: u32, now: Nanos) -> u32 {
        (0..).find(|_| !take(bucket, per_second, now)).unwrap()
    }

    #[test]
    fn a_bucket_gives_a_seconds_worth_at_once_then_its_rate() {
        for start in [0, 5, 1_700_000_000, 9_000_000_000] {
            let bucket = AtomicU64::new(0);
            let at = |millis| Nanos::from_secs(start) + Nanos::from_millis(millis);
            assert_eq!(taken(&bucket, 10, at(0)), 10, "at {start}");
            assert_eq!(taken(&bucket, 10, at(99)), 0);
            assert_eq!(taken(&bucket, 10, at(100)), 1);
            assert_eq!(taken(&bucket, 10, at(350)), 2);
            assert_eq!(taken(&bucket, 10, at(60_000)), 10, "no more than a second is saved up");
        }
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let bucket = AtomicU64::new(0);
        let now = Nanos::from_secs(7);
        assert_eq!(taken(&bucket, 3, now), 3);
        give_back(&bucket, 3);
        assert_eq!(taken(&bucket, 3, now), 1);
        assert!(!is_full(bucket.load(Ordering::Relaxed), now));
        assert!(is_full(bucket.load(Ordering::Relaxed), now + Nanos::from_millis(1_001)));
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_than_a_bucket_and_the_rate(
            per_second in 1..10_000_000_u32,
            steps in prop::collection::vec((0..300_000_000_u64, 0..2_000_u32), 1..50),
        ) {
            let bucket = AtomicU64::new(0);
            let start = Nanos::from_secs(99);
            let (mut now, mut got) = (start, 0_u128);
            for (wait, tries) in steps {
                now = now + Nanos(wait);
                got += (0..tries).filter(|_| take(&bucket, per_second, now)).count() as u128;
                let rate = u128::from(per_second);
                let most = rate + u128::from(now.since(start).0) * rate / 1_000_000_000;
                prop_assert!(got <= most, "{} of {}", got, most);
            }
        }
    }
}
