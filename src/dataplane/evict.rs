//! Eviction: which flow gives way to a new one when the flow table is full, or a backend has no local port left.
//!
//! The order is that of [`Worth`](super::flow::Worth). A flood must evict its own flows: a service that holds more than its
//! share of the table (`flow_share`) gets places of its own flows alone, and not the last tenth of the table. Others get
//! one of a service above its share, else one of their own flows, else any. Each search is bounded.

use super::flow::{FlowEntry, FlowFamily, FlowId, Flows, Tick, Victim};
use super::last_hop::SoleUse;
use super::pipeline::{Pipeline, View};
use crate::model::{Direction, FiveTuple, Mac, ServiceId, V4, V6};
use crate::shared::{DropReason, WorkerCounters};

impl Pipeline {
    /// Makes room in the flow table for a flow of `service`, where less than a tenth of it is free.
    ///
    /// # Errors
    /// No flow gives way.
    #[cold]
    pub(super) fn make_room<F: FlowFamily>(
        &mut self,
        service: ServiceId,
        view: View<'_>,
    ) -> Result<(), DropReason> {
        let table = F::table(&self.flows);
        let has_room = table.is_crowded() && table.len() < table.capacity();
        let is_over = exceeds_share(&self.counters, service, table.capacity(), view);
        if has_room && !is_over {
            return Ok(());
        }
        let victim =
            if is_over { self.own_victim::<F>(service, view) } else { self.victim::<F>(service, view) };
        match victim {
            Some(id) => {
                self.evict::<F>(id, view);
                Ok(())
            }
            None if is_over => Err(DropReason::ServiceShare),
            None => Err(DropReason::FlowTableFull),
        }
    }

    /// The flow of `service` that is worth least.
    fn own_victim<F: FlowFamily>(&mut self, service: ServiceId, view: View<'_>) -> Option<FlowId> {
        let table = F::table_mut(&mut self.flows);
        let is_own = |entry: &FlowEntry<F>| entry.service == service;
        table.over(is_own).or_else(|| table.least_worth(view.tick(), is_own))
    }

    /// The flow that gives way to one of `service`, which holds no more than its share.
    fn victim<F: FlowFamily>(&mut self, service: ServiceId, view: View<'_>) -> Option<FlowId> {
        let now = view.tick();
        let Self { flows, counters, .. } = self;
        let table = F::table_mut(flows);
        let capacity = table.capacity();
        let is_own = |entry: &FlowEntry<F>| entry.service == service;
        let exceeds = |entry: &FlowEntry<F>| exceeds_share(counters, entry.service, capacity, view);
        table
            .over(|_| true)
            .or_else(|| table.least_worth(now, exceeds))
            .or_else(|| table.least_worth(now, is_own))
            .or_else(|| table.least_worth(now, |_| true))
    }

    /// Ends the flow that holds a lease; the lease, as the tuple that its backend sees.
    #[cold]
    pub(super) fn take_lease<F: FlowFamily>(&mut self, victim: Victim, view: View<'_>) -> FiveTuple<F> {
        let lease = F::table(&self.flows).entry(victim.id).incoming(Direction::Return).reversed();
        self.evict::<F>(victim.id, view);
        lease
    }

    /// Evicts the flow that is worth least of those each of which alone keeps a place for its next hop from `neighbour`;
    /// `None` if there is none.
    #[cold]
    pub(super) fn free_last_hop(&mut self, neighbour: Mac, view: View<'_>) -> Option<()> {
        let now = view.tick();
        let entries = || self.last_hops.in_the_way_of(neighbour);
        let v4 = least_of::<V4>(&self.flows, entries().filter(|sole| sole.by.is_v4), now);
        let v6 = least_of::<V6>(&self.flows, entries().filter(|sole| !sole.by.is_v4), now);
        match (v4, v6) {
            (Some(v4), v6) if v6.is_none_or(|v6| v4.or_lesser(v6) == v4) => self.evict::<V4>(v4.id, view),
            (_, Some(v6)) => self.evict::<V6>(v6.id, view),
            (_, None) => return None,
        }
        Some(())
    }

    /// Ends a flow for the sake of another one. A half-open one says that its service is flooded.
    pub(super) fn evict<F: FlowFamily>(&mut self, id: FlowId, view: View<'_>) {
        let entry = F::table(&self.flows).entry(id);
        let (state, service) = (entry.state(), entry.service);
        if state.is_half_open() {
            self.guard.overflows(service, view.now);
        }
        self.tally.evicted += u64::from(!state.is_over());
        self.end::<F>(id);
    }
}

/// Whether a service holds more than its share of this worker's table, which has room for `capacity` flows.
fn exceeds_share(counters: &WorkerCounters, service: ServiceId, capacity: usize, view: View<'_>) -> bool {
    let share = view.tables.service(service).map_or(100, |table| u64::from(table.flow_share));
    let flows = counters.service(service).map_or(0, |counters| counters.flows());
    flows.saturating_mul(100) > share.saturating_mul(capacity as u64)
}

/// The flow that is worth least of those that alone refer to these next hops.
fn least_of<F: FlowFamily>(flows: &Flows, soles: impl Iterator<Item = SoleUse>, now: Tick) -> Option<Victim> {
    let table = F::table(flows);
    // One that was the last to come may have ended before the one that is left.
    let refers = |sole: &SoleUse| {
        let entry = table.entry(sole.by.flow);
        entry.is_in_use() && entry.hop(Direction::Return) == sole.id
    };
    soles.filter(refers).filter_map(|sole| table.victim(sole.by.flow, now)).reduce(Victim::or_lesser)
}
