//! Two workers on two cores, with shares of one snapshot and a port each: is the second as fast as the first alone?

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use evenkeel::dataplane::Worker;
use evenkeel::io::BURST;
use serde_json::json;

use super::balancer::{Balancer, Clock, Plan};
use super::figures::{Figure, Figures, Samples, Target};
use super::flows::Flows;
use super::machine::{Machine, Taken};
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
    /// What others had of it.
    taken: Taken,
}

/// Where a thread is, and when.
struct Place<'a> {
    machine: &'a Machine,
    /// The first or the second.
    worker: usize,
    start: &'a Barrier,
    /// How many have yet to have their packets: those that have had them go on, so that all are under load till the end.
    busy: &'a AtomicUsize,
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
    let workers = std::mem::take(&mut balancer.workers).into_iter();
    let mut runners: Vec<_> =
        workers.map(|worker| Some(Runner { worker, clock, taken: Taken::default() })).collect();
    let (mut alone, mut beside, mut both) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..options.rounds {
        alone.push(run(&mut runners[..1], options, machine)[0]);
        let rates = run(&mut runners, options, machine);
        beside.push(rates[1]);
        both.push(rates.iter().sum());
    }
    let waited_ms: Vec<_> = runners.iter().flatten().map(|runner| runner.taken.waited_ms).collect();
    balancer.workers.extend(runners.into_iter().flatten().map(|runner| runner.worker));
    balancer.assert_lossless(FLOWS.into());
    assert_eq!(balancer.tally().handed_off, handed_off, "each had its own packets alone");

    let parameters = json!({
        "flows": FLOWS, "order": options.order.name(), "burst": BURST, "packets": options.packets,
        "waited_ms": waited_ms,
    });
    let ratio = |rate: f64, alone: f64| rate / alone;
    let figure = Figure::new("workers.second_over_first", "", both.with(&alone, ratio));
    figures.add(figure.with(Target::AtLeast(1.9)), &parameters);
    figures.add(Figure::new("workers.second_share", "", beside.with(&alone, ratio)), &parameters);
    figures.add(Figure::new("workers.first_alone", "Mpps", alone), &parameters);
    figures.add(Figure::new("workers.second", "Mpps", beside), &parameters);
    println!("workers: others had the cores of the two for {waited_ms:?} ms");
}

/// The rates of these workers, which run at the same time, in millions of packets a second.
fn run(runners: &mut [Option<Runner>], options: &Options, machine: &Machine) -> Vec<f64> {
    let (start, busy) = (Barrier::new(runners.len()), AtomicUsize::new(runners.len()));
    let packets = u64::from(options.packets);
    std::thread::scope(|scope| {
        let threads = runners.iter_mut().enumerate().map(|(worker, slot)| {
            let place = Place { machine, worker, start: &start, busy: &busy };
            scope.spawn(move || {
                // On the stack of its thread, as in the program: no two workers in one cache line.
                let mut runner = slot.take().expect("it came back");
                let rate = runner.turn_at(&place, packets);
                *slot = Some(runner);
                rate
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

impl Runner {
    /// Turns for `packets` packets, and on until the others have had as many; the rate over the first.
    fn turn_at(&mut self, place: &Place<'_>, packets: u64) -> f64 {
        place.machine.pin(place.worker);
        // With its memory near.
        self.turn_for(packets / 8);
        place.start.wait();
        let (began, before) = (Instant::now(), Taken::now());
        self.turn_for(packets);
        let rate = packets as f64 / began.elapsed().as_secs_f64() / 1e6;
        self.taken = self.taken.and(Taken::now().since(before));
        place.busy.fetch_sub(1, Ordering::Relaxed);
        while place.busy.load(Ordering::Relaxed) > 0 {
            self.turn_for(STRIDE);
        }
        rate
    }

    fn turn_for(&mut self, packets: u64) {
        let until = self.worker.tally().rx_packets + packets;
        while self.worker.tally().rx_packets < until {
            self.worker.turn(self.clock.next());
        }
    }
}
