//! Bounded rings between threads. Nobody waits on one: what does not fit is dropped and counted by the sender.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::FlowPage;
use super::PuntClass;
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
    pub punts: Arc<PuntRings<F>>,
    /// Per worker: from the kernel port, to be sent as they are.
    pub injections: Arc<[ArrayQueue<PortFrame<F>>]>,
}

impl<F> FrameRings<F> {
    /// Empty rings for `workers` workers and `ports` ports.
    #[must_use]
    pub fn new(workers: usize, ports: usize) -> Self {
        Self {
            inboxes: (0..workers).map(|_| ArrayQueue::new(FRAME_RING)).collect(),
            punts: Arc::new(PuntRings::new(ports)),
            injections: (0..workers).map(|_| ArrayQueue::new(FRAME_RING)).collect(),
        }
    }
}

/// Frames for the kernel port: a ring for each class on each port.
#[derive(Debug)]
pub struct PuntRings<F> {
    /// By port and class.
    rings: Box<[[ArrayQueue<PortFrame<F>>; PuntClass::COUNT]]>,
}

impl<F> PuntRings<F> {
    /// Frames of one port that may wait, over all classes.
    pub const FRAMES: usize = {
        let (mut sum, mut place) = (0, 0);
        while place < PuntClass::COUNT {
            sum += Self::capacity(PuntClass::ALL[place]);
            place += 1;
        }
        sum
    };

    fn new(ports: usize) -> Self {
        let of_port = |_| PuntClass::ALL.map(|class| ArrayQueue::new(Self::capacity(class)));
        Self { rings: (0..ports).map(of_port).collect() }
    }

    /// Frames of a class that may wait, for each port: what comes in 2 ms, the longest pause of the kernel port, at more
    /// than the rate of the class.
    #[must_use]
    pub const fn capacity(class: PuntClass) -> usize {
        match class {
            PuntClass::Probe => 512,
            PuntClass::Neighbour | PuntClass::Routing | PuntClass::Other => 256,
            PuntClass::NeighbourGroup | PuntClass::Reply => 128,
        }
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// The frame, if its ring is full or its port has none.
    pub fn push(&self, class: PuntClass, frame: PortFrame<F>) -> Result<(), PortFrame<F>> {
        match self.rings.get(frame.port.index()) {
            Some(rings) => rings[class as usize].push(frame),
            None => Err(frame),
        }
    }

    /// The oldest frame of a class and port; `None` if there is none.
    #[must_use]
    pub fn pop(&self, class: PuntClass, port: PortId) -> Option<PortFrame<F>> {
        self.rings.get(port.index())?[class as usize].pop()
    }

    /// All frames that wait, class by class.
    pub fn drain(&self) -> impl Iterator<Item = PortFrame<F>> + '_ {
        let rings = PuntClass::ALL
            .into_iter()
            .flat_map(|class| self.rings.iter().map(move |rings| &rings[class as usize]));
        rings.flat_map(|ring| std::iter::from_fn(|| ring.pop()))
    }

    /// Ports that have rings.
    pub fn ports(&self) -> impl Iterator<Item = PortId> + use<F> {
        let count = u16::try_from(self.rings.len()).unwrap_or(u16::MAX);
        (0..count).map(PortId)
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rings.iter().flatten().map(ArrayQueue::len).sum()
    }

    /// Whether no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rings.iter().flatten().all(ArrayQueue::is_empty)
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
