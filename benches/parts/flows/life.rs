//! Flows come, go and expire.

use criterion::{BenchmarkId, Criterion};
use evenkeel::dataplane::flow::{FlowId, FlowTable, Tick};
use evenkeel::model::{Nanos, TablePages, Timeouts, V4};

use super::{Filled, Table, insert};
use crate::order::Random;
use crate::timing::{Watch, per_item_timed};

/// What a worker may look at in a turn.
const BUDGET: u32 = 32;

/// One in eight of a table's flows is away: the next ones go in random order, and those come again that have been away for
/// longest. So what a flow leaves behind has left the near caches before the next one takes it. Each half is timed alone.
pub(super) fn come_and_go(criterion: &mut Criterion, table: &mut Table<V4>) {
    let flows = table.flows;
    let mut churn = None;
    for insertion in [true, false] {
        let name = if insertion { "flows/insert" } else { "flows/remove" };
        criterion.benchmark_group(name).bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            let Filled { table, ids } = table.filled();
            let churn = churn.get_or_insert_with(|| Churn::begin(table, ids));
            per_item_timed(bencher, churn.chunk as u64, |watch| churn.go_on((table, ids), insertion, watch));
        });
    }
}

/// Which flows go and come.
struct Churn {
    /// In a random order, a whole number of chunks.
    order: Vec<u32>,
    /// Flows between two looks at the watch.
    chunk: usize,
    /// Where in the order flows go, and where they come.
    goes: usize,
    comes: usize,
}

impl Churn {
    /// The first ones go.
    fn begin(table: &mut FlowTable<V4>, ids: &[FlowId]) -> Self {
        let mut order: Vec<u32> = (0..).take(ids.len()).collect();
        Random::new().shuffle(&mut order);
        let chunk = (order.len() / 8).min(256);
        let away = order.len() / 8 / chunk * chunk;
        order.truncate(order.len() / chunk * chunk);
        order[..away].iter().for_each(|n| table.remove(ids[*n as usize]));
        Self { order, chunk, goes: away, comes: 0 }
    }

    fn go_on(
        &mut self,
        (table, ids): (&mut FlowTable<V4>, &mut [FlowId]),
        insertion: bool,
        watch: &mut Watch,
    ) {
        let chunk = |from: usize| &self.order[from..from + self.chunk];
        let (go, come) = (chunk(self.goes), chunk(self.comes));
        let remove = |table: &mut FlowTable<V4>, ids: &[FlowId]| {
            go.iter().for_each(|n| table.remove(ids[*n as usize]));
        };
        let add = |table: &mut FlowTable<V4>, ids: &mut [FlowId]| {
            come.iter().for_each(|n| ids[*n as usize] = insert(table, *n, Tick(0)));
        };
        if insertion {
            remove(table, ids);
            watch.time(|| add(table, ids));
        } else {
            watch.time(|| remove(table, ids));
            add(table, ids);
        }
        self.goes = (self.goes + self.chunk) % self.order.len();
        self.comes = (self.comes + self.chunk) % self.order.len();
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
