//! A hint to the processor; one of the few files with `unsafe` outside `io::dpdk`.

/// Asks for the cache line of `target`, to be used soon. No effect but on time.
#[inline]
pub(super) fn prefetch<T>(target: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let address = std::ptr::from_ref(target).cast();
        // SAFETY: a prefetch reads nothing and faults on no address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = target;
}
