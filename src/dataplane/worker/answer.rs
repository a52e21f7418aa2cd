//! What a worker says itself about packets that go no further: within a rate, and counted.

use super::Core;
use crate::dataplane::farewell::Farewell;
use crate::dataplane::flow::FlowId;
use crate::dataplane::inspect::Inspected;
use crate::dataplane::pipeline::{Pipeline, View};
use crate::dataplane::verdict::Verdict;
use crate::io::{Frame, Port};
use crate::model::{Direction, Nanos, PortId};
use crate::shared::DropReason;
use crate::wire::ethernet::Link;
use crate::wire::{Parsed, Transport, craft};

/// Backends asked again per turn: a hundred thousand a second and more.
const REMINDERS: u32 = 8;

impl<P: Port> Core<P> {
    /// Tells the sender of a dropped packet.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        refusal: craft::Refusal,
        frame: &P::Frame,
        seen: &Inspected,
        port: PortId,
        now: Nanos,
    ) {
        let our_mac = self.sides[port.index()].port.egress.mac;
        let (Some(link), Ok(Parsed::Ip(packet))) = (Link::read(frame.head()), &seen.parsed) else { return };
        // What a flood of new flows consists of: an answer is due, and beyond the rate none is made.
        let is_new = packet.is_bare_syn() || packet.transport == Transport::Udp;
        let may_answer = !link.destination.is_multicast();
        if is_new && may_answer && refusal == craft::Refusal::Unreachable && self.rates.refusals.is_empty(now)
        {
            self.pipeline.tally.unanswered += 1;
            return;
        }
        if let Some(answer) = craft::refuse(refusal, &link, packet, frame.head(), our_mac) {
            let is_due = self.rates.refusal(refusal).take(now);
            self.originate(&answer, is_due, port, port);
        }
    }

    /// Sends a frame that has become its own answer back by the port it came in by.
    #[cold]
    pub(super) fn reply(&mut self, frame: P::Frame, port: PortId, now: Nanos) {
        if self.rates.echoes.take(now) {
            self.pipeline.tally.echoes += 1;
            self.send(port, frame);
        } else {
            self.pipeline.tally.count_drop(DropReason::EchoPoliced);
        }
    }

    /// Drops a packet of a flow whose backend is dead, ends the flow and tells both sides.
    #[cold]
    pub(super) fn kill(
        &mut self,
        flow: (FlowId, Direction),
        frame: &mut P::Frame,
        seen: &Inspected,
        port: PortId,
        view: View<'_>,
    ) {
        self.pipeline.tally.count_drop(DropReason::BackendDead);
        // First, as the frame still holds the packet as it came.
        self.refuse(craft::Refusal::Unreachable, frame, seen, port, view.now);
        match self.pipeline.kill(frame, seen, flow, view) {
            Some((egress, reset)) => {
                let is_due = self.rates.refusals.take(view.now);
                self.originate(&reset, is_due, port, egress);
            }
            None => self.pipeline.tally.unanswered += 1,
        }
    }

    /// Sends some of the resets that wait, if their rate allows. Returns whether it did.
    #[inline]
    pub(super) fn say_farewells(&mut self, now: Nanos) -> bool {
        !self.pipeline.farewells.is_empty() && self.say_waiting_farewells(now)
    }

    #[cold]
    fn say_waiting_farewells(&mut self, now: Nanos) -> bool {
        let mut said = false;
        while !self.pipeline.farewells.is_empty() && self.rates.farewells.take(now) {
            if let Some(Farewell { port, frame }) = self.pipeline.farewells.pop() {
                self.originate(&frame, true, port, port);
                said = true;
            }
        }
        said
    }

    /// Sends a client the news that its backend has answered, and the backend the acknowledgement for that. Without a
    /// frame for it the backend repeats its answer.
    #[cold]
    pub(super) fn connect(
        &mut self,
        (egress, frame): (PortId, P::Frame),
        flow: FlowId,
        seen: &Inspected,
        port: PortId,
        view: View<'_>,
    ) {
        self.send(egress, frame);
        let Ok(Parsed::Ip(packet)) = &seen.parsed else { return };
        let network = packet.network;
        self.originate_on_flow(port, |pipeline, frame| pipeline.complete(frame, (flow, network), view));
    }

    /// Asks backends again that do not answer our SYNs, within a budget.
    #[inline]
    pub(super) fn remind(&mut self, view: View<'_>) -> bool {
        for _ in 0..REMINDERS {
            let Some(of) = self.pipeline.next_unanswered(view) else { return false };
            self.originate_on_flow(PortId(0), |pipeline, frame| pipeline.remind(frame, of, view));
        }
        true
    }

    /// Sends a packet that a flow is owed, in a frame of `from`'s that `fill` fills.
    #[cold]
    fn originate_on_flow(
        &mut self,
        from: PortId,
        fill: impl FnOnce(&mut Pipeline, &mut P::Frame) -> Verdict,
    ) {
        if let Some(mut frame) = self.sides[from.index()].port.queue.allocate() {
            match fill(&mut self.pipeline, &mut frame) {
                Verdict::Forward(egress) => {
                    self.pipeline.tally.originated += 1;
                    return self.send(egress, frame);
                }
                Verdict::Behind(egress, mtu, flow) => {
                    self.pipeline.tally.originated += 1;
                    return self.send_behind(frame, from, (egress, mtu), flow);
                }
                Verdict::Split(..)
                | Verdict::Connect(..)
                | Verdict::Reply
                | Verdict::Punt(_)
                | Verdict::Handoff(_)
                | Verdict::Hold(_)
                | Verdict::Drop(_)
                | Verdict::Refuse(..)
                | Verdict::Kill(..) => {}
            }
        }
        self.pipeline.tally.unanswered += 1;
    }

    /// Sends `answer`, if it `is_due`, by `egress`, in a frame of `ingress`'s.
    fn originate(&mut self, answer: &[u8], is_due: bool, ingress: PortId, egress: PortId) {
        let queue = &mut self.sides[ingress.index()].port.queue;
        let frame = if is_due { queue.allocate() } else { None };
        let frame = frame.and_then(|mut frame| frame.append(answer).then_some(frame));
        let Some(frame) = frame else {
            self.pipeline.tally.unanswered += 1;
            return;
        };
        self.pipeline.tally.originated += 1;
        self.send(egress, frame);
    }
}
