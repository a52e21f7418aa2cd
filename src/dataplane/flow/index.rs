//! The index of a flow table: from a five-tuple's hash to the flows it may belong to.
//!
//! A bucket is one cache line of eight slots: eight 16-bit tags, then eight 32-bit values, then room.
//!
//! ```text
//!  word 0    1    2    3    4    5    6   ...   11   12 ... 15
//!  | t0 t1 t2 t3 t4 t5 t6 t7 | v0 | v1 | v2 ... v7 |  spare  |
//! ```
//!
//! A key may stand in two buckets; the second follows from the first and the tag alone, and the first from the second,
//! so that a full bucket can move a slot without its key (after Fan et al., "Cuckoo Filter", CoNEXT 2014, and Pagh and
//! Rodler, "Cuckoo Hashing", 2004). Tags lie: who finds a slot compares the flow's key.

use super::tags;
use crate::dataplane::huge_pages;
use crate::dataplane::prefetch::prefetch;
use crate::hash::scale;

/// Slots in a bucket.
const SLOTS: usize = 8;

/// Words in a bucket: a cache line.
const WORDS: usize = 16;

/// The word of the first value; before it stand the tags, two a word.
const VALUES: usize = 4;

/// Share of slots in use at most: eight slots and two buckets fill to over 90 % before the first insertion fails.
const FILL_PERCENT: usize = 80;

/// How far slots are moved to make room: 1 + 8 + 64 buckets are looked at in the worst case.
const MOVE_DEPTH: u32 = 2;

type Bucket = [u32; WORDS];

/// See the module.
pub(super) struct Index {
    /// Zeroed by the allocator, so that memory is taken only as buckets are used.
    words: Vec<u32>,
    /// Distance of the first bucket from the start of `words`, for cache-line alignment.
    offset: usize,
    buckets: u32,
}

/// The two buckets and the tag of a key.
#[derive(Clone, Copy)]
struct Place {
    first: u32,
    tag: u16,
}

impl Index {
    /// An index that holds `keys` keys at least.
    pub(super) fn new(keys: usize) -> Self {
        let buckets = (keys * 100 / FILL_PERCENT).div_ceil(SLOTS).max(2);
        let buckets = u32::try_from(buckets).expect("the configuration bounds the number of flows");
        let mut words = vec![0_u32; buckets as usize * WORDS + WORDS];
        huge_pages::advise(&mut words);
        // The allocation never moves: the vector is never grown.
        let misalignment = words.as_ptr().addr() % 64;
        let offset = if misalignment == 0 { 0 } else { (64 - misalignment) / 4 };
        Self { words, offset, buckets }
    }

    /// Memory taken when all of it is in use.
    pub(super) fn octets(&self) -> usize {
        self.words.len() * 4
    }

    /// Asks for the line that [`likely`](Self::likely) and [`find`](Self::find) will read first.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(self.bucket(self.place(hash).first));
    }

    /// The first value that is stored under a hash like this, if any: what to prefetch next.
    #[inline(always)]
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        let place = self.place(hash);
        let bucket = self.bucket(place.first);
        let slot = matches(bucket, place.tag).next()?;
        Some(value(bucket, slot))
    }

    /// The first value stored under `hash` for which `is` holds.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let place = self.place(hash);
        find_in(self.bucket(place.first), place.tag, &is).or_else(|| self.find_in_other(place, &is))
    }

    #[inline(never)]
    fn find_in_other(&self, place: Place, is: &impl Fn(u32) -> bool) -> Option<u32> {
        find_in(self.bucket(self.other(place.first, place.tag)), place.tag, is)
    }

    /// Stores `value` under `hash`; false if there is no room near.
    pub(super) fn insert(&mut self, hash: u64, value: u32) -> bool {
        let place = self.place(hash);
        let second = self.other(place.first, place.tag);
        for depth in 0..=MOVE_DEPTH {
            for bucket in [place.first, second] {
                if let Some(slot) = self.make_room(bucket, depth) {
                    self.set(bucket, slot, place.tag, value);
                    return true;
                }
            }
        }
        false
    }

    /// Takes `value` out from under `hash`; no effect if it is not there.
    pub(super) fn remove(&mut self, hash: u64, wanted: u32) {
        let place = self.place(hash);
        for bucket in [place.first, self.other(place.first, place.tag)] {
            let line = self.bucket(bucket);
            let slot = matches(line, place.tag).find(|slot| value(line, *slot) == wanted);
            if let Some(slot) = slot {
                self.set(bucket, slot, 0, 0);
                return;
            }
        }
    }

    /// A free slot in `bucket`, after moving others at most `depth` buckets on.
    fn make_room(&mut self, bucket: u32, depth: u32) -> Option<usize> {
        let line = *self.bucket(bucket);
        if let Some(slot) = matches(&line, 0).next() {
            return Some(slot);
        }
        let depth = depth.checked_sub(1)?;
        for slot in 0..SLOTS {
            let tag = tag(&line, slot);
            let target = self.other(bucket, tag);
            if target == bucket {
                continue;
            }
            if let Some(room) = self.make_room(target, depth) {
                // What was moved to make that room may have been this very slot.
                let now = *self.bucket(bucket);
                if self::tag(&now, slot) == 0 {
                    return Some(slot);
                }
                self.set(target, room, self::tag(&now, slot), value(&now, slot));
                self.set(bucket, slot, 0, 0);
                return Some(slot);
            }
        }
        None
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> Place {
        let [b0, b1, b2, b3, .., b6, b7] = hash.to_be_bytes();
        let tag = u16::from_be_bytes([b6, b7]);
        // Tag 0 marks a free slot.
        Place { first: scale(u32::from_be_bytes([b0, b1, b2, b3]), self.buckets), tag: tag.max(1) }
    }

    /// The other bucket of a slot with this tag: reflection at a point that the tag names is its own inverse.
    fn other(&self, bucket: u32, tag: u16) -> u32 {
        let centre = scale(u32::from(tag).wrapping_mul(0x9e37_79b1), self.buckets);
        if centre >= bucket { centre - bucket } else { centre + (self.buckets - bucket) }
    }

    #[inline(always)]
    fn bucket(&self, bucket: u32) -> &Bucket {
        let start = self.offset + bucket as usize * WORDS;
        self.words[start..].first_chunk().expect("a bucket's number is below the number of buckets")
    }

    fn set(&mut self, bucket: u32, slot: usize, tag: u16, value: u32) {
        let start = self.offset + bucket as usize * WORDS;
        let line: &mut Bucket =
            self.words[start..].first_chunk_mut().expect("a bucket's number is below the number of buckets");
        let shift = slot % 2 * 16;
        let word = &mut line[slot / 2];
        *word = *word & !(0xffff << shift) | u32::from(tag) << shift;
        line[VALUES + slot] = value;
    }
}

#[inline(always)]
fn find_in(bucket: &Bucket, tag: u16, is: &impl Fn(u32) -> bool) -> Option<u32> {
    for slot in matches(bucket, tag) {
        let value = value(bucket, slot);
        if is(value) {
            return Some(value);
        }
    }
    None
}

/// The slots of a bucket whose tag is `tag`.
#[inline(always)]
fn matches(bucket: &Bucket, tag: u16) -> Matches {
    let [t0, t1, t2, t3, ..] = *bucket;
    Matches(tags::equal([t0, t1, t2, t3], tag))
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

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a tag is 16 bits")]
const fn tag(bucket: &Bucket, slot: usize) -> u16 {
    (bucket[slot / 2] >> (slot % 2 * 16)) as u16
}

#[inline(always)]
const fn value(bucket: &Bucket, slot: usize) -> u32 {
    bucket[VALUES + slot]
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
        let mut index = Index::new(100_000);
        for n in 0..100_000 {
            assert!(index.insert(mix(n), n), "key {n}");
        }
        for n in 0..100_000 {
            assert_eq!(index.find(mix(n), |value| value == n), Some(n));
        }
        assert_eq!(index.find(mix(100_001), |value| value == 100_001), None);
    }

    #[test]
    fn buckets_are_cache_lines() {
        let index = Index::new(1000);
        for bucket in [0, 1, index.buckets - 1] {
            assert_eq!(index.bucket(bucket).as_ptr().addr() % 64, 0);
        }
    }

    proptest! {
        #[test]
        fn the_other_bucket_of_the_other_bucket_is_the_first(keys in 16_usize..10_000, hash: u64) {
            let index = Index::new(keys);
            let place = index.place(hash);
            let other = index.other(place.first, place.tag);
            prop_assert!(other < index.buckets);
            prop_assert_eq!(index.other(other, place.tag), place.first);
        }

        #[test]
        fn it_agrees_with_a_map_over_any_sequence(
            steps in prop::collection::vec((any::<bool>(), 0_u32..200), 1..400),
        ) {
            let mut index = Index::new(100);
            let mut model = HashMap::new();
            for (insert, key) in steps {
                if insert && !model.contains_key(&key) && model.len() < 100 {
                    if index.insert(mix(key), key) {
                        model.insert(key, ());
                    }
                } else if !insert {
                    index.remove(mix(key), key);
                    model.remove(&key);
                }
                for n in 0..200 {
                    let found = index.find(mix(n), |value| value == n).is_some();
                    prop_assert_eq!(found, model.contains_key(&n), "key {}", n);
                }
            }
        }
    }
}
