//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::model::Family;

/// The change that a rewrite makes to the one's complement sum of a header: computed once per flow, applied to every
/// packet. In whichever byte order the sums are that it was made of (RFC 1071, section 2 B); [`rewrite`](mod@super::rewrite)
/// reads all words as they stand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(
    /// Never 0: no change is all ones. A sum with it then is never 0 either.
    u16,
);

impl Delta {
    /// What one hop takes from the IPv4 word of TTL and protocol, -0x0100 in network byte order.
    pub const HOP: Self = Self((!0x0100_u16).to_be());

    /// The change from words that sum to `old` to words that sum to `new` (RFC 1624, section 3: `~m + m'`).
    #[must_use]
    pub const fn between(old: u32, new: u32) -> Self {
        Self::of(add(!fold(old), fold(new)))
    }

    const fn of(change: u16) -> Self {
        Self(if change == 0 { 0xffff } else { change })
    }

    /// The change of the way back.
    #[must_use]
    #[inline]
    pub const fn reversed(self) -> Self {
        Self::of(!self.0)
    }

    /// Both changes together.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// `checksum`, as it stands in a header, after the change: `~(~HC + ~m + m')` (RFC 1624, equation 3), in which the
    /// complements cancel out, so that the change is taken away. Never 0xffff, as a checksum computed from scratch never
    /// is.
    #[must_use]
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        let (difference, borrow) = checksum.overflowing_sub(self.0);
        difference.wrapping_sub(borrow as u16)
    }

    /// [`apply`](Self::apply) for UDP, where zero means that there is no checksum and is sent as all ones (RFC 768).
    #[must_use]
    #[inline]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        let updated = self.apply(checksum);
        // 0 - 1 is all ones.
        updated.wrapping_sub((updated == 0) as u16)
    }
}

/// The one's complement sum of the 16-bit words of both addresses, as they stand in memory.
#[must_use]
pub fn pair_sum<F: Family>(pair: F::Pair) -> u16 {
    F::words(pair).into_iter().fold(0, |sum, word| add(sum, fold_wide(word)))
}

/// The sum of the 16-bit words of `bytes`, an odd last byte padded with zero (RFC 1071, section 4.1). Exact for up to
/// 128 KiB.
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    let mut pairs = bytes.chunks_exact(2);
    let mut sum = 0;
    for pair in &mut pairs {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    match pairs.remainder() {
        [last] => sum + (u32::from(*last) << 8),
        _ => sum,
    }
}

/// Whether an IPv4 header is intact: all its words with the checksum sum to all ones (RFC 791, section 3.1). `header`
/// is its first 20 octets, `options` the rest.
#[must_use]
#[inline(always)]
pub fn ipv4_header_is_intact(header: &[u8; 20], options: &[u8]) -> bool {
    // One's complement sums come out alike in any word size and byte order (RFC 1071, section 2).
    let ([first, second], last) = header.as_chunks::<8>() else { return false };
    let Some(last) = last.first_chunk::<4>() else { return false };
    let mut total = add_wide(u64::from_ne_bytes(*first), u64::from_ne_bytes(*second));
    total = add_wide(total, u64::from(u32::from_ne_bytes(*last)));
    if !options.is_empty() {
        total = add_wide(total, u64::from(fold(sum(options)).to_be()));
    }
    fold_wide(total) == 0xffff
}

/// `sum` reduced to 16 bits with end-around carry.
#[must_use]
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "two carries leave 16 bits")]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// `sum` of 64-bit words reduced to 16 bits: what is above the middle of a number added to its own halves exchanged is
/// the sum of the halves with the carry of their low end.
#[inline(always)]
const fn fold_wide(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// One's complement addition.
#[inline(always)]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

/// The same of 64 bits.
#[inline(always)]
const fn add_wide(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{V4, V6};

    fn full(words: &[u16]) -> u16 {
        !fold(words.iter().map(|word| u32::from(*word)).sum())
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_comes_out_right() {
        let delta = Delta::between(0x5555, 0x3285);
        assert_eq!(delta.apply(0xdd2f), 0x0000);
    }

    #[test]
    fn a_udp_checksum_that_becomes_zero_is_sent_as_all_ones() {
        let delta = Delta::between(0x5555, 0x3285);
        assert_eq!(delta.apply_udp(0xdd2f), 0xffff);
    }

    proptest! {
        #[test]
        fn an_updated_checksum_equals_one_computed_from_scratch(
            mut words in prop::collection::vec(any::<u16>(), 2..20),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u16>()), 1..6),
        ) {
            // A header always has a word that is not zero.
            words.push(0x4500);
            let before = full(&words);
            let (mut old, mut new) = (0, 0);
            let original = words.clone();
            let places: std::collections::BTreeMap<usize, u16> =
                changes.iter().map(|(place, value)| (place.index(words.len() - 1), *value)).collect();
            for (place, value) in places {
                old += u32::from(words[place]);
                new += u32::from(value);
                words[place] = value;
            }
            let delta = Delta::between(old, new);
            prop_assert_eq!(delta.apply(before), full(&words));
            prop_assert_eq!(delta.reversed().apply(full(&words)), full(&original));
        }

        #[test]
        fn the_sum_of_addresses_is_the_sum_of_their_bytes(v4: (u32, u32), v6: (u128, u128)) {
            let bytes = [v4.0, v4.1].map(u32::to_be_bytes).concat();
            prop_assert_eq!(pair_sum::<V4>(V4::pair(v4.0, v4.1)).to_be(), fold(sum(&bytes)));
            let bytes = [v6.0, v6.1].map(u128::to_be_bytes).concat();
            prop_assert_eq!(pair_sum::<V6>(V6::pair(v6.0, v6.1)).to_be(), fold(sum(&bytes)));
        }
    }
}
