//! What becomes of a flow at a packet of it.

use super::flow::{FlowEntry, FlowFamily, FlowId};
use super::pipeline::{Arrival, Pipeline, View};
use crate::model::{BackendState, Direction, PortId, Protocol};
use crate::shared::{FlowState, ReversePath};
use crate::wire::{Packet, tcp_flags};

/// What becomes of a flow at a packet.
pub(super) enum Fate {
    /// Nothing.
    GoesOn,
    /// It is at its end, and the packet is a new flow's: the client reuses its port, or the backend is gone and nothing
    /// of the flow would be lost on another.
    Over,
    /// Its backend is dead, and so is the connection, which neither side may know.
    Killed,
}

impl Fate {
    /// What a packet means for the flow it finds.
    #[inline(always)]
    pub(super) fn of<F: FlowFamily>(
        entry: &FlowEntry<F>,
        direction: Direction,
        packet: &Packet,
        view: View<'_>,
    ) -> Self {
        let backend = view.tables.backend_state(entry.backend);
        if matches!(backend, BackendState::Up | BackendState::Resting) && !packet.is_bare_syn() {
            return Self::GoesOn;
        }
        let forward = direction == Direction::Forward;
        let begins = forward && packet.is_bare_syn();
        let is_over = match (entry.protocol(), backend) {
            // What ended in peace has nobody left to tell; only its last packets may be repeated.
            (Protocol::Tcp, BackendState::Dead) if !begins && entry.state() == FlowState::TimeWait => false,
            (Protocol::Tcp, BackendState::Dead) if !begins => return Self::Killed,
            (Protocol::Tcp, BackendState::Dead) => true,
            (Protocol::Tcp, BackendState::Up | BackendState::Resting) => begins && entry.syn_starts_anew(),
            (Protocol::Tcp, BackendState::Down | BackendState::Removed) => {
                begins && (entry.syn_starts_anew() || entry.state().is_half_open())
            }
            (Protocol::Udp, BackendState::Up | BackendState::Resting) => false,
            (Protocol::Udp, BackendState::Down | BackendState::Dead | BackendState::Removed) => forward,
        };
        if is_over { Self::Over } else { Self::GoesOn }
    }
}

/// Whether packets of a flow's backend may come in by `port`: a route to the backend uses it. So nobody in front of the
/// balancer can speak for a backend behind it. A backend whose packets come by another way than ours to it needs a route
/// by that port, too, of any metric.
#[inline(always)]
pub(super) fn may_return_by<F: FlowFamily>(entry: &FlowEntry<F>, port: PortId, view: View<'_>) -> bool {
    let hop = view.fib.next_hop(entry.hop(Direction::Forward));
    hop.is_some_and(|hop| hop.port == port) || is_routed_by(entry, port, view)
}

#[cold]
fn is_routed_by<F: FlowFamily>(entry: &FlowEntry<F>, port: PortId, view: View<'_>) -> bool {
    view.fib.reverse_path(entry.backend_endpoint().address, port) != ReversePath::None
}

impl Pipeline {
    /// Counts what a handshake says of its backend: that it does not answer, or refuses.
    #[cold]
    pub(super) fn observe<F: FlowFamily>(&self, id: FlowId, direction: Direction, arrival: Arrival) {
        let packet = arrival.packet;
        let entry = F::table(&self.flows).entry(id);
        let Some(counters) = self.counters.backend(entry.backend) else { return };
        if entry.state() != FlowState::SynSent {
            return;
        }
        match direction {
            Direction::Forward if packet.is_bare_syn() => counters.count_unanswered(),
            Direction::Return if packet.tcp_flags & tcp_flags::RST != 0 => counters.count_reset(),
            Direction::Forward | Direction::Return => {}
        }
    }
}
