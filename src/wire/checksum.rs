//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::model::Family;

/// The change that a rewrite makes to the one's complement sum of a header: computed once per flow, applied to every
/// packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// What one hop takes from the IPv4 word of TTL and protocol: -0x0100.
    pub const HOP: Self = Self(!0x0100);

    /// The change from words that sum to `old` to words that sum to `new` (RFC 1624, section 3: `~m + m'`).
    #[must_use]
    pub const fn between(old: u32, new: u32) -> Self {
        Self(add(!fold(old), fold(new)))
    }

    /// The change of the way back.
    #[must_use]
    #[inline]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// Both changes together.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// `checksum`, as it stands in a header, after the change: `~(~HC + ~m + m')` (RFC 1624, equation 3). Never
    /// 0xffff, as a checksum computed from scratch never is.
    #[must_use]
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        let updated = !add(!checksum, self.0);
        if updated == 0xffff { 0 } else { updated }
    }

    /// [`apply`](Self::apply) for UDP, where zero means that there is no checksum and is sent as all ones (RFC 768).
    #[must_use]
    #[inline]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        let updated = self.apply(checksum);
        if updated == 0 { 0xffff } else { updated }
    }
}

/// The sum of the 16-bit words of an address.
#[must_use]
pub fn address_sum<F: Family>(address: F::Address) -> u32 {
    let mut bits = F::bits(address);
    let mut sum = 0;
    while bits != 0 {
        sum += u32::try_from(bits & 0xffff).unwrap_or(0);
        bits >>= 16;
    }
    sum
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
    let word =
        |n: usize| u64::from(u32::from_ne_bytes([header[n], header[n + 1], header[n + 2], header[n + 3]]));
    let mut total = word(0) + word(4) + word(8) + word(12) + word(16);
    if !options.is_empty() {
        total += u64::from(u16::from_be(fold(sum(options))));
    }
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff) + (total >> 16);
    let total = (total & 0xffff) + (total >> 16);
    (total & 0xffff) + (total >> 16) == 0xffff
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

/// One's complement addition.
#[inline]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
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
        fn the_sum_of_an_address_is_the_sum_of_its_bytes(v4: u32, v6: u128) {
            prop_assert_eq!(fold(address_sum::<V4>(v4)), fold(sum(&v4.to_be_bytes())));
            prop_assert_eq!(fold(address_sum::<V6>(v6)), fold(sum(&v6.to_be_bytes())));
        }
    }
}
