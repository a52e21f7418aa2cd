//! The stages that a frame goes through, for one worker: inspect, look up, balance.
//!
//! A burst takes three passes, so that memory is asked for before it is needed: [`Pipeline::inspect`] parses and asks
//! for the index line, [`Pipeline::look_ahead`] asks for the flow that the line names, [`Pipeline::balance`] does the
//! work. The first two only hint: balance looks up again, as a frame before it in the burst may have changed the table.

use std::sync::Arc;

use super::flow::{Direction, FlowId, FlowTable, Tick, TimeoutTicks, tcp};
use super::last_hop::LastHops;
use super::local_ports::LocalPorts;
use super::steer::Steering;
use super::verdict::{PuntClass, Verdict};
use crate::hash::IndexKey;
use crate::io::Frame;
use crate::model::{
    BackendState, Family, Mac, Nanos, NextHopId, PortId, Protocol, Timeouts, V4, V6, VlanTag, WorkerId,
};
use crate::shared::{
    AddressRole, Capacities, DropReason, Fib, NextHop, RoleFamily, Snapshot, Tally, WorkerCounters,
};
use crate::wire::craft::Refusal;
use crate::wire::ethernet::{self, Link};
use crate::wire::{Layout, Malformed, Packet, Parsed, Transport, WireFamily, parse, rewrite};

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

/// What pass 1 found in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Inspected {
    /// The link layer; of a frame too short for one, nothing.
    pub link: Link,
    /// The packet, or why there is none.
    pub parsed: Result<Parsed, Malformed>,
    /// The index hash of its five-tuple, 0 if it has none.
    pub hash: u64,
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

/// The flow tables of a worker, one code for both.
pub struct Flows {
    /// IPv4 flows.
    pub v4: FlowTable<V4>,
    /// IPv6 flows.
    pub v6: FlowTable<V6>,
}

/// A family that has a flow table.
pub trait FlowFamily: WireFamily + RoleFamily {
    /// Its table.
    fn table(flows: &Flows) -> &FlowTable<Self>;

    /// Its table, to change.
    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self>;

    /// Whether `source` may be the source of a packet to a service: a unicast address that is not loopback, nor "this
    /// host" (RFC 6890; RFC 1812, 5.3.7).
    fn may_be_source(source: Self::Address) -> bool;
}

impl FlowFamily for V4 {
    fn table(flows: &Flows) -> &FlowTable<Self> {
        &flows.v4
    }

    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self> {
        &mut flows.v4
    }

    fn may_be_source(source: u32) -> bool {
        // 0/8, 127/8, and everything from 224/4 up: multicast, reserved, broadcast.
        !matches!(source >> 24, 0 | 127 | 224..)
    }
}

impl FlowFamily for V6 {
    fn table(flows: &Flows) -> &FlowTable<Self> {
        &flows.v6
    }

    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self> {
        &mut flows.v6
    }

    fn may_be_source(source: u128) -> bool {
        // ::/128, ::1/128, ff00::/8 and IPv4-mapped addresses, which are never on the wire.
        source > 1 && source >> 120 != 0xff && source >> 32 != 0xffff
    }
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

    /// Pass 1: what is in the frame; asks for the index line of its flow.
    #[inline]
    pub fn inspect<T: Frame>(&self, frame: &T) -> Inspected {
        let head = frame.head();
        let Some(link) = Link::read(head) else {
            return Inspected { link: NO_LINK, parsed: Err(Malformed::FrameTruncated), hash: 0 };
        };
        let parsed = parse(&link, head, frame.octets());
        let hash = match &parsed {
            Ok(Parsed::V4(packet)) => ask(&self.flows.v4, packet),
            Ok(Parsed::V6(packet)) => ask(&self.flows.v6, packet),
            Ok(Parsed::NotIp) | Err(_) => 0,
        };
        Inspected { link, parsed, hash }
    }

    /// Pass 2: asks for the flow.
    #[inline]
    pub fn look_ahead(&self, seen: &Inspected) {
        match &seen.parsed {
            Ok(Parsed::V4(_)) => self.flows.v4.prefetch_flow(seen.hash),
            Ok(Parsed::V6(_)) => self.flows.v6.prefetch_flow(seen.hash),
            Ok(Parsed::NotIp) | Err(_) => {}
        }
    }

    /// Pass 3: the verdict on a frame that came in by `port`; a frame to forward is rewritten. `handed_in` frames are
    /// this worker's by another's word and are not handed on.
    #[inline]
    pub fn balance<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &Inspected,
        port: PortId,
        handed_in: bool,
        view: View<'_>,
    ) -> Verdict {
        let parsed = match &seen.parsed {
            Ok(parsed) => parsed,
            Err(malformed) => return Verdict::Drop(reason(*malformed)),
        };
        if seen.link.destination != self.ports[port.index()].mac {
            return if seen.link.destination.is_multicast() {
                self.punt(punt_class(parsed, frame.head()), port)
            } else {
                Verdict::Drop(DropReason::NotOurMac)
            };
        }
        let arrival = Arrival { link: &seen.link, hash: seen.hash, port, handed_in };
        match parsed {
            Parsed::V4(packet) => self.balance_packet(frame, packet, arrival, view),
            Parsed::V6(packet) => self.balance_packet(frame, packet, arrival, view),
            Parsed::NotIp => self.punt(punt_class(parsed, frame.head()), port),
        }
    }

    #[inline]
    fn balance_packet<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        packet: &Packet<F>,
        arrival: Arrival<'_>,
        view: View<'_>,
    ) -> Verdict
    where
        Packet<F>: Into<Parsed>,
    {
        let Some(tuple) = packet.tuple() else {
            return self.without_ports(frame, packet, arrival, view);
        };
        let (id, direction) = match F::table(&self.flows).find(arrival.hash, &tuple) {
            Some((id, direction)) if !self.is_over::<F>(id, direction, packet.transport, view) => {
                (id, direction)
            }
            found => {
                if let Some((id, _)) = found {
                    self.end::<F>(id);
                }
                match self.admit(frame, packet, tuple, arrival, view) {
                    Ok(id) => (id, Direction::Forward),
                    Err(verdict) => return verdict,
                }
            }
        };
        self.forward(frame, packet, (id, direction), arrival.link, view)
    }

    /// Whether a packet finds its flow at an end, so that the packet is a new flow's: the client reuses its port, or
    /// the backend is gone and nothing of the flow would be lost on another.
    #[inline]
    fn is_over<F: FlowFamily>(
        &self,
        id: FlowId,
        direction: Direction,
        transport: Transport,
        view: View<'_>,
    ) -> bool {
        let entry = F::table(&self.flows).entry(id);
        let backend = view.tables.backend_state(entry.backend);
        let bare_syn = matches!(transport, Transport::Tcp { flags, .. } if tcp::is_bare_syn(flags));
        if direction == Direction::Return || backend == BackendState::Up && !bare_syn {
            return false;
        }
        match entry.protocol() {
            Protocol::Udp => backend != BackendState::Up,
            Protocol::Tcp => {
                bare_syn
                    && (tcp::syn_starts_anew(entry.state)
                        || backend != BackendState::Up && entry.state.is_half_open())
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
        packet: &Packet<F>,
        (id, direction): (FlowId, Direction),
        link: &Link,
        view: View<'_>,
    ) -> Verdict {
        if packet.hop_limit <= 1 {
            return Verdict::Refuse(DropReason::TtlExpired, Refusal::TimeExceeded);
        }
        if F::table(&self.flows).entry(id).route_epoch != view.fib.epoch {
            self.route_again::<F>(id, view);
        }
        let entry = F::table(&self.flows).entry(id);
        let (hop, backend, change) = match direction {
            Direction::Forward => (entry.forward_hop, entry.backend, entry.rewrite(direction)),
            Direction::Return => (entry.return_hop, entry.backend, entry.rewrite(direction)),
        };
        let Some((hop, destination)) = self.next_hop(hop, view) else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Layout { l3, end, .. } = packet.layout;
        if end - l3 > self.ports[hop.port.index()].mtu {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        // What follows the IP packet is padding of the sender's link (IEEE 802.3, 4.2.2.2), not ours to pass on.
        if frame.octets() > usize::from(end) {
            frame.truncate(usize::from(end));
        }
        rewrite(frame.head_mut(), packet.layout, &change);
        if !set_link::<F, T>(frame, link, hop, destination) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        self.track::<F>(id, direction, packet.transport, view.tick());
        if let Some(counters) = self.counters.backend(backend) {
            let octets = frame.octets() as u64;
            match direction {
                Direction::Forward => counters.count_in(octets),
                Direction::Return => counters.count_out(octets),
            }
        }
        Verdict::Forward(hop.port)
    }

    /// Follows the flow's state and keeps it alive.
    #[inline]
    fn track<F: FlowFamily>(&mut self, id: FlowId, direction: Direction, transport: Transport, now: Tick) {
        let flows = F::table_mut(&mut self.flows);
        if let Transport::Tcp { flags, .. } = transport {
            let entry = flows.entry_mut(id);
            let next = tcp::next(entry.state, &mut entry.fins, direction, flags);
            if next != entry.state {
                flows.set_state(id, next, now);
                return;
            }
        }
        flows.touch(id, now);
    }

    /// The next hop with this id and its MAC address, if it is resolved.
    #[inline]
    fn next_hop(&self, id: NextHopId, view: View<'_>) -> Option<(NextHop, Mac)> {
        let hop = match view.fib.next_hop(id) {
            Some(hop) => hop,
            None => self.last_hops.next_hop(id)?,
        };
        Some((*hop, hop.destination?))
    }

    /// A packet that is no whole TCP segment or UDP datagram.
    #[cold]
    fn without_ports<F: FlowFamily, T: Frame>(
        &self,
        frame: &T,
        packet: &Packet<F>,
        arrival: Arrival<'_>,
        view: View<'_>,
    ) -> Verdict
    where
        Packet<F>: Into<Parsed>,
    {
        let class = punt_class(&(*packet).into(), frame.head());
        let Some(role) = view.tables.roles.of::<F>(packet.destination) else {
            return self.punt(class, arrival.port);
        };
        match packet.transport {
            Transport::Fragment => Verdict::Drop(DropReason::Fragment),
            // The kernel holds our addresses: it answers echo requests and neighbour solicitations for them.
            Transport::Other { protocol: ICMP | ICMPV6 } => self.punt(class, arrival.port),
            _ if class == PuntClass::Routing => self.punt(class, arrival.port),
            _ => Verdict::Drop(match role {
                AddressRole::Vip(_) => DropReason::NoService,
                AddressRole::Local => DropReason::UnknownReturn,
            }),
        }
    }

    /// For the kernel, if it has a side on this port.
    pub(super) fn punt(&self, class: PuntClass, port: PortId) -> Verdict {
        if self.ports[port.index()].kernel {
            Verdict::Punt(class)
        } else {
            Verdict::Drop(DropReason::NoKernelPort)
        }
    }
}

/// How a packet came.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) link: &'a Link,
    pub(super) hash: u64,
    pub(super) port: PortId,
    pub(super) handed_in: bool,
}

impl From<Packet<V4>> for Parsed {
    fn from(packet: Packet<V4>) -> Self {
        Self::V4(packet)
    }
}

impl From<Packet<V6>> for Parsed {
    fn from(packet: Packet<V6>) -> Self {
        Self::V6(packet)
    }
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Stands for the link layer of a frame that has none.
const NO_LINK: Link =
    Link { destination: Mac([0; 6]), source: Mac([0; 6]), ether_type: 0, payload: 0, vlan: None };

/// The index hash of a packet, its line asked for.
#[inline]
fn ask<F: Family>(flows: &FlowTable<F>, packet: &Packet<F>) -> u64 {
    let Some(tuple) = packet.tuple() else { return 0 };
    let hash = flows.hash(&tuple);
    flows.prefetch_index(hash);
    hash
}

/// Gives a frame the link layer of its next hop: MAC addresses, and the tag of the next hop's network. False if the
/// frame has no headroom for a tag.
#[inline]
fn set_link<F: Family, T: Frame>(frame: &mut T, link: &Link, hop: NextHop, destination: Mac) -> bool {
    let keeps = match hop.vlan {
        VlanTag::AsReceived => true,
        VlanTag::Untagged => link.vlan.is_none(),
        VlanTag::Id(id) => {
            link.vlan == Some(id) && usize::from(link.payload) == ethernet::HEADER + ethernet::TAG
        }
    };
    if !keeps && !change_tag::<F, T>(frame, link, hop.vlan) {
        return false;
    }
    ethernet::set_addresses(frame.head_mut(), destination, hop.source);
    true
}

#[cold]
fn change_tag<F: Family, T: Frame>(frame: &mut T, link: &Link, vlan: VlanTag) -> bool {
    let (octets, id) = match vlan {
        VlanTag::Id(id) => (ethernet::HEADER + ethernet::TAG, Some(id)),
        VlanTag::Untagged | VlanTag::AsReceived => (ethernet::HEADER, None),
    };
    let had = usize::from(link.payload);
    if had < octets {
        if !frame.prepend(octets - had) {
            return false;
        }
    } else {
        frame.trim_front(had - octets);
    }
    let ether_type = if F::VERSION == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
    ethernet::set_type(frame.head_mut(), id, ether_type);
    true
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

/// The class of a packet for the kernel.
#[cold]
pub(super) fn punt_class(parsed: &Parsed, head: &[u8]) -> PuntClass {
    let (transport, l4) = match parsed {
        Parsed::NotIp => {
            let is_arp = Link::read(head).is_some_and(|link| link.ether_type == ethernet::ARP);
            return if is_arp { PuntClass::Neighbour } else { PuntClass::Other };
        }
        Parsed::V4(packet) => (packet.transport, packet.layout.l4),
        Parsed::V6(packet) => (packet.transport, packet.layout.l4),
    };
    match transport {
        // Neighbour discovery (RFC 4861, section 4).
        Transport::Other { protocol: ICMPV6 } => match head.get(usize::from(l4)) {
            Some(133..=137) => PuntClass::Neighbour,
            _ => PuntClass::Other,
        },
        // IGMP, EIGRP, OSPF, PIM, VRRP.
        Transport::Other { protocol: 2 | 88 | 89 | 103 | 112 } => PuntClass::Routing,
        // BGP.
        Transport::Tcp { destination_port: 179, .. } | Transport::Tcp { source_port: 179, .. } => {
            PuntClass::Routing
        }
        // RIP, RIPng, BFD (one hop, echo, several hops).
        Transport::Udp { destination_port: 520 | 521 | 3784 | 3785 | 4784, .. } => PuntClass::Routing,
        Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Fragment | Transport::Other { .. } => {
            PuntClass::Other
        }
    }
}
