//! The order in which backends take their turns by weight.

/// Turns in a round at most: what a position counts.
const MOST_TURNS: u64 = 65_536;

/// A round of turns over backends with these `weights`: each has turns in proportion to its weight, spread evenly over
/// the round, so that one of great weight is not sent a train of flows. Positions in `weights`; empty if all are 0. A round
/// that would be longer than 65,536 turns is shortened by rounding, to one turn at least for any weight above 0.
///
/// Costs `n log n` in the number of turns: some milliseconds for the longest.
#[must_use]
pub fn turns(weights: &[u32]) -> Vec<u16> {
    let weighted = || (0..=u16::MAX).zip(weights).filter(|(_, weight)| **weight > 0);
    let divisor = weighted().fold(0, |divisor, (_, weight)| greatest_common_divisor(divisor, *weight));
    if divisor == 0 {
        return Vec::new();
    }
    let total: u64 = weighted().map(|(_, weight)| u64::from(weight / divisor)).sum();
    let share = |weight: u32| match u64::from(weight / divisor) {
        whole if total <= MOST_TURNS => whole,
        whole => (whole * MOST_TURNS / total).max(1),
    };
    // A backend of n turns is due in the middle of each nth part of the round.
    let mut due: Vec<(u64, u16)> = weighted()
        .flat_map(|(position, weight)| {
            let share = share(*weight);
            (0..share).map(move |turn| (((2 * turn + 1) << 32) / share, position))
        })
        .collect();
    due.sort_unstable();
    due.into_iter().map(|(_, position)| position).collect()
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_of_a_heavy_backend_are_spread_between_those_of_others() {
        assert_eq!(turns(&[100, 100, 100]), [0, 1, 2]);
        assert_eq!(turns(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(turns(&[2, 0, 2]), [0, 2]);
        assert!(turns(&[0, 0]).is_empty());
        assert!(turns(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn each_backend_has_turns_by_its_weight(weights in prop::collection::vec(0_u32..=65_535, 1..50)) {
            let round = turns(&weights);
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert!(round.len() as u64 <= MOST_TURNS + weights.len() as u64);
            for (position, weight) in weights.iter().enumerate() {
                let had = round.iter().filter(|turn| usize::from(**turn) == position).count();
                prop_assert_eq!(had == 0, *weight == 0);
                let owed = round.len() as f64 * f64::from(*weight) / total.max(1) as f64;
                prop_assert!((had as f64 - owed).abs() <= 2.0 + owed * 0.001, "{had} turns, owed {owed}");
            }
        }
    }
}
