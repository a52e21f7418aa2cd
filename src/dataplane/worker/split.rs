//! Packets that leave in pieces.

use arrayvec::ArrayVec;

use super::Core;
use crate::dataplane::pieces::{Pieces, Wrapping};
use crate::io::{Frame, Port};
use crate::model::{PortId, WorkerId};
use crate::shared::DropReason;
use crate::wire::ethernet::Link;
use crate::wire::split::Split;
use crate::wire::{Parsed, parse};

/// The largest packet of a port (9000 octets) in pieces of the smallest MTU (1280), less outer headers (52) and those of
/// each piece (60).
const PIECES: usize = 8;

/// Octets of IP packet that any buffer holds, with tags (`io::dpdk::device` makes none of less than 2048).
const PIECE_OF_PARTS: u16 = 2000;

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
    /// Sends a packet by `egress` in pieces of `mtu` octets, in frames of `ingress`'s, as the pipeline has just said. Without
    /// room for all pieces it is dropped.
    #[cold]
    pub(super) fn send_split(&mut self, frame: P::Frame, ingress: PortId, (egress, mtu): (PortId, u16)) {
        let queue = &mut self.sides[ingress.index()].port.queue;
        let (identification, wrapping) = match self.pipeline.pieces {
            Pieces::Renumbered => (Some(self.identifications.take()), None),
            Pieces::Plain => (None, None),
            Pieces::Wrapped(wrapping) => (None, Some(wrapping)),
        };
        // A piece is in one buffer, and what comes in several need not fit one.
        let is_whole = frame.head().len() == frame.octets();
        let mtu = if is_whole { mtu } else { mtu.min(PIECE_OF_PARTS) };
        let split = Split::new(frame.head(), frame.octets(), mtu, identification);
        let pieces = split.and_then(|split| cut(&split, queue, frame));
        let wrapped = pieces.and_then(|mut pieces| match wrapping {
            Some(wrapping) => pieces.iter_mut().all(|piece| wrap(piece, &wrapping)).then_some(pieces),
            None => Some(pieces),
        });
        let Some(pieces) = wrapped else {
            self.pipeline.tally.count_drop(DropReason::MtuExceeded);
            return;
        };
        self.pipeline.tally.originated += pieces.len() as u64 - 1;
        for piece in pieces {
            self.send(egress, piece);
        }
    }
}

/// The pieces of the packet in `frame`; `None` if there is no room for one.
fn cut<P: Port>(split: &Split, queue: &mut P, mut frame: P::Frame) -> Option<ArrayVec<P::Frame, PIECES>> {
    let mut more = ArrayVec::<P::Frame, PIECES>::new();
    for n in 1..split.pieces() {
        let (headers, data) = split.piece(frame.head(), n)?;
        let mut piece = queue.allocate()?;
        if !piece.append(&headers) || !frame.append_to(data, &mut piece) {
            return None;
        }
        more.try_push(piece).ok()?;
    }
    let (headers, data) = split.piece(frame.head(), 0)?;
    frame.truncate(data.end);
    frame.head_mut().get_mut(..headers.len())?.copy_from_slice(&headers);
    more.try_insert(0, frame).ok()?;
    Some(more)
}

/// Puts a piece into a packet of its own; whether it could be.
fn wrap<T: Frame>(piece: &mut T, wrapping: &Wrapping) -> bool {
    let Some(link) = Link::read(piece.head()) else { return false };
    match parse(&link, piece.head(), piece.octets()) {
        Ok(Parsed::Ip(packet)) => wrapping.wrap(piece, &packet),
        Ok(Parsed::NotIp) | Err(_) => false,
    }
}
