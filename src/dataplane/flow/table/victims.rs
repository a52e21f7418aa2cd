//! Which flow gives way when there is no room for another one.
//!
//! States whose time no packet prolongs stand in queues, the oldest first: one look finds the flow to evict. UDP flows in
//! use stand on the timing wheel, which does not say which was idle longest; of them a stretch of the table is looked at,
//! the next one each time, as caches do that approximate LRU by sampling.

use super::{FlowTable, Queue};
use crate::dataplane::flow::{FlowEntry, FlowId, Tick, Victim, Worth};
use crate::model::Family;

/// Where sampling is in the table, and how much more of it may be done now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// The next place.
    place: usize,
    /// The tick that `left` is of.
    tick: Tick,
    /// Stretches that may still be looked at in vain.
    left: u32,
}

/// Entries at the head of a queue that are looked at for one that may be evicted: a flood fills the queue that it stands in.
const HEADS: usize = 8;

/// Places in a stretch of the table, 2 to 4 KiB side by side.
const PLACES: usize = 32;

/// Stretches looked at until one has a flow that may be evicted: about 20 us, where a run of other services' flows is passed.
const STRETCHES: u32 = 64;

/// Stretches that may be looked at in vain within a tick, a hundredth of the time: a table of established connections
/// refuses without looking again and again.
const STRETCHES_A_TICK: u32 = 2_048;

impl<F: Family> FlowTable<F> {
    /// The oldest closed flow, or else the one that has waited longest in TIME_WAIT, that `may_go`; nothing is lost with it
    /// but the rest of its local port.
    #[must_use]
    pub fn over(&self, may_go: impl Fn(&FlowEntry<F>) -> bool) -> Option<FlowId> {
        [Queue::Closed, Queue::TimeWait].into_iter().find_map(|queue| self.oldest(queue, &may_go))
    }

    /// The flow that is worth least of those that `may_go`: see [`Worth`]. Bounded: a few entries of each queue, and a
    /// sample of the others.
    #[must_use]
    pub fn least_worth(&mut self, now: Tick, may_go: impl Fn(&FlowEntry<F>) -> bool) -> Option<FlowId> {
        for queue in [Queue::HalfOpen, Queue::Asked] {
            if let Some(id) = self.oldest(queue, &may_go) {
                return Some(id);
            }
        }
        let new = self.oldest(Queue::UdpNew, &may_go).and_then(|id| self.victim(id, now));
        if let Some(Victim { worth: Worth::OneWay, id, .. }) = new {
            return Some(id);
        }
        let sampled = self.sample(now, &may_go);
        let best = match (new, sampled) {
            (Some(new), Some(sampled)) => Some(new.or_lesser(sampled)),
            (one, None) | (None, one) => one,
        };
        best.map(|victim| victim.id).or_else(|| self.oldest(Queue::Connecting, &may_go))
    }

    /// A flow as a candidate; `None` if it must not be evicted.
    #[must_use]
    pub fn victim(&self, id: FlowId, now: Tick) -> Option<Victim> {
        let entry = self.entry(id);
        Some(Victim { worth: entry.worth(now)?, idle: now.since(entry.stamp), id })
    }

    /// The first of a queue's oldest entries that `may_go`.
    fn oldest(&self, queue: Queue, may_go: impl Fn(&FlowEntry<F>) -> bool) -> Option<FlowId> {
        let mut next = self.expiry.first(queue);
        for _ in 0..HEADS {
            let place = next?;
            if may_go(&self.entries[place as usize]) {
                return Some(FlowId(place));
            }
            next = self.expiry.following(place);
        }
        None
    }

    /// The least of the next stretch of the table in which there is any.
    fn sample(&mut self, now: Tick, may_go: impl Fn(&FlowEntry<F>) -> bool) -> Option<Victim> {
        if self.scan.tick != now {
            (self.scan.tick, self.scan.left) = (now, STRETCHES_A_TICK);
        }
        for _ in 0..STRETCHES {
            self.scan.left = self.scan.left.checked_sub(1)?;
            let first = if self.scan.place < self.entries.len() { self.scan.place } else { 0 };
            let end = self.entries.len().min(first + PLACES);
            self.scan.place = end;
            let candidates = (first..end).filter_map(|place| {
                let entry = &self.entries[place];
                let id = FlowId(u32::try_from(place).ok()?);
                if entry.is_in_use() && may_go(entry) { self.victim(id, now) } else { None }
            });
            if let Some(best) = candidates.reduce(Victim::or_lesser) {
                // Only what is looked at in vain counts.
                self.scan.left += 1;
                return Some(best);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::flow::{NewFlow, TimeoutTicks};
    use crate::hash::IndexKey;
    use crate::model::{
        BackendId, Direction, FiveTuple, NextHopId, Protocol, ServiceId, TablePages, Timeouts, V4,
    };
    use crate::shared::{FlowState, Holds};

    fn table(capacity: usize) -> FlowTable<V4> {
        let ticks = TimeoutTicks::new(&Timeouts::default());
        FlowTable::new(capacity, IndexKey::new([1, 2, 3, 4]), ticks, TablePages::Ordinary)
    }

    fn add(table: &mut FlowTable<V4>, number: u16, state: FlowState, now: Tick) -> FlowId {
        let protocol = match state {
            FlowState::UdpNew | FlowState::Udp | FlowState::Asked => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let tuple = FiveTuple::new((1, number), (2, 80), protocol);
        let flow = NewFlow {
            tuple,
            translated: FiveTuple::new((3, number), (4, 80), protocol),
            service: ServiceId(number % 2),
            backend: BackendId(0),
            forward_hop: NextHopId(0),
            return_hop: NextHopId(0),
            route_epoch: 0,
            state,
            displaced: false,
            one_way: false,
            holds: Holds::default(),
        };
        let hash = table.hash(&tuple);
        table.insert(hash, &flow, now).expect("there is room")
    }

    #[test]
    fn eviction_takes_half_open_then_asked_then_one_way_then_idle_flows_and_never_established_ones() {
        let mut table = table(64);
        let (start, now) = (Tick(100), Tick(200));
        let established = add(&mut table, 1, FlowState::Established, start);
        let connecting = add(&mut table, 2, FlowState::Connecting, start);
        let busy = add(&mut table, 3, FlowState::Udp, now);
        let idle = add(&mut table, 4, FlowState::Udp, Tick(150));
        let idle_longest = add(&mut table, 5, FlowState::Udp, Tick(120));
        let fresh = add(&mut table, 6, FlowState::UdpNew, now);
        let asked = add(&mut table, 8, FlowState::Asked, start);
        let half_open = add(&mut table, 9, FlowState::SynSent, start);
        // A client that has sent twice and heard nothing.
        let one_way = add(&mut table, 10, FlowState::UdpNew, start);
        for _ in 0..2 {
            let next = table.entry_mut(one_way).note_datagram(Direction::Forward);
            table.set_state(one_way, next, now);
        }
        let mut gone = Vec::new();
        while let Some(id) = table.least_worth(now, |_| true) {
            table.remove(id);
            gone.push(id);
        }
        assert_eq!(gone, [half_open, asked, one_way, fresh, idle_longest, idle, connecting]);
        assert!(table.entry(established).is_in_use() && table.entry(busy).is_in_use());
    }

    #[test]
    fn old_new_flow_gives_way_before_a_client_that_sends_and_hears_nothing() {
        let mut table = table(64);
        let single = add(&mut table, 1, FlowState::UdpNew, Tick(100));
        let fresh = add(&mut table, 2, FlowState::UdpNew, Tick(199));
        assert_eq!(table.least_worth(Tick(200), |_| true), Some(single));
        table.remove(single);
        assert_eq!(table.least_worth(Tick(200), |_| true), Some(fresh));
    }

    #[test]
    fn eviction_is_held_to_the_flows_that_may_go() {
        let mut table = table(64);
        for number in 0..6 {
            add(&mut table, number, FlowState::SynSent, Tick(100));
        }
        for _ in 0..3 {
            let id =
                table.least_worth(Tick(200), |entry| entry.service == ServiceId(1)).expect("one of three");
            assert_eq!(table.entry(id).service, ServiceId(1));
            table.remove(id);
        }
        assert_eq!(table.least_worth(Tick(200), |entry| entry.service == ServiceId(1)), None);
    }

    #[test]
    fn table_of_established_flows_is_not_sampled_without_end() {
        let mut table = table(4096);
        for number in 0..4000 {
            add(&mut table, number, FlowState::Established, Tick(100));
        }
        for _ in 0..STRETCHES_A_TICK {
            assert_eq!(table.least_worth(Tick(200), |_| true), None);
        }
        assert_eq!(table.scan.left, 0);
        // The next tick looks again, and finds the only idle flow within a round.
        let idle = add(&mut table, 4001, FlowState::Udp, Tick(100));
        let found = (0..2).find_map(|_| table.least_worth(Tick(201), |_| true));
        assert_eq!(found, Some(idle));
    }
}
