//! A burst on its way through the passes.
//!
//! While there is more to do than can be done, two bursts are on their way: the memory that the third pass over one will
//! need arrives while the port is read, and between the frames of that third pass the second looks at the other burst.

use super::{Core, Pipeline, View};
use crate::dataplane::fast_path::Egresses;
use crate::dataplane::flow::FlowFamily;
use crate::dataplane::inspect::{Addressed, Inspected, Lookahead};
use crate::dataplane::pipeline::Arrival;
use crate::dataplane::verdict::Verdict;
use crate::io::{Burst, Frame, Port};
use crate::model::{PortId, V4, V6};
use crate::shared::DropReason;
use crate::wire::{Malformed, Network, Parsed};

/// Flows that fit into the cache of a core (2 MiB on what servers have): with fewer there is nothing to wait for.
const CACHED_FLOWS: usize = 16_384;

/// A burst and what is known of it. Empty when it is through, and kept: making one costs more than a pass.
pub(super) struct Batch<F> {
    pub(super) frames: Burst<F>,
    pub(super) port: PortId,
    pub(super) handed_in: bool,
    octets: u64,
    ahead: Lookahead,
}

impl<F> Batch<F> {
    fn new() -> Self {
        Self { frames: Burst::new(), port: PortId(0), handed_in: false, octets: 0, ahead: Lookahead::NOTHING }
    }
}

/// The two bursts that may be on their way at a time.
pub(super) struct Batches<F> {
    both: [Batch<F>; 2],
    /// Which of them waits for its third pass, if it has frames.
    waiting: usize,
}

impl<F> Batches<F> {
    pub(super) fn new() -> Self {
        Self { both: [Batch::new(), Batch::new()], waiting: 0 }
    }

    /// The one that waits, and the one that can be filled.
    #[inline(always)]
    fn split(&mut self) -> (&mut Batch<F>, &mut Batch<F>) {
        let [first, second] = &mut self.both;
        if self.waiting == 0 { (first, second) } else { (second, first) }
    }

    /// The one that can be filled.
    #[inline]
    pub(super) fn fresh(&mut self) -> &mut Batch<F> {
        self.split().1
    }
}

impl<P: Port> Core<P> {
    /// A burst from one port, and before it what waits. A full one waits too, as there is more where it came from: until
    /// the next time that a port is read.
    #[inline]
    pub(super) fn receive(&mut self, port: PortId, batches: &mut Batches<P::Frame>, view: View<'_>) -> bool {
        let (waiting, fresh) = batches.split();
        self.sides[port.index()].port.queue.receive(&mut fresh.frames);
        let waits = !waiting.frames.is_empty();
        if fresh.frames.is_empty() {
            if waits {
                self.finish(waiting, view, |_, _| ());
            }
            return waits;
        }
        (fresh.port, fresh.handed_in) = (port, false);
        self.inspect(fresh);
        if waits && fresh.frames.is_full() && fresh.ahead.is_shaped_v4 {
            // A core waits for few lines at a time: those of the next flows are asked for one by one between the packets of
            // the burst before, which is as long.
            let mut missed = 0;
            let ahead = &mut fresh.ahead;
            self.finish(waiting, view, |pipeline, place| missed |= pipeline.look_near(place, ahead));
            self.pipeline.look_far(missed, ahead);
        } else {
            if waits {
                self.finish(waiting, view, |_, _| ());
            }
            self.pipeline.look_ahead(fresh.frames.len(), &mut fresh.ahead);
        }
        if fresh.frames.is_full() && self.pipeline.flows.len() > CACHED_FLOWS {
            batches.waiting ^= 1;
        } else {
            self.finish(fresh, view, |_, _| ());
        }
        true
    }

    /// The three passes over a burst, one after the other.
    pub(super) fn process(&mut self, batch: &mut Batch<P::Frame>, view: View<'_>) {
        self.inspect(batch);
        self.pipeline.look_ahead(batch.frames.len(), &mut batch.ahead);
        self.finish(batch, view, |_, _| ());
    }

    /// The first pass.
    #[inline(always)]
    fn inspect(&mut self, batch: &mut Batch<P::Frame>) {
        let mac = self.sides[batch.port.index()].port.egress.mac;
        batch.octets = self.pipeline.inspect_all(&batch.frames, mac, &mut batch.ahead);
    }

    /// The third pass, in which every frame of the burst ends in its verdict.
    ///
    /// It looks at frames of the common shape before those that take the general way, but all leave in the order in
    /// which they came. So data behind a reset of the same burst still pass; their receiver knows what to do.
    ///
    /// `beside` is called with each place of the burst, between the frames of the common shape.
    #[inline(never)]
    fn finish(
        &mut self,
        batch: &mut Batch<P::Frame>,
        view: View<'_>,
        beside: impl FnMut(&mut Pipeline, usize),
    ) {
        let Batch { frames, ahead, .. } = batch;
        ahead.settled = view.generation.settled(batch.port);
        if !batch.handed_in {
            self.pipeline.tally.rx_packets += frames.len() as u64;
            self.pipeline.tally.rx_octets += batch.octets;
        }
        let mut egress = Egresses::GENERAL;
        self.pipeline.forward_all(frames, ahead, view, &mut egress, beside);
        if let Some((port, octets)) = egress.of_all(frames.len()) {
            self.send_all(port, frames, octets);
            if frames.is_empty() {
                return;
            }
        }
        for (place, frame) in frames.drain(..).enumerate() {
            match egress.of(place) {
                Some(port) => self.send(port, frame),
                None => self.process_any(frame, (place, ahead), (batch.port, batch.handed_in), view),
            }
        }
    }

    /// The third pass for every frame, out of the way of those that nearly all are.
    #[inline(never)]
    fn process_any(
        &mut self,
        mut frame: P::Frame,
        (place, ahead): (usize, &mut Lookahead),
        (port, handed_in): (PortId, bool),
        view: View<'_>,
    ) {
        if ahead.common[place].is_some()
            && self.pipeline.settles(place, ahead, port, view)
            && let Some(left) = self.pipeline.forward_common(&mut frame, place, ahead, view)
        {
            return self.send(left.port, frame);
        }
        match ahead.shape(place) {
            Some(Network::V4) => self.process_shaped::<V4>(frame, (place, ahead), (port, handed_in), view),
            Some(Network::V6) => self.process_shaped::<V6>(frame, (place, ahead), (port, handed_in), view),
            None => self.process_general(frame, &mut ahead.inspected[place], port, handed_in, view),
        }
    }

    /// [`process_general`](Self::process_general) for a frame of the common shape of family `F`, marked or not: the same
    /// way, of which much is known beforehand.
    #[inline(never)]
    fn process_shaped<F: FlowFamily>(
        &mut self,
        mut frame: P::Frame,
        (place, ahead): (usize, &Lookahead),
        (port, handed_in): (PortId, bool),
        view: View<'_>,
    ) {
        let (hash, guess) = (ahead.hash(place), ahead.guesses[place]);
        let packet = F::packet(frame.head());
        let verdict = match &packet {
            Some(packet) => {
                let packet = *packet;
                let arrival = Arrival { packet, hash, guess, vlan: None, port, handed_in, in_pieces: false };
                self.pipeline.balance_as::<F, _, true>(&mut frame, arrival, view)
            }
            None => Verdict::Drop(DropReason::FrameTruncated),
        };
        match verdict {
            Verdict::Forward(egress) => self.send(egress, frame),
            verdict => {
                let parsed = packet.map(Parsed::Ip).ok_or(Malformed::FrameTruncated);
                let seen = Inspected { parsed, vlan: None, addressed: Addressed::Us, hash, guess };
                self.conclude(verdict, frame, &seen, (port, handed_in), view);
            }
        }
    }
}
