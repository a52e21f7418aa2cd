//! The flow table: look-ups, flows that come and go, and what a flow takes of the memory.

mod life;
mod look_up;
mod octets;

use criterion::Criterion;
use evenkeel::dataplane::flow::{FlowId, FlowTable, Tick, TimeoutTicks};
use evenkeel::hash::IndexKey;
use evenkeel::model::{TablePages, Timeouts, V4, V6};

use super::numbered::{MOST, Numbered, flow};
use super::timing::is_trial;

pub(crate) use octets::check as check_octets;

/// Each size of a table in turn.
pub(crate) fn measure(criterion: &mut Criterion) {
    for flows in sizes() {
        let mut table = Table::<V4>::of(flows);
        look_up::measure(criterion, "flows", &mut table);
        life::come_and_go(criterion, &mut table);
        // The largest tables do not fit into the memory twice.
        drop(table);
        life::expire(criterion, flows);
        look_up::measure(criterion, "flows-ipv6", &mut Table::<V6>::of(flows));
    }
}

/// Flows in the tables that are measured.
fn sizes() -> Vec<u32> {
    if is_trial() {
        return vec![1_000];
    }
    let Ok(sizes) = std::env::var("EVENKEEL_BENCH_FLOWS") else {
        return vec![1_000, 16_000, 128_000, 1_000_000];
    };
    let size = |text: &str| text.trim().parse().ok().filter(|size| (1_000..=MOST).contains(size));
    let sizes = sizes.split(',').map(size).collect::<Option<Vec<_>>>();
    sizes.expect("EVENKEEL_BENCH_FLOWS is a list of numbers from 1000 to 16777216, with commas between")
}

/// A flow table that is filled when the first measurement asks for it.
struct Table<F: Numbered> {
    flows: u32,
    filled: Option<Filled<F>>,
}

impl<F: Numbered> Table<F> {
    const fn of(flows: u32) -> Self {
        Self { flows, filled: None }
    }

    fn filled(&mut self) -> &mut Filled<F> {
        self.filled.get_or_insert_with(|| Filled::new(self.flows, &Timeouts::default(), TablePages::Reserved))
    }
}

/// A full flow table, and the ids of its flows by number.
struct Filled<F: Numbered> {
    table: FlowTable<F>,
    ids: Vec<FlowId>,
}

impl<F: Numbered> Filled<F> {
    fn new(flows: u32, timeouts: &Timeouts, pages: TablePages) -> Self {
        let key = IndexKey::new([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7345,
            0xa409_3822_299f_31d1,
            0x082e_fa98_ec4e_6c89,
        ]);
        let mut table = FlowTable::new(flows as usize, key, TimeoutTicks::new(timeouts), pages);
        let ids = (0..flows).map(|n| insert(&mut table, n, Tick(0))).collect();
        Self { table, ids }
    }
}

/// Adds flow `n`.
fn insert<F: Numbered>(table: &mut FlowTable<F>, n: u32, now: Tick) -> FlowId {
    let flow = flow::<F>(n);
    let hash = table.hash(&flow.tuple);
    table.insert(hash, &flow, now).expect("there is room for every flow")
}
