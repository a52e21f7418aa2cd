//! A worker between captures, and the control that it works for.

use std::sync::Arc;

use anyhow::{Context, bail};

use super::control::Control;
use super::events::Event;
use super::network::{ResolvedNetwork, egresses};
use super::report::Report;
use crate::config::{Config, PortConfig};
use crate::dataplane::flow::Tick;
use crate::dataplane::fragments::HELD_FRAGMENTS;
use crate::dataplane::worker::Connections;
use crate::dataplane::{Settings, Worker, WorkerPort};
use crate::hash::IndexKey;
use crate::io::Frame;
use crate::io::mem::{MemFrame, MemPort, Pool, Wire};
use crate::io::pcap::{CaptureWriter, CapturedFrame};
use crate::model::{Nanos, PortId, TablePages, WorkerId};
use crate::shared::rings::{CommandRings, FrameRings};
use crate::shared::{Capacities, Egress, Limits, PathMtus, Persistence, SynProxies, WorkerCounters};

/// The worker, its ports and its control.
pub(super) struct Replay {
    worker: Worker<MemPort>,
    control: Control,
    /// By port.
    wires: Vec<Wire>,
    egresses: Vec<Egress>,
    pool: Pool,
    rings: FrameRings<MemFrame>,
    /// The last moment at which the worker turned; `None` before the first.
    now: Option<Nanos>,
}

/// The largest frame that is replayed whole: the largest IP packet behind an Ethernet header with two tags.
const LARGEST_FRAME: usize = 22 + 65_535;

/// Frames on their way: one in, its answer, fragments that wait, and room to spare.
const BUFFERS: usize = HELD_FRAGMENTS + 16;

impl Replay {
    /// With every backend of `config` up. `events` are in the order of time; the first frame comes at `first`.
    pub(super) fn new(config: Config, events: Vec<Event>, first: Nanos) -> anyhow::Result<Self> {
        let capacities =
            Capacities::of_configured(config.appliance.max_services, config.appliance.max_backends);
        let key = IndexKey::new([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ]);
        let limits = Arc::new(Limits::new(capacities, config.appliance.max_clients, &key));
        let persistence = Arc::new(Persistence::new(config.appliance.max_clients, &key));
        let syn_proxies = Arc::new(SynProxies::new(capacities.services));
        let settings = Settings {
            worker: WorkerId(0),
            workers: 1,
            flows: config.appliance.flows_per_worker,
            pages: TablePages::Ordinary,
            capacities,
            key,
            limits: Arc::clone(&limits),
            persistence: Arc::clone(&persistence),
            syn_proxies: Arc::clone(&syn_proxies),
            path_mtus: Arc::new(PathMtus::new(capacities.backends)),
        };
        let egresses = egresses(&config);
        let pool = Pool::new(BUFFERS, LARGEST_FRAME);
        let wires: Vec<Wire> = config.ports.iter().map(|_| Wire::new(BUFFERS)).collect();
        let port = |((port, wire), egress): ((&PortConfig, &Wire), &Egress)| WorkerPort {
            queue: MemPort::new(wire.clone(), pool.clone()),
            egress: *egress,
            kernel: port.kernel_interface.is_some(),
            transmitter: WorkerId(0),
        };
        let ports = config.ports.iter().zip(&wires).zip(&egresses).map(port).collect();

        let counters = Arc::new(WorkerCounters::new(capacities));
        let (network, mut fibs) = ResolvedNetwork::new(&config, &egresses);
        let shared = (limits, persistence, syn_proxies);
        let (control, snapshots) =
            Control::new(config, network, Arc::clone(&counters), shared, (events, first))?;
        let rings = FrameRings::new(1, egresses.len());
        let connections = Connections {
            snapshots,
            fibs: fibs.pop().context("a channel has as many readers as it was asked for")?,
            frames: rings.clone(),
            commands: CommandRings::new(1),
            counters,
        };
        let worker = Worker::new(&settings, ports, connections);
        Ok(Self { worker, control, wires, egresses, pool, rings, now: None })
    }

    /// Lets a frame enter `port` at its time, as if addressed to the port's MAC address, and writes what leaves.
    pub(super) fn receive(
        &mut self,
        port: PortId,
        captured: &CapturedFrame,
        out: &mut CaptureWriter,
    ) -> anyhow::Result<()> {
        // A capture may go back by a little; the worker's clock does not.
        let now = self.now.map_or(captured.time, |now| now.max(captured.time));
        self.advance(now)?;

        // Of a frame that is not all there nothing is used: the worker sees one without headers, and counts it.
        let whole = !captured.cut && captured.bytes.len() <= LARGEST_FRAME;
        let bytes = if whole { captured.bytes.as_slice() } else { &[] };
        let mut frame = self.pool.frame(bytes).context("a frame was kept back by the worker")?;
        if let Some(destination) = frame.head_mut().first_chunk_mut() {
            *destination = self.egresses[port.index()].mac.0;
        }
        if self.wires[port.index()].inbound.push(frame).is_err() {
            bail!("the worker did not take a frame");
        }
        self.settle(now);
        for wire in &self.wires {
            while let Some(sent) = wire.outbound.pop() {
                out.write(captured.time, sent.head())?;
            }
        }
        Ok(())
    }

    /// Does what is due up to `now`, each thing at its time: events and control's publications, the worker's timers.
    fn advance(&mut self, now: Nanos) -> anyhow::Result<()> {
        while let Some(due) = self.control.due().filter(|due| *due <= now) {
            self.run_timers(due);
            self.control.run(due)?;
            self.settle(due);
        }
        self.run_timers(now);
        Ok(())
    }

    /// Runs the worker's timers that are due before `now`, each at its time.
    fn run_timers(&mut self, now: Nanos) {
        let Some(last) = self.now else {
            return self.settle(now);
        };
        let mut due = Tick::next(last);
        while due < now && self.worker.tally().flows() + self.worker.tally().held > 0 {
            self.settle(due);
            due = Tick::next(due);
        }
    }

    /// Turns until there is nothing to do at `now`.
    fn settle(&mut self, now: Nanos) {
        self.now = Some(now);
        while self.worker.turn(now) {}
        // What the kernel would get is counted by the worker.
        self.rings.punts.drain().for_each(drop);
    }

    /// What became of the frames, and, if there were `events`, of those. Fragments that still wait do so in vain: nothing
    /// comes behind the last frame.
    pub(super) fn report(&mut self, events: bool) -> Report {
        while let Some(now) = self.now
            && self.worker.tally().held > 0
        {
            self.settle(Tick::next(now));
        }
        Report::new(self.worker.tally(), events.then(|| self.control.report()))
    }
}
