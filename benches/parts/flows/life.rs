//! Flows come, go and expire.

use criterion::{BenchmarkId, Criterion};
use evenkeel::dataplane::flow::Tick;
use evenkeel::model::{Nanos, TablePages, Timeouts, V4};

use super::{Filled, Table, insert};
use crate::order::Random;
use crate::timing::{Watch, per_item_timed};

/// Flows that come or go between two looks at the watch.
const CHUNK: usize = 256;

/// What a worker may look at in a turn.
const BUDGET: u32 = 32;

/// Flows of a full table go in random order and come again: each half timed by itself. New flows get the places that have
/// been free for longest.
pub(super) fn come_and_go(criterion: &mut Criterion, table: &mut Table<V4>) {
    let flows = table.flows;
    let mut order = Vec::new();
    let mut next = 0;
    for insertion in [true, false] {
        let name = if insertion { "flows/insert" } else { "flows/remove" };
        criterion.benchmark_group(name).bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            let Filled { table, ids } = table.filled();
            if order.is_empty() {
                order.extend(0..flows);
                Random::new().shuffle(&mut order);
            }
            per_item_timed(bencher, CHUNK as u64, |watch| {
                next = if next + CHUNK > order.len() { 0 } else { next };
                let chunk = &order[next..next + CHUNK];
                next += CHUNK;
                let time = |watch: &mut Watch, timed: bool, work: &mut dyn FnMut()| {
                    if timed { watch.time(work) } else { work() }
                };
                time(watch, !insertion, &mut || chunk.iter().for_each(|n| table.remove(ids[*n as usize])));
                time(watch, insertion, &mut || {
                    for n in chunk {
                        ids[*n as usize] = insert(table, *n, Tick(0));
                    }
                });
            });
            assert_eq!(table.len(), flows as usize, "what went has come again");
        });
    }
}

/// As many flows end as begin, tick after tick: the worker's calls for expiry, with the removal. And the same if packets
/// have prolonged them all, so that each is looked at once in its time and put back.
pub(super) fn expire(criterion: &mut Criterion, flows: u32) {
    let mut ring = None;
    for prolonged in [false, true] {
        let name = if prolonged { "flows/rearm" } else { "flows/expire" };
        criterion.benchmark_group(name).bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            let ring = ring.get_or_insert_with(|| Ring::new(flows));
            let due = ring.due;
            per_item_timed(bencher, due as u64, |watch| ring.tick(watch, prolonged));
        });
    }
}

/// Flows that are due in turn, so many a tick.
struct Ring {
    filled: Filled<V4>,
    due: usize,
    /// By the time at which they are due.
    order: Vec<u32>,
    next: usize,
    now: Tick,
}

impl Ring {
    /// The wheel has 8192 ticks: no flow is to be due after more than that.
    const MOST_TICKS: u32 = 8000;

    /// At least so many due a tick that the watch does not count.
    const LEAST_DUE: u32 = 64;

    fn new(flows: u32) -> Self {
        let due = flows.div_ceil(Self::MOST_TICKS).max(Self::LEAST_DUE);
        let ticks = flows / due;
        let timeouts = Timeouts { udp: Nanos(u64::from(ticks) << 26), ..Timeouts::default() };
        let mut filled = Filled::new(due * ticks, &timeouts, TablePages::Reserved);
        // Those that are due together are no neighbours in memory.
        let mut order: Vec<u32> = (0..due * ticks).collect();
        Random::new().shuffle(&mut order);
        order.iter().for_each(|n| filled.table.remove(filled.ids[*n as usize]));
        order.sort_unstable();
        let mut ring = Self { filled, due: due as usize, order, next: 0, now: Tick(0) };
        for _ in 0..ticks {
            ring.begin();
            ring.now = ring.now.after(1);
        }
        ring
    }

    /// The next flows begin.
    fn begin(&mut self) {
        for n in &self.order[self.next..self.next + self.due] {
            self.filled.ids[*n as usize] = insert(&mut self.filled.table, *n, self.now);
        }
        self.next = (self.next + self.due) % self.order.len();
    }

    /// The flows that are due end, and come again. If they are prolonged they only stay.
    fn tick(&mut self, watch: &mut Watch, prolonged: bool) {
        let Filled { table, ids } = &mut self.filled;
        let due = &self.order[self.next..self.next + self.due];
        if prolonged {
            due.iter().for_each(|n| table.entry_mut(ids[*n as usize]).touch(self.now));
        }
        let ended = watch.time(|| {
            let mut ended = 0;
            loop {
                let mut budget = BUDGET;
                while let Some(id) = table.expired(self.now, &mut budget) {
                    table.remove(id);
                    ended += 1;
                }
                if budget > 0 {
                    return ended;
                }
            }
        });
        assert_eq!(ended, if prolonged { 0 } else { self.due }, "those that are due end");
        if prolonged {
            self.next = (self.next + self.due) % self.order.len();
        } else {
            self.begin();
        }
        self.now = self.now.after(1);
    }
}
