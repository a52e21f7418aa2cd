//! Maglev: how long a table takes, what a look-up costs, and how evenly and steadily it spreads.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use evenkeel::hash::{ChoiceSeed, maglev};
use evenkeel::model::{Endpoint, HashFeature, V4, V6};

use super::numbered::{Numbered, tuple};
use super::timing::{is_trial, per_item};

const SEED: ChoiceSeed = ChoiceSeed::new(1);

/// Of all flows, how many may change their backend if one of a hundred goes. One in a hundred must.
const MOST_MOVED: f64 = 0.018;

/// How much more than the average a backend may get.
const MOST_LOAD: f64 = 1.01;

/// Prints what becomes of flows and load, and fails if a table moves or piles up more than it may.
pub(crate) fn check_shares() {
    let all = backends(100);
    let before = table(&all);
    // A table takes a while without optimisation.
    let step = if is_trial() { 25 } else { 1 };
    let moved: Vec<f64> = (0..all.len())
        .step_by(step)
        .map(|gone| {
            let left: Vec<_> = all.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, b)| *b).collect();
            let after = table(&left);
            let changed = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| all[usize::from(**before)].0 != left[usize::from(**after)].0);
            changed.count() as f64 / f64::from(maglev::TABLE_SIZE)
        })
        .collect();
    let mean = moved.iter().sum::<f64>() / moved.len() as f64;
    let worst = moved.iter().copied().fold(0.0, f64::max);
    println!(
        "maglev: one of 100 backends leaves, flows that move: mean {:.2} %, worst {:.2} % (target: at most {:.1} %)",
        mean * 100.0,
        worst * 100.0,
        MOST_MOVED * 100.0,
    );
    let loads = [4, 100, 1000].map(|count| (count, load(count)));
    for (count, load) in loads {
        println!(
            "maglev: {count} backends, the busiest over the average: {load:.4} (target: at most {MOST_LOAD})"
        );
    }
    assert!(worst <= MOST_MOVED, "too many flows move");
    assert!(loads.iter().all(|(_, load)| *load <= MOST_LOAD), "the load is not even");
}

/// The share of the busiest of `count` equal backends, over the average.
fn load(count: u32) -> f64 {
    let mut slots = vec![0_u32; count as usize];
    table(&backends(count)).iter().for_each(|position| slots[usize::from(*position)] += 1);
    let most = slots.iter().max().copied().unwrap_or_default();
    f64::from(most) * f64::from(count) / f64::from(maglev::TABLE_SIZE)
}

/// Tables of 65,537 slots, of equal backends and of such as have different weights; and the choice of a backend.
pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("maglev/build");
    for count in [4, 100, 1000] {
        let backends = backends(count);
        group.bench_function(BenchmarkId::new("equal", count), |bencher| bencher.iter(|| table(&backends)));
    }
    let mut weighted = backends(100);
    weighted.iter_mut().zip(1..).for_each(|((_, weight), n)| *weight = n);
    group.bench_function(BenchmarkId::new("weights-1-to-100", 100), |bencher| {
        bencher.iter(|| table(&weighted));
    });
    group.finish();
    choose::<V4>(criterion, "maglev/choose-ipv4");
    choose::<V6>(criterion, "maglev/choose-ipv6");
}

/// From a packet's tuple to the position of its backend.
fn choose<F: Numbered>(criterion: &mut Criterion, name: &str) {
    let table = table(&backends(100));
    let mut client = 0;
    criterion.bench_function(name, |bencher| {
        per_item(bencher, 32, || {
            for _ in 0..32 {
                client = (client + 1) % (1 << 20);
                let number = SEED.packet(&tuple::<F>(client), HashFeature::FiveTuple);
                black_box(table[maglev::slot(number, maglev::TABLE_SIZE)]);
            }
        });
    });
}

fn table(backends: &[(Endpoint, u32)]) -> Vec<u16> {
    maglev::build(SEED, backends, maglev::TABLE_SIZE)
}

/// As many backends, equal ones.
fn backends(count: u32) -> Vec<(Endpoint, u32)> {
    let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
    (1..=count).map(|n| (Endpoint::new(address(n).into(), 80), 100)).collect()
}
