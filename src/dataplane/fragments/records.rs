//! What is remembered of first fragments: a map of fixed size whose oldest entry makes way.
//!
//! Entries stand in a ring in the order in which they came; an index of chains finds them. All memory is taken at start,
//! and an entry costs the same whether others are there or not: the chains are short, as their heads are chosen by
//! keyed hashes, twice as many as entries.

use crate::dataplane::flow::Tick;

/// What the fragments of one packet have in common, hashed with a secret. Of 64 bits: that two packets under way share
/// one by chance happens once in 10^15 packets, and nobody can bring it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentKey(pub(in crate::dataplane) u64);

/// See the module.
pub(super) struct Records<V> {
    /// By the high half of the key: the place of the newest entry of the chain.
    heads: Box<[u32]>,
    places: Vec<Place<V>>,
    /// Where the next entry goes: behind the newest, on the oldest.
    next: usize,
    capacity: usize,
    /// How long an entry is found, in ticks.
    life: u32,
}

struct Place<V> {
    key: FragmentKey,
    since: Tick,
    /// The next entry of the chain.
    chain: u32,
    value: V,
}

/// The end of a chain.
const NONE: u32 = u32::MAX;

impl<V: Copy> Records<V> {
    /// An empty map for `capacity` entries (1 to 2^31), each of which is found for `life` ticks.
    pub(super) fn new(capacity: usize, life: u32) -> Self {
        let heads = vec![NONE; Self::heads(capacity)].into_boxed_slice();
        Self { heads, places: Vec::with_capacity(capacity), next: 0, capacity, life }
    }

    /// Memory that a map for `capacity` entries takes when it is full, in octets.
    pub(super) const fn octets(capacity: usize) -> usize {
        Self::heads(capacity) * size_of::<u32>() + capacity * size_of::<Place<V>>()
    }

    const fn heads(capacity: usize) -> usize {
        (capacity * 2).next_power_of_two()
    }

    /// Remembers `value` from now on; what was known under the key is forgotten, and if there is no room, the oldest
    /// entry.
    pub(super) fn insert(&mut self, key: FragmentKey, value: V, now: Tick) {
        if let Some(known) = self.place(key) {
            self.unlink(known);
        }
        let head = self.head(key);
        let place = Place { key, since: now, chain: self.heads[head], value };
        if self.places.len() < self.capacity {
            self.places.push(place);
        } else {
            self.unlink(self.next);
            // The chain may have begun with the one that made way.
            self.places[self.next] = Place { chain: self.heads[head], ..place };
        }
        self.heads[head] = u32::try_from(self.next).unwrap_or(NONE);
        self.next = (self.next + 1) % self.capacity;
    }

    /// What is remembered under the key.
    pub(super) fn find(&self, key: FragmentKey, now: Tick) -> Option<V> {
        let place = &self.places[self.place(key)?];
        (now.since(place.since) <= self.life).then_some(place.value)
    }

    fn head(&self, key: FragmentKey) -> usize {
        // The low half chooses the worker.
        (key.0 >> 32) as usize & (self.heads.len() - 1)
    }

    fn place(&self, key: FragmentKey) -> Option<usize> {
        let mut at = self.heads[self.head(key)];
        while let Some(place) = self.places.get(at as usize) {
            if place.key == key {
                return Some(at as usize);
            }
            at = place.chain;
        }
        None
    }

    /// Takes a place out of its chain; one that is in none stays.
    fn unlink(&mut self, gone: usize) {
        let (key, rest) = (self.places[gone].key, self.places[gone].chain);
        let head = self.head(key);
        let mut at = self.heads[head];
        if at as usize == gone {
            self.heads[head] = rest;
            return;
        }
        while let Some(place) = self.places.get_mut(at as usize) {
            if place.chain as usize == gone {
                place.chain = rest;
                return;
            }
            at = place.chain;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_newest_entries_are_found_for_their_time_and_no_others(
            capacity in 1_usize..20,
            steps in prop::collection::vec((0_u64..30, 0_u32..3, any::<bool>()), 1..200),
        ) {
            let mut records = Records::new(capacity, 10);
            // Places in order of arrival, as they are overwritten; one that is forgotten keeps its place.
            let mut model: VecDeque<(u64, Option<usize>, Tick)> = VecDeque::new();
            let mut now = Tick(7);
            for (step, (number, pause, inserts)) in steps.into_iter().enumerate() {
                now = now.after(pause);
                // Few heads and few low halves, so that chains are long.
                let key = FragmentKey(number << 32 | 5);
                if inserts {
                    records.insert(key, step, now);
                    for known in &mut model {
                        known.1 = known.1.filter(|_| known.0 != number);
                    }
                    model.push_back((number, Some(step), now));
                    if model.len() > capacity {
                        model.pop_front();
                    }
                }
                let known = model.iter().rev().find(|known| known.0 == number && known.1.is_some());
                let expected = known.filter(|known| now.since(known.2) <= 10).and_then(|known| known.1);
                prop_assert_eq!(records.find(key, now), expected);
            }
        }
    }

    #[test]
    fn an_entry_is_forgotten_when_its_time_is_over() {
        let mut records = Records::new(4, 10);
        records.insert(FragmentKey(1), 'a', Tick(100));
        assert_eq!(records.find(FragmentKey(1), Tick(110)), Some('a'));
        assert_eq!(records.find(FragmentKey(1), Tick(111)), None);
    }
}
