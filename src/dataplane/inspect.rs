//! The first two passes over a burst: what is in each frame, and the memory that the third will need.

use super::flow::{FlowFamily, FlowTable, Guess, SettledRange};
use super::pipeline::Pipeline;
use crate::io::{BURST, Frame};
use crate::model::{Mac, V4, V6};
use crate::wire::ethernet::{self, Link};
use crate::wire::{Malformed, Network, Packet, Parsed, parse};

/// What is in a frame, as the general way needs it.
#[derive(Clone, Copy, Debug)]
pub struct Inspected {
    /// The packet, or why there is none.
    pub parsed: Result<Parsed, Malformed>,
    /// The VLAN it came with.
    pub vlan: Option<u16>,
    /// Whom the frame is for.
    pub addressed: Addressed,
    /// The index hash of the five-tuple, 0 if it has none.
    pub hash: u64,
    /// The flow it may belong to.
    pub guess: Guess,
}

impl Inspected {
    /// A frame without headers.
    pub const NOTHING: Self = Self {
        parsed: Err(Malformed::FrameTruncated),
        vlan: None,
        addressed: Addressed::Other,
        hash: 0,
        guess: Guess::NONE,
    };
}

/// What the first two passes found in a burst, by the place of a frame in it; what lies behind its end is of earlier
/// bursts.
#[derive(Debug)]
pub struct Lookahead {
    /// Whether all frames are of the common shape of IPv4, as most bursts are.
    pub(super) is_v4: bool,
    /// The same, with frames that are marked.
    pub(super) is_shaped_v4: bool,
    /// For us, and of the [`Common`](crate::wire::Common) shape of this family: then the frame's `inspected` says nothing yet.
    pub(super) common: [Option<Network>; BURST],
    /// The same, where `common` says nothing, of segments with the flags that a connection begins or ends with.
    pub(super) marked: [Option<Network>; BURST],
    /// The flow that a frame of the common shape, marked or not, may belong to.
    pub(super) guesses: [Guess; BURST],
    /// The index hashes of these, in halves.
    pub(super) uppers: [u32; BURST],
    pub(super) lowers: [u32; BURST],
    pub(super) inspected: [Inspected; BURST],
    /// Under which numbers the flows of the burst are settled; set for the third pass.
    pub(super) settled: SettledRange,
}

impl Lookahead {
    /// Nothing was looked at.
    pub const NOTHING: Self = Self {
        is_v4: false,
        is_shaped_v4: false,
        common: [None; BURST],
        marked: [None; BURST],
        guesses: [Guess::NONE; BURST],
        uppers: [0; BURST],
        lowers: [0; BURST],
        inspected: [Inspected::NOTHING; BURST],
        settled: SettledRange::NONE,
    };

    #[inline(always)]
    pub(super) fn hash(&self, place: usize) -> u64 {
        hash(self.uppers[place], self.lowers[place])
    }

    /// The family of a frame of the common shape, marked or not.
    #[inline(always)]
    pub(super) fn shape(&self, place: usize) -> Option<Network> {
        self.common[place].or(self.marked[place])
    }

    /// What is looked for for a frame: in which family, the guess so far, and the hash; `None` if nothing is.
    #[inline(always)]
    fn sought(&mut self, place: usize) -> Option<(Network, &mut Guess, u64)> {
        let (hash, shape) = (self.hash(place), self.shape(place));
        let seen = &mut self.inspected[place];
        match (shape, &seen.parsed) {
            (Some(network), _) => Some((network, &mut self.guesses[place], hash)),
            (None, Ok(Parsed::Ip(packet))) => Some((packet.network, &mut seen.guess, seen.hash)),
            (None, _) => None,
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    fn set_hash(&mut self, place: usize, hash: u64) {
        (self.uppers[place], self.lowers[place]) = ((hash >> 32) as u32, hash as u32);
    }
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
    pub fn inspect_all<T: Frame>(&self, frames: &[T], mac: Mac, ahead: &mut Lookahead) -> u64 {
        for frame in frames {
            frame.prefetch();
        }
        (ahead.is_v4, ahead.is_shaped_v4) = (true, true);
        let (inspected, mut octets) = self.inspect_eights(frames, mac, ahead);
        for (place, frame) in frames.iter().enumerate().skip(inspected) {
            octets += frame.octets() as u64;
            self.inspect(frame, mac, place, ahead);
        }
        octets
    }

    /// Pass 1: what is in a frame that came in by a port whose address is `mac`; asks for the index line of its flow.
    #[inline(always)]
    pub(super) fn inspect<T: Frame>(&self, frame: &T, mac: Mac, place: usize, ahead: &mut Lookahead) {
        let place = place % BURST;
        let (head, octets) = (frame.head(), frame.octets());
        let is_common = ethernet::is_for(head, mac)
            && (self.inspect_common::<V4>(head, octets, place, ahead)
                || self.inspect_common_v6(head, octets, place, ahead));
        if !is_common {
            (ahead.common[place], ahead.marked[place]) = (None, None);
            self.inspect_uncommon(head, octets, mac, &mut ahead.inspected[place]);
        }
        ahead.is_v4 &= ahead.common[place] == Some(Network::V4);
        ahead.is_shaped_v4 &= ahead.shape(place) == Some(Network::V4);
    }

    /// Pass 1 for the common shape of one family, marked or not; false, and nothing said, if the frame is not of it.
    #[inline(always)]
    fn inspect_common<F: FlowFamily>(
        &self,
        head: &[u8],
        octets: usize,
        place: usize,
        ahead: &mut Lookahead,
    ) -> bool {
        let Some((tuple, marked)) = F::read_marked(head, octets) else { return false };
        let flows = F::table(&self.flows);
        let hash = flows.hash(&tuple);
        ahead.set_hash(place, hash);
        ahead.guesses[place] = flows.prefetch_index(hash);
        ahead.common[place] = (!marked).then_some(F::NETWORK);
        ahead.marked[place] = Some(F::NETWORK);
        true
    }

    /// [`inspect_common`](Self::inspect_common) for IPv6, out of the way of IPv4, which would wait for all that it needs.
    #[inline(never)]
    fn inspect_common_v6(&self, head: &[u8], octets: usize, place: usize, ahead: &mut Lookahead) -> bool {
        self.inspect_common::<V6>(head, octets, place, ahead)
    }

    /// Pass 1 for tags, options, and whatever is no packet to balance. `seen` may say anything; it is written in place, as a
    /// value that is put together elsewhere and copied costs more than the parsing.
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

    /// Pass 2 for the first `frames` of a burst: guesses the flows and asks for them.
    #[inline(always)]
    pub fn look_ahead(&mut self, frames: usize, ahead: &mut Lookahead) {
        if !ahead.is_shaped_v4 {
            return self.look_ahead_each(frames, ahead);
        }
        let mut missed = 0;
        for place in 0..frames.min(BURST) {
            missed |= self.look_near(place, ahead);
        }
        self.look_far(missed, ahead);
    }

    /// Pass 2 for one frame of a burst of IPv4 alone, with what its first index line says. If that is nothing, the bit of its
    /// place.
    #[inline(always)]
    pub fn look_near(&self, place: usize, ahead: &mut Lookahead) -> u32 {
        let place = place % BURST;
        match self.flows.v4.guess_near(ahead.guesses[place], ahead.lowers[place]) {
            Some(flow) => {
                ahead.guesses[place] = flow;
                0
            }
            None => 1 << place,
        }
    }

    /// The end of pass 2 over a burst of IPv4 alone, for the places of which first index lines said nothing, a bit each.
    #[inline(always)]
    pub fn look_far(&mut self, missed: u32, ahead: &mut Lookahead) {
        for place in places(missed) {
            self.flows.v4.prefetch_far(ahead.hash(place));
        }
        for place in places(missed) {
            ahead.guesses[place] = self.flows.v4.guess_far(ahead.hash(place));
        }
    }

    /// Pass 2 for a burst of several shapes.
    #[inline(never)]
    fn look_ahead_each(&mut self, frames: usize, ahead: &mut Lookahead) {
        let mut missed = 0_u32;
        for place in (0..BURST).take(frames) {
            let Some((network, guess, hash)) = ahead.sought(place) else { continue };
            let found = match network {
                Network::V4 => self.flows.v4.guess_or_ask(*guess, hash),
                Network::V6 => self.flows.v6.guess_or_ask(*guess, hash),
            };
            match found {
                Some(flow) => *guess = flow,
                None => missed |= 1 << place,
            }
        }
        for place in places(missed) {
            let Some((network, guess, hash)) = ahead.sought(place) else { continue };
            *guess = match network {
                Network::V4 => self.flows.v4.guess_far(hash),
                Network::V6 => self.flows.v6.guess_far(hash),
            };
        }
    }
}

/// The index hash of a packet, its line asked for.
#[inline(always)]
fn ask<F: FlowFamily>(flows: &FlowTable<F>, packet: &Packet, head: &[u8]) -> (u64, Guess) {
    let Some(tuple) = packet.tuple::<F>(head) else { return (0, Guess::NONE) };
    let hash = flows.hash(&tuple);
    (hash, flows.prefetch_index(hash))
}

/// The places of the bits that are set in a burst.
#[inline(always)]
fn places(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize % BURST)?;
        bits &= bits - 1;
        Some(place)
    })
}

/// A hash of its halves.
#[inline(always)]
const fn hash(upper: u32, lower: u32) -> u64 {
    (upper as u64) << 32 | lower as u64
}
