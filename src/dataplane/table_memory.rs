//! Memory for large tables, in pages as large as there are: one of the few files with `unsafe` outside `io::dpdk`.
//!
//! A look-up in a table of ordinary pages pays a page walk for nearly every cache line it asks for, and the walk's own
//! lines push the table's out of the cache.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use bytemuck::Zeroable;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::model::{MemoryNeed, TablePages};

const HUGE_PAGE: usize = 2 << 20;

/// A vector of a capacity that never changes, zero at first, and given back to the system as a whole.
pub(super) struct TableMemory<T: Copy> {
    first: NonNull<T>,
    /// Elements in use; what follows them is not initialised, or zero.
    len: usize,
    capacity: usize,
    pages: TablePages,
    mapping: Option<Mapping>,
}

/// Where the memory is, to be given back.
#[derive(Clone, Copy)]
struct Mapping {
    start: *mut c_void,
    octets: usize,
}

// SAFETY: a table owns its memory alone, as a Vec does.
unsafe impl<T: Copy + Send> Send for TableMemory<T> {}

impl<T: Copy> TableMemory<T> {
    /// Room for `capacity` elements, none of them in use.
    pub(super) fn with_capacity(capacity: usize, pages: TablePages) -> Self {
        let Some(octets) = capacity.checked_mul(size_of::<T>()).filter(|octets| *octets > 0) else {
            return Self { first: NonNull::dangling(), len: 0, capacity: 0, pages, mapping: None };
        };
        let reserved = if pages == TablePages::Reserved { Mapping::reserved(octets) } else { None };
        let pages = if reserved.is_some() { TablePages::Reserved } else { TablePages::Ordinary };
        let (mapping, first) = reserved
            .or_else(|| Mapping::ordinary(octets))
            .and_then(|mapping| Some((mapping, mapping.first::<T>()?)))
            .unwrap_or_else(|| handle_alloc_error(Layout::new::<T>()));
        Self { first, len: 0, capacity, pages, mapping: Some(mapping) }
    }

    /// `len` elements that are zero.
    pub(super) fn zeroed(len: usize, pages: TablePages) -> Self
    where
        T: Zeroable,
    {
        let mut memory = Self::with_capacity(len, pages);
        // All there is room for came zeroed from the system, which `T` may be.
        memory.len = memory.capacity;
        memory
    }

    /// What room for `capacity` elements takes of the machine.
    pub(super) const fn need(capacity: usize) -> MemoryNeed {
        let octets = capacity * size_of::<T>();
        MemoryNeed { octets, huge_pages: octets.next_multiple_of(HUGE_PAGE) }
    }

    /// Elements there is room for.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where the elements lie.
    pub(super) const fn pages(&self) -> TablePages {
        self.pages
    }

    /// Adds an element; false if there is no room.
    pub(super) fn push(&mut self, element: T) -> bool {
        if self.len == self.capacity {
            return false;
        }
        // SAFETY: `len` is below `capacity`, for which the mapping has room.
        let place = unsafe { self.first.add(self.len) };
        // SAFETY: the place is within the mapping, aligned, and reached by this value alone, which is borrowed exclusively.
        unsafe { place.write(element) };
        self.len += 1;
        true
    }
}

impl<T: Copy> Deref for TableMemory<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements are initialised, and borrowed as long as the slice.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for TableMemory<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: Copy> Drop for TableMemory<T> {
    fn drop(&mut self) {
        if let Some(Mapping { start, octets }) = self.mapping {
            // SAFETY: the mapping is this value's own, and nobody borrows from it any more.
            let _failed = unsafe { munmap(start, octets) };
        }
    }
}

impl Mapping {
    /// Of pages that the operator has reserved, all taken now: the first packets of flows shall not wait for the system to
    /// clear 2 MB. `None` if there are too few.
    fn reserved(octets: usize) -> Option<Self> {
        let octets = octets.checked_next_multiple_of(HUGE_PAGE)?;
        let mapping = Self::of(octets, MapFlags::HUGETLB | MapFlags::HUGE_2MB)?;
        // Not `MAP_POPULATE`, which does not report what it could not get: a limit of the cgroup on huge pages would end the
        // process at the first touch (SIGBUS).
        // SAFETY: the range is this mapping's own, and touching it changes no content.
        match unsafe { madvise(mapping.start, octets, Advice::LinuxPopulateWrite) } {
            Ok(()) => Some(mapping),
            // Linux before 5.14: the kernel has set the pages aside for the mapping, and they come as they are touched.
            Err(rustix::io::Errno::INVAL) => Some(mapping),
            Err(_) => {
                // SAFETY: the mapping is this value's own, and nobody borrows from it.
                let _failed = unsafe { munmap(mapping.start, mapping.octets) };
                None
            }
        }
    }

    /// Of ordinary pages, taken as they are touched, which the system may make huge ones of, if it can and is not told
    /// never to.
    fn ordinary(octets: usize) -> Option<Self> {
        if octets < HUGE_PAGE {
            return Self::of(octets, MapFlags::empty());
        }
        let mapping =
            Self::of(octets.checked_next_multiple_of(HUGE_PAGE)?.checked_add(HUGE_PAGE)?, MapFlags::empty())?;
        // SAFETY: the range is this mapping's own, and this advice changes no content. It is only advice.
        let _refused = unsafe { madvise(mapping.start, mapping.octets, Advice::LinuxHugepage) };
        Some(mapping)
    }

    fn of(octets: usize, flags: MapFlags) -> Option<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping of its own, at a place that the system chooses, overlaps nothing.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), octets, protection, MapFlags::PRIVATE | flags) };
        start.ok().map(|start| Self { start, octets })
    }

    /// Where a table of whole huge pages begins, if it is as large as one.
    fn first<T>(self) -> Option<NonNull<T>> {
        let skip = if self.octets < HUGE_PAGE { 0 } else { self.start.cast::<u8>().align_offset(HUGE_PAGE) };
        NonNull::new(self.start.wrapping_byte_add(skip).cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_what_it_has_room_for_and_no_more() {
        let mut table = TableMemory::with_capacity(3, TablePages::Ordinary);
        assert!([7_u64, 8, 9].into_iter().all(|element| table.push(element)));
        assert!(!table.push(10));
        table[1] = 11;
        assert_eq!(*table, [7, 11, 9]);
    }

    #[test]
    fn a_large_table_lies_on_whole_huge_pages_and_is_zero() {
        for pages in [TablePages::Ordinary, TablePages::Reserved] {
            let elements = HUGE_PAGE / size_of::<u64>() + 1;
            let mut table = TableMemory::<u64>::zeroed(elements, pages);
            assert_eq!(table.as_ptr().addr() % HUGE_PAGE, 0);
            assert_eq!(table.len(), elements);
            assert!(table.iter().all(|element| *element == 0));
            *table.last_mut().unwrap() = 1;
        }
    }

    #[test]
    fn a_table_of_nothing_has_room_for_nothing() {
        let mut table = TableMemory::<u64>::with_capacity(0, TablePages::Ordinary);
        assert!(!table.push(1));
        assert!(table.is_empty());
    }
}
