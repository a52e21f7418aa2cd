//! Packets of flows whose byte streams are changed on their way: each side is told its own numbers.

use super::flow::{FlowEntry, FlowFamily, FlowId, Stream};
use super::pipeline::Pipeline;
use super::proxy;
use super::toa;
use crate::io::Frame;
use crate::model::{ClientAddress, Direction, Protocol};
use crate::shared::{DropReason, FlowState};
use crate::wire::tcp_flags::SYN;
use crate::wire::{Packet, Segment, Transport};

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Altered {
    /// Where in the frame it ends now.
    pub(super) end: u16,
    /// Whether a segment with the PROXY header goes ahead of it.
    pub(super) behind_header: bool,
}

impl Altered {
    const fn until(end: u16) -> Self {
        Self { end, behind_header: false }
    }
}

impl Pipeline {
    /// Notes what is to be changed in the streams of a new flow that begins with `packet`, found in `head`.
    pub(super) fn begin_stream<F: FlowFamily>(
        &mut self,
        id: FlowId,
        client_address: ClientAddress,
        protocol: Protocol,
        (packet, head): (&Packet, &[u8]),
    ) {
        let stream = match (client_address, protocol) {
            (ClientAddress::None, _) | (ClientAddress::Toa { .. }, Protocol::Udp) => None,
            (ClientAddress::Toa { kind }, Protocol::Tcp) => Some(toa::begin(kind)),
            (ClientAddress::ProxyV2 { datagrams }, _) => Some(proxy::begin(protocol, datagrams)),
        };
        if let Some(stream) = stream {
            let isn = Segment::read(packet, head).map_or(0, |segment| segment.sequence);
            F::table_mut(&mut self.flows).set_stream(id, Some(Stream { isn, ..stream }));
        }
    }
}

/// Whether a segment of the client's begins another connection, on another lease, as the backend may still take this one to
/// begin otherwise: which of two beginnings it answers is its own choice, and which of its answers the client
/// acknowledges is the client's (RFC 4987, 3.6), so that on one lease nobody would know where the stream begins. That
/// the client has acknowledged one says nothing, as the backend may not have got that.
pub(super) fn begins_anew(state: FlowState, stream: &Stream, packet: &Packet, head: &[u8]) -> bool {
    let may = match state {
        FlowState::SynSent | FlowState::SynReceived => true,
        FlowState::Established => stream.has_to_introduce(),
        FlowState::Connecting
        | FlowState::HalfClosed
        | FlowState::FinWait
        | FlowState::LastAck
        | FlowState::TimeWait
        | FlowState::Closed
        | FlowState::UdpNew
        | FlowState::Udp
        | FlowState::Asked => false,
    };
    may && packet.is_bare_syn()
        && Segment::read(packet, head).is_some_and(|segment| segment.sequence != stream.isn)
}

/// By how many octets a packet of `direction` will grow that cannot go on without.
#[inline]
pub(super) fn growth<F: FlowFamily>(
    stream: Option<&Stream>,
    transport: Transport,
    direction: Direction,
) -> u16 {
    match (stream, transport, direction) {
        (Some(stream), Transport::Udp, Direction::Forward) => proxy::datagram_growth::<F>(stream),
        _ => 0,
    }
}

/// By how many octets packets of `direction` grow now if there is room.
pub(super) fn growth_now<F: FlowFamily>(
    stream: Option<&Stream>,
    transport: Transport,
    direction: Direction,
) -> u16 {
    toa::growth_now(stream, direction, F::NETWORK) + growth::<F>(stream, transport, direction)
}

/// What is left of `mtu` octets for packets of `direction` that grow now, but never less than every way takes, so that the
/// largest may still not fit.
pub(super) fn left_of<F: FlowFamily>(
    mtu: u16,
    stream: Option<&Stream>,
    transport: Transport,
    direction: Direction,
) -> u16 {
    mtu.saturating_sub(growth_now::<F>(stream, transport, direction)).max(mtu.min(F::LEAST_MTU))
}

/// Makes of a packet on its way in `direction`, translated and in `frame`, what its receiver understands; it may grow up
/// to `mtu` octets.
///
/// # Errors
/// Why it cannot go on.
#[inline(never)]
pub(super) fn packet<F: FlowFamily, T: Frame>(
    frame: &mut T,
    packet: &Packet,
    (entry, stream): (&mut FlowEntry<F>, &mut Stream),
    (direction, mtu): (Direction, u16),
) -> Result<Altered, DropReason> {
    let end = packet.layout.end;
    match (packet.transport, direction) {
        (Transport::Tcp, Direction::Forward) => {
            let Some(segment) = Segment::read(packet, frame.head()) else { return Ok(Altered::until(end)) };
            proxy::forward(frame, (packet, &segment), stream, entry.incoming(Direction::Forward), mtu)
        }
        (Transport::Tcp, Direction::Return) => {
            if let Some(segment) = Segment::read(packet, frame.head()) {
                proxy::hear(stream, &segment);
            }
            numbers(frame.head_mut(), packet, stream, direction);
            toa::hear(stream, frame.head(), packet);
            Ok(Altered::until(end))
        }
        (Transport::Udp, Direction::Forward) => {
            proxy::forward_datagram(frame, packet, stream, &entry.incoming(Direction::Forward))
        }
        (Transport::Udp, Direction::Return) => {
            if proxy::is_answered(stream) {
                entry.set_altered(false);
            }
            Ok(Altered::until(end))
        }
        (Transport::Fragment | Transport::Other, _) => Ok(Altered::until(end)),
    }
}

/// Changes the numbers of a segment that stays as long as it is.
pub(super) fn numbers(head: &mut [u8], packet: &Packet, stream: &Stream, direction: Direction) {
    let follows = packet.tcp_flags & SYN == 0;
    let mut alteration = stream.alteration(direction, follows);
    if direction == Direction::Return && !follows {
        alteration.narrower = proxy::room_to_keep(stream, packet.network);
    }
    alteration.apply(head, packet);
}
