//! What memory alone costs on this machine, with no packet processing in it: to be held beside every figure that is said
//! to wait for memory.
//!
//! A last-level cache that is shared holds what is asked for again soon. `chase` tells how much of it others have left;
//! `capture.D`, whether the frames of a capture stay in it until they are read again, at the pace of a program that does
//! more with them or less.

use std::hint::black_box;
use std::time::Instant;

use evenkeel::io::BURST;
use memmap2::{Advice, MmapMut, MmapOptions};
use serde_json::json;

use super::figures::{Figure, Figures, Samples, nanos_each};
use super::options::{Options, short};
use super::order::{Order, Random};

/// Octets that a flow has in index and entry, the most that it may have.
const FLOW: usize = 128;
/// Octets from a packet buffer of DPDK to the next, with a data room of 2048: 64 of the pool's own, 128 of the mbuf,
/// 128 of headroom.
const BUFFER: usize = 64 + 128 + 128 + 2048;
/// Where in a buffer the mbuf says where the frame is, and where that is.
const MBUF: usize = 64;
const FRAME: usize = 64 + 128 + 128;
/// Flows up to which the frames of a capture are read: more take 2.4 GB a million.
const MOST_FRAMES: u32 = 1_000_000;
/// Reads of a measurement at least; where there are more lines, each is read once.
const READS: u64 = 2_000_000;
/// Nanoseconds of other work for each frame, about: none, what testpmd does, what we do, and more.
const DELAYS: [u32; 4] = [0, 8, 16, 32];

/// Numbers, as far apart as asked for, each at the start of a line.
struct Words(MmapMut);

/// Measures each number of flows that is asked for.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    for flows in options.flows.iter().copied().filter(|flows| *flows > 1) {
        let chase = Chase::over(flows);
        let samples = repeat(options, || chase.run());
        let parameters = json!({ "octets": flows as usize * FLOW, "order": "shuffled" });
        figures.add(Figure::new(format!("memory.{}.chase", short(flows)), "ns", samples), &parameters);
        if flows <= MOST_FRAMES {
            measure_capture(options, figures, flows);
        }
    }
}

fn measure_capture(options: &Options, figures: &mut Figures, flows: u32) {
    let capture = Capture::of(flows);
    let parameters = json!({ "frames": flows, "buffer": BUFFER, "burst": BURST });
    for delay in DELAYS {
        let work = Work::of(delay);
        let alone = work.nanos();
        let samples = repeat(options, || capture.run(&work) - alone);
        figures
            .add(Figure::new(format!("memory.{}.capture.{delay}", short(flows)), "ns", samples), &parameters);
    }
}

/// As many samples as there are rounds, after one that is not counted.
fn repeat(options: &Options, mut measure: impl FnMut() -> f64) -> Samples {
    measure();
    let mut samples = Samples::default();
    for _ in 0..options.rounds {
        samples.push(measure());
    }
    samples
}

/// The lines of flows, each of which names the next, in an order that has nothing to do with where they lie.
struct Chase {
    lines: Words,
    count: u64,
}

impl Chase {
    fn over(flows: u32) -> Self {
        let count = flows as usize * FLOW / 64;
        let mut lines = Words::of(count * 64);
        let order = Order::Shuffled.numbers(u32::try_from(count).expect("flows fit"), &mut Random::new());
        for (line, next) in order.iter().zip(order.iter().cycle().skip(1)) {
            lines.set(*line as usize * 64, *next as usize * 64);
        }
        Self { lines, count: count as u64 }
    }

    /// Nanoseconds of one read that waits for the one before.
    fn run(&self) -> f64 {
        let count = self.count.max(READS);
        let began = Instant::now();
        let last = (0..count).fold(0, |at, _| self.lines.get(at));
        black_box(last);
        nanos_each(began.elapsed(), count)
    }
}

/// The frames of a capture as DPDK's pcap port holds them.
struct Capture {
    buffers: Words,
    frames: usize,
}

impl Capture {
    fn of(frames: u32) -> Self {
        let frames = frames as usize;
        let mut buffers = Words::of(frames * BUFFER);
        for buffer in (0..frames).map(|frame| frame * BUFFER) {
            buffers.set(buffer + MBUF, buffer + FRAME);
        }
        Self { buffers, frames }
    }

    /// Nanoseconds of a frame that is found by its mbuf and read, with the work that follows each burst.
    fn run(&self, work: &Work) -> f64 {
        let mut sum = 0_usize;
        let mut read = 0;
        let began = Instant::now();
        while read < READS {
            for first in (0..self.frames).step_by(BURST) {
                let frames = first..(first + BURST).min(self.frames);
                read += frames.len() as u64;
                for frame in frames {
                    let data = self.buffers.get(frame * BUFFER + MBUF);
                    sum = sum.wrapping_add(self.buffers.get(data));
                }
                sum = work.after(sum);
            }
        }
        black_box(sum);
        nanos_each(began.elapsed(), read)
    }
}

/// Work in registers, as long as that of a burst of packets.
struct Work {
    steps: u32,
}

impl Work {
    /// So many nanoseconds for each packet of a burst, about.
    fn of(nanos: u32) -> Self {
        const TRIAL: u32 = 4_000_000;
        let began = Instant::now();
        black_box(Self { steps: TRIAL }.after(1));
        let steps = u128::from(TRIAL) * u128::from(nanos) * BURST as u128 / began.elapsed().as_nanos().max(1);
        Self { steps: u32::try_from(steps).unwrap_or(u32::MAX) }
    }

    /// What it really takes for each packet.
    fn nanos(&self) -> f64 {
        const BURSTS: u64 = 20_000;
        let began = Instant::now();
        black_box((0..BURSTS).fold(1, |sum, _| self.after(sum)));
        nanos_each(began.elapsed(), BURSTS * BURST as u64)
    }

    #[inline(never)]
    fn after(&self, sum: usize) -> usize {
        // Each step waits for the one before.
        (0..self.steps).fold(sum, |sum, step| black_box(sum.wrapping_mul(0x9e37_79b9) ^ step as usize))
    }
}

impl Words {
    fn of(octets: usize) -> Self {
        let memory = MmapOptions::new().len(octets).map_anon().expect("there is memory");
        // Without huge pages it measures the page walks of a program without them; tables have the same choice.
        let _without = memory.advise(Advice::HugePage);
        Self(memory)
    }

    fn set(&mut self, at: usize, value: usize) {
        if let Some(octets) = self.0.get_mut(at..at + 8) {
            octets.copy_from_slice(&value.to_le_bytes());
        }
    }

    #[inline(always)]
    fn get(&self, at: usize) -> usize {
        let octets = self.0.get(at..).and_then(|rest| rest.first_chunk());
        octets.map_or(0, |octets| usize::from_le_bytes(*octets))
    }
}
