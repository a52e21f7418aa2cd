//! The flow table of one worker and family: every flow, found by the tuple of either direction.
//!
//! Memory is reserved once for `capacity` flows: huge pages are taken at once, ordinary ones as flows come; nothing grows,
//! nothing is rehashed. All operations take constant time but for listing.
//!
//! What a packet needs of a flow is in its entry; what only its beginning and end need stands apart, so that entries are
//! small.

mod look_ahead;
mod victims;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m256i as Vector;

use super::expiry::{Expiry, NONE, Queue};
use super::index::Index;
use super::{FlowEntry, FlowId, NewFlow, Stream, Tick, TimeoutTicks};
use crate::dataplane::prefetch::prefetch;
use crate::dataplane::table_memory::TableMemory;
use crate::hash::IndexKey;
use crate::model::{Direction, Family, FiveTuple, MemoryNeed, TablePages, V4};
use crate::shared::{ClientSlot, FlowRecord, FlowState, Holds};

pub use self::look_ahead::Guess;
pub use self::victims::Scan;

/// See the module.
pub struct FlowTable<F: Family> {
    key: IndexKey,
    index: Index,
    /// All ever used; those not in use now stand in [`Queue::Free`].
    entries: TableMemory<FlowEntry<F>>,
    expiry: Expiry,
    timeouts: TimeoutTicks,
    flows: usize,
    /// From so many flows on it is crowded.
    crowd: usize,
    scan: Scan,
    /// By flow, where its client prefix is counted, if it is. Apart from the entries, as hardly any packet needs it, and
    /// zeroed by the allocator, so that it takes memory only where clients have limits.
    clients: Vec<u32>,
    /// By flow, what is changed in its byte streams, if anything is; apart for the same reason.
    streams: Vec<Stream>,
}

#[cfg(target_arch = "x86_64")]
impl FlowTable<V4> {
    /// [`IndexKey::hash_eight`] with this table's key.
    #[must_use]
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn hash_eight(&self, words: [Vector; 3], protocols: Vector) -> [Vector; 2] {
        self.key.hash_eight(words, protocols)
    }
}

impl<F: Family> FlowTable<F> {
    /// An empty table for up to `capacity` flows, at most 2^31 - 1.
    #[must_use]
    pub fn new(capacity: usize, key: IndexKey, timeouts: TimeoutTicks, pages: TablePages) -> Self {
        Self {
            key,
            index: Index::new(capacity * 2, pages),
            entries: TableMemory::with_capacity(capacity, pages),
            clients: bytemuck::zeroed_vec(capacity),
            streams: bytemuck::zeroed_vec(capacity),
            expiry: Expiry::new(capacity, pages),
            timeouts,
            flows: 0,
            crowd: capacity - capacity / 10,
            scan: Scan::default(),
        }
    }

    /// Flows that exist now.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.flows
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.flows == 0
    }

    /// Flows there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Whether more than nine tenths of it are in use: what is left is for services that hold less than their share.
    #[must_use]
    #[inline(always)]
    pub const fn is_crowded(&self) -> bool {
        self.flows >= self.crowd
    }

    /// Where it lies: reserved pages only if all of it does.
    #[must_use]
    pub fn pages(&self) -> TablePages {
        let parts = [self.index.pages(), self.entries.pages(), self.expiry.pages()];
        if parts.contains(&TablePages::Ordinary) { TablePages::Ordinary } else { TablePages::Reserved }
    }

    /// What a table for `capacity` flows takes of the machine.
    #[must_use]
    pub fn need(capacity: usize) -> MemoryNeed {
        let beside = capacity * (size_of::<u32>() + size_of::<Stream>());
        Index::need(capacity * 2)
            + TableMemory::<FlowEntry<F>>::need(capacity)
            + Expiry::need(capacity)
            + MemoryNeed { octets: beside, huge_pages: 0 }
    }

    /// Memory taken when the table is full, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        Self::need(self.entries.capacity()).octets
    }

    /// The time-outs from now on; flows that wait keep their place and are judged by the new ones.
    pub const fn set_timeouts(&mut self, timeouts: TimeoutTicks) {
        self.timeouts = timeouts;
    }

    /// The hash of a tuple, for the calls below.
    #[must_use]
    #[inline(always)]
    pub fn hash(&self, tuple: &FiveTuple<F>) -> u64 {
        self.key.hash(tuple)
    }

    /// The flow and direction of packets that carry `tuple`, whose hash is `hash`.
    #[must_use]
    #[inline(never)]
    pub fn find(&self, hash: u64, tuple: &FiveTuple<F>) -> Option<(FlowId, Direction)> {
        let is = |value| {
            let (id, direction) = split(value);
            self.entries[id.0 as usize].matches(direction, tuple)
        };
        self.index.find(hash, is).map(split)
    }

    /// The entry of a flow.
    #[must_use]
    #[inline]
    pub fn entry(&self, id: FlowId) -> &FlowEntry<F> {
        &self.entries[id.0 as usize]
    }

    /// The entry of a flow, to change. Its state changes only through [`set_state`](Self::set_state).
    #[inline]
    pub fn entry_mut(&mut self, id: FlowId) -> &mut FlowEntry<F> {
        &mut self.entries[id.0 as usize]
    }

    /// What is changed in the byte streams of a flow; `None` if nothing is.
    #[must_use]
    #[inline]
    pub fn stream(&self, id: FlowId) -> Option<&Stream> {
        self.entry(id).is_altered().then(|| &self.streams[id.0 as usize])
    }

    /// [`stream`](Self::stream), to change.
    #[inline]
    pub fn stream_mut(&mut self, id: FlowId) -> Option<&mut Stream> {
        self.entry_and_stream(id).1
    }

    /// A flow's entry and what is changed in its byte streams, both to change.
    #[inline]
    pub fn entry_and_stream(&mut self, id: FlowId) -> (&mut FlowEntry<F>, Option<&mut Stream>) {
        let place = id.0 as usize;
        let entry = &mut self.entries[place];
        let stream = if entry.is_altered() { self.streams.get_mut(place) } else { None };
        (entry, stream)
    }

    /// Says what is changed in the byte streams of a flow from now on; `None` if nothing is. Its packets leave the fast
    /// path while there is anything.
    pub fn set_stream(&mut self, id: FlowId, stream: Option<Stream>) {
        self.entry_mut(id).set_altered(stream.is_some());
        if let Some(stream) = stream {
            self.streams[id.0 as usize] = stream;
        }
    }

    /// Moves a flow to another state, and its expiry with it.
    pub fn set_state(&mut self, id: FlowId, state: FlowState, now: Tick) {
        let entry = self.entry_mut(id);
        let before = entry.state();
        entry.set_state(state);
        let queues = (Queue::of(before), Queue::of(state));
        // Within one queue the time goes on, as no packet prolongs it.
        if queues.0.is_some() && queues.0 == queues.1 {
            return;
        }
        let entry = self.entry_mut(id);
        entry.stamp = now;
        // On the wheel an entry may stand too early: it moves on when it is looked at.
        if queues == (None, None) && self.timeouts.of(before) <= self.timeouts.of(state) {
            return;
        }
        self.expiry.unlink(id.0);
        self.arm(id, now);
    }

    /// Adds a flow whose tuples (`hash` is the client's) are not in the table; `None` if the table is full.
    pub fn insert(&mut self, hash: u64, flow: &NewFlow<F>, now: Tick) -> Option<FlowId> {
        let id = self.take_entry(|| FlowEntry::new(flow, now))?;
        for direction in self.entry(id).ways() {
            let hash = match direction {
                Direction::Forward => hash,
                Direction::Return => self.key.hash(&flow.translated.reversed()),
            };
            if !self.index.insert(hash, join(id, *direction)) {
                self.free(id);
                return None;
            }
        }
        self.note_client(id, flow.holds);
        self.flows += 1;
        self.arm(id, now);
        Some(id)
    }

    /// What a flow is counted in, for that to be given back: the table does not know of it any more.
    pub fn take_holds(&mut self, id: FlowId) -> Holds {
        let (service, backend, client) = self.entry_mut(id).take_holds();
        Holds { service, backend, client: client.then(|| ClientSlot(self.clients[id.0 as usize])) }
    }

    /// Ends a flow and gives its lease back.
    pub fn remove(&mut self, id: FlowId) {
        self.expiry.unlink(id.0);
        self.free(id);
        self.flows -= 1;
    }

    /// Makes the place of an unlisted entry free, and nobody find it.
    fn free(&mut self, id: FlowId) {
        let entry = *self.entry(id);
        for direction in entry.ways() {
            let hash = self.key.hash(&entry.incoming(*direction));
            self.index.remove(hash, join(id, *direction));
        }
        self.expiry.enqueue(Queue::Free, id.0);
        self.entry_mut(id).end();
    }

    /// Makes a UDP flow that of its last datagram: what its client sends from now on does not find it.
    pub fn make_one_packet(&mut self, id: FlowId, now: Tick) {
        let hash = self.key.hash(&self.entry(id).incoming(Direction::Forward));
        self.index.remove(hash, join(id, Direction::Forward));
        self.set_state(id, FlowState::Asked, now);
    }

    /// A flow whose backend has not answered our SYN for `patience` since the last call that named it; `None` if there is
    /// none now.
    pub fn unanswered(&mut self, patience: u32, now: Tick) -> Option<FlowId> {
        let first = self.expiry.first(Queue::Connecting)?;
        let id = FlowId(first);
        if now.since(self.entry(id).stamp) < patience {
            return None;
        }
        self.entry_mut(id).stamp = now;
        self.expiry.unlink(first);
        self.arm(id, now);
        Some(id)
    }

    /// A flow whose time is over, still in the table; `None` when all that were due by `now` are gone. `budget` is
    /// what the call may still look at; it falls by what it did, and the call ends when it is spent.
    pub fn expired(&mut self, now: Tick, budget: &mut u32) -> Option<FlowId> {
        for queue in Queue::EXPIRING {
            let Some(first) = self.expiry.first(queue) else { continue };
            if self.remaining(FlowId(first), now) == 0 {
                *budget = budget.checked_sub(1)?;
                self.prefetch_ends_after(FlowId(first), now);
                return Some(FlowId(first));
            }
        }
        while let Some(due) = self.expiry.due(now, budget) {
            *budget = budget.checked_sub(1)?;
            let id = FlowId(due);
            self.prefetch_ends_after(id, now);
            if self.remaining(id, now) == 0 {
                return Some(id);
            }
            self.expiry.unlink(id.0);
            self.arm(id, now);
        }
        None
    }

    /// Asks for what the ends of the two flows will read that are listed behind one that is looked at: of the next, whose
    /// entry was asked for when this one was the next, the index, if it ends; of the one after it the entry.
    #[inline]
    fn prefetch_ends_after(&self, id: FlowId, now: Tick) {
        let Some(next) = self.expiry.following(id.0) else { return };
        if self.remaining(FlowId(next), now) == 0 {
            let entry = self.entry(FlowId(next));
            for direction in entry.ways() {
                self.index.prefetch(self.key.hash(&entry.incoming(*direction)));
            }
        }
        if let Some(later) = self.expiry.following(next) {
            prefetch(&self.entries, later as usize);
            self.expiry.prefetch(later);
        }
    }

    /// Notes what a flow is counted in that is counted in nothing.
    pub fn set_holds(&mut self, id: FlowId, holds: Holds) {
        self.entry_mut(id).set_holds(&holds);
        self.note_client(id, holds);
    }

    /// Notes where a flow's client is counted, if it is.
    #[inline]
    fn note_client(&mut self, id: FlowId, holds: Holds) {
        if let Some(ClientSlot(slot)) = holds.client {
            self.clients[id.0 as usize] = slot;
        }
    }

    /// The flow at a place of the table: `Some(None)` if there is none now, `None` behind all that were ever used.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<Option<FlowId>> {
        let entry = self.entries.get(place)?;
        let id = u32::try_from(place).ok()?;
        Some((entry.is_in_use()).then_some(FlowId(id)))
    }

    /// The flows from place `cursor` on, up to `places` places of the table, for listings; `None` behind the last.
    pub fn scan(&self, cursor: usize, places: usize) -> Option<impl Iterator<Item = &FlowEntry<F>>> {
        let end = self.entries.len().min(cursor.saturating_add(places));
        if cursor >= end {
            return None;
        }
        Some(self.entries[cursor..end].iter().filter(|entry| entry.is_in_use()))
    }

    /// A copy of a flow for control.
    #[must_use]
    pub fn record(&self, entry: &FlowEntry<F>, now: Tick) -> FlowRecord {
        let idle = now.since(entry.stamp);
        FlowRecord {
            protocol: entry.protocol(),
            client: entry.client(),
            vip: entry.vip(),
            local: entry.local(),
            backend: entry.backend_endpoint(),
            backend_id: entry.backend,
            service: entry.service,
            state: entry.state(),
            displaced: entry.is_displaced(),
            idle_secs: Tick::seconds(idle),
            expires_secs: Tick::seconds(self.timeouts.of(entry.state()).saturating_sub(idle)),
        }
    }

    /// Ticks until the flow's time is over.
    fn remaining(&self, id: FlowId, now: Tick) -> u32 {
        let entry = self.entry(id);
        self.timeouts.of(entry.state()).saturating_sub(now.since(entry.stamp))
    }

    fn arm(&mut self, id: FlowId, now: Tick) {
        match Queue::of(self.entry(id).state()) {
            Some(queue) => self.expiry.enqueue(queue, id.0),
            None => {
                let span = self.remaining(id, now);
                self.expiry.schedule(now, span, id.0);
            }
        }
    }

    /// Gives a free place to the entry that `make` makes.
    #[inline(always)]
    fn take_entry(&mut self, make: impl FnOnce() -> FlowEntry<F>) -> Option<FlowId> {
        if let Some(free) = self.expiry.first(Queue::Free) {
            self.expiry.unlink(free);
            self.entries[free as usize] = make();
            if let Some(next) = self.expiry.first(Queue::Free) {
                prefetch(&self.entries, next as usize);
            }
            return Some(FlowId(free));
        }
        let next = u32::try_from(self.entries.len()).ok().filter(|next| *next < NONE >> 1)?;
        self.entries.push(make()).then_some(FlowId(next))
    }
}

const fn join(id: FlowId, direction: Direction) -> u32 {
    id.0 << 1 | direction as u32
}

#[inline]
const fn split(value: u32) -> (FlowId, Direction) {
    let direction = if value & 1 == 0 { Direction::Forward } else { Direction::Return };
    (FlowId(value >> 1), direction)
}
