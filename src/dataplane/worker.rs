//! A worker: THE LOOP.
//!
//! One thread per worker, one turn after another, run to completion. A turn takes a burst from every port, gives each
//! frame its verdict and sends what leaves; then it serves, within budgets, the frames of other workers and of the
//! kernel port, expiry, and control's commands.

use std::sync::Arc;

use super::flow::Tick;
use super::limits::TokenBucket;
use super::pipeline::{Egress, Inspected, Pipeline, Settings, View};
use super::verdict::{PuntClass, Verdict};
use crate::io::{BURST, Burst, Frame, Port};
use crate::model::{Mac, Nanos, PortId, V4, V6, WorkerId};
use crate::shared::rings::{CommandRings, FrameRings, Handoff, PortFrame};
use crate::shared::{Command, DropReason, Event, Fib, FlowPage, Reader, Snapshot, Tally, WorkerCounters};
use crate::wire::ethernet::Link;
use crate::wire::{Parsed, craft};

/// A port as one worker has it.
#[derive(Debug)]
pub struct WorkerPort<P> {
    /// Its queue pair; what it receives is empty where the worker has no receive queue.
    pub queue: P,
    /// The port's MAC address.
    pub mac: Mac,
    /// Largest IP packet, in octets.
    pub mtu: u16,
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
    core: Core<P>,
}

/// All of a worker but the readers, whose tables a turn borrows.
struct Core<P: Port> {
    id: WorkerId,
    ports: Vec<WorkerPort<P>>,
    /// Per port: frames to send at the end of the turn.
    out: Vec<Burst<P::Frame>>,
    pipeline: Pipeline,
    frames: FrameRings<P::Frame>,
    commands: CommandRings,
    counters: Arc<WorkerCounters>,
    limits: Limits,
    /// Turns since the tally was copied up.
    unpublished: u32,
}

/// Rates of what strangers can make a worker do.
struct Limits {
    refusals: TokenBucket,
    punts: [TokenBucket; 3],
}

impl Limits {
    fn new() -> Self {
        Self {
            // RFC 1812, 4.3.2.8 and RFC 4443, 2.4 f ask for a limit; this one is far above what clients cause and far
            // below what a flood could use.
            refusals: TokenBucket::new(10_000, 1_000),
            // Neighbour, routing, other: what a Linux kernel takes in without strain.
            punts: [
                TokenBucket::new(20_000, 2_000),
                TokenBucket::new(20_000, 2_000),
                TokenBucket::new(50_000, 5_000),
            ],
        }
    }

    const fn punt(&mut self, class: PuntClass) -> &mut TokenBucket {
        &mut self.punts[class as usize]
    }
}

/// Flows looked at for expiry per turn and family: at 100,000 turns a second and more, ten times what can be created.
const EXPIRY_BUDGET: u32 = 32;

/// Frames taken from each ring per turn.
const RING_BUDGET: usize = BURST;

/// Places of the flow table looked at for a listing per turn: about 10 us.
const LISTING_BUDGET: usize = 256;

/// Busy turns between two copies of the tally.
const PUBLISH_INTERVAL: u32 = 32;

impl<P: Port> Worker<P> {
    /// A worker over `ports`, by [`PortId`], with empty tables. Reserves memory for all its flows.
    #[must_use]
    pub fn new(settings: &Settings, ports: Vec<WorkerPort<P>>, connections: Connections<P::Frame>) -> Self {
        let Connections { snapshots, fibs, frames, commands, counters } = connections;
        let egress =
            ports.iter().map(|port| Egress { mac: port.mac, mtu: port.mtu, kernel: port.kernel }).collect();
        let pipeline = Pipeline::new(settings, egress, Arc::clone(&counters));
        let core = Core {
            id: settings.worker,
            out: ports.iter().map(|_| Burst::new()).collect(),
            ports,
            pipeline,
            frames,
            commands,
            counters,
            limits: Limits::new(),
            unpublished: 0,
        };
        Self { id: settings.worker, snapshots, fibs, core }
    }

    /// Which worker it is.
    #[must_use]
    pub const fn id(&self) -> WorkerId {
        self.id
    }

    /// What it has counted.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.core.pipeline.tally
    }

    /// One turn at time `now`, which never goes back. Returns whether there was anything to do.
    pub fn turn(&mut self, now: Nanos) -> bool {
        let view = View { tables: self.snapshots.current(), fib: self.fibs.current(), now };
        let core = &mut self.core;
        core.pipeline.take_over(view.tables);

        let mut busy = false;
        for port in 0..core.ports.len() {
            busy |= core.receive(port_id(port), view);
        }
        busy |= core.take_handed_in(view);
        busy |= core.take_injected();
        for port in 0..core.ports.len() {
            core.transmit(port_id(port));
        }
        busy |= core.pipeline.expire::<V4>(view.tick(), EXPIRY_BUDGET);
        busy |= core.pipeline.expire::<V6>(view.tick(), EXPIRY_BUDGET);
        busy |= core.serve_command(view.tick());
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
    /// A burst from one port.
    #[inline]
    fn receive(&mut self, port: PortId, view: View<'_>) -> bool {
        let mut burst = Burst::new();
        self.ports[port.index()].queue.receive(&mut burst);
        if burst.is_empty() {
            return false;
        }
        let tally = &mut self.pipeline.tally;
        tally.rx_packets += burst.len() as u64;
        tally.rx_octets += burst.iter().map(|frame| frame.octets() as u64).sum::<u64>();
        self.process(burst, port, false, view);
        true
    }

    /// The three passes; every frame of the burst ends in its verdict.
    #[inline(always)]
    fn process(&mut self, burst: Burst<P::Frame>, port: PortId, handed_in: bool, view: View<'_>) {
        let mut inspected = [Inspected::NOTHING; BURST];
        self.inspect(&burst, &mut inspected, port);
        for seen in &mut inspected[..burst.len()] {
            self.pipeline.look_ahead(seen);
        }
        for (mut frame, seen) in burst.into_iter().zip(&inspected) {
            let verdict = self.pipeline.balance(&mut frame, seen, port, handed_in, view);
            self.carry_out(verdict, frame, seen, port, view.now);
        }
    }

    /// The first pass, a function of its own for the sake of its registers.
    #[inline(never)]
    fn inspect(&self, burst: &Burst<P::Frame>, inspected: &mut [Inspected; BURST], port: PortId) {
        for frame in burst {
            frame.prefetch();
        }
        for (frame, seen) in burst.iter().zip(inspected) {
            self.pipeline.inspect(frame, port, seen);
        }
    }

    #[inline(always)]
    fn carry_out(&mut self, verdict: Verdict, frame: P::Frame, seen: &Inspected, port: PortId, now: Nanos) {
        match verdict {
            Verdict::Forward(egress) => self.send(egress, frame),
            verdict => self.carry_out_other(verdict, frame, seen, port, now),
        }
    }

    /// Everything but forwarding, out of its way.
    #[inline(never)]
    fn carry_out_other(
        &mut self,
        verdict: Verdict,
        frame: P::Frame,
        seen: &Inspected,
        port: PortId,
        now: Nanos,
    ) {
        match verdict {
            Verdict::Forward(egress) => self.send(egress, frame),
            Verdict::Drop(reason) => self.pipeline.tally.count_drop(reason),
            Verdict::Refuse(reason, refusal) => {
                self.pipeline.tally.count_drop(reason);
                self.refuse(refusal, &frame, seen, port, now);
            }
            Verdict::Punt(class) => self.punt(class, PortFrame { port, frame }, now),
            Verdict::Handoff(owner) => self.hand_off(owner, Handoff::Received { port, frame }),
        }
    }

    /// Stages a frame for a port, or gives it to the worker that sends for this one.
    #[inline(always)]
    fn send(&mut self, port: PortId, frame: P::Frame) {
        let transmitter = self.ports[port.index()].transmitter;
        if transmitter != self.id {
            self.hand_off(transmitter, Handoff::Transmit { port, frame });
            return;
        }
        if self.out[port.index()].is_full() {
            self.transmit(port);
        }
        self.out[port.index()].push(frame);
    }

    /// Gives staged frames to the port.
    #[inline]
    fn transmit(&mut self, port: PortId) {
        let staged = &mut self.out[port.index()];
        if staged.is_empty() {
            return;
        }
        let octets: u64 = staged.iter().map(|frame| frame.octets() as u64).sum();
        let sent = self.ports[port.index()].queue.transmit(staged);
        let tally = &mut self.pipeline.tally;
        tally.tx_packets += sent as u64;
        tally.tx_octets += octets;
        for refused in staged.drain(..) {
            tally.tx_octets -= refused.octets() as u64;
            tally.count_drop(DropReason::TxQueueFull);
        }
    }

    /// Tells the sender of a dropped packet, within the rate limit.
    #[cold]
    fn refuse(
        &mut self,
        refusal: craft::Refusal,
        frame: &P::Frame,
        seen: &Inspected,
        port: PortId,
        now: Nanos,
    ) {
        let ingress = &mut self.ports[port.index()];
        let (Some(link), Ok(Parsed::Ip(packet))) = (Link::read(frame.head()), &seen.parsed) else { return };
        let Some(answer) = craft::refuse(refusal, &link, packet, frame.head(), ingress.mac) else {
            return;
        };
        let reply = if self.limits.refusals.take(now) { ingress.queue.allocate() } else { None };
        let reply = reply.and_then(|mut reply| reply.append(&answer).then_some(reply));
        let Some(reply) = reply else {
            self.pipeline.tally.unanswered += 1;
            return;
        };
        self.pipeline.tally.originated += 1;
        self.send(port, reply);
    }

    #[cold]
    fn punt(&mut self, class: PuntClass, frame: PortFrame<P::Frame>, now: Nanos) {
        if !self.limits.punt(class).take(now) {
            self.pipeline.tally.count_drop(DropReason::PuntPoliced);
        } else if self.frames.punts.push(frame).is_err() {
            self.pipeline.tally.count_drop(DropReason::PuntRingFull);
        } else {
            self.pipeline.tally.punted += 1;
        }
    }

    fn hand_off(&mut self, worker: WorkerId, frame: Handoff<P::Frame>) {
        if self.frames.inboxes[worker.index()].push(frame).is_err() {
            self.pipeline.tally.count_drop(DropReason::HandoffRingFull);
        } else {
            self.pipeline.tally.handed_off += 1;
        }
    }

    /// Frames of other workers.
    fn take_handed_in(&mut self, view: View<'_>) -> bool {
        let mut taken = 0;
        let mut burst = Burst::new();
        let mut burst_port = PortId(0);
        while taken < RING_BUDGET {
            let Some(handed) = self.frames.inboxes[self.id.index()].pop() else { break };
            taken += 1;
            match handed {
                Handoff::Transmit { port, frame } => self.send(port, frame),
                Handoff::Received { port, frame } => {
                    if port != burst_port && !burst.is_empty() {
                        self.process(std::mem::take(&mut burst), burst_port, true, view);
                    }
                    burst_port = port;
                    burst.push(frame);
                }
            }
        }
        self.process(burst, burst_port, true, view);
        self.pipeline.tally.handed_in += taken as u64;
        taken > 0
    }

    /// Frames of the kernel, to be sent as they are.
    fn take_injected(&mut self) -> bool {
        let mut taken = 0;
        while taken < RING_BUDGET {
            let Some(PortFrame { port, frame }) = self.frames.injections[self.id.index()].pop() else {
                break;
            };
            taken += 1;
            self.send(port, frame);
        }
        self.pipeline.tally.injected += taken as u64;
        taken > 0
    }

    /// A step of a command of control's.
    fn serve_command(&mut self, now: Tick) -> bool {
        let events = &self.commands.events[self.id.index()];
        // An event ring without room keeps the command where it is.
        if events.is_full() {
            return false;
        }
        let Some(command) = self.commands.commands[self.id.index()].pop() else { return false };
        let event = match command {
            Command::ListFlows(mut page) => {
                self.list_flows(&mut page, now);
                Event::Flows(page)
            }
        };
        // This worker is the only producer, and there was room.
        let _ = events.push(event);
        true
    }

    /// Fills a page: IPv4 flows first, then IPv6, by place in the table.
    fn list_flows(&self, page: &mut FlowPage, now: Tick) {
        let flows = &self.pipeline.flows;
        let places = LISTING_BUDGET.min(page.records.capacity());
        page.records.clear();
        let cursor = usize::try_from(page.cursor & !V6_CURSOR).unwrap_or(usize::MAX);
        let mut add = |record| {
            if page.filter.matches(&record) {
                page.records.push(record);
            }
        };
        if page.cursor & V6_CURSOR == 0 {
            if let Some(entries) = flows.v4.scan(cursor, places) {
                entries.for_each(|entry| add(flows.v4.record(entry, now)));
                page.cursor += places as u64;
            } else {
                page.cursor = V6_CURSOR;
            }
        } else if let Some(entries) = flows.v6.scan(cursor, places) {
            entries.for_each(|entry| add(flows.v6.record(entry, now)));
            page.cursor += places as u64;
        } else {
            page.done = true;
        }
    }

    #[inline]
    fn count_turn(&mut self, busy: bool) {
        self.counters.count_turn();
        if busy {
            self.pipeline.tally.busy_turns += 1;
            self.unpublished += 1;
        }
        // Idle turns have the time; busy ones share the cost.
        if self.unpublished >= PUBLISH_INTERVAL || !busy && self.unpublished > 0 {
            self.counters.publish(&self.pipeline.tally);
            self.unpublished = 0;
        }
    }
}

/// The bit of a listing's cursor that says that the IPv4 table is done.
const V6_CURSOR: u64 = 1 << 63;

fn port_id(index: usize) -> PortId {
    PortId(u16::try_from(index).expect("the configuration bounds the number of ports"))
}
