//! What the kernel port exchanged and lost, for status and metrics.
//!
//! One writer, the kernel port's thread: relaxed load and store. Conservation: every frame taken from `punts` is in
//! `to_kernel` or in one of the causes of its direction, likewise every frame read from a TAP.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::model::PortId;

/// The totals of one port's kernel side since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideTotals {
    /// Frames written to the TAP.
    pub to_kernel: u64,
    /// Frames not written because the TAP took no more.
    pub tap_full: u64,
    /// Frames that the kernel refused: the interface is down or gone, or the frame is not one.
    pub tap_error: u64,
    /// Frames of the kernel given to a worker.
    pub from_kernel: u64,
    /// Frames that control made, given to a worker.
    pub originated: u64,
    /// Frames for a worker lost because the pool was empty.
    pub no_buffer: u64,
    /// Frames for a worker lost because it was too far behind.
    pub ring_full: u64,
    /// Frames for a worker lost because they exceed a buffer of the pool.
    pub oversized: u64,
    /// The interface was deleted while in use: the port has no kernel side until a restart.
    pub lost: bool,
}

/// The live counters of all sides.
#[derive(Debug)]
pub struct KernelCounters {
    sides: Vec<(PortId, SideCounters)>,
    /// Frames punted by a port without a kernel side.
    pub(super) stray: Counter,
}

impl KernelCounters {
    pub(super) fn new(ports: impl Iterator<Item = PortId>) -> Self {
        Self { sides: ports.map(|port| (port, SideCounters::default())).collect(), stray: Counter::default() }
    }

    /// Each side's totals, in the order of the sides.
    pub fn totals(&self) -> impl Iterator<Item = (PortId, SideTotals)> {
        self.sides.iter().map(|(port, side)| (*port, side.totals()))
    }

    /// Frames that were punted by ports without a kernel side, and freed.
    #[must_use]
    pub fn stray(&self) -> u64 {
        self.stray.value()
    }

    pub(super) fn side(&self, index: usize) -> &SideCounters {
        &self.sides[index].1
    }
}

#[derive(Debug, Default)]
pub(super) struct SideCounters {
    pub(super) to_kernel: Counter,
    pub(super) tap_full: Counter,
    pub(super) tap_error: Counter,
    pub(super) from_kernel: Counter,
    pub(super) originated: Counter,
    pub(super) no_buffer: Counter,
    pub(super) ring_full: Counter,
    pub(super) oversized: Counter,
    pub(super) lost: AtomicBool,
}

impl SideCounters {
    fn totals(&self) -> SideTotals {
        SideTotals {
            to_kernel: self.to_kernel.value(),
            tap_full: self.tap_full.value(),
            tap_error: self.tap_error.value(),
            from_kernel: self.from_kernel.value(),
            originated: self.originated.value(),
            no_buffer: self.no_buffer.value(),
            ring_full: self.ring_full.value(),
            oversized: self.oversized.value(),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

/// A count with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
