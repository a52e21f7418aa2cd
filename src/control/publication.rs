//! When a snapshot is published: at once, and then at most ten times a second. What changes in between goes out
//! together.

use crate::model::Nanos;

/// The shortest time between two publications.
pub const SPACING: Nanos = Nanos::from_millis(100);

/// The decision, in virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication {
    last: Option<Nanos>,
    wanted: bool,
}

impl Publication {
    /// Something that workers must know has changed.
    pub const fn request(&mut self) {
        self.wanted = true;
    }

    /// Whether to publish now; counts as done if so.
    pub fn take(&mut self, now: Nanos) -> bool {
        let publish = self.due().is_some_and(|due| due <= now);
        if publish {
            *self = Self { last: Some(now), wanted: false };
        }
        publish
    }

    /// When to publish next; `None` if nothing has changed.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.wanted.then(|| self.last.map_or(Nanos(0), |last| last + SPACING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_change_goes_out_at_once_and_a_storm_of_changes_ten_times_a_second() {
        let mut publication = Publication::default();
        assert!(!publication.take(Nanos(0)));
        publication.request();
        assert!(publication.take(Nanos::from_millis(1)));

        let mut published = 0;
        for now in 2..=1001 {
            publication.request();
            published += u32::from(publication.take(Nanos::from_millis(now)));
        }
        assert_eq!(published, 10);

        assert!(!publication.take(Nanos::from_millis(2000)), "the last change is out");
        publication.request();
        assert!(publication.take(Nanos::from_millis(2000)), "after a pause at once again");
    }
}
