//! The keyed hash of the flow table's index.

use super::{SipKey, fold};
use crate::model::{Family, FiveTuple, Protocol};

/// The secret of the index hash: four random words.
#[derive(Clone, Copy, Debug)]
pub struct IndexKey {
    words: [u64; 4],
    /// What is hashed with: bits of all of a word in every bit of it.
    scattered: [u64; 4],
}

impl IndexKey {
    /// The key made of these words, whatever they are.
    #[must_use]
    pub const fn new([w0, w1, w2, w3]: [u64; 4]) -> Self {
        let scattered = [scattered(w0, 1), scattered(w1, 2), scattered(w2, 3), scattered(w3, 4)];
        Self { words: [w0, w1, w2, w3], scattered }
    }

    /// The key for another purpose, which tells nothing of this one.
    #[must_use]
    pub fn derive(&self, purpose: u64) -> SipKey {
        let [k0, k1, k2, k3] = self.words;
        let key = SipKey::new([k0, k1]);
        SipKey::new([0, 1].map(|half| key.hash(&[k2, k3, purpose, half])))
    }

    /// The hash of a five-tuple. Not a cryptographic hash: an attacker who cannot see its values cannot predict
    /// collisions, which is what a flow table needs. About 3 ns.
    #[must_use]
    #[inline(always)]
    pub fn hash<F: Family>(&self, tuple: &FiveTuple<F>) -> u64 {
        let ports = tuple.ports().word();
        let pair = F::words(tuple.addresses());
        if F::VERSION == 4 {
            return self.hash_v4(words(pair[0], ports), tuple.protocol());
        }
        let [k0, k1, k2, k3] = self.scattered;
        let [w0, w1, w2, w3] = pair;
        let ports = u64::from(ports) << 8 | tuple.protocol() as u64;
        let first = fold(w0 ^ k0, w1 ^ k1);
        let second = fold(w2 ^ k1, w3 ^ k2);
        fold(first ^ ports ^ k2, second ^ k3)
    }

    /// The upper half of a multilinear hash, which is strongly universal (Lemire and Kaser, "Strongly universal string
    /// hashing is fast", 2014): two tuples agree in it once in 2^32 keys. Its 32 bits are all that the result has, in
    /// both halves. As it is linear, tuples in a row might lie in a row: the product at the end scatters them.
    #[inline(always)]
    fn hash_v4(&self, words: [u32; 3], protocol: Protocol) -> u64 {
        let products =
            words.into_iter().zip(self.factors()).map(|(word, factor)| factor.wrapping_mul(word.into()));
        let sum = products.fold(0, u64::wrapping_add);
        let upper = upper_half(sum).wrapping_add((protocol as u32) << PROTOCOL_SHIFT);
        let scattered = u64::from(upper) * u64::from(self.last_factor());
        scattered ^ scattered << 32
    }

    /// What the words of a tuple are multiplied by.
    #[inline(always)]
    pub(super) const fn factors(&self) -> [u64; 3] {
        let [k0, k1, k2, _] = self.scattered;
        [k0, k1, k2]
    }

    /// Odd, so that the lower half of a product by it loses nothing.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
    pub(super) const fn last_factor(&self) -> u32 {
        self.scattered[3] as u32 | 1
    }
}

/// Where the protocol's number is added to the hash of the rest, any difference will do.
pub(super) const PROTOCOL_SHIFT: u32 = 24;

/// The twelve octets of addresses and ports as three words, in the order in which eight headers at a time give them
/// cheapest: octets 2 to 5, 6 to 9, and 10 and 11 with 0 and 1.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "each word takes the bits that belong to it")]
pub(super) const fn words(pair: u64, ports: u32) -> [u32; 3] {
    [(pair >> 16) as u32, (pair >> 48) as u32 | ports << 16, ports >> 16 | (pair as u32) << 16]
}

/// A word of a key whose bits all depend on all of `word`, another one for each place (the constants are those of
/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
const fn scattered(word: u64, place: u64) -> u64 {
    let word = word.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[inline(always)]
const fn upper_half(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::V4;

    fn tuples(count: u32) -> impl Iterator<Item = FiveTuple<V4>> {
        (0..count).map(|n| {
            let port = u16::try_from(1024 + n % 60_000).unwrap();
            FiveTuple::new((0x0a00_0000 + n, port), (0xcb00_7150, 53), Protocol::Udp)
        })
    }

    /// How many of the keys share the commonest value.
    fn most_alike(values: impl Iterator<Item = u64>) -> u32 {
        let mut counts = HashMap::new();
        values.for_each(|value| *counts.entry(value).or_insert(0) += 1);
        counts.values().copied().max().unwrap_or(0)
    }

    #[test]
    fn clients_in_a_row_do_not_fall_into_one_place_whatever_the_key() {
        for words in [[0; 4], [1, 2, 3, 4], [u64::MAX; 4], [0xdead_beef, 7, 1 << 63, 5]] {
            let key = IndexKey::new(words);
            let hashes: Vec<_> = tuples(100_000).map(|tuple| key.hash(&tuple)).collect();
            assert!(most_alike(hashes.iter().copied()) <= 2, "{words:x?}");
            // 16 keys to a bucket on average: at random 45 would be once in a million keys.
            let mask = 100_000_u64.div_ceil(16).next_power_of_two() - 1;
            assert!(most_alike(hashes.iter().map(|hash| hash >> 32 & mask)) < 45, "{words:x?}");
        }
    }

    #[test]
    fn each_part_of_a_tuple_counts() {
        let key = IndexKey::new([5, 6, 7, 8]);
        let base = FiveTuple::<V4>::new((1, 2), (3, 4), Protocol::Tcp);
        let others = [
            FiveTuple::new((9, 2), (3, 4), Protocol::Tcp),
            FiveTuple::new((1, 9), (3, 4), Protocol::Tcp),
            FiveTuple::new((1, 2), (9, 4), Protocol::Tcp),
            FiveTuple::new((1, 2), (3, 9), Protocol::Tcp),
            FiveTuple::new((1, 2), (3, 4), Protocol::Udp),
            base.reversed(),
        ];
        for other in others {
            assert_ne!(key.hash(&base), key.hash(&other), "{other:?}");
        }
    }
}
