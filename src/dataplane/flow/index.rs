//! The index of a flow table: from a five-tuple's hash to the flows it may belong to.
//!
//! A bucket is one cache line of eight slots, each a tag of 16 bits, the upper bits of an address, and a value of 32.
//!
//! A hash gives a tag and an address, whose low bits name a bucket. A key may stand in two buckets; the second address
//! follows from the first and the tag alone, and the first from the second, so that a full bucket can move a slot without
//! its key (after Fan et al., "Cuckoo Filter", CoNEXT 2014, and Pagh and Rodler, "Cuckoo Hashing", 2004). Tags lie: who
//! finds a slot compares the flow's key.
//!
//! The buckets in use are as many as the keys need, so that a few flows take a few cache lines and pages, however many
//! there is room for. Buckets are added one by one, each with those slots of one other whose address has the next bit set
//! (linear hashing: Litwin, VLDB 1980); the slot knows that bit, so that no flow is looked at.

use bytemuck::Zeroable;

use super::tags;
use crate::dataplane::prefetch::prefetch;
use crate::dataplane::table_memory::TableMemory;
use crate::model::{MemoryNeed, TablePages};

/// Slots in a bucket.
const SLOTS: usize = 8;

/// Share of slots in use above which buckets are added until there are twice as many: one key in a hundred then stands
/// in its second bucket.
const FILL_PERCENT: usize = 60;

/// Buckets added at an insertion while there are too few: then the last is added before the first fill up again.
const ADDED_AT_ONCE: u32 = 4;

/// How far slots are moved to make room: 1 + 8 + 64 buckets are looked at in the worst case.
const MOVE_DEPTH: u32 = 2;

/// Bits of an address that a slot keeps.
const KEPT_BITS: u32 = u16::BITS;

/// Bits of the number of buckets there are at least, all of an address's that a slot does not keep.
const LEAST_BITS: u32 = 4;

/// A cache line. All zero: empty.
#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 marks a free slot.
    tags: [u16; SLOTS],
    /// The bits of the addresses above [`Index::base`].
    uppers: [u16; SLOTS],
    values: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

/// See the module.
pub(super) struct Index {
    /// All there can be.
    buckets: TableMemory<Bucket>,
    /// How many are in use.
    count: u32,
    /// How many shall be.
    wanted: u32,
    /// One less than the power of two that `count` does not exceed: the bits of addresses that count.
    mask: u32,
    /// How many low bits of an address only the number of its bucket tells.
    base: u32,
    keys: usize,
}

/// One of the two places of a key.
#[derive(Clone, Copy)]
struct Place {
    address: u32,
    /// Odd, as 0 marks a free slot.
    tag: u16,
}

impl Place {
    #[inline(always)]
    const fn first(hash: u64) -> Self {
        let [a0, a1, a2, a3, lower @ ..] = hash.to_be_bytes();
        Self { address: u32::from_be_bytes([a0, a1, a2, a3]), tag: tag(u32::from_be_bytes(lower)) }
    }

    /// The other place of the same key.
    const fn other(self) -> Self {
        Self { address: self.address ^ (self.tag as u32).wrapping_mul(0x9e37_79b1), tag: self.tag }
    }
}

impl Index {
    /// An index that holds `keys` keys at least.
    pub(super) fn new(keys: usize, pages: TablePages) -> Self {
        let most = Self::buckets(keys);
        let bits = most.ilog2();
        let base = bits.saturating_sub(KEPT_BITS).max(LEAST_BITS);
        let buckets = TableMemory::zeroed(most, pages);
        let count = 1 << base;
        Self { buckets, count, wanted: count, mask: count - 1, base, keys: 0 }
    }

    /// Where it lies.
    pub(super) const fn pages(&self) -> TablePages {
        self.buckets.pages()
    }

    /// What an index for `keys` keys takes when all of it is in use.
    pub(super) fn need(keys: usize) -> MemoryNeed {
        TableMemory::<Bucket>::need(Self::buckets(keys))
    }

    /// Buckets that hold `keys` keys.
    fn buckets(keys: usize) -> usize {
        (keys * 100 / FILL_PERCENT).div_ceil(SLOTS).next_power_of_two().max(1 << LEAST_BITS)
    }

    /// Asks for the bucket that [`near`](Self::near) and [`find`](Self::find) will read first, and returns its number.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) -> u32 {
        let number = self.number(Place::first(hash).address);
        prefetch(&self.buckets, number as usize);
        number
    }

    /// [`prefetch`](Self::prefetch) for eight hashes, given their upper halves.
    #[inline(always)]
    pub(super) fn prefetch_eight(&self, uppers: [u32; 8]) -> [u32; 8] {
        let numbers = uppers.map(|address| self.number(address));
        for number in numbers {
            prefetch(&self.buckets, number as usize);
        }
        numbers
    }

    /// Asks for the bucket that [`far`](Self::far) reads, and [`find`](Self::find) where the first one does not have the key.
    #[inline]
    pub(super) fn prefetch_far(&self, hash: u64) {
        prefetch(&self.buckets, self.number(Place::first(hash).other().address) as usize);
    }

    /// The first value in bucket `number` that is stored under a hash with this lower half, if any: what to prefetch next.
    /// `number` is what [`prefetch`](Self::prefetch) returned, since when nothing was inserted; there is nothing in a bucket
    /// that does not exist.
    #[inline(always)]
    pub(super) fn near(&self, number: u32, lower: u32) -> Option<u32> {
        let bucket = self.buckets.get(number as usize)?;
        let slot = matches(bucket, tag(lower)).next()?;
        Some(bucket.values[slot])
    }

    /// The first value in the second bucket of keys with a hash like this. It moves to its first bucket if there is room by
    /// now.
    pub(super) fn far(&mut self, hash: u64) -> Option<u32> {
        let place = Place::first(hash);
        let second = self.number(place.other().address);
        let line = self.buckets[second as usize];
        let slot = matches(&line, place.tag).next()?;
        // By its own address: it may be another key with the same tag.
        let first = self.place(second, &line, slot).other();
        let target = self.number(first.address);
        if let Some(room) = matches(&self.buckets[target as usize], 0).next() {
            self.set(target, room, first, line.values[slot]);
            self.clear(second, slot);
        }
        Some(line.values[slot])
    }

    /// The first value stored under `hash` for which `is` holds.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let place = Place::first(hash);
        find_in(self.bucket(place), place.tag, &is)
            .or_else(|| find_in(self.bucket(place.other()), place.tag, &is))
    }

    /// Stores `value` under `hash`; false if there is no room near.
    pub(super) fn insert(&mut self, hash: u64, value: u32) -> bool {
        self.grow();
        let first = Place::first(hash);
        let bucket = self.number(first.address);
        let inserted = match matches(&self.buckets[bucket as usize], 0).next() {
            Some(slot) => {
                self.set(bucket, slot, first, value);
                true
            }
            None => self.insert_moving([first, first.other()], value),
        };
        self.keys += usize::from(inserted);
        inserted
    }

    /// Stores `value` in one of its places, after moving others if it must; false if there is no room near.
    #[inline(never)]
    fn insert_moving(&mut self, places: [Place; 2], value: u32) -> bool {
        for depth in 0..=MOVE_DEPTH {
            for place in places {
                let bucket = self.number(place.address);
                if let Some(slot) = self.make_room(bucket, depth) {
                    self.set(bucket, slot, place, value);
                    return true;
                }
            }
        }
        false
    }

    /// Takes `value` out from under `hash`; no effect if it is not there.
    pub(super) fn remove(&mut self, hash: u64, wanted: u32) {
        let first = Place::first(hash);
        for place in [first, first.other()] {
            let line = self.bucket(place);
            let slot = matches(line, place.tag).find(|slot| line.values[*slot] == wanted);
            if let Some(slot) = slot {
                let bucket = self.number(place.address);
                self.clear(bucket, slot);
                self.keys -= 1;
                return;
            }
        }
    }

    /// Adds some buckets if there are too few.
    #[inline]
    fn grow(&mut self) {
        let too_few = self.keys * 100 > self.count as usize * SLOTS * FILL_PERCENT;
        if too_few && self.count == self.wanted && (self.count as usize) < self.buckets.len() {
            self.wanted = self.count * 2;
            self.mask = self.wanted - 1;
        }
        for _ in 0..ADDED_AT_ONCE.min(self.wanted - self.count) {
            self.add_bucket();
        }
    }

    /// Adds a bucket, with the slots that now belong there.
    fn add_bucket(&mut self) {
        let (added, from) = (self.count, self.count & (self.mask >> 1));
        self.count += 1;
        let line = self.buckets[from as usize];
        for slot in (0..SLOTS).filter(|slot| line.tags[*slot] != 0) {
            let place = self.place(from, &line, slot);
            if self.number(place.address) == added {
                self.set(added, slot, place, line.values[slot]);
                self.clear(from, slot);
            }
        }
    }

    /// A free slot in `bucket`, after moving others at most `depth` buckets on.
    fn make_room(&mut self, bucket: u32, depth: u32) -> Option<usize> {
        let line = self.buckets[bucket as usize];
        if let Some(slot) = matches(&line, 0).next() {
            return Some(slot);
        }
        let depth = depth.checked_sub(1)?;
        for slot in 0..SLOTS {
            let target = self.number(self.place(bucket, &line, slot).other().address);
            if target == bucket {
                continue;
            }
            if let Some(room) = self.make_room(target, depth) {
                // What was moved to make that room may have been this very slot.
                let now = self.buckets[bucket as usize];
                if now.tags[slot] != 0 {
                    let place = self.place(bucket, &now, slot).other();
                    self.set(self.number(place.address), room, place, now.values[slot]);
                    self.clear(bucket, slot);
                }
                return Some(slot);
            }
        }
        None
    }

    /// The place that a slot is used for.
    fn place(&self, bucket: u32, line: &Bucket, slot: usize) -> Place {
        let lower = bucket & ((1 << self.base) - 1);
        Place { address: u32::from(line.uppers[slot]) << self.base | lower, tag: line.tags[slot] }
    }

    /// The bucket of an address: by as many of its bits as there are buckets for.
    #[inline(always)]
    const fn number(&self, address: u32) -> u32 {
        let number = address & self.mask;
        if number < self.count { number } else { number & (self.mask >> 1) }
    }

    #[inline(always)]
    fn bucket(&self, place: Place) -> &Bucket {
        &self.buckets[self.number(place.address) as usize]
    }

    #[expect(clippy::cast_possible_truncation, reason = "addresses have no more bits that count")]
    fn set(&mut self, bucket: u32, slot: usize, place: Place, value: u32) {
        let line = &mut self.buckets[bucket as usize];
        line.tags[slot] = place.tag;
        line.uppers[slot] = (place.address >> self.base) as u16;
        line.values[slot] = value;
    }

    fn clear(&mut self, bucket: u32, slot: usize) {
        self.buckets[bucket as usize].tags[slot] = 0;
    }
}

/// The tag of a hash with this lower half.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a tag takes what it has room for")]
const fn tag(lower: u32) -> u16 {
    lower as u16 | 1
}

#[inline(always)]
fn find_in(bucket: &Bucket, tag: u16, is: &impl Fn(u32) -> bool) -> Option<u32> {
    for slot in matches(bucket, tag) {
        let value = bucket.values[slot];
        if is(value) {
            return Some(value);
        }
    }
    None
}

/// The slots of a bucket whose tag is `tag`.
#[inline(always)]
fn matches(bucket: &Bucket, tag: u16) -> Matches {
    Matches(tags::equal(&bucket.tags, tag))
}

/// Slots still to be looked at, two bits each.
struct Matches(u32);

impl Iterator for Matches {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 2;
        self.0 &= self.0 - 1;
        self.0 &= self.0 - 1;
        // The remainder tells the compiler what is true anyway.
        Some(slot % SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn mix(n: u32) -> u64 {
        crate::hash::fold(u64::from(n) ^ 0x1234_5678_9abc_def1, 0xdead_beef_1234_5677)
    }

    #[test]
    fn it_holds_what_it_was_made_for_and_finds_all_of_it() {
        let mut index = Index::new(100_000, TablePages::Ordinary);
        for n in 0..100_000 {
            assert!(index.insert(mix(n), n), "key {n}");
        }
        for n in 0..100_000 {
            assert_eq!(index.find(mix(n), |value| value == n), Some(n));
        }
        assert_eq!(index.find(mix(100_001), |value| value == 100_001), None);
    }

    #[test]
    fn it_uses_as_much_memory_as_its_keys_need() {
        let mut index = Index::new(1_000_000, TablePages::Ordinary);
        for n in 0..1_000_000_u32 {
            let (used, needed) = (index.count as usize * SLOTS, n as usize);
            let least = SLOTS << LEAST_BITS;
            assert!(used <= least.max(needed * 100 / FILL_PERCENT * 2 + SLOTS), "{used} slots for {n} keys");
            assert!(needed * 100 <= used * (FILL_PERCENT + 5) || n < 1000, "{used} slots for {n} keys");
            assert!(index.insert(mix(n), n), "key {n}");
        }
        let in_first = (0..1_000_000).filter(|n| {
            let place = Place::first(mix(*n));
            find_in(index.bucket(place), place.tag, &|value| value == *n).is_some()
        });
        let in_first = in_first.count();
        assert!(in_first > 980_000, "{in_first} of a million keys are where one looks first");
    }

    proptest! {
        #[test]
        fn the_other_place_of_the_other_place_is_the_first(hash: u64) {
            let place = Place::first(hash);
            let other = place.other();
            prop_assert_ne!(other.address, place.address);
            prop_assert_eq!((other.other().address, other.tag), (place.address, place.tag));
        }

        #[test]
        fn it_agrees_with_a_map_over_any_sequence(
            steps in prop::collection::vec((any::<bool>(), 0_u32..200), 1..400),
        ) {
            let mut index = Index::new(100, TablePages::Ordinary);
            let mut model = HashMap::new();
            for (insert, key) in steps {
                if insert && !model.contains_key(&key) && model.len() < 100 {
                    if index.insert(mix(key), key) {
                        model.insert(key, ());
                    }
                } else if !insert {
                    index.remove(mix(key), key);
                    model.remove(&key);
                } else {
                    let hash = mix(key);
                    let near = index.near(index.prefetch(hash), u32::try_from(hash & 0xffff_ffff).unwrap());
                    let likely = near.or_else(|| index.far(hash));
                    prop_assert!(likely.is_some() || !model.contains_key(&key));
                }
                for n in 0..200 {
                    let found = index.find(mix(n), |value| value == n).is_some();
                    prop_assert_eq!(found, model.contains_key(&n), "key {}", n);
                }
            }
        }
    }
}
