//! An allocator that counts, so that a test can say that a turn calls none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Runs `f` and counts its calls of the allocator, frees included, on this thread.
pub fn count<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = CALLS.get();
    let result = f();
    (result, CALLS.get() - before)
}

fn note() {
    // A thread that is ending has no counter left, and nothing to be watched for.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps `alloc`'s contract, which is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller keeps `dealloc`'s contract, which is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
