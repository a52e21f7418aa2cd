//! Comparing the eight tags of a bucket at once; one of the few files with `unsafe` outside `io::dpdk`.

/// Two bits per tag, both set where it equals `wanted`. `words` hold two tags each, the first in the low half.
#[inline(always)]
pub(super) fn equal(words: [u32; 4], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is part of x86-64: every such processor has it.
        unsafe { equal_sse2(words, wanted) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    equal_portable(words, wanted)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_sse2(words: [u32; 4], wanted: u16) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_set_epi32, _mm_set1_epi16};

    let [w0, w1, w2, w3] = words.map(u32::cast_signed);
    let equal = _mm_cmpeq_epi16(_mm_set_epi32(w3, w2, w1, w0), _mm_set1_epi16(wanted.cast_signed()));
    _mm_movemask_epi8(equal).cast_unsigned()
}

/// The same on every processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_portable(words: [u32; 4], wanted: u16) -> u32 {
    let wanted = u32::from(wanted);
    words.iter().rev().fold(0, |found, word| {
        let low = if word & 0xffff == wanted { 0b0011 } else { 0 };
        let high = if word >> 16 == wanted { 0b1100 } else { 0 };
        found << 4 | high | low
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_to_compare_agree(words: [u32; 4], place in 0_usize..8, other: u16) {
            let present = (words[place / 2] >> (place % 2 * 16) & 0xffff) as u16;
            for wanted in [present, other, 0] {
                prop_assert_eq!(equal(words, wanted), equal_portable(words, wanted));
            }
            prop_assert_eq!(equal(words, present) >> (place * 2) & 0b11, 0b11);
        }
    }
}
