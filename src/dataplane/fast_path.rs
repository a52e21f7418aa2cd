//! The fast path: a packet of the common shape on a flow in the middle of its life.
//!
//! What nearly every packet is, in a straight line: untagged IPv4 without options, for us, a TTL that lasts, no SYN, FIN
//! or RST; a flow that is found where it was guessed, established or UDP, its backend up, its next hop resolved. It does
//! what [`Pipeline::balance_any`] would do, to the byte (a property test keeps that), or nothing: whatever is not so
//! goes the general way.

use super::flow::Direction;
use super::pipeline::{Inspected, Pipeline, View};
use crate::io::Frame;
use crate::model::{BackendState, PortId, VlanTag};
use crate::shared::FlowState;
use crate::wire::rewrite::rewrite_common;
use crate::wire::{CommonHead, Parsed, ethernet, tuple_common};

impl Pipeline {
    /// Rewrites the frame and returns the port it leaves by; `None`, and nothing changed, if it has to go the general
    /// way. `seen.common` must hold.
    #[inline(always)]
    pub(super) fn forward_common<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &Inspected,
        view: View<'_>,
    ) -> Option<PortId> {
        let Self { flows, last_hops, ports, counters, .. } = self;
        let Ok(Parsed::Ip(packet)) = &seen.parsed else { return None };
        let (entry, direction) = flows.v4.guessed(seen.guess)?;
        let head: &mut CommonHead = frame.head_mut().first_chunk_mut()?;
        let tuple = tuple_common(head, packet);
        let alive = matches!(entry.state, FlowState::Established | FlowState::Udp);
        if !alive || !entry.matches(direction, &tuple) || entry.route_epoch != view.fib.epoch {
            return None;
        }
        if view.tables.backend_state(entry.backend) != BackendState::Up {
            return None;
        }
        let hop = match direction {
            Direction::Forward => entry.forward_hop,
            Direction::Return => entry.return_hop,
        };
        let hop = view.fib.next_hop(hop).or_else(|| last_hops.next_hop(hop))?;
        let destination = hop.destination?;
        let end = packet.layout.end;
        let fits = end - packet.layout.l3 <= ports[hop.port.index()].mtu;
        if !fits || matches!(hop.vlan, VlanTag::Id(_)) {
            return None;
        }
        rewrite_common(head, &entry.rewrite(direction));
        ethernet::set_addresses(head, destination, hop.source);
        if frame.octets() > usize::from(end) {
            frame.truncate(usize::from(end));
        }
        if let Some(counters) = counters.backend(entry.backend) {
            match direction {
                Direction::Forward => counters.count_in(u64::from(end)),
                Direction::Return => counters.count_out(u64::from(end)),
            }
        }
        entry.stamp = view.tick();
        Some(hop.port)
    }
}
