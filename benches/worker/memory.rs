//! What memory alone costs on this machine, with no packet processing in it: to be held beside every figure that is said
//! to wait for memory. A last-level cache that is shared holds what others leave of it, which changes while one measures.

use std::hint::black_box;
use std::time::Instant;

use memmap2::{Advice, MmapMut, MmapOptions};
use serde_json::json;

use super::figures::{Figure, Figures, Samples, nanos_each};
use super::options::{Options, short};
use super::order::{Order, Random};

/// Octets of a cache line.
const LINE: usize = 64;
/// Lines that a flow has in index and entry, at most.
const LINES_OF_FLOW: u32 = 2;
/// Reads of a measurement at least; where there are more lines, each is read once.
const READS: u32 = 2_000_000;

/// Measures each number of flows that is asked for.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    for flows in options.flows.iter().copied() {
        let chase = Chase::over(flows * LINES_OF_FLOW);
        // Once, so that the first measurement does not begin in a cold cache.
        chase.run();
        let mut samples = Samples::default();
        for _ in 0..options.rounds {
            samples.push(chase.run());
        }
        let parameters = json!({ "octets": chase.memory.len(), "order": "shuffled" });
        figures.add(Figure::new(format!("memory.{}.chase", short(flows)), "ns", samples), &parameters);
    }
}

/// Lines each of which says where the next is, in an order that has nothing to do with where they lie.
struct Chase {
    memory: MmapMut,
    lines: u32,
}

impl Chase {
    fn over(lines: u32) -> Self {
        let mut memory = MmapOptions::new().len(lines as usize * LINE).map_anon().expect("there is memory");
        // Where it gets none it has the page walks of tables without them.
        let _without = memory.advise(Advice::HugePage);
        let order = Order::Shuffled.numbers(lines, &mut Random::new());
        for (line, next) in order.iter().zip(order.iter().cycle().skip(1)) {
            let at = *line as usize * LINE;
            memory[at..at + size_of::<u32>()].copy_from_slice(&next.to_le_bytes());
        }
        Self { memory, lines }
    }

    /// Nanoseconds of one read that waits for the one before.
    fn run(&self) -> f64 {
        let reads = self.lines.max(READS);
        let began = Instant::now();
        black_box((0..reads).fold(0, |line, _| self.after(line)));
        nanos_each(began.elapsed(), reads.into())
    }

    #[inline(always)]
    fn after(&self, line: u32) -> u32 {
        let octets = self.memory.get(line as usize * LINE..).and_then(|rest| rest.first_chunk());
        octets.map_or(0, |octets| u32::from_le_bytes(*octets))
    }
}
