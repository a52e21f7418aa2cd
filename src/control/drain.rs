//! Leaving without breaking connections: when a drain is over.

use std::fmt;

use crate::model::Nanos;

/// A drain under way: the VIPs are withdrawn, and established flows go on.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    deadline: Nanos,
}

/// Why a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// No established TCP flow is left.
    Idle,
    /// `drain_timeout` passed first.
    TimedOut,
    /// A second request to leave.
    Interrupted,
}

impl Drain {
    /// A drain that begins at `now` and takes at most `timeout`.
    #[must_use]
    pub fn begin(now: Nanos, timeout: Nanos) -> Self {
        Self { deadline: now + timeout }
    }

    /// Whether the time is up.
    #[must_use]
    pub fn end_by_time(&self, now: Nanos) -> Option<DrainEnd> {
        (now >= self.deadline).then_some(DrainEnd::TimedOut)
    }

    /// When the time is up.
    #[must_use]
    pub const fn deadline(&self) -> Nanos {
        self.deadline
    }
}

impl fmt::Display for DrainEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::TimedOut => "timeout",
            Self::Interrupted => "interrupted",
        })
    }
}
