//! A hint to the processor; one of the few files with `unsafe` outside `io::dpdk`.

/// Asks for the first cache line of the element of `slice` with this number, to be used soon; any number will do. No effect
/// but on time.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], number: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let address = slice.as_ptr().wrapping_add(number).cast();
        // SAFETY: a prefetch reads nothing and faults on no address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, number);
}
