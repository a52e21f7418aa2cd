//! Segments of flows whose byte streams are changed on their way: each side is told its own numbers.

use super::flow::Stream;
use crate::model::Direction;
use crate::wire::tcp_flags::SYN;
use crate::wire::{Packet, Transport};

/// Makes of a segment, in `head` and on its way in `direction`, what its receiver understands.
#[inline(never)]
pub(super) fn segment(head: &mut [u8], packet: &Packet, stream: &mut Stream, direction: Direction) {
    if packet.transport == Transport::Tcp {
        let follows = packet.tcp_flags & SYN == 0;
        stream.alteration(direction, follows).apply(head, packet);
    }
}
