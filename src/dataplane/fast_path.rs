//! The fast path: a packet of the common shape on a flow in the middle of its life.
//!
//! What nearly every packet is, in a straight line: of the [`Common`](crate::wire::Common) shape, for us; a flow that
//! is found where it was guessed, established or UDP, its backend up, its next hop resolved. It does what
//! [`Pipeline::balance`] would do, to the byte (a property test keeps that), or nothing: whatever is not so goes
//! the general way.

use super::fate::may_return_by;
use super::flow::{FlowFamily, Guess, SettledRange, Stream};
use super::inspect::Lookahead;
use super::pipeline::{Pipeline, View};
use crate::io::{BURST, Frame};
use crate::model::{BackendState, Direction, PortId, V4, V6};
use crate::shared::FlowState;
use crate::wire::{Network, ethernet};

/// By which ports the frames of a burst leave, by place.
pub struct Egresses {
    ports: [u16; BURST],
    /// Of all frames that leave by one.
    octets: u64,
}

impl Egresses {
    /// No port has this number: for frames that go the general way.
    const NONE: u16 = u16::MAX;

    /// All frames go the general way.
    pub const GENERAL: Self = Self { ports: [Self::NONE; BURST], octets: 0 };

    /// The port by which this frame leaves; `None` if it goes the general way.
    #[must_use]
    #[inline(always)]
    pub fn of(&self, place: usize) -> Option<PortId> {
        let number = self.ports[place % BURST];
        (number != Self::NONE).then_some(PortId(number))
    }

    /// The port by which each of the first `frames` leaves, with the octets of them all; `None` if not all leave by the
    /// same.
    #[must_use]
    #[inline(always)]
    pub fn of_all(&self, frames: usize) -> Option<(PortId, u64)> {
        let first = self.of(0)?;
        // Without a branch in it, the compiler makes a few vector instructions of this.
        let ports = self.ports.get(..frames)?;
        let others = ports.iter().fold(0, |others, port| others | (port ^ first.0));
        (others == 0).then_some((first, self.octets))
    }
}

/// How a frame left.
pub struct Left {
    /// By which port.
    pub port: PortId,
    /// How long it is now.
    pub octets: u64,
}

impl Pipeline {
    /// Pass 3 for those frames of a burst that [`forward_common`](Self::forward_common) forwards, which is noted in
    /// `egresses`, where all went the general way so far. Written in place: a copy would wait for all that was written.
    /// `beside` is called once with each place.
    #[inline(always)]
    pub fn forward_all<T: Frame>(
        &mut self,
        frames: &mut [T],
        ahead: &Lookahead,
        view: View<'_>,
        egresses: &mut Egresses,
        mut beside: impl FnMut(&mut Self, usize),
    ) {
        if !ahead.is_v4 {
            for place in 0..frames.len() {
                beside(self, place);
            }
            return self.forward_each(frames, ahead, view, egresses);
        }
        let settled = ahead.settled;
        let Egresses { ports, octets } = egresses;
        for (place, frame) in frames.iter_mut().enumerate().take(BURST) {
            if let Some(left) = self.forward_common_of::<V4, T>(frame, ahead.guesses[place], &settled, view) {
                ports[place] = left.port.0;
                *octets += left.octets;
            }
            beside(self, place);
        }
    }

    /// The same for a burst of several shapes.
    #[inline(never)]
    fn forward_each<T: Frame>(
        &mut self,
        frames: &mut [T],
        ahead: &Lookahead,
        view: View<'_>,
        egresses: &mut Egresses,
    ) {
        for (place, frame) in frames.iter_mut().enumerate().take(BURST) {
            if let Some(left) = self.forward_common(frame, place, ahead, view) {
                egresses.ports[place] = left.port.0;
                egresses.octets += left.octets;
            }
        }
    }

    /// Pass 3, most of the time: forwards a frame of the common shape on a flow in the middle of its life. How it leaves,
    /// or `None`, and nothing changed: then [`balance`](Self::balance) does.
    #[inline]
    pub fn forward_common<T: Frame>(
        &mut self,
        frame: &mut T,
        place: usize,
        ahead: &Lookahead,
        view: View<'_>,
    ) -> Option<Left> {
        let guess = ahead.guesses[place];
        match ahead.common[place]? {
            Network::V4 => self.forward_common_of::<V4, T>(frame, guess, &ahead.settled, view),
            Network::V6 => self.forward_common_of::<V6, T>(frame, guess, &ahead.settled, view),
        }
    }

    /// Whether another try of [`forward_common`](Self::forward_common) may succeed where one has failed: the tables have
    /// changed since the flow was last looked at, but nothing that it goes by.
    pub fn settles(&mut self, place: usize, ahead: &Lookahead, port: PortId, view: View<'_>) -> bool {
        let guess = ahead.guesses[place];
        match ahead.common[place] {
            Some(Network::V4) => self.settle::<V4>(guess, &ahead.settled, port, view),
            Some(Network::V6) => self.settle::<V6>(guess, &ahead.settled, port, view),
            None => false,
        }
    }

    /// Rewrites the frame, of the common shape of family `F`; `None`, and nothing changed, if it has to go the general way.
    #[inline(always)]
    fn forward_common_of<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        guess: Guess,
        settled: &SettledRange,
        view: View<'_>,
    ) -> Option<Left> {
        let Self { flows, last_hops, counters, .. } = self;
        let (entry, direction) = F::table_mut(flows).guessed(guess)?;
        let head = frame.head_mut();
        if !entry.is_settled(settled, direction) || !F::carries(head, &entry.incoming(direction)) {
            return None;
        }
        if entry.is_altered() && is_to_be_altered::<F>(direction, head) {
            return None;
        }
        let hop = entry.settled_hop(direction);
        let hop = view.fib.next_hop(hop).or_else(|| last_hops.next_hop(hop))?;
        let addresses = hop.plain_addresses()?;
        let octets = F::ip_octets(head.get(..F::HEADERS)?);
        if octets > usize::from(hop.mtu) {
            return None;
        }
        if !entry.is_datagrams() {
            let acknowledgement = F::acknowledgement(head);
            if !entry.is_near(direction, acknowledgement) {
                return None;
            }
            entry.expect(direction.opposite(), acknowledgement);
        }
        F::rewrite(head, &entry.rewrite(direction));
        ethernet::set_addresses(head, addresses);
        let end = usize::from(F::LAYOUT.l3) + octets;
        if frame.octets() > end {
            frame.truncate(end);
        }
        let octets = end as u64;
        if let Some(counters) = counters.backend(entry.backend) {
            counters.count(direction, octets);
        }
        entry.stamp = view.tick();
        Some(Left { port: hop.port, octets })
    }

    /// Settles the flow that a frame of the common shape of family `F` may belong to, for the sake of the next try: one in
    /// the middle of its life, if under these tables its backend is up, its next hops are the right ones, and a packet of
    /// its backend came in by a `port` that leads there. False if there is nothing to be settled.
    fn settle<F: FlowFamily>(
        &mut self,
        guess: Guess,
        settled: &SettledRange,
        port: PortId,
        view: View<'_>,
    ) -> bool {
        let flows = F::table_mut(&mut self.flows);
        let at_rest = flows.guessed_stream(guess).is_none_or(Stream::is_at_rest);
        let Some((entry, direction)) = flows.guessed(guess) else { return false };
        // A record's packets are not rewritten, and an altered flow's are more than that.
        let settles = !entry.is_settled(settled, direction)
            && !entry.is_one_way()
            && at_rest
            && matches!(entry.state(), FlowState::Established | FlowState::Udp)
            && entry.route_epoch == view.fib.epoch
            && matches!(view.tables.backend_state(entry.backend), BackendState::Up | BackendState::Resting);
        if !settles {
            return false;
        }
        let from_backend = match direction {
            Direction::Forward => view.fib.next_hop(entry.hop(direction)).map(|hop| hop.port),
            Direction::Return => may_return_by(entry, port, view).then_some(port),
        };
        if let Some(port) = from_backend {
            entry.settle(view.generation, port);
        }
        from_backend.is_some()
    }
}

/// Whether a packet of a flow that is altered is to be looked at: what is wanted of its client are no options but those
/// that nearly all send. Cold, so that other flows' packets are asked one thing alone.
#[cold]
fn is_to_be_altered<F: FlowFamily>(direction: Direction, head: &[u8]) -> bool {
    direction == Direction::Forward && !F::has_common_options(head)
}
