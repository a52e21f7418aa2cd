//! Runs the worker over captures, offline: no root, no DPDK, the clock taken from the capture.
//!
//! The same worker as in `run`, on memory ports. Every backend is up, every next hop resolved, the secret of the index
//! hash fixed: the same input gives the same output to the byte.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use thiserror::Error;

use super::cli::{ReplayArgs, ReplayInput};
use super::table::{Column, Table};
use crate::config::{Config, PortConfig, ProbeKind};
use crate::control::state::{Effect, State};
use crate::dataplane::flow::Tick;
use crate::dataplane::worker::Connections;
use crate::dataplane::{Settings, Worker, WorkerPort};
use crate::hash::IndexKey;
use crate::io::Frame;
use crate::io::mem::{MemFrame, MemPort, Pool, Wire};
use crate::io::pcap::{CaptureError, CaptureReader, CaptureWriter, CapturedFrame};
use crate::model::{Cidr, Mac, Nanos, NextHopId, PortId, VlanTag, WorkerId};
use crate::shared::rings::{CommandRings, FrameRings};
use crate::shared::{
    Capacities, DropReason, Egress, Fib, NextHop, Publisher, Snapshot, Tally, WorkerCounters, channel,
};

/// Replays what `args` name.
///
/// # Errors
/// A configuration that is wrong, a port that is not in it, or a capture that cannot be read or written. What was read
/// of a capture before it broke off is replayed, and written.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let config = crate::config::load(&args.config)?;
    let mut inputs =
        args.inputs.iter().map(|input| Input::open(input, &config)).collect::<Result<Vec<_>, _>>()?;
    let mut replay = Replay::new(config)?;
    // The last that can fail: what was there before is not lost to a mistake.
    refuse_to_overwrite(args)?;
    let mut out = CaptureWriter::create(&args.out)?;
    let mut broken = Ok(());
    while let Some((port, frame)) = earliest(&mut inputs) {
        match frame {
            Ok(frame) => replay.receive(port, &frame, &mut out)?,
            Err(error) => broken = Err(error),
        }
    }
    out.finish()?;
    let report = Report::new(replay.worker.tally());
    super::print(&if args.json { report.json()? } else { report.text() })?;
    Ok(broken?)
}

/// A command line that cannot be meant.
#[derive(Debug, Error)]
pub enum Misuse {
    /// A capture for a port that is not configured.
    #[error("--in {name}=...: the configuration has no port {name:?}; it has {known}")]
    NoPort {
        /// The port as given.
        name: String,
        /// The ports that there are.
        known: String,
    },
    /// Writing the output would destroy what is read.
    #[error("--out {}: this is {} itself; name another file", out.display(), read.display())]
    Overwrite {
        /// The output as given.
        out: PathBuf,
        /// The file that is read.
        read: PathBuf,
    },
}

/// The output must not be one of the files that are read, under whatever name.
fn refuse_to_overwrite(args: &ReplayArgs) -> Result<(), Misuse> {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((metadata.dev(), metadata.ino()))
    };
    let Some(out) = identity(&args.out) else { return Ok(()) };
    let mut read = args.inputs.iter().map(|input| &input.path).chain([&args.config]);
    match read.find(|path| identity(path) == Some(out)) {
        Some(read) => Err(Misuse::Overwrite { out: args.out.clone(), read: read.clone() }),
        None => Ok(()),
    }
}

/// A capture and the port it enters.
struct Input {
    port: PortId,
    frames: Peekable<CaptureReader>,
}

impl Input {
    fn open(input: &ReplayInput, config: &Config) -> anyhow::Result<Self> {
        let port = match &input.port {
            None => PortId(0),
            Some(name) => config.port(name).ok_or_else(|| {
                let known: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
                Misuse::NoPort { name: name.clone(), known: known.join(", ") }
            })?,
        };
        Ok(Self { port, frames: CaptureReader::open(&input.path)?.peekable() })
    }

    /// The time of the next frame; what is broken comes first, so that it is not forgotten.
    fn time(&mut self) -> Option<Nanos> {
        self.frames.peek().map(|frame| frame.as_ref().map_or(Nanos(0), |frame| frame.time))
    }
}

/// The next frame of all captures by time; of those of one time, the first capture's.
fn earliest(inputs: &mut [Input]) -> Option<(PortId, Result<CapturedFrame, CaptureError>)> {
    let times = inputs.iter_mut().enumerate().filter_map(|(place, input)| Some((input.time()?, place)));
    let (_, place) = times.min()?;
    let input = &mut inputs[place];
    Some((input.port, input.frames.next()?))
}

/// A worker between captures.
struct Replay {
    worker: Worker<MemPort>,
    /// By port.
    wires: Vec<Wire>,
    egresses: Vec<Egress>,
    pool: Pool,
    rings: FrameRings<MemFrame>,
    /// The last moment at which the worker turned; `None` before the first frame.
    now: Option<Nanos>,
    /// Kept, as readers need their publishers.
    _tables: (Publisher<Snapshot>, Publisher<Fib>),
}

/// The largest frame that is replayed whole: the largest IP packet behind an Ethernet header with two tags.
const LARGEST_FRAME: usize = 22 + 65_535;

/// Frames on their way: one in, its answer, and room to spare.
const BUFFERS: usize = 16;

impl Replay {
    fn new(mut config: Config) -> anyhow::Result<Self> {
        // Backends that are not probed are in service.
        for service in &mut config.services {
            service.health.kind = ProbeKind::None;
        }
        let capacities =
            Capacities { services: config.appliance.max_services, backends: config.appliance.max_backends };
        let (_, effects) = State::new(Nanos(0), config.clone())?;
        let published = effects.into_iter().find_map(|effect| match effect {
            Effect::Publish(snapshot) => Some(*snapshot),
            _ => None,
        });
        let Some(snapshot) = published else { bail!("the configuration led to no tables") };

        let egress = |(port, n): (&PortConfig, u8)| Egress {
            port: PortId(u16::from(n)),
            mac: port.mac.unwrap_or_else(|| our_mac(n)),
            mtu: port.mtu,
        };
        let egresses: Vec<Egress> = config.ports.iter().zip(0..).map(egress).collect();
        let (snapshots, mut snapshot_readers) = channel(snapshot, 1);
        let (fibs, mut fib_readers) = channel(resolved_fib(&config, &egresses), 1);
        let (Some(snapshot_reader), Some(fib_reader)) = (snapshot_readers.pop(), fib_readers.pop()) else {
            bail!("a channel has as many readers as it was asked for");
        };
        let pool = Pool::new(BUFFERS, LARGEST_FRAME);
        let wires: Vec<Wire> = config.ports.iter().map(|_| Wire::new(BUFFERS)).collect();
        let rings = FrameRings::new(1);
        let settings = Settings {
            worker: WorkerId(0),
            workers: 1,
            flows: config.appliance.flows_per_worker,
            capacities,
            key: IndexKey::new([
                0x243f_6a88_85a3_08d3,
                0x1319_8a2e_0370_7344,
                0xa409_3822_299f_31d0,
                0x082e_fa98_ec4e_6c89,
            ]),
        };
        let port = |((port, wire), egress): ((&PortConfig, &Wire), &Egress)| WorkerPort {
            queue: MemPort::new(wire.clone(), pool.clone()),
            egress: *egress,
            kernel: port.kernel_interface.is_some(),
            transmitter: WorkerId(0),
        };
        let ports = config.ports.iter().zip(&wires).zip(&egresses).map(port).collect();
        let connections = Connections {
            snapshots: snapshot_reader,
            fibs: fib_reader,
            frames: rings.clone(),
            commands: CommandRings::new(1),
            counters: Arc::new(WorkerCounters::new(capacities)),
        };
        let worker = Worker::new(&settings, ports, connections);
        Ok(Self { worker, wires, egresses, pool, rings, now: None, _tables: (snapshots, fibs) })
    }

    /// Lets a frame enter `port` at its time, as if addressed to the port's MAC address, and writes what leaves.
    fn receive(
        &mut self,
        port: PortId,
        captured: &CapturedFrame,
        out: &mut CaptureWriter,
    ) -> anyhow::Result<()> {
        // A capture may go back by a little; the worker's clock does not.
        let now = self.now.map_or(captured.time, |now| now.max(captured.time));
        self.run_timers(now);

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

    /// Runs the timers that are due up to `now`, each at its time.
    fn run_timers(&mut self, now: Nanos) {
        let Some(last) = self.now else {
            return self.settle(now);
        };
        let mut due = Tick::next(last);
        while due < now && self.worker.tally().flows() > 0 {
            self.settle(due);
            due = Tick::next(due);
        }
    }

    /// Turns until there is nothing to do at `now`.
    fn settle(&mut self, now: Nanos) {
        self.now = Some(now);
        while self.worker.turn(now) {}
        // What the kernel would get is counted by the worker.
        while self.rings.punts.pop().is_some() {}
    }
}

/// The address of a port whose own is not known offline.
const fn our_mac(port: u8) -> Mac {
    Mac([0x02, 0x65, 0x6b, 0, 0, port])
}

/// The address of whatever is behind a port.
const fn next_hop_mac(port: u8) -> Mac {
    Mac([0x02, 0x65, 0x6b, 0, 1, port])
}

/// Next hops for every address: by the configuration's static ones and the ports' own networks; the rest by the first
/// port.
fn resolved_fib(config: &Config, egresses: &[Egress]) -> Fib {
    let mut fib = Fib::default();
    let next_hop =
        |port: PortId, vlan, destination| NextHop::new(egresses[port.index()], vlan, Some(destination));
    let mut add = |hop: NextHop, prefixes: &mut dyn Iterator<Item = Cidr>| {
        let Ok(id) = u16::try_from(fib.next_hops.len()) else { return };
        fib.next_hops.push(hop);
        for prefix in prefixes {
            fib.add_static(prefix, NextHopId(id));
        }
    };
    for (port, n) in config.ports.iter().zip(0_u8..) {
        let everywhere =
            ["0.0.0.0/0", "::/0"].into_iter().filter(|_| n == 0).filter_map(|all| all.parse().ok());
        let networks = port.addresses.iter().filter_map(|(address, length)| Cidr::new(*address, *length));
        let hop = next_hop(PortId(u16::from(n)), VlanTag::AsReceived, next_hop_mac(n));
        add(hop, &mut everywhere.chain(networks));
    }
    for fixed in &config.next_hops {
        let vlan = fixed.vlan.map_or(VlanTag::AsReceived, VlanTag::Id);
        add(next_hop(fixed.port, vlan, fixed.mac), &mut std::iter::once(fixed.prefix));
    }
    fib
}

/// What became of the frames.
#[derive(Debug, Serialize)]
struct Report {
    received: u64,
    sent: u64,
    originated: u64,
    punted: u64,
    dropped: u64,
    drops: BTreeMap<&'static str, u64>,
    flows_created: u64,
    flows: u64,
}

impl Report {
    fn new(tally: &Tally) -> Self {
        let drops = DropReason::ALL.into_iter().map(|reason| (reason.name(), tally.drops[reason as usize]));
        Self {
            received: tally.rx_packets,
            sent: tally.tx_packets,
            originated: tally.originated,
            punted: tally.punted,
            dropped: tally.dropped(),
            drops: drops.filter(|(_, count)| *count > 0).collect(),
            flows_created: tally.flows_created,
            flows: tally.flows(),
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn text(&self) -> String {
        let mut table = Table::new(&[Column::Left("FRAMES"), Column::Right("COUNT")]);
        for (what, count) in [
            ("received", self.received),
            ("sent", self.sent),
            ("of them made here", self.originated),
            ("punted to the kernel", self.punted),
            ("dropped", self.dropped),
        ] {
            table.row([what.to_owned(), count.to_string()]);
        }
        for (reason, count) in &self.drops {
            table.row([format!("  {reason}"), count.to_string()]);
        }
        format!("{table}\nflows created {}, left {}\n", self.flows_created, self.flows)
    }
}
