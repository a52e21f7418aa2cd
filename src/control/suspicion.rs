//! Whether a failure of all backends is near us: in our links, the way of our probes or our own delays.
//!
//! Pure, in virtual time. Suspicion begins when a backend is about to go down while nearly all backends, of several
//! servers, are silent at once. It holds every backend where it is. The probes are repeated at once, and if they stay
//! silent for [`verification`] and nothing strains this machine, the failure is real. While something does ([`Strain`]),
//! the hold lasts longer, up to [`LONGEST_HOLD`] from its beginning. A real failure of all backends is therefore noticed
//! [`verification`] later than one of a single backend, and [`LONGEST_HOLD`] later at most. Answers that are failures (a
//! refused connection, a status) are never suspicious: the way to the backends works. Nor is silence without a link: then
//! the cause is known, and new clients must go elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::model::BackendId;
use crate::model::Nanos;

/// A hold is over after this time, whatever strains this machine.
pub const LONGEST_HOLD: Nanos = Nanos::from_secs(10);

/// Strain counts for this long after it was seen: as long as the counters of ports are apart, twice.
const STRAIN_LASTS: Nanos = Nanos::from_secs(2);

/// Per cent of the backends that are silent, at least.
const NEARLY_ALL: usize = 90;

/// After a hold that was in vain, silence is believed for this long: what is down stays down, and what comes back may fail.
const TRUST: Nanos = Nanos::from_secs(60);

/// How long repeated probes of this timeout are waited for.
#[must_use]
pub fn verification(slowest_timeout: Duration) -> Nanos {
    Nanos::from(slowest_timeout) + VERIFICATION_MARGIN
}

/// Beyond the timeout, for results to arrive.
const VERIFICATION_MARGIN: Nanos = Nanos::from_millis(300);

/// What loses or delays answers to probes in this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strain {
    /// Control or a worker was late.
    Late,
    /// Workers discarded packets for the kernel, by rate.
    PuntsPoliced,
    /// The kernel's side of a port lost frames.
    KernelSide,
    /// A port lost frames before the workers.
    PortLoss,
}

impl fmt::Display for Strain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late => "late",
            Self::PuntsPoliced => "punts_policed",
            Self::KernelSide => "kernel_side_loss",
            Self::PortLoss => "port_loss",
        })
    }
}

/// How many probed backends are in service, as far as probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All that are up.
    pub up: usize,
    /// Those of them whose latest probe was silent.
    pub silent: usize,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Suspicion {
    hold: Option<Hold>,
    strain: Option<(Nanos, Strain)>,
    /// Backends that went down by silence lately, each with the time until which that is at the same time as now.
    fallen: VecDeque<(Nanos, BackendId)>,
    /// Silence is believed until then.
    trusted: Nanos,
    holds: u64,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Nanos,
    /// The repeated probes have had their time.
    verified: Nanos,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Backends answer again: the cause was near us.
    Refuted,
    /// The failure is real, as far as can be told.
    Confirmed,
}

impl Verdict {
    /// Its word in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuted => "refuted",
            Self::Confirmed => "confirmed",
        }
    }
}

impl Suspicion {
    /// Something strained this machine at `now`.
    pub fn strained(&mut self, now: Nanos, strain: Strain) {
        self.strain = Some((now, strain));
    }

    /// Whether the backends are held where they are.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Holds so far.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.holds
    }

    /// A backend is about to go down by silence. Whether that begins a hold, of which the repeated probes take `verification`.
    pub fn begins(&mut self, now: Nanos, census: Census, verification: Nanos) -> bool {
        self.forget(now);
        if self.hold.is_some() || now < self.trusted || !self.is_nearly_all(census) {
            return false;
        }
        self.hold = Some(Hold { since: now, verified: now + verification });
        self.holds += 1;
        true
    }

    /// A backend went down by silence; others that do within `interval` fail at the same time.
    pub fn fell(&mut self, now: Nanos, id: BackendId, interval: Duration) {
        self.fallen.push_back((now + Nanos::from(interval), id));
        // More make no difference.
        if self.fallen.len() > MOST_FALLEN {
            self.fallen.pop_front();
        }
    }

    /// Ends the hold when it is time.
    pub fn verdict(&mut self, now: Nanos, census: Census) -> Option<Verdict> {
        let hold = self.hold?;
        if !self.is_nearly_all(census) {
            self.hold = None;
            return Some(Verdict::Refuted);
        }
        if self.end(hold) > now {
            return None;
        }
        self.hold = None;
        self.trusted = now + TRUST;
        Some(Verdict::Confirmed)
    }

    /// The cause is known: no hold is of use. Whether there was one.
    pub fn give_up(&mut self, now: Nanos) -> bool {
        let held = self.hold.take().is_some();
        if held {
            self.trusted = now + TRUST;
        }
        held
    }

    /// When [`verdict`](Self::verdict) is due at the latest, as far as is known.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.hold.map(|hold| self.end(hold))
    }

    /// What has strained this machine lately.
    #[must_use]
    pub fn strain(&self, now: Nanos) -> Option<Strain> {
        self.strain.filter(|(at, _)| now.since(*at) <= STRAIN_LASTS).map(|(_, strain)| strain)
    }

    fn end(&self, hold: Hold) -> Nanos {
        let strained = self.strain.map_or(Nanos(0), |(at, _)| at + STRAIN_LASTS);
        hold.verified.max(strained).min(hold.since + LONGEST_HOLD)
    }

    /// Of several, nearly all that were up a moment ago.
    fn is_nearly_all(&self, census: Census) -> bool {
        let fallen = self.fallen.len();
        let (all, silent) = (census.up + fallen, census.silent + fallen);
        all >= 2 && census.silent > 0 && silent * 100 >= all * NEARLY_ALL
    }

    fn forget(&mut self, now: Nanos) {
        self.fallen.retain(|(until, _)| *until >= now);
    }
}

/// Backends that went down lately and are remembered.
const MOST_FALLEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    const VERIFICATION: Nanos = Nanos::from_millis(1300);

    const fn census(up: usize, silent: usize) -> Census {
        Census { up, silent }
    }

    #[test]
    fn the_silence_of_one_backend_or_of_a_few_is_believed() {
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.begins(at(0), census(1, 1), VERIFICATION), "the only one");
        assert!(!suspicion.begins(at(0), census(3, 2), VERIFICATION));
        assert!(!suspicion.begins(at(0), census(100, 89), VERIFICATION));
        assert!(suspicion.begins(at(0), census(100, 90), VERIFICATION));
        assert!(!suspicion.begins(at(0), census(100, 91), VERIFICATION), "it has begun");
    }

    #[test]
    fn a_real_failure_of_all_is_noticed_after_the_verification() {
        let mut suspicion = Suspicion::default();
        assert!(suspicion.begins(at(0), census(2, 2), VERIFICATION));
        assert_eq!(suspicion.due(), Some(VERIFICATION));
        assert_eq!(suspicion.verdict(at(1299), census(2, 2)), None);
        assert_eq!(suspicion.verdict(at(1300), census(2, 2)), Some(Verdict::Confirmed));
        assert!(!suspicion.begins(at(1300), census(2, 2), VERIFICATION), "it is known to be real");
        assert!(suspicion.begins(at(1300) + TRUST, census(2, 2), VERIFICATION));
    }

    #[test]
    fn strain_prolongs_the_hold_up_to_its_limit() {
        let mut suspicion = Suspicion::default();
        assert!(suspicion.begins(at(0), census(9, 9), VERIFICATION));
        for second in 1..10 {
            suspicion.strained(at(second * 1000), Strain::PuntsPoliced);
            assert_eq!(suspicion.verdict(at(second * 1000), census(9, 9)), None);
        }
        assert_eq!(suspicion.due(), Some(LONGEST_HOLD));
        assert_eq!(suspicion.strain(at(9500)), Some(Strain::PuntsPoliced));
        assert_eq!(suspicion.verdict(LONGEST_HOLD, census(9, 9)), Some(Verdict::Confirmed));
    }

    #[test]
    fn answers_refute_the_suspicion() {
        let mut suspicion = Suspicion::default();
        assert!(suspicion.begins(at(0), census(4, 4), VERIFICATION));
        assert_eq!(suspicion.verdict(at(500), census(4, 3)), Some(Verdict::Refuted));
        assert!(!suspicion.holds());
        assert!(suspicion.begins(at(900), census(4, 4), VERIFICATION));
        assert_eq!(suspicion.count(), 2);
    }

    #[test]
    fn backends_that_fell_a_moment_ago_count_as_silent() {
        let interval = Duration::from_secs(2);
        let mut suspicion = Suspicion::default();
        suspicion.fell(at(0), BackendId(0), interval);
        assert!(!suspicion.begins(at(2001), census(1, 1), VERIFICATION), "long ago");
        suspicion.fell(at(3000), BackendId(0), interval);
        assert!(suspicion.begins(at(4900), census(1, 1), VERIFICATION));
    }
}
