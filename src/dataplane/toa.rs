//! TOA: backends learn who the client is from an option in its segments (`wire::toa`).
//!
//! Receivers look at the segment that completes the handshake, which is the client's first ACK, or its first data if that
//! one is lost or the server sleeps until there are data; those that read the SYN that their kernel keeps look at that. So
//! all segments of the client carry the option, SYN and FIN included, until the backend has acknowledged data of the
//! client's or its FIN, and so has seen a segment that had it. Not every client ever sends data: once the backend has
//! sent something, for which it must have seen the handshake completed, [`LAST`] more segments carry it. As no number
//! moves, later repetitions go without.
//!
//! What lacks the room in the MTU leaves without the option, as nobody could send less. Clients send less from the
//! beginning, because the segment size in SYN-ACKs is lowered by as much. Among options, those that a connection can do
//! without make room: else a client that fills every header would never be named.
//!
//! Options of the same kind that the client sends itself are taken out for as long as the flow lives: nobody can know how
//! long a receiver goes on reading. Only segments without options, or with timestamps alone, take the fast path then.

use super::flow::{FlowEntry, FlowFamily, Stream, Tasks};
use crate::io::Frame;
use crate::model::Direction;
use crate::shared::{ServiceCounters, WorkerCounters};
use crate::wire::option_list::Options;
use crate::wire::stream::is_before;
use crate::wire::tcp_flags::{FIN, RST, SYN};
use crate::wire::{Network, Packet, Segment, Transport, grow, toa};

/// Segments of the client that carry the option after the backend's first data, at most: acknowledgements of a burst of
/// ten segments (RFC 6928) and some of the next, among which a client that has something to say says it.
const LAST: u8 = 32;

/// [`Stream::toa_left`] while the backend has sent nothing.
const SILENT: u8 = u8::MAX;

/// What a new TCP flow to a backend that expects options of this kind has to have done.
pub(super) fn begin(kind: u8) -> Stream {
    Stream { toa_kind: kind, toa_left: SILENT, tasks: Tasks::TOA, ..Stream::default() }
}

/// A packet on its way.
#[derive(Clone, Copy)]
pub(super) struct Departure<'a> {
    pub(super) packet: &'a Packet,
    pub(super) direction: Direction,
    /// What its next hop takes; `None` if it is larger already.
    pub(super) mtu: Option<u16>,
}

/// Takes forged options out of a segment of a client's and puts ours into it, if that is due. The packet as it is then;
/// `None` if its options are not all in the first part of the frame.
#[inline]
pub(super) fn tell<F: FlowFamily, T: Frame>(
    frame: &mut T,
    (entry, stream): (&FlowEntry<F>, Option<&mut Stream>),
    departure: Departure<'_>,
    counters: &WorkerCounters,
) -> Option<Packet> {
    let packet = departure.packet;
    match stream {
        Some(stream)
            if stream.toa_kind != 0
                && departure.direction == Direction::Forward
                && packet.transport == Transport::Tcp =>
        {
            tell_of(frame, (entry, stream), departure, counters.service(entry.service))
        }
        _ => Some(*packet),
    }
}

#[inline(never)]
fn tell_of<F: FlowFamily, T: Frame>(
    frame: &mut T,
    (entry, stream): (&FlowEntry<F>, &mut Stream),
    departure: Departure<'_>,
    counters: Option<&ServiceCounters>,
) -> Option<Packet> {
    let packet = departure.packet;
    let mut options = Options::read(frame.head(), packet)?;
    let forged = options.take_out(stream.toa_kind);
    if forged && let Some(counters) = counters {
        counters.count_toa_forged();
    }
    if stream.tasks.include(Tasks::TOA) && packet.tcp_flags & RST == 0 {
        let option = toa::option(stream.toa_kind, entry.client());
        if packet.tcp_flags & SYN == 0 || !toa::asks_for_something_else(&option) {
            if let Some(grown) = insert(frame, &option, &options, departure) {
                stream.note_told();
                return Some(grown);
            }
            if let Some(counters) = counters {
                counters.count_toa_skipped();
            }
        }
    }
    if forged { options.write(frame.head_mut(), packet, 0) } else { Some(*packet) }
}

/// Puts the option in front of `options`, which become those of the segment; `None`, and nothing changed, if there is no
/// room for it.
fn insert<T: Frame>(
    frame: &mut T,
    option: &[u8],
    options: &Options,
    Departure { packet, mtu, .. }: Departure<'_>,
) -> Option<Packet> {
    let mtu = mtu?;
    // The places of what follows a first fragment are counted from the beginning of the packet.
    if !grow::is_whole(frame.head(), frame.octets()) {
        return None;
    }
    let longer = options.behind(option)?;
    let growth = u16::try_from(longer.octets().len() - options.octets().len()).ok()?;
    let octets = (packet.layout.end - packet.layout.l3).checked_add(growth)?;
    if octets > mtu || !frame.prepend(growth.into()) {
        return None;
    }
    let grown = longer.write(frame.head_mut(), packet, growth);
    if grown.is_none() {
        frame.trim_front(growth.into());
    }
    grown
}

/// Takes notice of what the backend has seen, from a segment of its that acknowledges what the client has sent in the
/// client's own numbers.
pub(super) fn hear(stream: &mut Stream, head: &[u8], packet: &Packet) {
    if !stream.tasks.include(Tasks::TOA.and(Tasks::TOA_TOLD)) || packet.tcp_flags & RST != 0 {
        return;
    }
    let Some(segment) = Segment::read(packet, head) else { return };
    let first = stream.isn.wrapping_add(1);
    if segment.acknowledgement.is_some_and(|next| is_before(first, next)) {
        stream.end_toa();
    } else if stream.toa_left == SILENT
        && packet.tcp_flags & SYN == 0
        && (segment.octets() > 0 || packet.tcp_flags & FIN != 0)
    {
        stream.toa_left = LAST;
    }
}

/// By how many octets segments of `direction` may grow on their way: from the beginning, for what is agreed upon there.
pub(super) fn growth(stream: Option<&Stream>, direction: Direction, network: Network) -> u16 {
    match (stream, direction) {
        (Some(stream), Direction::Forward) if stream.toa_kind != 0 => toa::octets(network),
        _ => 0,
    }
}

/// By how many they grow now.
pub(super) fn growth_now(stream: Option<&Stream>, direction: Direction, network: Network) -> u16 {
    growth(stream.filter(|stream| stream.tasks.include(Tasks::TOA)), direction, network)
}

impl Stream {
    /// Notes that a segment has carried the option.
    fn note_told(&mut self) {
        self.tasks = self.tasks.and(Tasks::TOA_TOLD);
        if self.toa_left != SILENT {
            self.toa_left = self.toa_left.saturating_sub(1);
            if self.toa_left == 0 {
                self.end_toa();
            }
        }
    }

    fn end_toa(&mut self) {
        self.tasks = self.tasks.without(Tasks::TOA.and(Tasks::TOA_TOLD));
    }
}
