//! What both sides of a TCP connection are told that ends without their doing: its time is over, or its backend is dead.
//! Else a side that only waits would wait until it speaks itself.

use arrayvec::ArrayVec;

use super::flow::{FlowEntry, FlowFamily, FlowId};
use super::pipeline::{Pipeline, View};
use crate::model::{Direction, PortId, Protocol, VlanTag};
use crate::shared::{FlowState, NextHop};
use crate::wire::ethernet;
use crate::wire::handshake::{Bare, Offer};
use crate::wire::tcp_flags::RST;

/// A reset, ready to leave.
pub(super) struct Farewell {
    /// By which port.
    pub(super) port: PortId,
    /// The frame: Ethernet header, tag, IPv6 header, TCP header.
    pub(super) frame: ArrayVec<u8, { ethernet::HEADER + ethernet::TAG + 40 + 20 }>,
}

impl Farewell {
    /// The one that goes to `hop` with this tag; `None` while that is not resolved.
    fn of(hop: &NextHop, tag: Option<u16>, version: u8, packet: &[u8]) -> Option<Self> {
        let ether_type = if version == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
        let mut frame = ArrayVec::new();
        frame.try_extend_from_slice(hop.addresses()?).ok()?;
        if let Some(id) = tag {
            frame.try_extend_from_slice(&ethernet::VLAN.to_be_bytes()).ok()?;
            frame.try_extend_from_slice(&id.to_be_bytes()).ok()?;
        }
        frame.try_extend_from_slice(&ether_type.to_be_bytes()).ok()?;
        frame.try_extend_from_slice(packet).ok()?;
        Some(Self { port: hop.port, frame })
    }
}

/// Resets that wait to be sent: of as many connections as expire in a turn.
pub(super) type Farewells = ArrayVec<Farewell, 128>;

impl Pipeline {
    /// Ends a flow whose time is over; the sides of a connection that stands are told.
    pub(super) fn expire_flow<F: FlowFamily>(&mut self, id: FlowId, view: View<'_>) {
        let entry = F::table(&self.flows).entry(id);
        let stands =
            matches!(entry.state(), FlowState::Established | FlowState::HalfClosed | FlowState::FinWait);
        if stands && !self.say_farewell::<F>(id, view) {
            self.tally.unanswered += 2;
        }
        self.end::<F>(id);
    }

    /// Puts resets for both sides of a connection among those to be sent, each with the number that its receiver expects
    /// next. False if there is no room, and nothing was done. A flow that is no connection has nobody to be told.
    pub(super) fn say_farewell<F: FlowFamily>(&mut self, id: FlowId, view: View<'_>) -> bool {
        let entry = *F::table(&self.flows).entry(id);
        if entry.protocol() != Protocol::Tcp || entry.is_one_way() {
            return true;
        }
        if self.farewells.remaining_capacity() < 2 {
            return false;
        }
        for direction in [Direction::Forward, Direction::Return] {
            let hop = entry.hop(direction);
            let Some(hop) = view.fib.next_hop(hop).or_else(|| self.last_hops.next_hop(hop)) else { continue };
            let tuple = entry.rewrite(direction).to;
            let sequence = entry.expected(direction);
            let reset = Bare {
                tuple,
                sequence,
                acknowledgement: None,
                flags: RST,
                window: 0,
                offer: Offer::default(),
            };
            let tag = self.tag(&entry, direction, view);
            self.farewells.extend(Farewell::of(hop, tag, F::VERSION, &reset.packet()));
        }
        true
    }

    /// The tag of what we say ourselves in `direction` of a flow. Where packets keep the one that they came with, it is that
    /// of the other side, from which they would have come.
    pub(super) fn tag<F: FlowFamily>(
        &self,
        entry: &FlowEntry<F>,
        direction: Direction,
        view: View<'_>,
    ) -> Option<u16> {
        for way in [direction, direction.opposite()] {
            let hop = entry.hop(way);
            match view.fib.next_hop(hop).or_else(|| self.last_hops.next_hop(hop))?.vlan {
                VlanTag::Id(id) => return Some(id),
                VlanTag::Untagged => return None,
                VlanTag::AsReceived => {}
            }
        }
        None
    }
}
