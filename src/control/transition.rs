//! After the first targets of a service without flows have changed: who had which slot before.
//!
//! A session without a record is where its slot says. When configuration or operator give a slot to another backend, its
//! sessions are still on the former one, and no worker knows them. So the former first targets stay for a time, in which
//! workers leave to them what is no beginning of a session, and take a record of it. What is silent for the whole
//! time moves. A change meanwhile prolongs the time, and what was before the first one stays. A removed backend stands
//! among the others, without weight, so that its slots have somebody to name.

use super::selection::Standing;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::shared::Positions;

/// The first targets of a service.
pub(super) struct FirstTargets<'a> {
    /// What `all` counts.
    pub(super) standings: &'a [Standing],
    /// By slot.
    pub(super) all: &'a Positions,
}

/// A change of first targets that sessions may not have followed.
#[derive(Clone, Debug)]
pub(super) struct Transition {
    end: Nanos,
    previous: Positions,
}

/// Stands in a slot whose backend is gone: no service has so many that it is a position.
const GONE: u16 = u16::MAX;

impl Transition {
    /// What follows at `now` from first targets that were `before` and are `after`; a change is followed for `span`.
    pub(super) fn next(
        running: Option<&Self>,
        before: &FirstTargets<'_>,
        after: &FirstTargets<'_>,
        (now, span): (Nanos, Nanos),
    ) -> Option<Self> {
        let shares = |targets: &FirstTargets<'_>| -> Vec<(Endpoint, u32)> {
            let shares =
                targets.standings.iter().map(|standing| (standing.endpoint, standing.settled_weight));
            shares.filter(|(_, weight)| *weight > 0).collect()
        };
        let running = running.filter(|running| now < running.end && span > Nanos(0));
        let position = |standing: &Standing| {
            let found = after.standings.binary_search_by_key(&standing.endpoint, |other| other.endpoint);
            found.ok().and_then(|position| u16::try_from(position).ok()).unwrap_or(GONE)
        };
        let positions: Vec<u16> = before.standings.iter().map(position).collect();
        let today = |old: &u16| positions.get(usize::from(*old)).copied().unwrap_or(GONE);
        if shares(before) == shares(after) {
            let moved = positions.iter().zip(0..).any(|(today, before)| *today != before);
            return running.map(|running| match moved {
                true => Self { end: running.end, previous: running.previous.iter().map(today).collect() },
                false => running.clone(),
            });
        }
        if span == Nanos(0) || before.all.is_empty() || after.all.is_empty() {
            return None;
        }
        // Whatever began in a slot since it changed has a record; what has none was there before the first change.
        let earlier = running.map(|running| &running.previous[..]).unwrap_or_default();
        let earlier = earlier.iter().map(today).chain(std::iter::repeat(GONE));
        let former = before.all.iter().zip(earlier);
        let previous = former.map(|(last, first)| if first == GONE { today(last) } else { first });
        Some(Self { end: now + span, previous: previous.collect() })
    }

    /// When it is over.
    pub(super) const fn end(&self) -> Nanos {
        self.end
    }

    /// The former first targets, by slot.
    pub(super) fn previous(&self) -> Positions {
        Positions::clone(&self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BackendId;
    use crate::model::BackendState;

    fn standings(of: &[(u8, u32)]) -> Vec<Standing> {
        let standing = |(number, settled_weight): &(u8, u32)| Standing {
            id: BackendId(u32::from(*number)),
            endpoint: Endpoint::new([10, 0, 9, *number].into(), 80),
            max_connections: 0,
            state: BackendState::Up,
            weight: *settled_weight,
            settled_weight: *settled_weight,
        };
        of.iter().map(standing).collect()
    }

    /// Backends with their weights, and the slots they have.
    type Targets<'a> = (&'a [(u8, u32)], &'a [u16]);

    /// What follows at this second, for ten of them.
    fn next(
        running: Option<&Transition>,
        (before, old): Targets<'_>,
        (after, new): Targets<'_>,
        now_s: u64,
    ) -> Option<Transition> {
        let (before, after) = (standings(before), standings(after));
        let before = FirstTargets { standings: &before, all: &old.into() };
        let after = FirstTargets { standings: &after, all: &new.into() };
        Transition::next(running, &before, &after, (Nanos::from_secs(now_s), Nanos::from_secs(10)))
    }

    #[test]
    fn former_targets_stand_in_todays_positions_until_the_time_is_over() {
        let before: Targets<'_> = (&[(1, 1), (3, 1), (5, 1)], &[0, 1, 2, 2]);
        let after: Targets<'_> = (&[(2, 1), (3, 1), (5, 1)], &[0, 1, 2, 0]);
        let begun = next(None, before, after, 100).unwrap();
        assert_eq!(*begun.previous(), [GONE, 1, 2, 2]);
        assert_eq!(begun.end(), Nanos::from_secs(110));
        let goes_on = next(Some(&begun), after, after, 109).unwrap();
        assert_eq!((goes_on.previous(), goes_on.end()), (begun.previous(), begun.end()));
        assert!(next(Some(&begun), after, after, 110).is_none());
    }

    #[test]
    fn a_backend_without_a_share_comes_and_goes_without_a_change_of_targets() {
        let before: Targets<'_> = (&[(1, 1), (2, 1), (3, 1)], &[0, 1, 2]);
        let leaving: Targets<'_> = (&[(1, 1), (2, 0), (3, 1)], &[0, 0, 2]);
        let gone: Targets<'_> = (&[(1, 1), (3, 1)], &[0, 0, 1]);
        let begun = next(None, before, leaving, 100).unwrap();
        assert_eq!(*begun.previous(), [0, 1, 2]);
        let goes_on = next(Some(&begun), leaving, gone, 105).unwrap();
        assert_eq!((&*goes_on.previous(), goes_on.end()), (&[0, GONE, 1][..], Nanos::from_secs(110)));
        assert!(next(None, leaving, gone, 105).is_none());
    }

    #[test]
    fn what_was_before_the_first_of_several_changes_stays_and_a_first_backend_follows_none() {
        let one: Targets<'_> = (&[(1, 1)], &[0, 0]);
        let two: Targets<'_> = (&[(1, 1), (2, 1)], &[0, 1]);
        let drained: Targets<'_> = (&[(1, 0), (2, 1)], &[1, 1]);
        let begun = next(None, one, two, 100).unwrap();
        let again = next(Some(&begun), two, drained, 105).unwrap();
        assert_eq!((&*again.previous(), again.end()), (&[0, 0][..], Nanos::from_secs(115)));
        let enabled = next(Some(&again), drained, two, 108).unwrap();
        assert_eq!(*enabled.previous(), [0, 0], "slot 0 has its own again");
        let late = next(Some(&begun), two, drained, 110).unwrap();
        assert_eq!(*late.previous(), [0, 1], "the first one is over");
        let gone = Transition { end: Nanos::from_secs(110), previous: [GONE, 1].into() };
        let third = next(Some(&gone), two, drained, 109).unwrap();
        assert_eq!(*third.previous(), [0, 1], "of one that is gone the next to have had the slot");
        assert!(next(None, (&[], &[]), one, 100).is_none());
        assert!(next(None, one, one, 100).is_none());
    }
}
