//! A worker: THE LOOP.
//!
//! One thread per worker, one turn after another, run to completion. A turn takes a burst from every port and the frames of
//! other workers, gives each its verdict and sends what leaves; then, where they are due and within budgets, it does its
//! `chores`: frames of the kernel port, expiry, control's commands.

mod ahead;
mod answer;
mod batch;
mod chores;
mod hold;
mod rates;
mod split;

use std::sync::Arc;

use crossbeam::utils::CachePadded;

use self::batch::{Batch, Batches};
use self::chores::Chores;
use self::hold::HeldFrames;
use self::rates::Rates;
use self::split::Identifications;
use super::flow::Generation;
use super::inspect::Inspected;
use super::pipeline::{Pipeline, PipelinePort, Settings, View};
use super::verdict::Verdict;
use crate::io::{BURST, Burst, Frame, Port};
use crate::model::{Nanos, PortId, TablePages, WorkerId};
use crate::shared::rings::{CommandRings, FrameRings, Handoff, PortFrame};
use crate::shared::{DropReason, Egress, Fib, PuntClass, Reader, Snapshot, Tally, WorkerCounters};

/// A port as one worker has it.
#[derive(Debug)]
pub struct WorkerPort<P> {
    /// Its queue pair; what it receives is empty where the worker has no receive queue.
    pub queue: P,
    /// How frames leave by it.
    pub egress: Egress,
    /// Whether frames for the kernel have somewhere to go.
    pub kernel: bool,
    /// The worker that sends for this one: itself, if it has a transmit queue.
    pub transmitter: WorkerId,
}

/// What a worker is connected to.
pub struct Connections<F> {
    /// The current tables.
    pub snapshots: Reader<Snapshot>,
    /// The current next hops.
    pub fibs: Reader<Fib>,
    /// Rings that carry frames.
    pub frames: FrameRings<F>,
    /// Rings to and from control.
    pub commands: CommandRings,
    /// Where to count.
    pub counters: Arc<WorkerCounters>,
}

/// See the module.
pub struct Worker<P: Port> {
    id: WorkerId,
    snapshots: Reader<Snapshot>,
    fibs: Reader<Fib>,
    generation: CurrentGeneration,
    batches: Batches<P::Frame>,
    core: Core<P>,
}

/// Tells when the tables are others.
struct CurrentGeneration {
    generation: Generation,
    /// The numbers of snapshot and Fib; none were before the first turn.
    numbers: Option<(u64, u64)>,
}

impl CurrentGeneration {
    /// Goes on to the tables with these numbers of snapshot and Fib. Whether they are others than in the last turn.
    #[inline(always)]
    fn follow(&mut self, numbers: (u64, u64)) -> bool {
        let are_others = self.numbers != Some(numbers);
        if are_others {
            self.numbers = Some(numbers);
            self.generation = self.generation.next();
        }
        are_others
    }
}

/// A port, and the frames that leave by it at the end of the turn.
struct Side<P: Port> {
    port: WorkerPort<P>,
    out: Burst<P::Frame>,
}

/// All of a worker but the readers, whose tables a turn borrows.
struct Core<P: Port> {
    id: WorkerId,
    /// Padded, as small memory lies side by side, and these change with every packet: no other worker's may share their lines.
    sides: Vec<CachePadded<Side<P>>>,
    /// Whether any of them may have frames that are to leave.
    has_staged: bool,
    pipeline: Pipeline,
    frames: FrameRings<P::Frame>,
    commands: CommandRings,
    counters: Arc<WorkerCounters>,
    rates: Rates,
    identifications: Identifications,
    held: HeldFrames<P::Frame>,
    chores: Chores,
}

/// Frames taken from each ring per turn.
const RING_BUDGET: usize = BURST;

impl<P: Port> Worker<P> {
    /// A worker over `ports`, by [`PortId`], with empty tables. Reserves memory for all its flows.
    #[must_use]
    pub fn new(settings: &Settings, ports: Vec<WorkerPort<P>>, connections: Connections<P::Frame>) -> Self {
        let Connections { snapshots, fibs, frames, commands, counters } = connections;
        let views = ports.iter().map(|port| PipelinePort { egress: port.egress, kernel: port.kernel });
        let pipeline = Pipeline::new(settings, views.collect(), Arc::clone(&counters));
        let count = ports.len();
        let core = Core {
            id: settings.worker,
            sides: ports.into_iter().map(|port| Side { port, out: Burst::new() }.into()).collect(),
            has_staged: false,
            pipeline,
            frames,
            commands,
            counters,
            rates: Rates::new(count),
            identifications: Identifications::new(settings.worker, settings.workers),
            held: HeldFrames::new(),
            chores: Chores::new(),
        };
        let first = Generation::first(u16::try_from(count).unwrap_or(u16::MAX));
        let generation = CurrentGeneration { generation: first, numbers: None };
        Self { id: settings.worker, snapshots, fibs, generation, batches: Batches::new(), core }
    }

    /// Which worker it is.
    #[must_use]
    pub const fn id(&self) -> WorkerId {
        self.id
    }

    /// The memory that its flow tables take when they are full, in octets, and where all of it lies.
    #[must_use]
    pub fn flow_tables(&self) -> (usize, TablePages) {
        self.core.pipeline.flows.memory()
    }

    /// What it has counted.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.core.pipeline.tally
    }

    /// One turn at time `now`, which never goes back. Returns whether there was anything to do.
    pub fn turn(&mut self, now: Nanos) -> bool {
        let Self { core, batches, snapshots, fibs, generation, .. } = self;
        let (tables, tables_number) = snapshots.current_numbered();
        let (fib, fib_number) = fibs.current_numbered();
        let are_others = generation.follow((tables_number, fib_number));
        let view = View { tables, fib, generation: generation.generation, now };
        if are_others || core.pipeline.is_sweeping() {
            core.pipeline.take_over(view);
        }

        let mut busy = false;
        for port in core.port_ids() {
            busy |= core.receive(port, batches, view);
        }
        if core.has_handed_in() {
            busy |= core.take_handed_in(batches.fresh(), view);
        }
        let chores = core.chores_due(busy, view.tick());
        busy |= chores.is_some() && core.take_injected();
        if core.has_staged {
            core.transmit_staged();
        }
        if let Some(packets) = chores {
            busy |= core.do_chores(packets, view);
        }
        core.count_turn(busy);
        busy
    }

    /// Lets go of the tables, until the next turn: before a sleep, so that control can free what it replaced.
    pub fn rest(&mut self) {
        self.snapshots.offline();
        self.fibs.offline();
    }
}

impl<P: Port> Core<P> {
    #[inline(always)]
    fn port_ids(&self) -> impl Iterator<Item = PortId> + use<P> {
        let count = u16::try_from(self.sides.len()).unwrap_or(u16::MAX);
        (0..count).map(PortId)
    }

    /// The third pass for a frame that goes the general way.
    fn process_general(
        &mut self,
        mut frame: P::Frame,
        seen: &mut Inspected,
        port: PortId,
        handed_in: bool,
        view: View<'_>,
    ) {
        let verdict = self.pipeline.balance(&mut frame, seen, port, handed_in, view);
        self.conclude(verdict, frame, seen, (port, handed_in), view);
        self.release_followers(view);
    }

    /// Does with a frame what its verdict says.
    #[inline(never)]
    fn conclude(
        &mut self,
        verdict: Verdict,
        mut frame: P::Frame,
        seen: &Inspected,
        (port, handed_in): (PortId, bool),
        view: View<'_>,
    ) {
        match verdict {
            Verdict::Forward(egress) => self.send(egress, frame),
            Verdict::Connect(egress, flow) => self.connect((egress, frame), flow, seen, port, view),
            Verdict::Split(egress, mtu) => self.send_split(frame, port, (egress, mtu)),
            Verdict::Behind(egress, mtu, flow) => self.send_behind(frame, port, (egress, mtu), flow),
            Verdict::Drop(reason) => self.pipeline.tally.count_drop(reason),
            Verdict::Reply => self.reply(frame, port, view.now),
            Verdict::Refuse(reason, refusal) => {
                self.pipeline.tally.count_drop(reason);
                self.refuse(refusal, &frame, seen, port, view.now);
            }
            Verdict::Kill(flow, direction) => self.kill((flow, direction), &mut frame, seen, port, view),
            Verdict::Punt(class) => self.punt(class, PortFrame { port, frame }, view.now),
            Verdict::Handoff(owner) => {
                let handed = Handoff::Received { port, frame };
                hand_off(&self.frames, &mut self.pipeline.tally, owner, handed);
            }
            Verdict::Hold(key) => self.hold(key, (frame, seen), port, handed_in, view),
        }
    }

    /// Stages a frame for a port.
    #[inline(always)]
    fn send(&mut self, port: PortId, frame: P::Frame) {
        self.has_staged = true;
        if let Err(full) = self.sides[port.index()].out.try_push(frame) {
            self.transmit(port);
            self.sides[port.index()].out.push(full.element());
        }
    }

    /// Sends a burst of so many octets, behind what is staged, or leaves it as it is where it would have to be copied.
    #[inline(always)]
    fn send_all(&mut self, port: PortId, frames: &mut Burst<P::Frame>, octets: u64) {
        let Self { sides, pipeline, id, .. } = self;
        let Side { port, out } = &mut *sides[port.index()];
        if out.is_empty() && port.transmitter == *id {
            transmit(port, frames, octets, &mut pipeline.tally);
        }
    }

    /// Gives what is staged to all ports.
    #[inline(never)]
    fn transmit_staged(&mut self) {
        self.has_staged = false;
        for port in self.port_ids() {
            if !self.sides[port.index()].out.is_empty() {
                self.transmit(port);
            }
        }
    }

    /// Gives staged frames to the port, or to the worker that sends for this one.
    #[inline(never)]
    fn transmit(&mut self, id: PortId) {
        let Side { port, out: staged } = &mut *self.sides[id.index()];
        let tally = &mut self.pipeline.tally;
        if port.transmitter == self.id {
            let octets = staged.iter().map(|frame| frame.octets() as u64).sum();
            return transmit(port, staged, octets, tally);
        }
        for frame in staged.drain(..) {
            let handed = Handoff::Transmit { port: id, frame };
            hand_off(&self.frames, tally, port.transmitter, handed);
        }
    }

    #[cold]
    fn punt(&mut self, class: PuntClass, frame: PortFrame<P::Frame>, now: Nanos) {
        if !self.rates.punt(class, frame.port).take(now) {
            self.pipeline.tally.count_drop(class.policed());
        } else if self.frames.punts.push(class, frame).is_err() {
            self.pipeline.tally.count_drop(DropReason::PuntRingFull);
        } else {
            self.pipeline.tally.punted += 1;
        }
    }

    /// Whether there are frames of other workers.
    #[inline(always)]
    fn has_handed_in(&self) -> bool {
        // To look costs less than to try: that takes a fence.
        !self.frames.inboxes[self.id.index()].is_empty()
    }

    #[inline(never)]
    fn take_handed_in(&mut self, batch: &mut Batch<P::Frame>, view: View<'_>) -> bool {
        let mut taken = 0;
        while taken < RING_BUDGET {
            let Some(handed) = self.frames.inboxes[self.id.index()].pop() else { break };
            taken += 1;
            match handed {
                Handoff::Transmit { port, frame } => self.send(port, frame),
                Handoff::Received { port, frame } => {
                    if port != batch.port {
                        self.process(batch, view);
                    }
                    (batch.port, batch.handed_in) = (port, true);
                    batch.frames.push(frame);
                }
            }
        }
        self.process(batch, view);
        self.pipeline.tally.handed_in += taken as u64;
        taken > 0
    }
}

/// Gives frames of so many octets to a port; what it does not take is dropped.
#[inline(always)]
fn transmit<P: Port>(port: &mut WorkerPort<P>, frames: &mut Burst<P::Frame>, octets: u64, tally: &mut Tally) {
    let sent = port.queue.transmit(frames);
    tally.tx_packets += sent as u64;
    tally.tx_octets += octets;
    if frames.is_empty() {
        return;
    }
    for refused in frames.drain(..) {
        tally.tx_octets -= refused.octets() as u64;
        tally.count_drop(DropReason::TxQueueFull);
    }
}

/// Gives a frame to another worker.
fn hand_off<F>(rings: &FrameRings<F>, tally: &mut Tally, worker: WorkerId, frame: Handoff<F>) {
    if rings.inboxes[worker.index()].push(frame).is_err() {
        tally.count_drop(DropReason::HandoffRingFull);
    } else {
        tally.handed_off += 1;
    }
}
