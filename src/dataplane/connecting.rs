//! Flows whose client has completed its handshake with us, and whose backend has not, or may not have heard that it has.
//!
//! What we say to either side is made as if the other one had said it, and then goes the way of all packets of the flow:
//! so whatever is changed in those is changed in it. A SYN that is lost comes again, by the clock or when the client asks
//! for the window; so does the backend's answer, which is acknowledged each time. A client that never hears of its window
//! asks.

use super::alter;
use super::flow::{FlowFamily, FlowId, Stream, Tasks};
use super::flow::{Guess, Tick};
use super::pipeline::{Arrival, Pipeline, View};
use super::proxy;
use super::syn_cookie::{Brought, Kept};
use super::syn_proxy::{SCALE, replace};
use super::verdict::Verdict;
use crate::io::Frame;
use crate::model::{BackendState, Direction, Nanos, PortId, Protocol, V4, V6};
use crate::shared::{DropReason, FlowState};
use crate::wire::craft::Refusal;
use crate::wire::ethernet::{self, HEADER, TAG};
use crate::wire::handshake::{Bare, HOP_LIMIT, Offer};
use crate::wire::tcp_flags::{ACK, RST, SYN};
use crate::wire::{Layout, Network, Packet, Segment, Transport};

/// What a packet of an altered flow is to its handshake.
pub(super) enum Shaken {
    /// Nothing.
    GoesOn,
    /// It is done with.
    Done(Verdict),
    /// The flow is over; the packet may begin another.
    Anew,
}

/// A flow whose backend is silent, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    id: FlowId,
    network: Network,
    gives_up: bool,
}

/// How long a backend is given to answer before it is looked at again. The first repetition is due after one (RFC 6298,
/// 2.1), others after twice as many each.
const PATIENCE: Nanos = Nanos::from_secs(1);

impl Pipeline {
    /// What a packet of an altered flow means while the flow's two handshakes are not both complete.
    pub(super) fn shake<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        (id, direction): (FlowId, Direction),
        arrival: Arrival,
        view: View<'_>,
    ) -> Shaken {
        let flows = F::table(&self.flows);
        let (entry, Some(stream)) = (flows.entry(id), flows.stream(id).copied()) else {
            return Shaken::GoesOn;
        };
        let flags = arrival.packet.tcp_flags;
        let is_answer = direction == Direction::Return && flags & (SYN | ACK | RST) == SYN | ACK;
        if entry.state() != FlowState::Connecting {
            if direction == Direction::Forward
                && alter::begins_anew(entry.state(), &stream, &arrival.packet, frame.head())
            {
                return Shaken::Anew;
            }
            if is_answer && stream.acknowledges_syn() && !entry.state().is_over() {
                return Shaken::Done(self.acknowledge::<F, T>(frame, id, arrival, view));
            }
            return Shaken::GoesOn;
        }
        let Some(segment) = Segment::read(&arrival.packet, frame.head()) else {
            return Shaken::Done(Verdict::Drop(DropReason::UnknownFlow));
        };
        match direction {
            Direction::Forward => self.client_insists::<F, T>(frame, id, (&stream, &segment), arrival, view),
            Direction::Return if is_answer && segment.acknowledgement == Some(stream.first_at_backend()) => {
                Shaken::Done(self.connect::<F, T>(frame, id, (stream, &segment), arrival, view))
            }
            Direction::Return => {
                Shaken::Done(self.backend_declines::<F, T>(frame, id, (&stream, &segment), arrival, view))
            }
        }
    }

    /// A packet of the client while its backend has not answered.
    fn client_insists<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        (stream, segment): (&Stream, &Segment),
        arrival: Arrival,
        view: View<'_>,
    ) -> Shaken {
        let entry = F::table(&self.flows).entry(id);
        let (tuple, backend, service) = (entry.incoming(Direction::Forward), entry.backend, entry.service);
        let expected = stream.handshake.sequence.wrapping_add(1);
        if segment.flags & RST != 0 {
            // RFC 5961, 3.2: the number that is expected, and no other.
            return match segment.sequence == stream.isn.wrapping_add(1) {
                true => Shaken::GoesOn,
                false => Shaken::Done(Verdict::Drop(DropReason::UnknownFlow)),
            };
        }
        if segment.flags & SYN != 0 {
            return Shaken::Done(match view.tables.service(service) {
                // Another attempt, if its cookie comes back.
                Some(service) if arrival.packet.is_bare_syn() && segment.sequence != stream.isn => {
                    self.challenge(frame, service, &tuple, arrival, view)
                }
                // A repeated one; the answer was on its way.
                _ => Verdict::Drop(DropReason::UnknownFlow),
            });
        }
        let offer = Offer::read(&arrival.packet, frame.head());
        if segment.acknowledgement != Some(expected) {
            let echo = offer.timestamps.map(|(_, echo)| echo);
            return match self.guard.cookies.check(&tuple, segment, echo, view.now) {
                Brought::Right(..) => Shaken::Anew,
                Brought::Late | Brought::Wrong => Shaken::Done(Verdict::Drop(DropReason::UnknownFlow)),
            };
        }
        match view.tables.backend_state(backend) {
            BackendState::Up | BackendState::Resting => {}
            // Nothing was said to it that another must know.
            BackendState::Down | BackendState::Dead | BackendState::Removed => return Shaken::Anew,
        }
        if let Some(stream) = F::table_mut(&mut self.flows).stream_mut(id) {
            stream.handshake.window = segment.window;
            stream.handshake.clock = offer.timestamps.map_or(stream.handshake.clock, |(clock, _)| clock);
        }
        self.count_unanswered::<F>(id);
        Shaken::Done(self.ask::<F, T>(frame, id, arrival, view))
    }

    /// Anything but the answer of a backend to our SYN.
    fn backend_declines<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        (stream, segment): (&Stream, &Segment),
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        if segment.flags & RST == 0 {
            // Of another connection (RFC 9293, 3.10.7.3): the reset frees its port, and the next SYN succeeds.
            return Verdict::Refuse(DropReason::UnknownReturn, Refusal::Unreachable);
        }
        if segment.acknowledgement != Some(stream.first_at_backend()) {
            return Verdict::Drop(DropReason::UnknownReturn);
        }
        let entry = F::table(&self.flows).entry(id);
        if let Some(counters) = self.counters.backend(entry.backend) {
            counters.count_reset();
        }
        self.say::<F, T>(frame, id, &reset::<F>(entry.incoming(Direction::Return), stream), arrival, view)
    }

    /// The backend's answer: from now on the numbers of both sides are known. It becomes the news of its window for the
    /// client, and the backend is owed an acknowledgement.
    fn connect<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        (mut stream, segment): (Stream, &Segment),
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let offer = Offer::read(&arrival.packet, frame.head());
        let kept = Kept::from_options(stream.handshake.options, stream.handshake.mss);
        let (forth, back) = (Direction::Forward as usize, Direction::Return as usize);
        stream.shift[back] = stream.handshake.sequence.wrapping_sub(segment.sequence);
        let timestamps = offer.timestamps.filter(|_| kept.timestamps).map(|(clock, _)| clock);
        match timestamps {
            Some(clock) => stream.clock[back] = stream.handshake.echo.wrapping_sub(clock),
            None => {
                stream.handshake.options = Kept { timestamps: false, ..kept }.options();
                if kept.timestamps {
                    stream.tasks = stream.tasks.and(Tasks::BLANK_TIMESTAMPS);
                }
            }
        }
        let scale = offer.scale.filter(|_| kept.scale.is_some());
        (stream.scale[forth], stream.scale[back]) = match (kept.scale, scale) {
            (Some(_), Some(theirs)) => (0, signed(theirs) - signed(SCALE)),
            // It takes windows of the client for octets, and tells its own in octets.
            (Some(clients), None) => (signed(clients), -signed(SCALE)),
            (None, _) => (0, 0),
        };
        // Of its first window the header of the PROXY protocol takes a part.
        let octets = segment.window.saturating_sub(proxy::room_to_keep(&stream, F::NETWORK));
        let window = octets >> scale.unwrap_or(0);
        let news = Bare {
            tuple: F::table(&self.flows).entry(id).incoming(Direction::Return),
            sequence: segment.sequence.wrapping_add(1),
            acknowledgement: segment.acknowledgement,
            flags: 0,
            window: if octets > 0 { window.max(1) } else { 0 },
            offer: Offer {
                timestamps: timestamps.map(|clock| (clock, stream.handshake.clock)),
                ..Offer::default()
            },
        };
        let flows = F::table_mut(&mut self.flows);
        flows.set_stream(id, Some(stream));
        flows.entry_mut(id).note_scale(Direction::Return, scale.unwrap_or(0));
        self.advance::<F>(id, FlowState::Established, view.tick());
        match self.say::<F, T>(frame, id, &news, arrival, view) {
            Verdict::Forward(egress) => Verdict::Connect(egress, id),
            other => other,
        }
    }

    /// Sends the backend our SYN, in this frame.
    pub(super) fn ask<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let flows = F::table(&self.flows);
        let Some(stream) = flows.stream(id) else { return Verdict::Drop(DropReason::UnknownFlow) };
        let handshake = stream.handshake;
        let kept = Kept::from_options(handshake.options, handshake.mss);
        let window = u32::from(handshake.window) << kept.scale.unwrap_or(0);
        let syn = Bare {
            tuple: flows.entry(id).incoming(Direction::Forward),
            sequence: stream.isn,
            acknowledgement: None,
            flags: SYN,
            // RFC 7323, 2.2: never scaled.
            window: u16::try_from(window).unwrap_or(u16::MAX),
            offer: Offer {
                mss: Some(kept.mss),
                scale: kept.scale,
                sack: kept.sack,
                timestamps: kept.timestamps.then_some((handshake.clock, 0)),
            },
        };
        self.say::<F, T>(frame, id, &syn, arrival, view)
    }

    /// Acknowledges the backend's SYN, in this frame.
    fn acknowledge<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let flows = F::table(&self.flows);
        let Some(stream) = flows.stream(id) else { return Verdict::Drop(DropReason::UnknownFlow) };
        let handshake = stream.handshake;
        let kept = Kept::from_options(handshake.options, handshake.mss);
        let acknowledgement = Bare {
            tuple: flows.entry(id).incoming(Direction::Forward),
            sequence: stream.isn.wrapping_add(1),
            acknowledgement: Some(handshake.sequence.wrapping_add(1)),
            flags: 0,
            window: handshake.window,
            offer: Offer {
                timestamps: kept.timestamps.then_some((handshake.clock, handshake.echo)),
                ..Offer::default()
            },
        };
        self.say::<F, T>(frame, id, &acknowledgement, arrival, view)
    }

    /// Puts a segment into a frame, as one side of the flow would send it, and sends it on to the other.
    fn say<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        segment: &Bare<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let l3 = arrival.packet.layout.l3;
        let bytes = segment.packet();
        if !replace(frame, l3, &bytes) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        let l4 = l3 + F::LAYOUT.l4 - F::LAYOUT.l3;
        let end = u16::try_from(bytes.len()).map_or(u16::MAX, |octets| l3 + octets);
        let packet = Packet {
            network: F::NETWORK,
            transport: Transport::Tcp,
            protocol: Protocol::Tcp as u8,
            tcp_flags: segment.flags | if segment.acknowledgement.is_some() { ACK } else { 0 },
            hop_limit: HOP_LIMIT,
            layout: Layout { l3, l4, end },
        };
        let forward = F::table(&self.flows).entry(id).matches(Direction::Forward, &segment.tuple);
        let direction = if forward { Direction::Forward } else { Direction::Return };
        self.forward::<F, T>(frame, id, direction, Arrival { packet, ..arrival }, view)
    }

    /// A flow whose backend has not answered for so long that something is to be done; none twice in a second.
    #[inline]
    pub(super) fn next_unanswered(&mut self, view: View<'_>) -> Option<Unanswered> {
        self.next_unanswered_of::<V4>(view).or_else(|| self.next_unanswered_of::<V6>(view))
    }

    #[inline]
    fn next_unanswered_of<F: FlowFamily>(&mut self, view: View<'_>) -> Option<Unanswered> {
        let patience = Tick::span(PATIENCE);
        loop {
            let id = F::table_mut(&mut self.flows).unanswered(patience, view.tick())?;
            let stream = F::table_mut(&mut self.flows).stream_mut(id)?;
            let tries = stream.handshake.tries.saturating_add(1);
            stream.handshake.tries = tries;
            let gives_up =
                tries == u8::MAX || Nanos(PATIENCE.0 * u64::from(tries)) >= view.tables.timeouts.tcp_syn;
            if gives_up || tries.is_power_of_two() {
                self.count_unanswered::<F>(id);
                return Some(Unanswered { id, network: F::NETWORK, gives_up });
            }
        }
    }

    fn count_unanswered<F: FlowFamily>(&self, id: FlowId) {
        if let Some(counters) = self.counters.backend(F::table(&self.flows).entry(id).backend) {
            counters.count_unanswered();
        }
    }

    /// Fills an empty frame with what is to be said about a backend that does not answer: to it the SYN again, or to the
    /// client that it is in vain.
    pub(super) fn remind<T: Frame>(&mut self, frame: &mut T, of: Unanswered, view: View<'_>) -> Verdict {
        match of.network {
            Network::V4 => self.remind_of::<V4, T>(frame, of, view),
            Network::V6 => self.remind_of::<V6, T>(frame, of, view),
        }
    }

    fn remind_of<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        of: Unanswered,
        view: View<'_>,
    ) -> Verdict {
        let flows = F::table(&self.flows);
        let Some(stream) = flows.stream(of.id).copied() else {
            return Verdict::Drop(DropReason::UnknownFlow);
        };
        let tuple = flows.entry(of.id).incoming(Direction::Return);
        self.in_empty::<F, T>(frame, (of.id, view), |pipeline, frame, arrival| {
            if of.gives_up {
                pipeline.say(frame, of.id, &reset::<F>(tuple, &stream), arrival, view)
            } else {
                pipeline.ask::<F, T>(frame, of.id, arrival, view)
            }
        })
    }

    /// Fills an empty frame with the acknowledgement that a backend is owed.
    pub(super) fn complete<T: Frame>(
        &mut self,
        frame: &mut T,
        (id, network): (FlowId, Network),
        view: View<'_>,
    ) -> Verdict {
        match network {
            Network::V4 => self.in_empty::<V4, T>(frame, (id, view), |pipeline, frame, arrival| {
                pipeline.acknowledge::<V4, T>(frame, id, arrival, view)
            }),
            Network::V6 => self.in_empty::<V6, T>(frame, (id, view), |pipeline, frame, arrival| {
                pipeline.acknowledge::<V6, T>(frame, id, arrival, view)
            }),
        }
    }

    /// Lets `fill` an empty frame with a packet of a flow that nobody sent, with the tag of those that its client sends.
    fn in_empty<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        (id, view): (FlowId, View<'_>),
        fill: impl FnOnce(&mut Self, &mut T, Arrival) -> Verdict,
    ) -> Verdict {
        let vlan = self.tag(F::table(&self.flows).entry(id), Direction::Forward, view);
        let octets = if vlan.is_some() { HEADER + TAG } else { HEADER };
        if !frame.append(&[0; HEADER + TAG][..octets]) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        let ether_type = if F::VERSION == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
        ethernet::set_type(frame.head_mut(), vlan, ether_type);
        let tag = u16::try_from(octets - HEADER).unwrap_or(0);
        let Layout { l3, l4, end } = F::LAYOUT;
        let packet = Packet {
            network: F::NETWORK,
            transport: Transport::Other,
            protocol: 0,
            tcp_flags: 0,
            hop_limit: HOP_LIMIT,
            layout: Layout { l3: l3 + tag, l4: l4 + tag, end },
        };
        let arrival = Arrival {
            packet,
            hash: 0,
            guess: Guess::NONE,
            vlan,
            port: PortId(0),
            handed_in: false,
            in_pieces: false,
        };
        fill(self, frame, arrival)
    }
}

/// The reset with which a backend declines our SYN (RFC 9293, 3.10.7.1).
fn reset<F: FlowFamily>(tuple: crate::model::FiveTuple<F>, stream: &Stream) -> Bare<F> {
    Bare {
        tuple,
        sequence: 0,
        acknowledgement: Some(stream.first_at_backend()),
        flags: RST,
        window: 0,
        offer: Offer::default(),
    }
}

const fn signed(scale: u8) -> i8 {
    scale.cast_signed()
}
