//! One flow: all that a packet of either direction needs, in one cache line for IPv4 and two for IPv6.
//!
//! ```text
//!            client  --------->  vip      the client's view
//!             local  --------->  backend  the backend's view
//! ```
//!
//! An entry is plain data, ids instead of pointers: it can be copied to another process or balancer.

use crate::model::{
    BackendId, Direction, Endpoint, Family, FiveTuple, NextHopId, PortId, PortPair, Protocol, ServiceId, V4,
    V6,
};
use crate::shared::{FlowState, Holds};
use crate::wire::{Change, Rewrite};

use super::Tick;
use super::expiry::Queue;

/// The place of a flow in its worker's table of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId(pub(super) u32);

#[cfg(test)]
impl FlowId {
    /// Some flow's, for tests of code that only hands it on.
    pub(in crate::dataplane) const fn first() -> Self {
        Self(0)
    }
}

/// Which tables were current: other numbers after each change, as many as there are ports. Comes round after 65,535 / ports
/// changes: with two ports five minutes at a hundred changes a second, longer than flows live that a missed change could
/// lead astray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The first number, from 1 on.
    first: u16,
    /// How many there are.
    ports: u16,
}

impl Generation {
    /// That of no tables.
    const NONE: u16 = 0;

    /// The first one, with `ports` ports, 1 to 32,767.
    #[must_use]
    pub const fn first(ports: u16) -> Self {
        Self { first: 1, ports }
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.first.checked_add(2 * self.ports) {
            Some(_) => Self { first: self.first + self.ports, ..self },
            None => Self::first(self.ports),
        }
    }

    /// The numbers under which packets that come in by `port` find their flows settled.
    #[must_use]
    #[inline(always)]
    pub const fn settled(self, port: PortId) -> SettledRange {
        SettledRange { first: [self.first, self.first + port.0], count: [self.ports, 1] }
    }
}

/// See [`Generation::settled`]. By direction of the packet: clients may come by any port, a backend by that alone for which
/// its flow was settled.
#[derive(Clone, Copy, Debug)]
pub struct SettledRange {
    first: [u16; 2],
    count: [u16; 2],
}

impl SettledRange {
    /// No flow is settled.
    pub const NONE: Self = Self { first: [0; 2], count: [0; 2] };
}

/// What a new flow is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow<F: Family> {
    /// The client's first packet.
    pub tuple: FiveTuple<F>,
    /// The same packet as the backend gets it: from the leased local address and port.
    pub translated: FiveTuple<F>,
    /// The service.
    pub service: ServiceId,
    /// The backend.
    pub backend: BackendId,
    /// Towards the backend.
    pub forward_hop: NextHopId,
    /// Towards the client.
    pub return_hop: NextHopId,
    /// The epoch of the routes that gave the next hops.
    pub route_epoch: u16,
    /// The first state.
    pub state: FlowState,
    /// See [`FlowEntry::is_displaced`].
    pub displaced: bool,
    /// See [`FlowEntry::is_one_way`].
    pub one_way: bool,
    /// What it is counted in.
    pub holds: Holds,
}

/// A flow.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct FlowEntry<F: Family> {
    /// By direction: the addresses and ports that its packets carry when they reach us.
    addresses: [F::Pair; 2],
    ports: [PortPair; 2],
    /// By direction: what sending them on does to their checksums.
    changes: [Change; 2],
    /// The backend, for its state and counters.
    pub backend: BackendId,
    /// When a packet last kept the flow alive.
    pub stamp: Tick,
    /// By direction, see [`super::sequence`]; in UDP flows without meaning.
    pub(super) expected: [u32; 2],
    /// The service, for its settings and counters.
    pub service: ServiceId,
    /// By direction: where its packets go. See [`UNANSWERED`](Self::UNANSWERED).
    hops: [NextHopId; 2],
    /// The epoch of the routes that gave the next hops.
    pub(in crate::dataplane) route_epoch: u16,
    protocol: Protocol,
    /// Where the flow is in its life.
    state: FlowState,
    /// Which FINs were seen; see [`super::tcp`].
    pub fins: super::tcp::Fins,
    kind: Kind,
    /// By direction: the scale of the windows that its senders offer. Once both have said all, instead, what ends the
    /// connection: see [`super::sequence`].
    /// In UDP flows: datagrams seen while the flow is new; see [`super::udp`].
    pub(super) scales: [u8; 2],
    /// See [`settle`](Self::settle).
    settled: u16,
}

/// What a flow is to its service.
#[derive(Clone, Copy, Debug)]
struct Kind(u8);

impl Kind {
    const DISPLACED: u8 = 1;
    const ONE_WAY: u8 = 2;
    const OF_SERVICE: u8 = 4;
    const OF_BACKEND: u8 = 8;
    const OF_CLIENT: u8 = 16;
    const COUNTED: u8 = Self::OF_SERVICE | Self::OF_BACKEND | Self::OF_CLIENT;
    const IN_USE: u8 = 32;
    const ALTERED: u8 = 64;

    const fn of<F: Family>(flow: &NewFlow<F>) -> Self {
        let displaced = if flow.displaced { Self::DISPLACED } else { 0 };
        let one_way = if flow.one_way { Self::ONE_WAY } else { 0 };
        Self(Self::IN_USE | displaced | one_way | Self::counted(&flow.holds))
    }

    const fn counted(holds: &Holds) -> u8 {
        let of_service = if holds.service { Self::OF_SERVICE } else { 0 };
        let of_backend = if holds.backend { Self::OF_BACKEND } else { 0 };
        let of_client = if holds.client.is_some() { Self::OF_CLIENT } else { 0 };
        of_service | of_backend | of_client
    }
}

const _: () = assert!(size_of::<FlowEntry<V4>>() == 64, "an IPv4 flow is one cache line");
const _: () = assert!(size_of::<FlowEntry<V6>>() == 128, "an IPv6 flow is two cache lines");

impl<F: Family> FlowEntry<F> {
    #[inline(always)]
    pub(super) fn new(flow: &NewFlow<F>, now: Tick) -> Self {
        let (client, backend) = (flow.tuple, flow.translated.reversed());
        Self {
            addresses: [client.addresses(), backend.addresses()],
            ports: [client.ports(), backend.ports()],
            changes: Change::there_and_back(&client, &flow.translated),
            backend: flow.backend,
            stamp: now,
            expected: [0; 2],
            service: flow.service,
            hops: Self::hops_of(flow),
            route_epoch: flow.route_epoch,
            protocol: flow.tuple.protocol(),
            state: flow.state,
            fins: super::tcp::Fins::default(),
            kind: Kind::of(flow),
            scales: [0; 2],
            settled: Generation::NONE,
        }
    }

    /// Set in the next hop towards the client of a UDP flow that the backend has not answered. No next hop has such an id,
    /// so that the fast path leaves the first answer to the general path, without a check of its own.
    const UNANSWERED: u16 = 0x8000;

    #[inline(always)]
    const fn hops_of(flow: &NewFlow<F>) -> [NextHopId; 2] {
        let mark = if matches!(flow.state, FlowState::UdpNew) { Self::UNANSWERED } else { 0 };
        [flow.forward_hop, NextHopId(flow.return_hop.0 | mark)]
    }

    /// TCP or UDP.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it is UDP.
    #[must_use]
    #[inline(always)]
    pub(in crate::dataplane) const fn is_datagrams(&self) -> bool {
        matches!(self.protocol, Protocol::Udp)
    }

    /// Whether it is not on the first target of its packets: that was out of service, or got the slot only later.
    #[must_use]
    pub const fn is_displaced(&self) -> bool {
        self.kind.0 & Kind::DISPLACED != 0
    }

    /// Whether it is a record of a service without flows: packets of the client alone come by, are not rewritten, and
    /// find it. What stands for the other direction only says which backend it is.
    #[must_use]
    #[inline(always)]
    pub const fn is_one_way(&self) -> bool {
        self.kind.0 & Kind::ONE_WAY != 0
    }

    /// Whether it is one datagram's: what its client sends next is another flow, and it ends with its answer.
    #[must_use]
    #[inline]
    pub const fn is_one_packet(&self) -> bool {
        match (self.protocol, self.state) {
            (Protocol::Udp, FlowState::Asked | FlowState::Closed) => true,
            (Protocol::Udp | Protocol::Tcp, _) => false,
        }
    }

    /// Whether it is one datagram's that carried `tuple`, and waits for its answer.
    #[must_use]
    pub fn is_one_packet_of(&self, tuple: &FiveTuple<F>) -> bool {
        self.is_in_use() && self.state == FlowState::Asked && self.matches(Direction::Forward, tuple)
    }

    /// The directions whose packets find the entry.
    pub(super) const fn ways(&self) -> &'static [Direction] {
        if self.is_one_way() {
            &[Direction::Forward]
        } else if self.is_one_packet() {
            &[Direction::Return]
        } else {
            &[Direction::Forward, Direction::Return]
        }
    }

    /// Whether it is a flow: one that has not been removed.
    #[inline(always)]
    pub(in crate::dataplane) const fn is_in_use(&self) -> bool {
        self.kind.0 & Kind::IN_USE != 0
    }

    /// Makes the place free. Nobody finds it settled, or in use, any more.
    pub(super) const fn end(&mut self) {
        self.kind = Kind(0);
        self.settled = Generation::NONE;
    }

    /// Whether something is changed in its byte streams: then the table has a [`Stream`](super::Stream) for it.
    #[must_use]
    #[inline(always)]
    pub const fn is_altered(&self) -> bool {
        self.kind.0 & Kind::ALTERED != 0
    }

    /// Whether it is one-way or altered: nearly no flow is.
    #[must_use]
    #[inline(always)]
    pub(in crate::dataplane) const fn is_special(&self) -> bool {
        self.kind.0 & (Kind::ONE_WAY | Kind::ALTERED) != 0
    }

    /// Notes whether it is.
    pub(in crate::dataplane) const fn set_altered(&mut self, altered: bool) {
        self.kind.0 = self.kind.0 & !Kind::ALTERED | if altered { Kind::ALTERED } else { 0 };
        self.settled = Generation::NONE;
    }

    /// Whether the flow is counted in anything.
    #[must_use]
    pub(in crate::dataplane) const fn is_counted(&self) -> bool {
        self.kind.0 & Kind::COUNTED != 0
    }

    /// Whether the flow is counted in its service's connections, its backend's, its client prefix's; not so any more from
    /// now on.
    pub(super) const fn take_holds(&mut self) -> (bool, bool, bool) {
        let kind = self.kind.0;
        self.kind.0 &= !Kind::COUNTED;
        (kind & Kind::OF_SERVICE != 0, kind & Kind::OF_BACKEND != 0, kind & Kind::OF_CLIENT != 0)
    }

    /// Notes what the flow is counted in.
    pub(super) const fn set_holds(&mut self, holds: &Holds) {
        self.kind.0 |= Kind::counted(holds);
    }

    /// What packets of `direction` carry when they reach us.
    #[must_use]
    #[inline(always)]
    pub const fn incoming(&self, direction: Direction) -> FiveTuple<F> {
        let way = direction as usize;
        FiveTuple::from_wire(self.addresses[way], self.ports[way], self.protocol)
    }

    /// Whether packets of `direction` carry `tuple` when they reach us.
    #[must_use]
    #[inline(always)]
    pub fn matches(&self, direction: Direction, tuple: &FiveTuple<F>) -> bool {
        self.incoming(direction) == *tuple
    }

    /// What makes packets of `direction` leave as they must: the other side's incoming tuple, reversed.
    #[must_use]
    #[inline(always)]
    pub fn rewrite(&self, direction: Direction) -> Rewrite<F> {
        let to = self.incoming(direction.opposite()).reversed();
        Rewrite { to, change: self.changes[direction as usize] }
    }

    /// Where packets of `direction` go.
    #[must_use]
    #[inline(always)]
    pub const fn hop(&self, direction: Direction) -> NextHopId {
        NextHopId(self.hops[direction as usize].0 & !Self::UNANSWERED)
    }

    /// [`hop`](Self::hop) for the fast path: no next hop's id for the first answer of a UDP flow.
    #[inline(always)]
    pub(in crate::dataplane) const fn settled_hop(&self, direction: Direction) -> NextHopId {
        self.hops[direction as usize]
    }

    /// Sends the flow another way: towards the backend, towards the client.
    pub(in crate::dataplane) const fn set_hops(&mut self, hops: [NextHopId; 2], route_epoch: u16) {
        let [forward, back] = hops;
        let mark = self.hops[Direction::Return as usize].0 & Self::UNANSWERED;
        self.hops = [forward, NextHopId(back.0 | mark)];
        self.route_epoch = route_epoch;
    }

    /// Whether it is a UDP flow to which the backend has not sent anything yet.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        self.hops[Direction::Return as usize].0 & Self::UNANSWERED != 0
    }

    /// Notes that the backend has sent a datagram.
    pub(super) const fn note_answer(&mut self) {
        self.hops[Direction::Return as usize].0 &= !Self::UNANSWERED;
    }

    /// Whether the flow was [`settle`](Self::settle)d under these tables, for packets of `direction` by this port.
    #[must_use]
    #[inline(always)]
    pub(in crate::dataplane) const fn is_settled(&self, range: &SettledRange, direction: Direction) -> bool {
        let way = direction as usize;
        self.settled.wrapping_sub(range.first[way]) < range.count[way]
    }

    /// Notes that under the tables of `generation` the flow goes on as it is, whatever packet of the common shape comes:
    /// from its client by any port, from its backend by `port`. Holds until it changes its state, ends, or the tables
    /// change.
    pub(in crate::dataplane) const fn settle(&mut self, generation: Generation, port: PortId) {
        self.settled = generation.first + port.0;
    }

    /// Where the flow is in its life.
    #[must_use]
    pub const fn state(&self) -> FlowState {
        self.state
    }

    /// Changes the state.
    pub(super) const fn set_state(&mut self, state: FlowState) {
        self.state = state;
        self.settled = Generation::NONE;
    }

    /// Notes a packet: the flow's time starts again, in the states in which packets prolong it.
    #[inline(always)]
    pub const fn touch(&mut self, now: Tick) {
        if Queue::of(self.state).is_none() {
            self.stamp = now;
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> Endpoint {
        self.incoming(Direction::Forward).from()
    }

    /// The VIP and port.
    #[must_use]
    pub fn vip(&self) -> Endpoint {
        self.incoming(Direction::Forward).to()
    }

    /// The leased local address and port.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        self.incoming(Direction::Return).to()
    }

    /// The backend's endpoint.
    #[must_use]
    pub fn backend_endpoint(&self) -> Endpoint {
        self.incoming(Direction::Return).from()
    }
}
