//! Look-ups in stages, some packets apart, so that what one reads is there when it is read: the line of the index, the
//! second line if the first does not have the flow, the entry.

use super::{FlowEntry, FlowId, FlowTable, Stream, split};
use crate::dataplane::prefetch::prefetch;
use crate::model::{Direction, Family, FiveTuple};

/// What a look-up ahead expects to find: after its first stage the bucket, after its second the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess(u32);

impl Guess {
    /// Nothing was looked up.
    pub const NONE: Self = Self(u32::MAX);
}

impl<F: Family> FlowTable<F> {
    /// First stage of a look-up ahead: asks for the index line. What it returns is for the second stage.
    #[inline(always)]
    pub fn prefetch_index(&self, hash: u64) -> Guess {
        Guess(self.index.prefetch(hash))
    }

    /// [`prefetch_index`](Self::prefetch_index) for eight packets, given the upper halves of their hashes.
    #[inline(always)]
    pub fn prefetch_eight(&self, uppers: [u32; 8]) -> [Guess; 8] {
        self.index.prefetch_eight(uppers).map(Guess)
    }

    /// Second stage, some packets later: guesses the flow from the index line and asks for it; or asks for the second line,
    /// for [`guess_far`](Self::guess_far) to be called some packets later.
    #[inline(always)]
    pub fn guess_or_ask(&self, first: Guess, hash: u64) -> Option<Guess> {
        let near = self.guess_near(first, lower_half(hash));
        if near.is_none() {
            self.prefetch_far(hash);
        }
        near
    }

    /// The second stage as far as the first line tells, which nearly always does, given the lower half of the hash.
    #[inline(always)]
    pub fn guess_near(&self, first: Guess, lower: u32) -> Option<Guess> {
        self.index.near(first.0, lower).map(|value| self.asked(value))
    }

    /// Asks for what [`guess_far`](Self::guess_far) reads.
    #[inline]
    pub fn prefetch_far(&self, hash: u64) {
        self.index.prefetch_far(hash);
    }

    /// The second stage where the first line told nothing.
    #[inline(never)]
    pub fn guess_far(&mut self, hash: u64) -> Guess {
        self.index.far(hash).map_or(Guess::NONE, |value| self.asked(value))
    }

    /// The flow that `value` stands for, its entry asked for.
    #[inline(always)]
    fn asked(&self, value: u32) -> Guess {
        prefetch(&self.entries, value as usize >> 1);
        Guess(value)
    }

    /// Asks for all that [`find`](Self::find) reads if nothing carries `tuple`.
    #[inline]
    pub fn prefetch_absent(&self, tuple: &FiveTuple<F>) {
        let hash = self.key.hash(tuple);
        self.index.prefetch(hash);
        self.index.prefetch_far(hash);
    }

    /// The entry that was guessed: of the right flow, of another, or of one that has ended, which is not settled.
    #[inline(always)]
    pub(in crate::dataplane) fn guessed(&mut self, guess: Guess) -> Option<(&mut FlowEntry<F>, Direction)> {
        let (id, direction) = split(guess.0);
        Some((self.entries.get_mut(id.0 as usize)?, direction))
    }

    /// What is changed in the byte streams of the flow that was guessed, if it is and anything is.
    pub(in crate::dataplane) fn guessed_stream(&self, guess: Guess) -> Option<&Stream> {
        let place = split(guess.0).0.0 as usize;
        let entry = self.entries.get(place)?;
        if entry.is_altered() { self.streams.get(place) } else { None }
    }

    /// Third stage: the flow and direction of packets that carry `tuple`, whose hash is `hash`. The table may have
    /// changed since the guess.
    #[must_use]
    #[inline(always)]
    pub fn find_guessed(&self, guess: Guess, hash: u64, tuple: &FiveTuple<F>) -> Option<(FlowId, Direction)> {
        let (id, direction) = split(guess.0);
        match self.entries.get(id.0 as usize) {
            Some(entry) if entry.is_in_use() && entry.matches(direction, tuple) => Some((id, direction)),
            _ => self.find(hash, tuple),
        }
    }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
const fn lower_half(hash: u64) -> u32 {
    hash as u32
}
