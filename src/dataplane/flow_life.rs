//! How flows go from state to state and end: the one place where what counts them is told.

use super::flow::{FlowFamily, FlowId, Tick};
use super::pipeline::{Pipeline, View};
use crate::model::{Direction, ServiceId, V4, V6};
use crate::shared::FlowState;

impl Pipeline {
    /// Moves a flow to another state. One that is over stays so until it ends.
    #[inline(never)]
    pub(super) fn advance<F: FlowFamily>(&mut self, id: FlowId, next: FlowState, now: Tick) {
        let entry = F::table(&self.flows).entry(id);
        let (before, service, backend) = (entry.state(), entry.service, entry.backend);
        if before.is_half_open() && !next.is_half_open() {
            self.count_half_open_end(service);
        }
        if next.is_over() && !before.is_over() {
            if let Some(counters) = self.counters.backend(backend) {
                counters.count_over();
            }
            // What only keeps its lease from being reused is no connection any more.
            self.give_back::<F>(id);
        }
        F::table_mut(&mut self.flows).set_state(id, next, now);
    }

    /// Ends a flow.
    pub(super) fn end<F: FlowFamily>(&mut self, id: FlowId) {
        let entry = F::table(&self.flows).entry(id);
        let (service, backend) = (entry.service, entry.backend);
        let (displaced, was_over) = (entry.is_displaced(), entry.state().is_over());
        let (half_open, return_hop) = (entry.state().is_half_open(), entry.hop(Direction::Return));
        if let Some(counters) = self.counters.service(service) {
            counters.count_flow(false);
            if half_open {
                counters.count_half_open(false);
            }
        }
        self.last_hops.release(return_hop);
        self.give_back::<F>(id);
        F::table_mut(&mut self.flows).remove(id);
        self.tally.flows_ended += 1;
        self.tally.displaced -= u64::from(displaced);
        if let Some(counters) = self.counters.backend(backend) {
            counters.count_end(was_over);
        }
    }

    /// Gives back what a flow is counted in, if it is in anything.
    #[inline]
    fn give_back<F: FlowFamily>(&mut self, id: FlowId) {
        let entry = F::table(&self.flows).entry(id);
        if entry.is_counted() {
            let (service, backend) = (entry.service, entry.backend);
            let holds = F::table_mut(&mut self.flows).take_holds(id);
            self.limits.release(service, Some(backend), holds);
        }
    }

    fn count_half_open_end(&self, service: ServiceId) {
        if let Some(counters) = self.counters.service(service) {
            counters.count_half_open(false);
        }
    }

    /// Ends flows whose time is over, of each family within `budget`. Returns whether there are more flows to be looked at
    /// soon.
    #[inline]
    pub(super) fn expire(&mut self, view: View<'_>, budget: u32) -> bool {
        let now = view.tick();
        // Time-outs are in whole ticks.
        if self.expired_until == Some(now) {
            return self.sweep.is_running();
        }
        let more = self.expire_family::<V4>(view, budget) | self.expire_family::<V6>(view, budget);
        self.expired_until = (!more).then_some(now);
        more || self.sweep.is_running()
    }

    #[inline(never)]
    fn expire_family<F: FlowFamily>(&mut self, view: View<'_>, mut budget: u32) -> bool {
        while let Some(id) = F::table_mut(&mut self.flows).expired(view.tick(), &mut budget) {
            self.expire_flow::<F>(id, view);
        }
        budget == 0
    }
}
