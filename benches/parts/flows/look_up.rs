//! Look-ups: one after the other as they come, and in bursts through the three passes of a worker. Each takes the hash of
//! the packet's tuple with it and, if there is a flow, what is to be written into the packet.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use evenkeel::dataplane::flow::{FlowTable, Guess};
use evenkeel::io::BURST;
use evenkeel::model::FiveTuple;

use super::Table;
use crate::numbered::{Numbered, stranger, tuple};
use crate::order::Order;
use crate::timing::per_item;

/// Flows that are there, in every order, and such as are not.
pub(super) fn measure<F: Numbered>(criterion: &mut Criterion, name: &str, table: &mut Table<F>) {
    for order in Order::ALL {
        both_ways(criterion, &format!("{name}/hit/{}", order.name()), (table, order), (tuple, BURST));
    }
    both_ways(criterion, &format!("{name}/miss"), (table, Order::Uniform), (stranger, 0));
}

/// Packets that carry what `carried` says of each number; of a burst so many are found.
fn both_ways<F: Numbered>(
    criterion: &mut Criterion,
    name: &str,
    (table, order): (&mut Table<F>, Order),
    (carried, found): (impl Fn(u32) -> FiveTuple<F> + Copy, usize),
) {
    let mut packets = Packets { order, flows: table.flows, numbers: Vec::new(), next: 0 };
    let mut group = criterion.benchmark_group(name);
    group.bench_function(BenchmarkId::new("single", table.flows), |bencher| {
        let (table, packets) = (&table.filled().table, packets.drawn());
        per_item(bencher, BURST as u64, || assert_eq!(singly(table, packets.burst(), carried), found));
    });
    group.bench_function(BenchmarkId::new("burst", table.flows), |bencher| {
        let (table, packets) = (&mut table.filled().table, packets.drawn());
        per_item(bencher, BURST as u64, || assert_eq!(in_passes(table, packets.burst(), carried), found));
    });
    group.finish();
}

/// How many of the flows are found, each looked up without any hint before.
#[inline(always)]
fn singly<F: Numbered>(
    table: &FlowTable<F>,
    numbers: &[u32; BURST],
    carried: impl Fn(u32) -> FiveTuple<F>,
) -> usize {
    let mut found = 0;
    for number in numbers {
        let tuple = carried(*number);
        if let Some((id, direction)) = table.find(table.hash(&tuple), &tuple) {
            black_box(table.entry(id).rewrite(direction));
            found += 1;
        }
    }
    found
}

/// How many of the flows are found: first the index line of each is asked for, then its entry, and then it is compared.
#[inline(always)]
fn in_passes<F: Numbered>(
    table: &mut FlowTable<F>,
    numbers: &[u32; BURST],
    carried: impl Fn(u32) -> FiveTuple<F>,
) -> usize {
    let (mut hashes, mut guesses) = ([0; BURST], [Guess::NONE; BURST]);
    for ((number, hash), guess) in numbers.iter().zip(&mut hashes).zip(&mut guesses) {
        *hash = table.hash(&carried(*number));
        *guess = table.prefetch_index(*hash);
    }
    let mut missed = 0_u32;
    for (place, (hash, guess)) in hashes.iter().zip(&mut guesses).enumerate() {
        match table.guess_or_ask(*guess, *hash) {
            Some(flow) => *guess = flow,
            None => missed |= 1 << place,
        }
    }
    for place in (0..BURST).filter(|place| missed >> place & 1 != 0) {
        guesses[place] = table.guess_far(hashes[place]);
    }
    let mut found = 0;
    for ((number, hash), guess) in numbers.iter().zip(&hashes).zip(&guesses) {
        if let Some((id, direction)) = table.find_guessed(*guess, *hash, &carried(*number)) {
            black_box(table.entry(id).rewrite(direction));
            found += 1;
        }
    }
    found
}

/// Packets in an order, by the numbers of their flows, for ever.
struct Packets {
    order: Order,
    flows: u32,
    numbers: Vec<u32>,
    next: usize,
}

impl Packets {
    /// There are some now: drawn the first time, which takes longer than any measurement.
    fn drawn(&mut self) -> &mut Self {
        if self.numbers.is_empty() {
            self.numbers = self.order.numbers(self.flows);
        }
        self
    }

    #[inline(always)]
    fn burst(&mut self) -> &[u32; BURST] {
        if self.next + BURST > self.numbers.len() {
            self.next = 0;
        }
        let burst = self.numbers[self.next..].first_chunk().expect("more were drawn than a burst");
        self.next += BURST;
        burst
    }
}
