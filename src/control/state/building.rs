//! Tables are built in slices, each with an event, so that none of these takes long.
//!
//! The services whose tables may have changed wait here. A snapshot is published once all are built. While many are
//! left, one is published every [`SPACING`] with what is built, so that a backend that fails meanwhile is out of service.

use std::collections::BTreeSet;

use super::State;
use crate::control::event::Effect;
use crate::control::publication::SPACING;
use crate::control::selection::Served;
use crate::control::tables::Tables;
use crate::control::unpublished::Unpublished;
use crate::model::Nanos;
use crate::model::ServiceId;

/// What the next snapshot waits for.
#[derive(Debug, Default)]
pub(super) struct Building {
    left: Unpublished,
    /// Services that have changed since the building began: their tables come first.
    urgent: BTreeSet<ServiceId>,
    /// Since every backend's first probe has a result.
    settled: bool,
    /// Changes that the next snapshot brings.
    news: Vec<Effect>,
}

impl Building {
    /// With `news` to build, beside what `before` has left.
    pub(super) fn with(before: Option<Self>, news: Unpublished, settled: bool) -> Self {
        let Some(mut before) = before else {
            return Self { left: news, settled, ..Self::default() };
        };
        before.left.members |= news.members;
        let changed = if news.members { &mut before.left.services } else { &mut before.urgent };
        changed.extend(news.services);
        Self { settled, ..before }
    }

    fn waiting(&mut self) -> &mut BTreeSet<ServiceId> {
        if self.urgent.is_empty() { &mut self.left.services } else { &mut self.urgent }
    }

    /// Whether every service has its first probes' results, or their time is over.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }
}

impl State {
    /// Builds a slice of the tables that may have changed, and publishes a snapshot once all are built or some have
    /// waited for [`SPACING`]. Services and addresses come and go with the last one.
    pub(super) fn build(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let Some(mut building) = self.building.take() else { return };
        let slice = self.tables.take_slice(building.waiting(), self.slice);
        let standing = |tables: &Tables, id| tables.selection(id).map(Served::of);
        let before: Vec<_> = slice.iter().map(|id| standing(&self.tables, *id)).collect();
        let left = self.tables.build(&self.registry, &self.config, &slice, (self.slice, now));
        for (id, before) in slice.iter().zip(before).take(slice.len() - left.len()) {
            let Some(after) = standing(&self.tables, *id) else { continue };
            let Some(service) = self.registry.service(*id) else { continue };
            let name = service.config.name.as_str().into();
            building.news.extend(after.changes(before.unwrap_or_default(), name).map(Effect::Log));
        }
        let built = &slice[..slice.len() - left.len()];
        self.judge_announcements(now, built, building.left.members, effects);
        building.waiting().extend(left);
        let is_last = building.waiting().is_empty();
        if !is_last && now.since(self.published.at) < SPACING {
            self.building = Some(building);
            return;
        }
        if is_last && building.left.members {
            self.published.vips = self.config.services.iter().map(|service| service.vip).collect();
            self.wanted_stale = true;
            self.tables.place(&self.registry, &self.config);
            self.count_wishes();
        }
        if is_last {
            self.wanted_stale |= self.published.settled != building.settled;
            self.published.settled = building.settled;
        }
        self.published.version += 1;
        self.published.at = now;
        let snapshot = self.tables.snapshot(&self.config, self.published.version);
        effects.push(Effect::Publish(Box::new(snapshot)));
        effects.append(&mut building.news);
        self.building = (!is_last).then_some(building);
    }

    /// Begins to build what has changed since the last time.
    pub(super) fn begin_building(&mut self, now: Nanos, settled: bool) {
        let mut news = std::mem::take(&mut self.registry.unpublished);
        news.services.extend(self.tables.due_by(now));
        self.building = Some(Building::with(self.building.take(), news, settled));
    }

    /// Whether tables are left to build: with the next events, whatever these are.
    #[must_use]
    pub const fn is_building(&self) -> bool {
        self.building.is_some()
    }
}
