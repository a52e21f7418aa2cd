//! When a snapshot is published: at once, and then at most ten times a second. What changes in between goes out
//! together; what must not wait may come early, a few times, and the average over time stays.

use crate::model::Nanos;

/// The time between two publications, on average and at least for what can wait.
pub const SPACING: Nanos = Nanos::from_millis(100);

/// Publications in a row without any time between them at most, for what cannot wait.
pub const BURST: u64 = 4;

/// Whether a change may wait for others to go out with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// [`SPACING`] later is soon enough.
    CanWait,
    /// Every moment costs connections.
    AtOnce,
}

/// The decision, in virtual time: a bucket of [`BURST`] tokens, one more each [`SPACING`]. What can wait needs a full
/// bucket, so that the rest is left to what cannot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication {
    /// When the bucket is full (again).
    full: Nanos,
    wanted: Option<Urgency>,
}

impl Publication {
    /// Something that workers must know has changed.
    pub fn request(&mut self, urgency: Urgency) {
        self.wanted = self.wanted.max(Some(urgency));
    }

    /// Whether to publish now; counts as done if so.
    pub fn take(&mut self, now: Nanos) -> bool {
        let publish = self.due().is_some_and(|due| due <= now);
        if publish {
            *self = Self { full: self.full.max(now) + SPACING, wanted: None };
        }
        publish
    }

    /// When to publish next; `None` if nothing has changed.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.wanted.map(|urgency| match urgency {
            Urgency::CanWait => self.full,
            Urgency::AtOnce => self.full.since(Nanos(SPACING.0 * (BURST - 1))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publications of a second of changes, one each millisecond from `start` on.
    fn storm(publication: &mut Publication, urgency: Urgency, start: u64) -> u64 {
        let mut published = 0;
        for now in start..start + 1000 {
            publication.request(urgency);
            published += u64::from(publication.take(Nanos::from_millis(now)));
        }
        published
    }

    #[test]
    fn a_lone_change_goes_out_at_once_and_a_storm_of_changes_ten_times_a_second() {
        let mut publication = Publication::default();
        assert!(!publication.take(Nanos(0)));
        publication.request(Urgency::CanWait);
        assert!(publication.take(Nanos::from_millis(1)));
        assert_eq!(storm(&mut publication, Urgency::CanWait, 2), 10);

        assert!(!publication.take(Nanos::from_millis(2000)), "the last change is out");
        publication.request(Urgency::CanWait);
        assert!(publication.take(Nanos::from_millis(2000)), "after a pause at once again");
    }

    #[test]
    fn what_cannot_wait_goes_out_right_after_something_else_and_takes_it_along() {
        let mut publication = Publication::default();
        let now = Nanos::from_millis(500);
        publication.request(Urgency::CanWait);
        assert!(publication.take(now));
        publication.request(Urgency::CanWait);
        assert!(!publication.take(now));
        publication.request(Urgency::AtOnce);
        publication.request(Urgency::CanWait);
        assert!(publication.take(now), "a lesser change beside it does not hold it up");
        assert_eq!(publication.due(), None);
    }

    #[test]
    fn a_storm_of_what_cannot_wait_has_its_burst_and_then_the_same_average() {
        let mut publication = Publication::default();
        assert_eq!(storm(&mut publication, Urgency::AtOnce, 1000), 10 + BURST - 1);
        assert_eq!(storm(&mut publication, Urgency::AtOnce, 2000), 10);
        publication.request(Urgency::CanWait);
        let due = publication.due().expect("a change waits");
        assert!(due <= Nanos::from_millis(3000 + 100 * BURST), "{due:?}");
    }
}
