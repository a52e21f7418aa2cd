//! The first two passes over a burst: what is in each frame, and the memory that the third will need.

use super::flow::{FlowFamily, FlowTable, Guess};
use super::pipeline::Pipeline;
use crate::io::Frame;
use crate::model::{FiveTuple, Mac, V4, V6};
use crate::wire::ethernet::{self, Link};
use crate::wire::lanes::LANES;
use crate::wire::{Common, Malformed, Network, Packet, Parsed, parse};

/// What pass 1 found in a frame: 32 octets, as it goes through an array.
#[derive(Clone, Copy, Debug)]
pub struct Inspected {
    /// The index hash of the five-tuple, 0 if it has none.
    pub hash: u64,
    /// The flow it may belong to.
    pub guess: Guess,
    /// For us, and of the [`Common`] shape of this family: then what follows is not set until the frame turns out to go
    /// the general way.
    pub common: Option<Network>,
    /// The packet, or why there is none.
    pub parsed: Result<Parsed, Malformed>,
    /// The VLAN it came with.
    pub vlan: Option<u16>,
    /// Whom the frame is for.
    pub addressed: Addressed,
}

const _: () = assert!(size_of::<Inspected>() == 32, "two of them are a cache line");

impl Inspected {
    /// A frame without headers.
    pub const NOTHING: Self = Self {
        hash: 0,
        guess: Guess::NONE,
        common: None,
        parsed: Err(Malformed::FrameTruncated),
        vlan: None,
        addressed: Addressed::Other,
    };
}

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// Us alone.
    Us,
    /// A group, or everybody.
    Group,
    /// Somebody else.
    Other,
}

impl Addressed {
    /// What `destination` means on a port whose address is `mac`.
    #[inline(always)]
    fn from(destination: Mac, mac: Mac) -> Self {
        if destination == mac {
            Self::Us
        } else if destination.is_multicast() {
            Self::Group
        } else {
            Self::Other
        }
    }
}

impl Pipeline {
    /// Pass 1 for a whole burst that came in by a port whose address is `mac`. Returns the octets of all frames.
    #[inline(never)]
    pub fn inspect_all<T: Frame>(&self, frames: &[T], mac: Mac, seen: &mut [Inspected]) -> u64 {
        for frame in frames {
            frame.prefetch();
        }
        let mut octets = 0;
        let (eights, rest) = frames.as_chunks::<LANES>();
        let (seen_eights, seen_rest) = seen[..frames.len()].as_chunks_mut::<LANES>();
        for (frames, seen) in eights.iter().zip(seen_eights) {
            octets += self.inspect_eight(frames, mac, seen);
        }
        for (frame, seen) in rest.iter().zip(seen_rest) {
            octets += frame.octets() as u64;
            self.inspect(frame, mac, seen);
        }
        octets
    }

    /// Pass 1 for eight frames, which mostly are all of one shape.
    #[inline(always)]
    fn inspect_eight<T: Frame>(&self, frames: &[T; LANES], mac: Mac, seen: &mut [Inspected; LANES]) -> u64 {
        let mut octets = [0; LANES];
        let mut heads = [&[0; _]; LANES];
        for ((frame, head), octets) in frames.iter().zip(&mut heads).zip(&mut octets) {
            // One that is too short for the shape stays what is none.
            *head = frame.head().first_chunk().unwrap_or(head);
            *octets = u32::try_from(frame.octets()).unwrap_or(u32::MAX);
        }
        let common = self.lanes.map_or(0, |lanes| lanes.common(&heads, &octets, mac));
        if common == u8::MAX {
            for (head, seen) in heads.iter().zip(seen) {
                self.note_common(&V4::tuple(*head), seen);
            }
        } else {
            for (frame, seen) in frames.iter().zip(seen) {
                self.inspect(frame, mac, seen);
            }
        }
        octets.iter().map(|octets| u64::from(*octets)).sum()
    }

    /// Pass 1: what is in a frame that came in by a port whose address is `mac`; asks for the index line of its flow.
    /// `seen` may say anything; it is written in place, as a value that is put together elsewhere and copied costs more
    /// than the parsing.
    #[inline(always)]
    fn inspect<T: Frame>(&self, frame: &T, mac: Mac, seen: &mut Inspected) {
        let (head, octets) = (frame.head(), frame.octets());
        let is_common = ethernet::is_for(head, mac)
            && (self.inspect_common::<V4>(head, octets, seen)
                || self.inspect_common::<V6>(head, octets, seen));
        if !is_common {
            self.inspect_uncommon(head, octets, mac, seen);
        }
    }

    /// Pass 1 for the common shape of one family; false, and nothing said, if the frame is not of it.
    #[inline(always)]
    fn inspect_common<F: FlowFamily>(&self, head: &[u8], octets: usize, seen: &mut Inspected) -> bool {
        let Some(tuple) = F::read(head, octets) else { return false };
        self.note_common(&tuple, seen);
        true
    }

    #[inline(always)]
    fn note_common<F: FlowFamily>(&self, tuple: &FiveTuple<F>, seen: &mut Inspected) {
        let flows = F::table(&self.flows);
        seen.hash = flows.hash(tuple);
        seen.guess = flows.prefetch_index(seen.hash);
        seen.common = Some(F::NETWORK);
    }

    /// Pass 1 for tags, options, connections that begin or end, and whatever is no packet to balance.
    #[inline(never)]
    pub(super) fn inspect_uncommon(&self, head: &[u8], octets: usize, mac: Mac, seen: &mut Inspected) {
        *seen = Inspected::NOTHING;
        let Some(link) = Link::read(head) else { return };
        seen.parsed = parse(&link, head, octets);
        seen.vlan = link.vlan;
        seen.addressed = Addressed::from(link.destination, mac);
        if let Ok(Parsed::Ip(packet)) = &seen.parsed {
            (seen.hash, seen.guess) = match packet.network {
                Network::V4 => ask(&self.flows.v4, packet, head),
                Network::V6 => ask(&self.flows.v6, packet, head),
            };
        }
    }

    /// Pass 2: guesses the flow and asks for it.
    #[inline(always)]
    pub fn look_ahead(&mut self, seen: &mut Inspected) {
        let network = match (seen.common, seen.parsed) {
            (Some(network), _) => network,
            (None, Ok(Parsed::Ip(packet))) => packet.network,
            (None, _) => return,
        };
        seen.guess = if network == Network::V4 {
            self.flows.v4.guess(seen.guess, seen.hash)
        } else {
            self.flows.v6.guess(seen.guess, seen.hash)
        };
    }
}

/// The index hash of a packet, its line asked for.
#[inline(always)]
fn ask<F: FlowFamily>(flows: &FlowTable<F>, packet: &Packet, head: &[u8]) -> (u64, Guess) {
    let Some(tuple) = packet.tuple::<F>(head) else { return (0, Guess::NONE) };
    let hash = flows.hash(&tuple);
    (hash, flows.prefetch_index(hash))
}
