//! After the first targets of a service without flows have changed: who had which slot before.
//!
//! A session without a record is where its slot says. When configuration or operator give a slot to another backend, its
//! sessions are still on the former one, and no worker knows them. So the former first targets stay for a time, in which
//! workers leave to them what is no beginning of a session, and take a record of it. What is silent for the whole
//! time moves; so does what was silent between two changes that both concern its slot.

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
            targets.standings.iter().map(|standing| (standing.endpoint, standing.settled_weight)).collect()
        };
        if shares(before) == shares(after) {
            return running.filter(|running| now < running.end && span > Nanos(0)).cloned();
        }
        if span == Nanos(0) || before.all.is_empty() || after.all.is_empty() {
            return None;
        }
        let position = |standing: &Standing| {
            let found = after.standings.binary_search_by_key(&standing.endpoint, |other| other.endpoint);
            found.ok().and_then(|position| u16::try_from(position).ok()).unwrap_or(GONE)
        };
        let positions: Vec<u16> = before.standings.iter().map(position).collect();
        let today = |old: &u16| positions.get(usize::from(*old)).copied().unwrap_or(GONE);
        Some(Self { end: now + span, previous: before.all.iter().map(today).collect() })
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
