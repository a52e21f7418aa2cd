//! A packet of a known flow goes on its way: translated, altered where its flow is, and noted in its flow.

use super::alter;
use super::flow::{FlowEntry, FlowFamily, FlowId, Reset, tcp};
use super::link;
use super::pieces::Pieces;
use super::pipeline::{Arrival, Pipeline, View};
use super::toa::{self, Departure};
use super::verdict::Verdict;
use crate::io::Frame;
use crate::model::{Direction, Family};
use crate::shared::{DropReason, FlowState, Tally};
use crate::wire::craft::Refusal;
use crate::wire::handshake::Offer;
use crate::wire::split::may_split;
use crate::wire::{Layout, Packet, Segment, Transport, rewrite, rewrite_addresses, tcp_flags};
use crate::wire::{ethernet, mss};

impl Pipeline {
    /// Sends a packet of a known flow on its way.
    #[inline(never)]
    pub(super) fn forward<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        direction: Direction,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        self.forward_as::<F, T, false>(frame, (id, direction), arrival, view)
    }

    /// [`forward`](Self::forward). `SHAPED` says that the packet is of the common shape of `F`, marked or not, and its flow
    /// not altered.
    #[inline(always)]
    pub(super) fn forward_as<F: FlowFamily, T: Frame, const SHAPED: bool>(
        &mut self,
        frame: &mut T,
        (id, direction): (FlowId, Direction),
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let packet = &arrival.packet_of::<F, SHAPED>();
        if packet.hop_limit <= 1 {
            return Verdict::Refuse(DropReason::TtlExpired, Refusal::TimeExceeded);
        }
        if F::table(&self.flows).entry(id).route_epoch != view.fib.epoch {
            self.route_again::<F>(id, view);
        }
        let Self { flows, last_hops, counters, tally, .. } = self;
        let (entry, mut stream) = if SHAPED {
            (F::table_mut(flows).entry_mut(id), None)
        } else {
            F::table_mut(flows).entry_and_stream(id)
        };
        let hop = entry.hop(direction);
        let Some(hop) = view.fib.next_hop(hop).or_else(|| last_hops.next_hop(hop)) else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Some(addresses) = hop.addresses() else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Layout { l3, end, .. } = packet.layout;
        let growth = alter::growth::<F>(stream.as_deref(), packet.transport, direction);
        let fits = (end - l3).saturating_add(growth) <= hop.mtu;
        if !fits && !may_split(*packet, frame.head()) {
            let mtu = alter::left_of::<F>(hop.mtu, stream.as_deref(), packet.transport, direction);
            return Verdict::Refuse(DropReason::MtuExceeded, Refusal::TooBig { mtu });
        }
        let departure = Departure { packet, direction, mtu: fits.then_some(hop.mtu) };
        let told = match SHAPED {
            true => Some(*packet),
            false => toa::tell(frame, (entry, stream.as_deref_mut()), departure, counters),
        };
        let Some(packet) = &told else { return Verdict::Drop(DropReason::FrameTruncated) };
        // What nothing changes leaves with the numbers that it came with.
        let came = stream.as_ref().and_then(|_| Segment::read(packet, frame.head()));
        match packet.transport {
            Transport::Fragment => {
                rewrite_addresses(frame.head_mut(), packet.layout, &entry.rewrite(direction));
            }
            Transport::Tcp | Transport::Udp if SHAPED => {
                F::rewrite(frame.head_mut(), &entry.rewrite(direction));
            }
            Transport::Tcp | Transport::Udp | Transport::Other => {
                rewrite(frame.head_mut(), packet.layout, &entry.rewrite(direction));
            }
        }
        let growth_back = toa::growth(stream.as_deref(), direction.opposite(), packet.network);
        let (mut end, mut behind_header) = (packet.layout.end, false);
        if let Some(stream) = stream {
            match alter::packet(frame, packet, (&mut *entry, stream), (direction, hop.mtu)) {
                Ok(altered) => (end, behind_header) = (altered.end, altered.behind_header),
                Err(reason) => return Verdict::Drop(reason),
            }
        }
        if packet.tcp_flags & tcp_flags::SYN != 0 {
            // What its sender takes comes to us by the other side's port, and leaves by its own.
            let back = entry.hop(direction.opposite());
            let back = view.fib.next_hop(back).or_else(|| last_hops.next_hop(back));
            let mtu = back.map_or(hop.mtu, |back| back.mtu.min(hop.mtu));
            let most = mss::largest_for(mtu, packet.network);
            mss::clamp(frame.head_mut(), *packet, most, growth_back);
        }
        let leaves = Packet { layout: Layout { end, ..packet.layout }, ..*packet };
        let heard = match packet.transport {
            Transport::Tcp => hear(entry, &leaves, (came, frame.head()), direction, tally),
            Transport::Udp | Transport::Other => Heard::Datagram,
            // Its first one has told what there is to know, and another sender may have made this one.
            Transport::Fragment => Heard::Nothing,
        };
        // What follows the IP packet is padding of the sender's link (IEEE 802.3, 4.2.2.2), not ours to pass on.
        if frame.octets() > usize::from(end) {
            frame.truncate(usize::from(end));
        }
        if !link::set(frame, F::VERSION, (l3, if SHAPED { None } else { arrival.vlan }), hop.vlan) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        ethernet::set_addresses(frame.head_mut(), addresses);
        if let Some(counters) = counters.backend(entry.backend) {
            counters.count(direction, frame.octets() as u64);
        }
        let (egress, mtu) = (hop.port, hop.mtu);
        let next = match heard {
            Heard::Segment(flags) => tcp::next(entry.state(), &mut entry.fins, direction, flags),
            Heard::PossibleReset => tcp::after_possible_reset(entry.state()),
            Heard::Datagram => entry.note_datagram(direction),
            Heard::Nothing => entry.state(),
        };
        if direction == Direction::Return && entry.is_one_packet() {
            self.end_answered::<F>(id, !SHAPED && arrival.in_pieces, view);
        } else if next != entry.state() {
            self.advance::<F>(id, next, view.tick());
        } else if matches!(heard, Heard::Segment(_) | Heard::Datagram) {
            entry.touch(view.tick());
        }
        if !fits {
            self.pieces = Pieces::Renumbered;
        }
        match fits {
            _ if behind_header => Verdict::Behind(egress, (!fits).then_some(mtu), id),
            true => Verdict::Forward(egress),
            false => Verdict::Split(egress, mtu),
        }
    }

    /// A datagram's answer is what its flow was for.
    #[cold]
    fn end_answered<F: FlowFamily>(&mut self, id: FlowId, in_pieces: bool, view: View<'_>) {
        if in_pieces {
            // Later pieces of it find it closed.
            self.advance::<F>(id, FlowState::Closed, view.tick());
        } else {
            self.end::<F>(id);
        }
    }
}

/// What a packet tells its flow.
#[derive(Clone, Copy)]
enum Heard {
    /// That the flow goes on.
    Datagram,
    /// A segment of the connection, with these flags.
    Segment(u8),
    /// Perhaps the end of the connection.
    PossibleReset,
    /// Nothing: anybody may have sent it. The packet goes on all the same, as its receiver knows better.
    Nothing,
}

/// What a segment tells its flow, whose numbers it notes: one that came as `came`, if that was another, and stands in `head`
/// as the `packet` that leaves.
#[inline(always)]
fn hear<F: Family>(
    entry: &mut FlowEntry<F>,
    packet: &Packet,
    (came, head): (Option<Segment>, &[u8]),
    direction: Direction,
    tally: &mut Tally,
) -> Heard {
    let flags = packet.tcp_flags;
    let Some(leaves) = Segment::read(packet, head) else { return Heard::Nothing };
    let acknowledgement = came.unwrap_or(leaves).acknowledgement;
    if flags & tcp_flags::RST != 0 {
        let reset = entry.judge_reset(direction, &leaves, acknowledgement);
        tally.resets_doubted += u64::from(reset != Reset::Certain);
        return match reset {
            Reset::Certain => Heard::Segment(flags),
            Reset::Possible => {
                entry.fins.note_reset(direction);
                Heard::PossibleReset
            }
            Reset::Impossible => Heard::Nothing,
        };
    }
    if !entry.is_genuine(direction, &leaves, acknowledgement) {
        return Heard::Nothing;
    }
    if flags & tcp_flags::SYN != 0 {
        entry.note_syn(direction, &leaves, Offer::read_scale(*packet, head));
    }
    if flags & tcp_flags::FIN != 0 {
        entry.note_fin(direction, &leaves);
    }
    let Some(acknowledgement) = acknowledgement else { return Heard::Segment(flags) };
    entry.note_acknowledgement(direction, acknowledgement);
    let is_of_all = entry.is_acknowledgement_of_all(acknowledgement);
    Heard::Segment(if is_of_all { flags } else { flags & !tcp_flags::ACK })
}
