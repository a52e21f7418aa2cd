//! Publication of immutable tables to workers, with quiescent-state reclamation.
//!
//! Control owns the [`Publisher`]; each worker owns a [`Reader`]. A reader says at the start of every turn that it
//! holds nothing of earlier turns (its quiescent state) and then uses the table that is current; it never waits,
//! counts references or frees. The publisher frees a replaced table once every reader has started a turn after the
//! replacement or is off-line. After: McKenney and Slingwine, "Read-copy update" (PDCS 1998), quiescent-state based.

//! A table is freed by the publisher, or with the last of publisher and readers: the order in which they are dropped does
//! not matter. `tests/publish_model` checks this file under loom, in all interleavings of small programs.

use std::ptr::NonNull;
use std::sync::PoisonError;

use crossbeam::utils::CachePadded;

use super::sync::{Arc, AtomicPtr, AtomicU64, Mutex, Ordering, fence};

/// A reader's mark while it sleeps, has not started or has stopped: it holds no table.
const OFFLINE: u64 = u64::MAX;

/// Padded: every reader looks at it in every turn, and must not wait for whoever writes what lies beside it.
type Padded<T> = CachePadded<Shared<T>>;

struct Shared<T> {
    current: AtomicPtr<T>,
    /// Number of publications so far.
    epoch: AtomicU64,
    /// Per reader: the epoch it saw at the start of its turn, or [`OFFLINE`].
    seen: Box<[CachePadded<AtomicU64>]>,
    /// Replaced tables of a publisher that was dropped, which readers may still hold. Locked only once, then.
    orphans: Mutex<Vec<Retired<T>>>,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: dropping the `Arc` orders this after all that publisher and readers did.
        let current = NonNull::new(self.current.load(Ordering::Relaxed));
        // Neither the publisher nor a reader exists any more, as each keeps an `Arc` of `self`. The orphans go likewise.
        drop(current.map(Owned));
    }
}

/// A table, owned by pointer: readers may hold references to it, beside which a `Box` must not exist (a `Box` asserts
/// that it is the only way to its content). Dropping it frees the table.
struct Owned<T>(NonNull<T>);

// SAFETY: it owns the table as a `Box` does, and readers on other threads share the table.
unsafe impl<T: Send + Sync> Send for Owned<T> {}
// SAFETY: it gives out no reference.
unsafe impl<T: Send + Sync> Sync for Owned<T> {}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `channel` or `publish`, only one `Owned` is made of each, and it
        // is dropped only once no reader can hold the table.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A replaced table.
struct Retired<T> {
    /// The number of the publication that replaced it.
    epoch: u64,
    /// Held to be dropped.
    _table: Owned<T>,
}

/// The writing end.
pub struct Publisher<T> {
    shared: Arc<Padded<T>>,
    /// Replaced tables, oldest first. Not beside `current`, whose cache line readers look at in every turn.
    retired: Vec<Retired<T>>,
}

impl<T> Drop for Publisher<T> {
    /// Leaves the replaced tables to the last reader.
    fn drop(&mut self) {
        let mut orphans = self.shared.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        orphans.append(&mut self.retired);
    }
}

/// A worker's reading end.
pub struct Reader<T> {
    shared: Arc<Padded<T>>,
    index: usize,
}

/// A publisher of `first` and `readers` readers, all off-line.
#[must_use]
pub fn channel<T: Send + Sync>(first: T, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
    let shared = Arc::new(CachePadded::new(Shared {
        current: AtomicPtr::new(Box::into_raw(Box::new(first))),
        epoch: AtomicU64::new(0),
        seen: (0..readers).map(|_| CachePadded::new(AtomicU64::new(OFFLINE))).collect(),
        orphans: Mutex::new(Vec::new()),
    }));
    let readers = (0..readers).map(|index| Reader { shared: Arc::clone(&shared), index }).collect();
    (Publisher { shared, retired: Vec::new() }, readers)
}

impl<T: Send + Sync> Publisher<T> {
    /// Makes `table` current and frees what no reader can hold any more.
    pub fn publish(&mut self, table: T) {
        let new = Box::into_raw(Box::new(table));
        // AcqRel; pairs with the Acquire load in `Reader::current`, so that a reader sees the whole table.
        let old = self.shared.current.swap(new, Ordering::AcqRel);
        // Release; pairs with the Acquire load in `Reader::current`: who sees this epoch sees the new pointer.
        let epoch = self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        // The swap took it out of the only place where it was owned. Readers may still hold it: it is kept, not freed.
        self.retired.extend(NonNull::new(old).map(|old| Retired { epoch, _table: Owned(old) }));
        self.reclaim();
    }

    /// Frees the replaced tables that no reader can hold; returns how many are still kept. Never blocks.
    pub fn reclaim(&mut self) -> usize {
        // Pairs with the fence in `Reader::current` after going on-line: either that reader loads the new pointer or
        // its mark is seen here.
        fence(Ordering::SeqCst);
        let oldest = self.shared.seen.iter().map(|seen| seen.load(Ordering::Acquire)).min();
        let oldest = oldest.unwrap_or(OFFLINE);
        self.retired.retain(|retired| oldest < retired.epoch);
        self.retired.len()
    }

    /// The current table.
    #[must_use]
    pub fn current(&self) -> &T {
        // SAFETY: only `publish` replaces the pointer, and it needs `&mut self` while this borrow lives.
        unsafe { &*self.shared.current.load(Ordering::Acquire) }
    }
}

impl<T: Send + Sync> Reader<T> {
    /// The current table, for this turn: calling it again is the promise that nothing of the last turn is held, and
    /// the borrow keeps that promise.
    pub fn current(&mut self) -> &T {
        self.current_numbered().0
    }

    /// [`current`](Self::current), with a number that is another one from the turn after the table is another one at the
    /// latest.
    #[inline]
    pub fn current_numbered(&mut self) -> (&T, u64) {
        let seen = &self.shared.seen[self.index];
        // Acquire; pairs with the increment in `Publisher::publish`.
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        let before = seen.load(Ordering::Relaxed);
        if before != epoch {
            // Release; pairs with the Acquire load in `Publisher::reclaim`: the last turn's reads are done.
            seen.store(epoch, Ordering::Release);
            if before == OFFLINE {
                // Pairs with the fence in `Publisher::reclaim`.
                fence(Ordering::SeqCst);
            }
        }
        // SAFETY: the pointer is valid: it is freed only after this reader's mark has passed the epoch that replaced
        // it, and the mark moves on only in this function and in `offline`, which need `&mut self`.
        (unsafe { &*self.shared.current.load(Ordering::Acquire) }, epoch)
    }

    /// Declares that this reader holds nothing until its next [`current`](Self::current): before a sleep, and at the
    /// end.
    pub fn offline(&mut self) {
        self.shared.seen[self.index].store(OFFLINE, Ordering::Release);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.shared.seen[self.index].store(OFFLINE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(Arc<AtomicU64>, u64);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_replaced_table_is_freed_once_no_worker_holds_it() {
        let freed = Arc::new(AtomicU64::new(0));
        let (mut publisher, mut readers) = channel(Counted(Arc::clone(&freed), 1), 2);
        assert_eq!(readers[0].current().1, 1);
        assert_eq!(readers[1].current().1, 1);

        publisher.publish(Counted(Arc::clone(&freed), 2));
        assert_eq!(freed.load(Ordering::Relaxed), 0, "both readers may hold the first table");
        assert_eq!(readers[0].current().1, 2);
        assert_eq!(publisher.reclaim(), 1);
        assert_eq!(readers[1].current().1, 2);
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(freed.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_sleeping_worker_does_not_hold_tables_back() {
        let freed = Arc::new(AtomicU64::new(0));
        let (mut publisher, mut readers) = channel(Counted(Arc::clone(&freed), 1), 1);
        readers[0].current();
        readers[0].offline();
        publisher.publish(Counted(Arc::clone(&freed), 2));
        assert_eq!(freed.load(Ordering::Relaxed), 1);
        assert_eq!(readers[0].current().1, 2);
    }

    #[test]
    fn everything_is_freed_at_the_end() {
        let freed = Arc::new(AtomicU64::new(0));
        let (mut publisher, mut readers) = channel(Counted(Arc::clone(&freed), 1), 1);
        readers[0].current();
        publisher.publish(Counted(Arc::clone(&freed), 2));
        drop(publisher);
        drop(readers);
        assert_eq!(freed.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_replaced_table_outlives_its_publisher_while_a_reader_holds_it() {
        let freed = Arc::new(AtomicU64::new(0));
        let (mut publisher, mut readers) = channel(Counted(Arc::clone(&freed), 1), 2);
        let table = readers[0].current();
        publisher.publish(Counted(Arc::clone(&freed), 2));
        drop(publisher);
        assert_eq!((table.1, freed.load(Ordering::Relaxed)), (1, 0), "freed under its reader");
        readers.truncate(1);
        assert_eq!(freed.load(Ordering::Relaxed), 0, "freed with another reader");
        assert_eq!(readers[0].current().1, 2);
        drop(readers);
        assert_eq!(freed.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_reader_never_sees_a_torn_or_freed_table() {
        let (mut publisher, readers) = channel(vec![0_u64; 64], 2);
        let stop = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for mut reader in readers {
                let stop = &stop;
                scope.spawn(move || {
                    let mut turns = 0_u64;
                    while stop.load(Ordering::Relaxed) == 0 {
                        let table = reader.current();
                        assert!(table.iter().all(|value| *value == table[0]));
                        turns += 1;
                        if turns.is_multiple_of(64) {
                            reader.offline();
                        }
                    }
                });
            }
            // Miri takes a thousand times as long.
            let generations = if cfg!(miri) { 50 } else { 20_000 };
            for generation in 1..generations {
                publisher.publish(vec![generation; 64]);
            }
            stop.store(1, Ordering::Relaxed);
        });
    }
}
