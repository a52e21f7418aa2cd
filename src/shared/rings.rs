//! Bounded rings between threads. Nobody waits on one: what does not fit is dropped and counted by the sender.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::FlowPage;
use crate::model::PortId;

/// Frames in one ring between workers, or between a worker and the kernel port. Some bursts' worth: a thread that is
/// further behind than that will not catch up by having more queued.
pub const FRAME_RING: usize = 1024;

/// Commands and events under way per worker.
pub const COMMAND_RING: usize = 16;

/// A frame that another worker has to go on with.
#[derive(Debug)]
pub enum Handoff<F> {
    /// Received on `port` by a worker that does not own its flow: balance it.
    Received {
        /// Where the frame came in.
        port: PortId,
        /// The frame as received.
        frame: F,
    },
    /// Finished by a worker that has no transmit queue on `port`: send it.
    Transmit {
        /// Where the frame leaves.
        port: PortId,
        /// The frame as it is to leave.
        frame: F,
    },
}

/// A frame on its way between a worker and the kernel's side of a port.
#[derive(Debug)]
pub struct PortFrame<F> {
    /// The port the frame came in by or is to leave by.
    pub port: PortId,
    /// The frame, unchanged.
    pub frame: F,
}

/// A request from control to a worker.
#[derive(Debug)]
pub enum Command {
    /// Fill this page of a flow listing.
    ListFlows(Box<FlowPage>),
}

/// An answer from a worker to control.
#[derive(Debug)]
pub enum Event {
    /// A page of a flow listing, filled.
    Flows(Box<FlowPage>),
}

/// The rings that carry frames; cloning shares them.
#[derive(Debug)]
pub struct FrameRings<F> {
    /// Per worker: frames from other workers.
    pub inboxes: Arc<[ArrayQueue<Handoff<F>>]>,
    /// From all workers to the kernel port.
    pub punts: Arc<ArrayQueue<PortFrame<F>>>,
    /// Per worker: from the kernel port, to be sent as they are.
    pub injections: Arc<[ArrayQueue<PortFrame<F>>]>,
}

impl<F> FrameRings<F> {
    /// Empty rings for `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            inboxes: (0..workers).map(|_| ArrayQueue::new(FRAME_RING)).collect(),
            punts: Arc::new(ArrayQueue::new(FRAME_RING)),
            injections: (0..workers).map(|_| ArrayQueue::new(FRAME_RING)).collect(),
        }
    }
}

// Not derived: that would ask for frames that can be cloned.
impl<F> Clone for FrameRings<F> {
    fn clone(&self) -> Self {
        Self {
            inboxes: Arc::clone(&self.inboxes),
            punts: Arc::clone(&self.punts),
            injections: Arc::clone(&self.injections),
        }
    }
}

/// The rings between control and the workers; cloning shares them.
#[derive(Clone, Debug)]
pub struct CommandRings {
    /// Per worker: from control.
    pub commands: Arc<[ArrayQueue<Command>]>,
    /// Per worker: to control.
    pub events: Arc<[ArrayQueue<Event>]>,
}

impl CommandRings {
    /// Empty rings for `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            commands: (0..workers).map(|_| ArrayQueue::new(COMMAND_RING)).collect(),
            events: (0..workers).map(|_| ArrayQueue::new(COMMAND_RING)).collect(),
        }
    }
}
