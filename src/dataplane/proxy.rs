//! The PROXY protocol: a header in front of what a client sends says who it is (`wire::proxy`).
//!
//! TCP: the header is in front of the client's first octet, so that it is where the backend expects it whatever is lost,
//! repeated or out of order: each segment that begins with that octet carries it until the backend has acknowledged it.
//! The first of them is the client's part of the handshake, as servers that speak first wait for nothing else. Where the
//! segment has no room for the header, it leaves in one of its own, ahead. All that follows is numbered higher by the
//! header's octets, and the client never hears of them. Clients are not told to send smaller segments for it: that would
//! shorten all of a connection's for the sake of the first one.
//!
//! UDP: in front of each datagram until the backend has answered, as nothing else says that one with the header has
//! arrived: of a protocol without answers it is in front of all. Datagrams in fragments have no place for it.

use super::alter::Altered;
use super::flow::{FlowFamily, FlowId, FlowTable, Stream, Tasks};
use super::pipeline::Pipeline;
use crate::io::Frame;
use crate::model::{Direction, FiveTuple, Protocol, ProxyDatagrams, V4, V6};
use crate::shared::DropReason;
use crate::wire::craft::{self, Answer};
use crate::wire::ethernet::Link;
use crate::wire::proxy::{self, ProxyHeader};
use crate::wire::stream::is_before;
use crate::wire::tcp_flags::RST;
use crate::wire::{Network, Packet, Parsed, Segment, fast_open, grow, parse};

/// Octets behind the header at which no segment can be on its way any more that numbers what is in it, be it repeated or
/// late; few enough to be noticed before the numbers come round.
const OUT_OF_SIGHT: u32 = 1 << 30;

/// What a new flow to a backend that expects headers has to have done.
pub(super) fn begin(protocol: Protocol, datagrams: ProxyDatagrams) -> Stream {
    let tasks = match (protocol, datagrams) {
        (Protocol::Udp, ProxyDatagrams::Every) => Tasks::PREFIX.and(Tasks::PREFIX_EVERY),
        (Protocol::Tcp, _) | (Protocol::Udp, ProxyDatagrams::UntilAnswered) => Tasks::PREFIX,
    };
    Stream { tasks, ..Stream::default() }
}

/// By how many octets the client's next datagram grows.
pub(super) fn datagram_growth<F: FlowFamily>(stream: &Stream) -> u16 {
    if stream.tasks.include(Tasks::PREFIX) { proxy::octets::<F>() } else { 0 }
}

/// Of the backend's first window, what the header takes: the client must not fill that, too.
pub(super) fn room_to_keep(stream: &Stream, network: Network) -> u16 {
    match network {
        _ if !stream.tasks.include(Tasks::PREFIX) => 0,
        Network::V4 => proxy::octets::<V4>(),
        Network::V6 => proxy::octets::<V6>(),
    }
}

/// Takes notice of what the backend has seen, from a segment of its.
pub(super) fn hear(stream: &mut Stream, segment: &Segment) {
    if segment.flags & RST != 0 || !stream.tasks.include(Tasks::PREFIX_IN_SIGHT) {
        return;
    }
    let Some(next) = segment.acknowledgement else { return };
    let first = stream.first_at_backend();
    let behind = first.wrapping_add(u32::from(stream.prefix));
    if is_before(next, behind) {
        return;
    }
    stream.tasks = stream.tasks.without(Tasks::PREFIX);
    if next.wrapping_sub(behind) > OUT_OF_SIGHT {
        stream.tasks = stream.tasks.without(Tasks::PREFIX_IN_SIGHT);
    }
}

/// Lets the header leave in a segment of its own from now on, because of an error about a segment of the client's: perhaps
/// the header made it too large for a link that is not ours, and the client can do nothing about that.
pub(super) fn part(stream: &mut Stream) {
    if stream.tasks.include(Tasks::PREFIX) {
        stream.tasks = stream.tasks.and(Tasks::PREFIX_APART);
    }
}

/// Whether nothing has to be done any more for a UDP flow whose backend sends something.
pub(super) fn is_answered(stream: &mut Stream) -> bool {
    let every = stream.tasks.include(Tasks::PREFIX_EVERY);
    if !every {
        stream.tasks = stream.tasks.without(Tasks::PREFIX);
    }
    !every
}

/// Numbers a segment of the client's, and puts the header in front of its data if it is due. `tuple` is that of the client's
/// packets as they come in.
///
/// # Errors
/// If it cannot go on without the header, or would be taken for it.
pub(super) fn forward<F: FlowFamily, T: Frame>(
    frame: &mut T,
    (packet, segment): (&Packet, &Segment),
    stream: &mut Stream,
    tuple: FiveTuple<F>,
    mtu: u16,
) -> Result<Altered, DropReason> {
    let mut end = packet.layout.end;
    let due = stream.tasks.include(Tasks::PREFIX);
    if packet.is_bare_syn() && due {
        end = without_data(frame, (packet, segment))?;
    }
    let is_reset = segment.flags & RST != 0;
    let follows = !packet.is_bare_syn();
    if due && follows && !is_reset {
        stream.prefix = u8::try_from(proxy::octets::<F>()).unwrap_or(u8::MAX);
        stream.tasks = stream.tasks.and(Tasks::PREFIX_IN_SIGHT);
        if segment.sequence == stream.first_at_client() {
            return Ok(introduce(frame, packet, stream, &proxy::header(&tuple), mtu));
        }
        // Moved like all others, what is in front of the first octet would stand where the backend reads the header.
        let says = segment.next() != segment.sequence || !grow::is_whole(frame.head(), frame.octets());
        if says && is_before(segment.sequence, stream.first_at_client()) {
            return Err(DropReason::ProxyHeaderForged);
        }
    }
    stream.alteration(Direction::Forward, follows).apply(frame.head_mut(), packet);
    Ok(Altered { end, behind_header: false })
}

/// Puts the header in front of the data of the segment that they begin with, or says that it has to go ahead.
fn introduce<T: Frame>(
    frame: &mut T,
    packet: &Packet,
    stream: &Stream,
    header: &ProxyHeader,
    mtu: u16,
) -> Altered {
    let end = packet.layout.end;
    let octets = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let fits = (end - packet.layout.l3).checked_add(octets).is_some_and(|octets| octets <= mtu);
    let apart = !fits
        || stream.tasks.include(Tasks::PREFIX_APART)
        || !grow::is_whole(frame.head(), frame.octets())
        || !frame.prepend(header.len());
    if !apart {
        grow::put_ahead(frame.head_mut(), packet, header);
    }
    // What is in front of the data has the number that they had.
    stream.alteration(Direction::Forward, apart).apply(frame.head_mut(), packet);
    Altered { end: if apart { end } else { end + octets }, behind_header: apart }
}

/// Takes from a SYN what would be in front of the header: data, and the option that makes a backend take them (RFC 7413).
/// The client repeats them when it sees them unacknowledged. Where the packet ends then.
fn without_data<T: Frame>(frame: &mut T, (packet, segment): (&Packet, &Segment)) -> Result<u16, DropReason> {
    fast_open::take_out(frame.head_mut(), packet);
    if segment.octets() == 0 && grow::is_whole(frame.head(), frame.octets()) {
        return Ok(packet.layout.end);
    }
    if !grow::is_whole(frame.head(), frame.octets()) {
        return Err(DropReason::ProxyHeaderUnsent);
    }
    grow::take_data(frame.head_mut(), packet).ok_or(DropReason::ProxyHeaderUnsent)
}

/// Puts the header in front of a datagram of the client's, if it is due.
///
/// # Errors
/// If there is no room for it.
pub(super) fn forward_datagram<F: FlowFamily, T: Frame>(
    frame: &mut T,
    packet: &Packet,
    stream: &Stream,
    tuple: &FiveTuple<F>,
) -> Result<Altered, DropReason> {
    let end = packet.layout.end;
    if !stream.tasks.include(Tasks::PREFIX) {
        return Ok(Altered { end, behind_header: false });
    }
    let header = proxy::header(tuple);
    let end = end.checked_add(proxy::octets::<F>()).ok_or(DropReason::ProxyHeaderUnsent)?;
    if !grow::is_whole(frame.head(), frame.octets()) || !frame.prepend(header.len()) {
        return Err(DropReason::ProxyHeaderUnsent);
    }
    grow::put_ahead(frame.head_mut(), packet, &header);
    Ok(Altered { end, behind_header: false })
}

impl Pipeline {
    /// The segment that carries the header of a flow ahead of the one in `frame`, which is ready to leave; `None` if there
    /// can be none.
    #[cold]
    pub(super) fn header_segment<T: Frame>(&self, frame: &T, id: FlowId) -> Option<Answer> {
        let head = frame.head();
        let Ok(Parsed::Ip(packet)) = parse(&Link::read(head)?, head, frame.octets()) else { return None };
        match packet.network {
            Network::V4 => self.header_segment_of(&self.flows.v4, (head, &packet), id),
            Network::V6 => self.header_segment_of(&self.flows.v6, (head, &packet), id),
        }
    }

    fn header_segment_of<F: FlowFamily>(
        &self,
        flows: &FlowTable<F>,
        (head, packet): (&[u8], &Packet),
        id: FlowId,
    ) -> Option<Answer> {
        let entry = flows.entry(id);
        let header = proxy::header(&entry.incoming(Direction::Forward));
        let segment = craft::segment_ahead(head, packet, &header)?;
        if let Some(counters) = self.counters.backend(entry.backend) {
            counters.count(Direction::Forward, segment.len() as u64);
        }
        Some(segment)
    }
}
