//! Advice to the kernel about the memory of large tables; one of the few files with `unsafe` outside `io::dpdk`.

/// Asks for huge pages under the capacity of `table`, so that a look-up costs no page walk. To be called before the
/// table is filled. Only advice: where the kernel has transparent huge pages switched off (`never`), nothing changes.
#[cfg(target_os = "linux")]
pub(super) fn advise<T>(table: &mut Vec<T>) {
    const HUGE_PAGE: usize = 2 << 20;

    let start = table.as_mut_ptr().cast::<u8>();
    let octets = table.capacity() * size_of::<T>();
    // Whole huge pages inside the allocation; the edges may belong to others.
    let skip = start.align_offset(HUGE_PAGE);
    let whole = octets.saturating_sub(skip) / HUGE_PAGE * HUGE_PAGE;
    if whole == 0 {
        return;
    }
    let inner = start.wrapping_add(skip).cast();
    // SAFETY: the range lies within the table's own allocation, which outlives the call, and this advice changes no
    // content. A refusal is as good as advice not taken.
    let _refused = unsafe { rustix::mm::madvise(inner, whole, rustix::mm::Advice::LinuxHugepage) };
}
