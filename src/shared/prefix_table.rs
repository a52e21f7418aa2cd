//! What workers know together of client prefixes: a bounded table, without locks.
//!
//! A name (service and client prefix) has eight slots, those of two buckets of one cache line each. A slot is two words:
//!
//! ```text
//!   word | tag, 39 bits | pending | value, 24 bits |      0: free
//!   time | 64 bits, what its user makes of it      |
//! ```
//!
//! Tag and buckets are a keyed hash, of which strangers see nothing, so that nobody can aim at one bucket. Two names
//! that agree in all of it share a slot: one in 2^36 for each lookup.
//!
//! No name has two slots, or there would be two counts. So a slot is claimed in three steps: mark a free one as pending;
//! look at the name's other slots and free those that others have marked for it; make the mark a value. Of two
//! workers that claim at once one looks after the other's mark and frees it, or finds its value; so only one gets to the
//! third step. All of this is sequentially consistent: the proof needs one order of all steps. The mark carries its
//! worker, who has no other, so that none takes another's for its own.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::hash::SipKey;
use crate::model::{ClientPrefix, Family, ServiceId, WorkerId};

/// See the module.
pub(super) struct PrefixTable {
    key: SipKey,
    buckets: Box<[Bucket]>,
}

#[derive(Default)]
#[repr(align(64))]
struct Bucket([Slot; SLOTS]);

#[derive(Default)]
struct Slot {
    word: AtomicU64,
    time: AtomicU64,
}

const SLOTS: usize = 4;

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

const VALUE: u64 = (1 << 24) - 1;
const PENDING: u64 = 1 << 24;
const TAG: u64 = !(PENDING | VALUE);

/// The owner of what is known of a client prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Service(ServiceId),
    /// A group of services, by its number.
    Group(u32),
}

impl Owner {
    const fn number(self) -> u64 {
        match self {
            Self::Service(id) => id.0 as u64,
            Self::Group(number) => 1 << 32 | number as u64,
        }
    }
}

/// An owner's client prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    tag: u64,
    buckets: [u32; 2],
}

/// The place of a slot. Holds until the slot may be claimed by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

/// How a claim went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The slot is the name's, with the value.
    Made(Place),
    /// Another worker was there at the same time: look again.
    Lost,
    /// None of the name's slots is free.
    Full,
}

impl PrefixTable {
    /// A table with room for `names` names, 1 to 2^22: it has four times as many slots, so that hardly ever all slots of
    /// one are in use before (of two buckets a name takes the emptier one: Azar et al., "Balanced allocations", 1994).
    /// 64 octets a name.
    pub(super) fn new(names: usize, key: SipKey) -> Self {
        let buckets = Self::buckets(names);
        Self { key, buckets: (0..buckets).map(|_| Bucket::default()).collect() }
    }

    /// Memory for `names` names, in octets.
    pub(super) const fn octets(names: usize) -> usize {
        Self::buckets(names) * size_of::<Bucket>()
    }

    const fn buckets(names: usize) -> usize {
        let buckets = names.next_power_of_two();
        if buckets < 2 { 2 } else { buckets }
    }

    /// The name of an owner's client prefix. About 30 ns.
    pub(super) fn name<F: Family>(&self, owner: Owner, prefix: ClientPrefix, client: F::Address) -> Name {
        let (bits, length) = prefix.of::<F>(client);
        let [high, low] =
            [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
        let which = owner.number() << 16 | u64::from(length) << 8 | u64::from(F::VERSION);
        let hash = self.key.hash(&[which, high, low]);
        let mask = u32::try_from(self.buckets.len() - 1).unwrap_or(u32::MAX);
        // The tag is never 0, which marks a free slot. The low half chooses the first bucket, and the tag the second
        // from there.
        let tag = hash & TAG | PENDING << 1;
        let first = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
        let step = u32::try_from((tag >> 25).wrapping_mul(0x9e37_79b9) & u64::from(u32::MAX)).unwrap_or(0);
        let [first, second] = [first, first ^ step].map(|n| n & mask);
        Name { tag, buckets: [first, if first == second { first ^ 1 } else { second }] }
    }

    /// The slot of a name and the value in it.
    pub(super) fn find(&self, name: Name) -> Option<(Place, u32)> {
        places(name).find_map(|place| {
            let word = self.slot(place).word.load(SeqCst);
            (word & !VALUE == name.tag).then_some((place, value(word)))
        })
    }

    /// Puts `to` in the place of the value `from`; false if the slot is not the name's with that value any more.
    pub(super) fn exchange(&self, (place, name): (Place, Name), from: u32, to: u32) -> bool {
        let word = |value: u32| name.tag | u64::from(value);
        self.slot(place).word.compare_exchange(word(from), word(to), SeqCst, SeqCst).is_ok()
    }

    /// Frees a slot, if it is still the name's with this value.
    pub(super) fn clear(&self, (place, name): (Place, Name), value: u32) {
        let word = name.tag | u64::from(value);
        // Otherwise it is another's by now, or looks different.
        let _changed = self.slot(place).word.compare_exchange(word, 0, SeqCst, SeqCst);
    }

    /// Takes one from the value of a slot, which is not 0.
    pub(super) fn decrement(&self, place: Place) {
        self.slot(place).word.fetch_sub(1, SeqCst);
    }

    /// The time of a slot.
    pub(super) fn time(&self, place: Place) -> &AtomicU64 {
        &self.slot(place).time
    }

    /// Claims a slot for a name that has none: a free one, or one of which `is_idle` says by value and time that nothing
    /// is lost with it. `time` goes with it; without one, the time stays what it is. One thread at a time for each worker.
    pub(super) fn claim(
        &self,
        name: Name,
        (value, time): (u32, Option<u64>),
        by: WorkerId,
        is_idle: impl Fn(u32, u64) -> bool,
    ) -> Claim {
        let mark = name.tag | PENDING | u64::from(by.0);
        let free = |place: &Place| {
            let Slot { word, time } = self.slot(*place);
            let word = word.load(SeqCst);
            let idle = word & PENDING == 0 && is_idle(self::value(word), time.load(SeqCst));
            (word == 0 || idle).then_some(word)
        };
        let of = |bucket: u32| (0..4).map(move |slot| Place(bucket * 4 + slot));
        let emptier = name
            .buckets
            .into_iter()
            .max_by_key(|bucket| of(*bucket).filter_map(|place| free(&place)).count());
        let found = emptier.and_then(|bucket| of(bucket).find_map(|place| Some((place, free(&place)?))));
        let Some((mine, before)) = found else { return Claim::Full };
        if self.slot(mine).word.compare_exchange(before, mark, SeqCst, SeqCst).is_err() {
            return Claim::Lost;
        }
        if places(name).filter(|place| *place != mine).any(|place| self.is_taken(place, name)) {
            // Whoever has freed it for a claim of its own needs no more of us.
            let _freed = self.slot(mine).word.compare_exchange(mark, 0, SeqCst, SeqCst);
            return Claim::Lost;
        }
        if let Some(time) = time {
            self.slot(mine).time.store(time, SeqCst);
        }
        let word = name.tag | u64::from(value);
        match self.slot(mine).word.compare_exchange(mark, word, SeqCst, SeqCst) {
            Ok(_) => Claim::Made(mine),
            Err(_) => Claim::Lost,
        }
    }

    /// The smallest time of the name's slots in use, of those whose time `may_go`.
    pub(super) fn earliest(&self, name: Name, may_go: impl Fn(u64) -> bool) -> Option<u64> {
        let in_use = places(name).map(|place| self.slot(place)).filter(|slot| {
            let word = slot.word.load(SeqCst);
            word != 0 && word & PENDING == 0
        });
        in_use.map(|slot| slot.time.load(SeqCst)).filter(|time| may_go(*time)).min()
    }

    /// Whether a slot has a value of the name; another worker's mark for it is taken away.
    fn is_taken(&self, place: Place, name: Name) -> bool {
        let word = &self.slot(place).word;
        loop {
            let seen = word.load(SeqCst);
            if seen & TAG != name.tag {
                return false;
            }
            if seen & PENDING == 0 {
                return true;
            }
            if word.compare_exchange(seen, 0, SeqCst, SeqCst).is_ok() {
                return false;
            }
        }
    }

    /// Slots of which `counts` says by value and time that they are in use. Looks at the whole table.
    pub(super) fn used(&self, counts: impl Fn(u32, u64) -> bool) -> usize {
        let slots = self.buckets.iter().flat_map(|bucket| &bucket.0);
        let used = slots.filter(|slot| {
            let word = slot.word.load(SeqCst);
            word != 0 && counts(value(word), slot.time.load(SeqCst))
        });
        used.count()
    }

    fn slot(&self, Place(place): Place) -> &Slot {
        &self.buckets[place as usize / SLOTS].0[place as usize % SLOTS]
    }
}

fn places(name: Name) -> impl Iterator<Item = Place> {
    let of = |bucket: u32| (0..4).map(move |slot| Place(bucket * 4 + slot));
    name.buckets.into_iter().flat_map(of)
}

const fn value(word: u64) -> u32 {
    (word & VALUE) as u32
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::model::V4;

    const PREFIX: ClientPrefix = ClientPrefix { v4: 32, v6: 64 };

    fn table(names: usize) -> PrefixTable {
        PrefixTable::new(names, SipKey::new([1, 2]))
    }

    #[test]
    fn it_holds_as_many_names_as_it_was_made_for() {
        let table = table(16_384);
        for n in 0..16_384 {
            let name = table.name::<V4>(Owner::Service(ServiceId(1)), PREFIX, n);
            assert!(table.find(name).is_none(), "name {n}");
            let claim = table.claim(name, (n, None), WorkerId(0), |_, _| false);
            assert!(matches!(claim, Claim::Made(_)), "name {n}: {claim:?}");
        }
        for n in 0..16_384 {
            let name = table.name::<V4>(Owner::Service(ServiceId(1)), PREFIX, n);
            assert_eq!(table.find(name).unwrap().1, n);
            assert!(table.find(table.name::<V4>(Owner::Service(ServiceId(2)), PREFIX, n)).is_none());
        }
        assert_eq!(table.used(|_, _| true), 16_384);
    }

    #[test]
    fn a_full_table_says_so_and_gives_idle_slots_to_others() {
        let table = table(1);
        let claim = |n: u32, idle: bool| {
            let name = table.name::<V4>(Owner::Service(ServiceId(1)), PREFIX, n);
            table.claim(name, (n, Some(9)), WorkerId(0), |_, _| idle)
        };
        for n in 0..8 {
            assert!(matches!(claim(n, false), Claim::Made(_)), "two buckets for all names");
        }
        assert_eq!(claim(8, false), Claim::Full);
        assert!(matches!(claim(8, true), Claim::Made(_)));
        assert_eq!(table.used(|_, time| time == 9), 8);
    }

    /// The proof of the module, tried: threads that claim the same few names at the same time.
    #[test]
    fn no_name_ever_has_two_slots() {
        const WORKERS: u16 = 4;
        let table = table(4);
        let rounds = 20_000;
        let (made, arrived) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (table, made, arrived) = (&table, &made, &arrived);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let name = table.name::<V4>(Owner::Service(ServiceId(1)), PREFIX, round);
                        while table.find(name).is_none() {
                            let claim = table.claim(name, (1, None), WorkerId(worker), |value, _| value == 0);
                            made.fetch_add(usize::from(matches!(claim, Claim::Made(_))), SeqCst);
                        }
                        // All of them are done with a name before it is made idle for the next one.
                        arrived.fetch_add(1, SeqCst);
                        while arrived.load(SeqCst) < (round as usize + 1) * usize::from(WORKERS) {
                            std::thread::yield_now();
                        }
                        if worker == 0 {
                            let (place, _) = table.find(name).unwrap();
                            table.decrement(place);
                        }
                    }
                });
            }
        });
        assert_eq!(made.load(SeqCst), rounds as usize, "one claim a round");
    }
}
