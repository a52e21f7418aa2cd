//! Leaving without breaking connections: when a drain is over.

use std::fmt;

use crate::model::Nanos;

/// A drain under way: the VIPs are withdrawn, and established flows go on.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    deadline: Nanos,
    /// From the deadline on: when the farewell ends at the latest.
    farewell_ends: Option<Nanos>,
}

/// What a drain asks for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStep {
    /// To wait for connections to end.
    Wait,
    /// To reset both sides of the connections that are left.
    SayFarewell,
    /// To leave.
    Leave(DrainEnd),
}

/// How long resets are sent at the end of a drain, at most: to 300,000 connections for each worker, by the workers' rate.
const FAREWELL: Nanos = Nanos::from_secs(3);

/// How long frames of the farewell may wait in a worker after its last connection ended: 128 resets at that rate, with a
/// margin.
const LAST_FRAMES: Nanos = Nanos::from_millis(50);

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
        Self { deadline: now + timeout, farewell_ends: None }
    }

    /// What is to be done by time; [`DrainStep::SayFarewell`] until the farewell [began](Self::begin_farewell).
    #[must_use]
    pub fn step(&self, now: Nanos) -> DrainStep {
        match self.farewell_ends {
            Some(end) if now >= end => DrainStep::Leave(DrainEnd::TimedOut),
            None if now >= self.deadline => DrainStep::SayFarewell,
            Some(_) | None => DrainStep::Wait,
        }
    }

    /// Notes that workers are told to reset connections.
    pub fn begin_farewell(&mut self, now: Nanos) {
        self.farewell_ends = Some(now + FAREWELL);
    }

    /// Notes that no connection is left: the drain is over, at once or as soon as the last resets have left.
    pub fn none_left(&mut self, now: Nanos) -> DrainStep {
        match &mut self.farewell_ends {
            None => return DrainStep::Leave(DrainEnd::Idle),
            Some(end) => *end = (*end).min(now + LAST_FRAMES),
        }
        DrainStep::Wait
    }

    /// When the next step is due by time.
    #[must_use]
    pub fn due(&self) -> Nanos {
        self.farewell_ends.unwrap_or(self.deadline)
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
