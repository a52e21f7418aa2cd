//! The stages that a frame goes through, for one worker: inspect, look up, balance.
//!
//! A burst takes three passes, so that memory is asked for before it is needed: [`Pipeline::inspect`] parses and asks
//! for the index line, [`Pipeline::look_ahead`] asks for the flow that the line names, [`Pipeline::balance`] does the
//! work. The first two only hint: balance looks up again, as a frame before it in the burst may have changed the table.

use std::sync::Arc;

use super::flow::{Direction, FlowFamily, FlowId, FlowTable, Flows, Guess, Tick, TimeoutTicks, tcp};
use super::last_hop::LastHops;
use super::link;
use super::local_ports::LocalPorts;
use super::steer::Steering;
use super::verdict::Verdict;
use crate::hash::IndexKey;
use crate::io::Frame;
use crate::model::{BackendState, Mac, Nanos, PortId, Protocol, Timeouts, V4, V6, WorkerId};
use crate::shared::{Capacities, DropReason, Fib, Snapshot, Tally, WorkerCounters};
use crate::wire::craft::Refusal;
use crate::wire::ethernet::{self, Link};
use crate::wire::{
    Layout, Malformed, Network, Packet, Parsed, Transport, parse, parse_common, rewrite, tuple_common,
};

/// What a worker is made with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which worker it is.
    pub worker: WorkerId,
    /// One of how many, 1 to 1024.
    pub workers: u16,
    /// Flows per address family at most.
    pub flows: usize,
    /// Ids that there are counters for.
    pub capacities: Capacities,
    /// The secret of the index hash; the same for all workers of a process.
    pub key: IndexKey,
}

/// What the pipeline knows of a port.
#[derive(Clone, Copy, Debug)]
pub struct Egress {
    /// The port's MAC address.
    pub mac: Mac,
    /// Largest IP packet it sends, in octets.
    pub mtu: u16,
    /// Whether the port has a kernel side.
    pub kernel: bool,
}

/// The tables and the time of one turn.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Services, backends, addresses.
    pub tables: &'a Snapshot,
    /// Next hops.
    pub fib: &'a Fib,
    /// The time, read once a turn.
    pub now: Nanos,
}

impl View<'_> {
    /// The time in the flow tables' unit.
    #[must_use]
    #[inline]
    pub const fn tick(&self) -> Tick {
        Tick::at(self.now)
    }
}

/// What pass 1 found in a frame: 32 octets, as it goes through an array.
#[derive(Clone, Copy, Debug)]
pub struct Inspected {
    /// The index hash of the five-tuple, 0 if it has none.
    pub hash: u64,
    /// The flow it may belong to.
    pub guess: Guess,
    /// The packet, or why there is none.
    pub parsed: Result<Parsed, Malformed>,
    /// The VLAN it came with.
    pub vlan: Option<u16>,
    /// Whom the frame is for.
    pub addressed: Addressed,
    /// The fast path may take it, if it finds the flow: see `fast_path`.
    pub common: bool,
}

const _: () = assert!(size_of::<Inspected>() == 32, "two of them are a cache line");

impl Inspected {
    /// A frame without headers.
    pub const NOTHING: Self = Self {
        hash: 0,
        guess: Guess::NONE,
        parsed: Err(Malformed::FrameTruncated),
        vlan: None,
        addressed: Addressed::Other,
        common: false,
    };
}

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// Us alone.
    Us,
    /// A group, or everybody.
    Group,
    /// Somebody else.
    Other,
}

impl Addressed {
    /// What `destination` means on a port whose address is `mac`.
    #[inline(always)]
    fn from(destination: Mac, mac: Mac) -> Self {
        if destination == mac {
            Self::Us
        } else if destination.is_multicast() {
            Self::Group
        } else {
            Self::Other
        }
    }
}

/// One worker's stages and the tables they own.
pub struct Pipeline {
    pub(super) flows: Flows,
    pub(super) local_ports: LocalPorts,
    pub(super) last_hops: LastHops,
    pub(super) steering: Steering,
    pub(super) ports: Box<[Egress]>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) tally: Tally,
    timeouts: Timeouts,
}

impl Pipeline {
    /// Empty tables for a worker that sees these ports, by [`PortId`].
    #[must_use]
    pub fn new(settings: &Settings, ports: Box<[Egress]>, counters: Arc<WorkerCounters>) -> Self {
        let timeouts = Timeouts::default();
        let ticks = TimeoutTicks::new(&timeouts);
        let steering = Steering::new(settings.worker, settings.workers);
        Self {
            flows: Flows {
                v4: FlowTable::new(settings.flows, settings.key, ticks),
                v6: FlowTable::new(settings.flows, settings.key, ticks),
            },
            local_ports: LocalPorts::new(steering.class(), settings.capacities.backends, &settings.key),
            last_hops: LastHops::new(),
            steering,
            ports,
            counters,
            tally: Tally::default(),
            timeouts,
        }
    }

    /// Takes over what the snapshot says of time-outs; to be called once a turn.
    #[inline]
    pub fn take_over(&mut self, tables: &Snapshot) {
        if tables.timeouts != self.timeouts {
            self.timeouts = tables.timeouts;
            let ticks = TimeoutTicks::new(&tables.timeouts);
            self.flows.v4.set_timeouts(ticks);
            self.flows.v6.set_timeouts(ticks);
        }
    }

    /// Pass 1: what is in a frame that came in by `port`; asks for the index line of its flow. Writes to `seen` in
    /// place: a value that is put together elsewhere and copied costs more than the parsing.
    #[inline(always)]
    pub fn inspect<T: Frame>(&self, frame: &T, port: PortId, seen: &mut Inspected) {
        let head = frame.head();
        let mac = self.ports[port.index()].mac;
        let common = head.first_chunk().and_then(|bytes| Some((bytes, parse_common(bytes, frame.octets())?)));
        let Some((bytes, packet)) = common else {
            return self.inspect_uncommon(head, frame.octets(), mac, seen);
        };
        let hash = self.flows.v4.hash(&tuple_common(bytes, &packet));
        self.flows.v4.prefetch_index(hash);
        let [d0, d1, d2, d3, d4, d5, ..] = *bytes;
        seen.hash = hash;
        seen.parsed = Ok(Parsed::Ip(packet));
        seen.vlan = None;
        seen.addressed = Addressed::from(Mac([d0, d1, d2, d3, d4, d5]), mac);
        seen.common = seen.addressed == Addressed::Us && packet.hop_limit > 1 && !packet.changes_state();
    }

    /// Pass 1 for IPv6, tags, options, and whatever is no packet to balance.
    #[inline(never)]
    fn inspect_uncommon(&self, head: &[u8], octets: usize, mac: Mac, seen: &mut Inspected) {
        *seen = Inspected::NOTHING;
        let Some(link) = Link::read(head) else { return };
        seen.parsed = parse(&link, head, octets);
        seen.vlan = link.vlan;
        seen.addressed = Addressed::from(link.destination, mac);
        if let Ok(Parsed::Ip(packet)) = &seen.parsed {
            seen.hash = match packet.network {
                Network::V4 => ask(&self.flows.v4, packet, head),
                Network::V6 => ask(&self.flows.v6, packet, head),
            };
        }
    }

    /// Pass 2: guesses the flow and asks for it.
    #[inline(always)]
    pub fn look_ahead(&self, seen: &mut Inspected) {
        if let Ok(Parsed::Ip(packet)) = &seen.parsed {
            seen.guess = match packet.network {
                Network::V4 => self.flows.v4.guess(seen.hash),
                Network::V6 => self.flows.v6.guess(seen.hash),
            };
        }
    }

    /// Pass 3: the verdict on a frame that came in by `port`; a frame to forward is rewritten. `handed_in` frames are
    /// this worker's by another's word and are not handed on.
    #[inline(always)]
    pub fn balance<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &Inspected,
        port: PortId,
        handed_in: bool,
        view: View<'_>,
    ) -> Verdict {
        if seen.common
            && let Some(egress) = self.forward_common(frame, seen, view)
        {
            return Verdict::Forward(egress);
        }
        self.balance_any(frame, seen, port, handed_in, view)
    }

    /// The whole of pass 3, for every frame.
    #[inline(never)]
    pub fn balance_any<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &Inspected,
        port: PortId,
        handed_in: bool,
        view: View<'_>,
    ) -> Verdict {
        let packet = match &seen.parsed {
            Ok(Parsed::Ip(packet)) if seen.addressed == Addressed::Us => packet,
            Err(malformed) => return Verdict::Drop(reason(*malformed)),
            Ok(_) if seen.addressed == Addressed::Other => return Verdict::Drop(DropReason::NotOurMac),
            Ok(parsed) => return self.punt(parsed, frame.head(), port),
        };
        let arrival =
            Arrival { packet, hash: seen.hash, guess: seen.guess, vlan: seen.vlan, port, handed_in };
        match packet.network {
            Network::V4 => self.balance_packet::<V4, T>(frame, arrival, view),
            Network::V6 => self.balance_packet::<V6, T>(frame, arrival, view),
        }
    }

    #[inline]
    fn balance_packet<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        arrival: Arrival<'_>,
        view: View<'_>,
    ) -> Verdict {
        let Some(tuple) = arrival.packet.tuple::<F>(frame.head()) else {
            return self.without_ports::<F>(frame.head(), arrival, view);
        };
        let found = F::table(&self.flows).find_guessed(arrival.guess, arrival.hash, &tuple);
        let (id, direction) = match found {
            Some((id, direction)) if !self.is_over::<F>(id, direction, arrival.packet, view) => {
                (id, direction)
            }
            found => {
                if let Some((id, _)) = found {
                    self.end::<F>(id);
                }
                match self.admit(frame.head(), tuple, arrival, view) {
                    Ok(id) => (id, Direction::Forward),
                    Err(verdict) => return verdict,
                }
            }
        };
        self.forward::<F, T>(frame, id, direction, arrival, view)
    }

    /// Whether a packet finds its flow at an end, so that the packet is a new flow's: the client reuses its port, or
    /// the backend is gone and nothing of the flow would be lost on another.
    #[inline(always)]
    fn is_over<F: FlowFamily>(
        &self,
        id: FlowId,
        direction: Direction,
        packet: &Packet,
        view: View<'_>,
    ) -> bool {
        let entry = F::table(&self.flows).entry(id);
        let up = view.tables.backend_state(entry.backend) == BackendState::Up;
        if up && !packet.is_bare_syn() || direction == Direction::Return {
            return false;
        }
        match entry.protocol() {
            Protocol::Udp => !up,
            Protocol::Tcp => {
                packet.is_bare_syn()
                    && (tcp::syn_starts_anew(entry.state) || !up && entry.state.is_half_open())
            }
        }
    }

    /// Ends a flow.
    pub(super) fn end<F: FlowFamily>(&mut self, id: FlowId) {
        let backend = F::table(&self.flows).entry(id).backend;
        F::table_mut(&mut self.flows).remove(id);
        self.tally.flows_ended += 1;
        if let Some(counters) = self.counters.backend(backend) {
            counters.count_end();
        }
    }

    /// Ends flows whose time is over, within `budget`. Returns whether the budget was too small.
    pub(super) fn expire<F: FlowFamily>(&mut self, now: Tick, mut budget: u32) -> bool {
        while let Some(id) = F::table_mut(&mut self.flows).expired(now, &mut budget) {
            self.end::<F>(id);
        }
        budget == 0
    }

    /// Sends a packet of a known flow on its way.
    #[inline]
    fn forward<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        direction: Direction,
        arrival: Arrival<'_>,
        view: View<'_>,
    ) -> Verdict {
        let packet = arrival.packet;
        if packet.hop_limit <= 1 {
            return Verdict::Refuse(DropReason::TtlExpired, Refusal::TimeExceeded);
        }
        if F::table(&self.flows).entry(id).route_epoch != view.fib.epoch {
            self.route_again::<F>(id, view);
        }
        let Self { flows, last_hops, ports, counters, .. } = self;
        let flows = F::table_mut(flows);
        let entry = flows.entry_mut(id);
        let hop = match direction {
            Direction::Forward => entry.forward_hop,
            Direction::Return => entry.return_hop,
        };
        let Some(hop) = view.fib.next_hop(hop).or_else(|| last_hops.next_hop(hop)) else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Some(destination) = hop.destination else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Layout { l3, end, .. } = packet.layout;
        if end - l3 > ports[hop.port.index()].mtu {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        rewrite(frame.head_mut(), packet.layout, &entry.rewrite(direction));
        // What follows the IP packet is padding of the sender's link (IEEE 802.3, 4.2.2.2), not ours to pass on.
        if frame.octets() > usize::from(end) {
            frame.truncate(usize::from(end));
        }
        if !link::set(frame, F::VERSION, (l3, arrival.vlan), hop.vlan) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        ethernet::set_addresses(frame.head_mut(), destination, hop.source);
        if let Some(counters) = counters.backend(entry.backend) {
            let octets = frame.octets() as u64;
            match direction {
                Direction::Forward => counters.count_in(octets),
                Direction::Return => counters.count_out(octets),
            }
        }
        // The flow's state follows, and its time starts again.
        let next = match packet.transport {
            Transport::Tcp => tcp::next(entry.state, &mut entry.fins, direction, packet.tcp_flags),
            Transport::Udp | Transport::Fragment | Transport::Other => entry.state,
        };
        if next == entry.state {
            entry.touch(view.tick());
        } else {
            flows.set_state(id, next, view.tick());
        }
        Verdict::Forward(hop.port)
    }
}

/// How a packet came.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) packet: &'a Packet,
    pub(super) hash: u64,
    pub(super) guess: Guess,
    pub(super) vlan: Option<u16>,
    pub(super) port: PortId,
    pub(super) handed_in: bool,
}

/// The index hash of a packet, its line asked for.
#[inline(always)]
fn ask<F: FlowFamily>(flows: &FlowTable<F>, packet: &Packet, head: &[u8]) -> u64 {
    let Some(tuple) = packet.tuple::<F>(head) else { return 0 };
    let hash = flows.hash(&tuple);
    flows.prefetch_index(hash);
    hash
}

const fn reason(malformed: Malformed) -> DropReason {
    match malformed {
        Malformed::FrameTruncated => DropReason::FrameTruncated,
        Malformed::IpHeader => DropReason::IpHeaderInvalid,
        Malformed::IpChecksum => DropReason::IpChecksumWrong,
        Malformed::IpTruncated => DropReason::IpTruncated,
        Malformed::TransportHeader => DropReason::TransportHeaderInvalid,
        Malformed::ExtensionHeaders => DropReason::ExtensionHeadersTooDeep,
    }
}
