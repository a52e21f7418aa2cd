//! One flow: all that a packet of either direction needs, in one cache line for IPv4 and two for IPv6.
//!
//! ```text
//!            client  --------->  vip      the client's view
//!             local  --------->  backend  the backend's view
//! ```
//!
//! An entry is plain data, ids instead of pointers: it can be copied to another process or balancer.

use crate::model::{BackendId, Endpoint, Family, FiveTuple, NextHopId, Protocol, ServiceId, V4, V6};
use crate::shared::FlowState;
use crate::wire::Rewrite;
use crate::wire::checksum::Delta;

use super::Tick;
use super::expiry::Queue;

/// The place of a flow in its worker's table of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId(pub(super) u32);

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the backend.
    Forward,
    /// From the backend to the client.
    Return,
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
}

/// A flow. Ports, addresses: host byte order.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct FlowEntry<F: Family> {
    client: F::Address,
    vip: F::Address,
    local: F::Address,
    backend_address: F::Address,
    client_port: u16,
    vip_port: u16,
    local_port: u16,
    backend_port: u16,
    /// Change of the checksums towards the backend; the way back is its reverse.
    addresses: Delta,
    transport: Delta,
    /// The backend, for its state and counters.
    pub backend: BackendId,
    /// When a packet last kept the flow alive.
    pub stamp: Tick,
    /// Neighbours in the list of the expiry that the entry is in.
    pub(super) next: u32,
    pub(super) previous: u32,
    /// That list.
    pub(super) list: u16,
    /// The service, for its settings and counters.
    pub service: ServiceId,
    /// Next hop towards the backend.
    pub forward_hop: NextHopId,
    /// Next hop towards the client.
    pub return_hop: NextHopId,
    /// The epoch of the routes that gave the next hops.
    pub route_epoch: u16,
    protocol: Protocol,
    /// Where the flow is in its life.
    pub state: FlowState,
    /// Which FINs were seen; see [`super::tcp`].
    pub fins: super::tcp::Fins,
}

const _: () = assert!(size_of::<FlowEntry<V4>>() == 64, "an IPv4 flow is one cache line");
const _: () = assert!(size_of::<FlowEntry<V6>>() == 128, "an IPv6 flow is two cache lines");

impl<F: Family> FlowEntry<F> {
    pub(super) fn new(flow: &NewFlow<F>, now: Tick) -> Self {
        let rewrite = Rewrite::between(&flow.tuple, flow.translated);
        Self {
            client: flow.tuple.source,
            vip: flow.tuple.destination,
            local: flow.translated.source,
            backend_address: flow.translated.destination,
            client_port: flow.tuple.source_port,
            vip_port: flow.tuple.destination_port,
            local_port: flow.translated.source_port,
            backend_port: flow.translated.destination_port,
            addresses: rewrite.addresses,
            transport: rewrite.transport,
            backend: flow.backend,
            stamp: now,
            next: super::expiry::NONE,
            previous: super::expiry::NONE,
            list: super::expiry::UNLISTED,
            service: flow.service,
            forward_hop: flow.forward_hop,
            return_hop: flow.return_hop,
            route_epoch: flow.route_epoch,
            protocol: flow.tuple.protocol,
            state: flow.state,
            fins: super::tcp::Fins::default(),
        }
    }

    /// TCP or UDP.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What packets of `direction` carry when they reach us.
    #[must_use]
    #[inline(always)]
    pub const fn incoming(&self, direction: Direction) -> FiveTuple<F> {
        match direction {
            Direction::Forward => FiveTuple {
                source: self.client,
                destination: self.vip,
                source_port: self.client_port,
                destination_port: self.vip_port,
                protocol: self.protocol,
            },
            Direction::Return => FiveTuple {
                source: self.backend_address,
                destination: self.local,
                source_port: self.backend_port,
                destination_port: self.local_port,
                protocol: self.protocol,
            },
        }
    }

    /// Whether packets of `direction` carry `tuple` when they reach us.
    #[must_use]
    #[inline(always)]
    pub fn matches(&self, direction: Direction, tuple: &FiveTuple<F>) -> bool {
        // A branch, which the processor foresees, costs less than choosing each field.
        match direction {
            Direction::Forward => self.incoming(Direction::Forward) == *tuple,
            Direction::Return => self.incoming(Direction::Return) == *tuple,
        }
    }

    /// What makes packets of `direction` leave as they must: the other side's incoming tuple, reversed.
    #[must_use]
    #[inline(always)]
    pub const fn rewrite(&self, direction: Direction) -> Rewrite<F> {
        match direction {
            Direction::Forward => Rewrite {
                to: self.incoming(Direction::Return).reversed(),
                addresses: self.addresses,
                transport: self.transport,
            },
            Direction::Return => Rewrite {
                to: self.incoming(Direction::Forward).reversed(),
                addresses: self.addresses.reversed(),
                transport: self.transport.reversed(),
            },
        }
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
        Endpoint::new(F::ip(self.client), self.client_port)
    }

    /// The VIP and port.
    #[must_use]
    pub fn vip(&self) -> Endpoint {
        Endpoint::new(F::ip(self.vip), self.vip_port)
    }

    /// The leased local address and port.
    #[must_use]
    pub fn local(&self) -> Endpoint {
        Endpoint::new(F::ip(self.local), self.local_port)
    }

    /// The backend's endpoint.
    #[must_use]
    pub fn backend_endpoint(&self) -> Endpoint {
        Endpoint::new(F::ip(self.backend_address), self.backend_port)
    }
}
