//! The fast path: a packet of the common shape on a flow in the middle of its life.
//!
//! What nearly every packet is, in a straight line: of the [`Common`](crate::wire::Common) shape, for us; a flow that
//! is found where it was guessed, established or UDP, its backend up, its next hop resolved. It does what
//! [`Pipeline::balance`] would do, to the byte (a property test keeps that), or nothing: whatever is not so goes
//! the general way.

use super::flow::{FlowFamily, Guess};
use super::inspect::Inspected;
use super::pipeline::{Pipeline, View};
use crate::io::Frame;
use crate::model::{BackendState, PortId, V4, V6};
use crate::shared::FlowState;
use crate::wire::{Network, ethernet};

impl Pipeline {
    /// Pass 3, most of the time: forwards a frame of the common shape on a flow in the middle of its life. The port it
    /// leaves by, or `None`, and nothing changed: then [`balance`](Self::balance) does.
    #[inline(always)]
    pub fn forward_common<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &Inspected,
        view: View<'_>,
    ) -> Option<PortId> {
        match seen.common? {
            Network::V4 => self.forward_common_of::<V4, T>(frame, seen.guess, view),
            Network::V6 => self.forward_common_of::<V6, T>(frame, seen.guess, view),
        }
    }

    /// Whether another try of [`forward_common`](Self::forward_common) may succeed where one has failed: the tables have
    /// changed since the flow was last looked at, but nothing that it goes by.
    pub fn settles(&mut self, seen: &Inspected, view: View<'_>) -> bool {
        match seen.common {
            Some(Network::V4) => self.settle::<V4>(seen.guess, view),
            Some(Network::V6) => self.settle::<V6>(seen.guess, view),
            None => false,
        }
    }

    /// Rewrites the frame, of the common shape of family `F`, and returns the port it leaves by; `None`, and nothing
    /// changed, if it has to go the general way.
    #[inline(always)]
    fn forward_common_of<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        guess: Guess,
        view: View<'_>,
    ) -> Option<PortId> {
        let Self { flows, last_hops, counters, .. } = self;
        let (entry, direction) = F::table_mut(flows).guessed(guess)?;
        let head = frame.head_mut();
        if !entry.is_settled(view.generation) || !F::carries(head, &entry.incoming(direction)) {
            return None;
        }
        let hop = entry.hop(direction);
        let hop = view.fib.next_hop(hop).or_else(|| last_hops.next_hop(hop))?;
        let addresses = hop.plain_addresses()?;
        let octets = F::ip_octets(head.get(..F::HEADERS)?);
        if octets > usize::from(hop.mtu) {
            return None;
        }
        F::rewrite(head, &entry.rewrite(direction));
        ethernet::set_addresses(head, addresses);
        let end = usize::from(F::LAYOUT.l3) + octets;
        if frame.octets() > end {
            frame.truncate(end);
        }
        if let Some(counters) = counters.backend(entry.backend) {
            counters.count(direction, end as u64);
        }
        entry.stamp = view.tick();
        Some(hop.port)
    }

    /// Settles the flow that a frame of the common shape of family `F` may belong to, for the sake of the next try:
    /// one in the middle of its life, if under these tables its backend is up and its next hops are the right ones. False
    /// if there is nothing to be settled.
    fn settle<F: FlowFamily>(&mut self, guess: Guess, view: View<'_>) -> bool {
        let Some((entry, _)) = F::table_mut(&mut self.flows).guessed(guess) else { return false };
        // A record's packets are not rewritten.
        let settles = !entry.is_settled(view.generation)
            && !entry.is_one_way()
            && matches!(entry.state(), FlowState::Established | FlowState::Udp)
            && entry.route_epoch == view.fib.epoch
            && matches!(view.tables.backend_state(entry.backend), BackendState::Up | BackendState::Resting);
        if settles {
            entry.settle(view.generation);
        }
        settles
    }
}
