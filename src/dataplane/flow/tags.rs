//! Comparing the eight tags of a bucket at once; one of the few files with `unsafe` outside `io::dpdk`.

/// Two bits per tag, both set where it equals `wanted`.
#[inline(always)]
pub(super) fn equal(tags: &[u16; 8], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is part of x86-64: every such processor has it.
        unsafe { equal_sse2(tags, wanted) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    equal_portable(tags, wanted)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_sse2(tags: &[u16; 8], wanted: u16) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi16};

    // SAFETY: the array is the 16 octets that are read, at any alignment.
    let tags = unsafe { _mm_loadu_si128(std::ptr::from_ref(tags).cast()) };
    let equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(wanted.cast_signed()));
    _mm_movemask_epi8(equal).cast_unsigned()
}

/// The same on every processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_portable(tags: &[u16; 8], wanted: u16) -> u32 {
    tags.iter().rev().fold(0, |found, tag| found << 2 | if *tag == wanted { 0b11 } else { 0 })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_ways_to_compare_agree(tags: [u16; 8], place in 0_usize..8, other: u16) {
            for wanted in [tags[place], other, 0] {
                prop_assert_eq!(equal(&tags, wanted), equal_portable(&tags, wanted));
            }
            prop_assert_eq!(equal(&tags, tags[place]) >> (place * 2) & 0b11, 0b11);
        }
    }
}
