//! Publications, turns, rests and drops in every interleaving, and every order of memory, that loom can find.

use loom::cell::UnsafeCell;
use loom::thread;
use publish_model::publish::{Publisher, Reader, channel};

/// A table of which loom notices a look that is not ordered before its end.
struct Table {
    content: UnsafeCell<u32>,
    number: u32,
}

// SAFETY: readers only look; it is changed only when it is dropped, which loom checks.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    fn new(number: u32) -> Self {
        Self { content: UnsafeCell::new(number), number }
    }

    fn look(&self) {
        // SAFETY: nothing changes a table that is published; loom checks that.
        self.content.with(|content| assert_eq!(unsafe { *content }, self.number));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the table is borrowed exclusively.
        self.content.with_mut(|content| unsafe { *content = u32::MAX });
    }
}

/// Checks `program` with the publisher and `readers` readers, with at most so many preemptions of threads, if given.
fn check(readers: usize, preemptions: Option<usize>, program: fn(Publisher<Table>, Vec<Reader<Table>>)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let (publisher, readers) = channel(Table::new(1), readers);
        program(publisher, readers);
    });
}

#[test]
fn table_is_not_freed_under_a_reader_that_turns_and_rests() {
    check(1, None, |mut publisher, mut readers| {
        let mut reader = readers.remove(0);
        let turns = thread::spawn(move || {
            reader.current().look();
            reader.offline();
            reader.current().look();
        });
        publisher.publish(Table::new(2));
        publisher.publish(Table::new(3));
        publisher.reclaim();
        turns.join().expect("the reader ends");
    });
}

#[test]
fn table_is_not_freed_under_one_of_two_readers() {
    check(2, Some(2), |mut publisher, readers| {
        let turns = readers.into_iter().map(|mut reader| {
            thread::spawn(move || {
                reader.current().look();
                reader.current().look();
            })
        });
        let turns: Vec<_> = turns.collect();
        publisher.publish(Table::new(2));
        publisher.reclaim();
        for turn in turns {
            turn.join().expect("the reader ends");
        }
    });
}

#[test]
fn replaced_table_outlives_a_publisher_that_is_dropped_during_a_turn() {
    check(1, None, |mut publisher, mut readers| {
        let mut reader = readers.remove(0);
        let turns = thread::spawn(move || {
            let table = reader.current();
            table.look();
            thread::yield_now();
            table.look();
        });
        publisher.publish(Table::new(2));
        drop(publisher);
        turns.join().expect("the reader ends");
    });
}

#[test]
fn tables_outlive_the_reader_that_is_dropped_first() {
    check(2, Some(2), |mut publisher, mut readers| {
        let (mut stays, mut leaves) = (readers.remove(0), readers.remove(0));
        let leaves = thread::spawn(move || leaves.current().look());
        let stays = thread::spawn(move || {
            let table = stays.current();
            table.look();
            table.look();
        });
        publisher.publish(Table::new(2));
        drop(publisher);
        leaves.join().expect("the reader ends");
        stays.join().expect("the reader ends");
    });
}
