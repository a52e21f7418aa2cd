//! Two workers on two cores, with shares of one snapshot and a port each: is the second as fast as the first alone?

use std::hint::black_box;
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

/// What a core is given to do.
trait Load: Send {
    /// So many packets, or as much work.
    fn advance(&mut self, packets: u64);
}

/// A worker with its time.
struct Runner {
    worker: Worker<MemoryPort<Replay>>,
    clock: Clock,
}

/// Work in registers alone, about a packet's instructions at a time: cores that are slower at this together than alone
/// share more than memory, and no two programs on them could do better.
#[derive(Clone, Default)]
struct Twin([u64; 8]);

/// A load on its way from and to the thread that it runs on.
struct Job<L> {
    /// There but while it runs.
    load: Option<L>,
    /// What others had of its time.
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

/// Rates of the first load alone, the second one beside it, and both together, in millions of packets a second.
#[derive(Default)]
struct Rates {
    alone: Samples,
    beside: Samples,
    both: Samples,
}

/// Measures the first alone and both together, in turn; and the same of work without memory.
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
    let mut workers: Vec<_> = workers.map(|worker| Job::of(Runner { worker, clock })).collect();
    let mut twins = vec![Job::of(Twin::default()), Job::of(Twin::default())];
    let (mut rates, mut twin_rates) = (Rates::default(), Rates::default());
    for _ in 0..options.rounds {
        rates.measure(&mut workers, options, machine);
        twin_rates.measure(&mut twins, options, machine);
    }
    let waited_ms: Vec<_> = workers.iter().map(|job| job.taken.waited_ms).collect();
    balancer.workers.extend(workers.into_iter().filter_map(|job| job.load).map(|runner| runner.worker));
    balancer.assert_lossless(FLOWS.into());
    assert_eq!(balancer.tally().handed_off, handed_off, "each had its own packets alone");

    let parameters = json!({
        "flows": FLOWS, "order": options.order.name(), "burst": BURST, "packets": options.packets,
        "waited_ms": waited_ms,
    });
    let figure = Figure::new("workers.second_over_first", "", rates.together());
    figures.add(figure.with(Target::AtLeast(1.9)), &parameters);
    figures.add(Figure::new("workers.twin_second_over_first", "", twin_rates.together()), &parameters);
    let share = rates.beside.with(&rates.alone, |beside, alone| beside / alone);
    figures.add(Figure::new("workers.second_share", "", share), &parameters);
    figures.add(Figure::new("workers.first_alone", "Mpps", rates.alone), &parameters);
    figures.add(Figure::new("workers.second", "Mpps", rates.beside), &parameters);
    println!("workers: others had the cores of the two for {waited_ms:?} ms");
}

impl Rates {
    fn measure<L: Load>(&mut self, jobs: &mut [Job<L>], options: &Options, machine: &Machine) {
        self.alone.push(run(&mut jobs[..1], options, machine)[0]);
        let rates = run(jobs, options, machine);
        self.beside.push(rates[1]);
        self.both.push(rates.iter().sum());
    }

    /// How many times the rate of the first alone both have.
    fn together(&self) -> Samples {
        self.both.with(&self.alone, |both, alone| both / alone)
    }
}

/// The rates of these loads, which run at the same time, in millions of packets a second.
fn run<L: Load>(jobs: &mut [Job<L>], options: &Options, machine: &Machine) -> Vec<f64> {
    let (start, busy) = (Barrier::new(jobs.len()), AtomicUsize::new(jobs.len()));
    let packets = u64::from(options.packets);
    std::thread::scope(|scope| {
        let threads = jobs.iter_mut().enumerate().map(|(worker, job)| {
            let place = Place { machine, worker, start: &start, busy: &busy };
            scope.spawn(move || job.run_at(&place, packets))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    })
}

impl<L: Load> Job<L> {
    fn of(load: L) -> Self {
        Self { load: Some(load), taken: Taken::default() }
    }

    /// Runs for `packets` packets, and on until the others have had as many; the rate over the first.
    fn run_at(&mut self, place: &Place<'_>, packets: u64) -> f64 {
        // On the stack of its thread, as in the program: no two workers in one cache line.
        let mut load = self.load.take().expect("it came back");
        place.machine.pin(place.worker);
        // With its memory near.
        load.advance(packets / 8);
        place.start.wait();
        let (began, before) = (Instant::now(), Taken::now());
        load.advance(packets);
        let rate = packets as f64 / began.elapsed().as_secs_f64() / 1e6;
        self.taken = self.taken.and(Taken::now().since(before));
        place.busy.fetch_sub(1, Ordering::Relaxed);
        while place.busy.load(Ordering::Relaxed) > 0 {
            load.advance(STRIDE);
        }
        self.load = Some(load);
        rate
    }
}

impl Load for Runner {
    fn advance(&mut self, packets: u64) {
        let until = self.worker.tally().rx_packets + packets;
        while self.worker.tally().rx_packets < until {
            self.worker.turn(self.clock.next());
        }
    }
}

impl Load for Twin {
    fn advance(&mut self, packets: u64) {
        for _ in 0..packets {
            let mut words = black_box(self.0);
            // Eight chains that do not wait for each other keep all units of a core busy.
            for place in 0..12 {
                words = words.map(|word| word.wrapping_add(place) ^ word.rotate_left(13));
            }
            self.0 = words;
        }
    }
}
