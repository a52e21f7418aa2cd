//! Leases of local ports: the more of a backend's are taken, the longer one is looked for.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::IpAddr;

use criterion::{BenchmarkId, Criterion};
use evenkeel::dataplane::PortClass;
use evenkeel::dataplane::flow::{FlowId, FlowTable, Tick, TimeoutTicks};
use evenkeel::dataplane::local_ports::{Found, Holder, LeaseRequest, LocalPorts};
use evenkeel::hash::IndexKey;
use evenkeel::model::{BackendId, FiveTuple, TablePages, Timeouts, V4, WorkerId};

use super::numbered::{MOST, flow, leased, tuple};
use super::order::Random;
use super::timing::per_item;

/// Local addresses of the pool, in front of one backend.
const ADDRESSES: u8 = 4;

/// Cursors that search the pool in turn, each from another place: one alone would soon go round in a small circle, as nobody
/// takes what it finds.
const CURSORS: u32 = 4096;

/// How much of the pool is taken: at last all of it, so that each search is in vain.
const PERCENT: [u32; 6] = [0, 50, 90, 95, 99, 100];

/// A search through a pool of which a part is taken, here and there; and a lease with its flow, which goes again when as
/// many others as there may be have come.
pub(crate) fn measure(criterion: &mut Criterion) {
    for percent in PERCENT {
        let mut pool = None;
        let mut group = criterion.benchmark_group("leases/search");
        group.bench_function(BenchmarkId::from_parameter(format!("{percent}%")), |bencher| {
            let pool = pool.get_or_insert_with(|| Pool::taken(percent));
            let mut cursor = 0;
            per_item(bencher, 1, || {
                cursor = (cursor + 1) % CURSORS;
                black_box(pool.search(cursor, 0));
            });
        });
    }
    for percent in [50, 95] {
        let mut pool = None;
        let mut group = criterion.benchmark_group("leases/take-and-return");
        group.bench_function(BenchmarkId::from_parameter(format!("{percent}%")), |bencher| {
            let pool = pool.get_or_insert_with(|| Pool::taken(percent));
            per_item(bencher, 1, || pool.take_and_return());
        });
    }
}

/// The local ports of one worker for one backend.
struct Pool {
    ports: LocalPorts,
    addresses: Vec<IpAddr>,
    table: FlowTable<V4>,
    /// In the order in which they are given back.
    flows: VecDeque<FlowId>,
    /// Number of the next client.
    client: u32,
    searches: u32,
}

impl Pool {
    /// A pool of which so much is taken, no matter where.
    fn taken(percent: u32) -> Self {
        let all = u32::from(ADDRESSES) * u32::from(PortClass::SPAN);
        let key = IndexKey::new([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7345,
            0xa409_3822_299f_31d1,
            0x082e_fa98_ec4e_6c89,
        ]);
        let ticks = TimeoutTicks::new(&Timeouts::default());
        let mut pool = Self {
            ports: LocalPorts::new(PortClass::new(WorkerId(0), 1), CURSORS as usize, &key),
            addresses: (1..=ADDRESSES).map(|n| [172, 16, 8, n].into()).collect(),
            table: FlowTable::new(all as usize, key, ticks, TablePages::Reserved),
            flows: VecDeque::new(),
            client: 0,
            searches: 0,
        };
        assert!((0..all).all(|_| pool.take()), "one after the other, every port is found");
        let mut flows = Vec::from(std::mem::take(&mut pool.flows));
        Random::new().shuffle(&mut flows);
        let free = flows.split_off((all as usize) * percent as usize / 100);
        free.into_iter().for_each(|id| pool.table.remove(id));
        pool.flows = flows.into();
        pool
    }

    /// What this client's packets to the backend would carry, if a port is found.
    fn search(&mut self, cursor: u32, client: u32) -> Option<FiveTuple<V4>> {
        let to = flow::<V4>(client).translated.with_destination((0xc0a8_0001, 53));
        let table = &self.table;
        let holder = |lease: &FiveTuple<V4>| {
            let answer = lease.reversed();
            match table.find(table.hash(&answer), &answer) {
                None => Holder::Nobody,
                // As if all were established TCP connections.
                Some(_) => Holder::Flow(None),
            }
        };
        // Another tick for each round of the cursors, so that what one search has found does not shorten the next.
        self.searches += 1;
        let now = Tick(self.searches / CURSORS * 2);
        let request = LeaseRequest { backend: BackendId(cursor), addresses: &self.addresses, to, now };
        match self.ports.lease(&request, holder) {
            Found::Free { lease, .. } => Some(lease),
            Found::Held(_) | Found::Nothing => None,
        }
    }

    /// Whether a port was found: of searches through 95 % one in a thousand gives up.
    fn take(&mut self) -> bool {
        let client = self.client;
        self.client = (client + 1) % MOST;
        let Some(translated) = self.search(0, client) else { return false };
        let flow = leased(tuple(client), translated, 0);
        let hash = self.table.hash(&flow.tuple);
        let id = self.table.insert(hash, &flow, Tick(0));
        self.flows.push_back(id.expect("there is room for as many flows as ports"));
        true
    }

    fn take_and_return(&mut self) {
        if self.take() {
            let oldest = self.flows.pop_front().expect("a flow has just come");
            self.table.remove(oldest);
        }
    }
}
