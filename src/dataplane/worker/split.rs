//! Packets that leave in pieces.

use arrayvec::ArrayVec;

use super::Core;
use crate::io::{Frame, Port};
use crate::model::{PortId, WorkerId};
use crate::shared::DropReason;
use crate::wire::split::Split;

/// The largest packet of a port (9000 octets) in pieces of the smallest MTU (1280), without the first.
const MORE_PIECES: usize = 7;

/// Identifications for packets that are split (RFC 6864): each worker has its own, as far as 16 bits go.
pub(super) struct Identifications {
    next: u16,
    workers: u16,
}

impl Identifications {
    pub(super) const fn new(worker: WorkerId, workers: u16) -> Self {
        Self { next: worker.0, workers }
    }

    const fn take(&mut self) -> u16 {
        let taken = self.next;
        self.next = taken.wrapping_add(self.workers);
        taken
    }
}

impl<P: Port> Core<P> {
    /// Sends a packet, ready but for its size, by `egress` in pieces of `mtu` octets, in frames of `ingress`'s. Without room
    /// for all pieces it is dropped.
    #[cold]
    pub(super) fn send_split(&mut self, mut frame: P::Frame, ingress: PortId, (egress, mtu): (PortId, u16)) {
        let queue = &mut self.sides[ingress.index()].port.queue;
        let split = Split::new(frame.head(), mtu, self.identifications.take());
        let pieces = split.and_then(|split| {
            let more = more_pieces(&split, queue, frame.head())?;
            Some((split.piece(frame.head(), 0)?, more))
        });
        let Some(((headers, data), more)) = pieces else {
            self.pipeline.tally.count_drop(DropReason::MtuExceeded);
            return;
        };
        frame.truncate(data.end);
        if let Some(start) = frame.head_mut().get_mut(..headers.len()) {
            start.copy_from_slice(&headers);
        }
        self.send(egress, frame);
        self.pipeline.tally.originated += more.len() as u64;
        for piece in more {
            self.send(egress, piece);
        }
    }
}

/// All pieces but the first of the packet in `frame`; `None` if one is missing.
fn more_pieces<P: Port>(
    split: &Split,
    queue: &mut P,
    frame: &[u8],
) -> Option<ArrayVec<P::Frame, MORE_PIECES>> {
    let mut more = ArrayVec::new();
    for n in 1..split.pieces() {
        let (headers, data) = split.piece(frame, n)?;
        let mut piece = queue.allocate()?;
        if !piece.append(&headers) || !piece.append(frame.get(data)?) {
            return None;
        }
        more.try_push(piece).ok()?;
    }
    Some(more)
}
