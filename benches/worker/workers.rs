//! Two workers on two cores, with shares of one snapshot and a port each: is the second as fast as the first alone?

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use evenkeel::dataplane::Worker;
use evenkeel::io::BURST;
use serde_json::json;

use super::balancer::{Balancer, Clock, Plan};
use super::figures::{Figure, Figures, Samples, Target};
use super::flows::Flows;
use super::machine::Machine;
use super::options::{Options, Transport};
use super::port::MemoryPort;
use super::replay::Replay;

/// Flows of both together.
const FLOWS: u32 = 32_000;

/// Packets between two looks at whether the other is done.
const STRIDE: u64 = 32 * 1024;

/// A worker with its time.
struct Runner {
    worker: Worker<MemoryPort<Replay>>,
    clock: Clock,
}

/// Where a thread is, and who else there is.
struct Place<'a> {
    machine: &'a Machine,
    /// The first or the second.
    worker: usize,
    start: &'a Barrier,
    /// Set by who has had its packets; until then who has had them goes on, so that both are always under load.
    done: [&'a AtomicBool; 2],
}

/// Measures the first alone and both together, in turn.
pub(crate) fn measure(options: &Options, machine: &Machine, figures: &mut Figures) {
    if machine.cores() < 2 {
        println!("workers: left out, there is one core");
        return;
    }
    let plan = Plan::of(FLOWS, options.pages());
    let (mut balancer, desks) = Balancer::replaying(&plan, 2, BURST);
    let flows = Flows::establish(&mut balancer, &desks, &plan, Transport::Udp, FLOWS);
    let packets = flows.both_ways(options.order);
    for (desk, worker) in desks.iter().zip(0..) {
        // What a card does that spreads packets as their owners are.
        desk.repeat(&flows.of_worker(&packets, worker, 2));
    }
    balancer.turn_for(packets.len() as u64);
    let handed_off = balancer.tally().handed_off;
    let clock = balancer.clock;
    let mut runners =
        std::mem::take(&mut balancer.workers).into_iter().map(|worker| Runner { worker, clock });
    let mut pair = [(); 2].map(|()| runners.next().expect("two were asked for"));
    drop(runners);
    let (mut alone, mut beside, mut both) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..options.rounds {
        alone.push(run_alone(&mut pair[0], options, machine));
        let [one, other] = run_both(&mut pair, options, machine);
        beside.push(other);
        both.push(one + other);
    }
    balancer.workers.extend(pair.map(|runner| runner.worker));
    balancer.assert_lossless(FLOWS.into());
    assert_eq!(balancer.tally().handed_off, handed_off, "each had its own packets alone");

    let parameters =
        json!({ "flows": FLOWS, "order": options.order.name(), "burst": BURST, "packets": options.packets });
    let ratio = |rate: f64, alone: f64| rate / alone;
    let figure = Figure::new("workers.both_over_one", "", both.with(&alone, ratio));
    figures.add(figure.with(Target::AtLeast(1.9)), &parameters);
    figures.add(Figure::new("workers.second_over_first", "", beside.with(&alone, ratio)), &parameters);
    figures.add(Figure::new("workers.first_alone", "Mpps", alone), &parameters);
    figures.add(Figure::new("workers.second", "Mpps", beside), &parameters);
}

/// The rate of a worker while the other rests, in millions of packets a second.
fn run_alone(runner: &mut Runner, options: &Options, machine: &Machine) -> f64 {
    let (start, done) = (Barrier::new(1), AtomicBool::new(true));
    let place = Place { machine, worker: 0, start: &start, done: [&done, &done] };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| run(runner, options.packets.into(), &place));
        thread.join().expect("it does not panic")
    })
}

/// The rates of both at the same time.
fn run_both(pair: &mut [Runner; 2], options: &Options, machine: &Machine) -> [f64; 2] {
    let start = Barrier::new(2);
    let done = [AtomicBool::new(false), AtomicBool::new(false)];
    let [first, second] = pair;
    std::thread::scope(|scope| {
        let place = |worker: usize| {
            let done = [&done[worker], &done[1 - worker]];
            Place { machine, worker, start: &start, done }
        };
        let (here, there) = (place(0), place(1));
        let one = scope.spawn(move || run(first, options.packets.into(), &here));
        let other = scope.spawn(move || run(second, options.packets.into(), &there));
        [one, other].map(|thread| thread.join().expect("it does not panic"))
    })
}

/// Turns a worker for `packets` packets, and on until the other has had as many; its rate over the first.
fn run(Runner { worker, clock }: &mut Runner, packets: u64, place: &Place<'_>) -> f64 {
    place.machine.pin(place.worker);
    let mut turn_for = |packets: u64| {
        let until = worker.tally().rx_packets + packets;
        while worker.tally().rx_packets < until {
            worker.turn(clock.next());
        }
    };
    // With its memory near.
    turn_for(packets / 8);
    place.start.wait();
    let began = Instant::now();
    turn_for(packets);
    let rate = packets as f64 / began.elapsed().as_secs_f64() / 1e6;
    let [mine, others] = place.done;
    mine.store(true, Ordering::Relaxed);
    while !others.load(Ordering::Relaxed) {
        turn_for(STRIDE);
    }
    rate
}
