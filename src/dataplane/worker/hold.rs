//! Later fragments that wait for their first one: a bounded number, in order of arrival, for a bounded time.

use std::collections::VecDeque;

use super::Core;
use crate::dataplane::flow::Tick;
use crate::dataplane::fragments::{FragmentKey, HELD_FRAGMENTS, PATIENCE};
use crate::dataplane::inspect::Inspected;
use crate::dataplane::pipeline::View;
use crate::io::Port;
use crate::model::PortId;
use crate::shared::DropReason;

/// Frames that are given up per turn at most, when their time is over.
const BUDGET: usize = 32;

/// The frames that wait.
pub(super) struct HeldFrames<T> {
    /// Oldest first.
    frames: VecDeque<Held<T>>,
    /// How many of them have a key of each remainder, so that few first fragments look for others in vain.
    by_remainder: Box<[u16]>,
}

/// Remainders that keys are told apart by: enough for one in sixteen to be taken when as many frames wait as may.
const REMAINDERS: usize = HELD_FRAGMENTS * 16;

/// A frame that waits, and how it came.
pub(super) struct Held<T> {
    pub(super) frame: T,
    pub(super) seen: Inspected,
    pub(super) port: PortId,
    pub(super) handed_in: bool,
    key: FragmentKey,
    since: Tick,
}

impl<T> HeldFrames<T> {
    /// None, and room for all that may be.
    pub(super) fn new() -> Self {
        Self { frames: VecDeque::with_capacity(HELD_FRAGMENTS), by_remainder: vec![0; REMAINDERS].into() }
    }

    fn push(&mut self, held: Held<T>) {
        self.by_remainder[remainder(held.key)] += 1;
        self.frames.push_back(held);
    }

    fn remove(&mut self, place: usize) -> Option<Held<T>> {
        let held = self.frames.remove(place)?;
        self.by_remainder[remainder(held.key)] -= 1;
        Some(held)
    }
}

fn remainder(FragmentKey(key): FragmentKey) -> usize {
    usize::try_from(key % REMAINDERS as u64).unwrap_or(0)
}

impl<P: Port> Core<P> {
    /// Lets a frame wait for the first fragment of its packet. If there is no room, the one that has waited longest goes:
    /// what is going to come for it would most likely have come.
    #[cold]
    pub(super) fn hold(
        &mut self,
        key: FragmentKey,
        (frame, seen): (P::Frame, &Inspected),
        port: PortId,
        handed_in: bool,
        view: View<'_>,
    ) {
        if self.held.frames.len() == HELD_FRAGMENTS {
            self.held.remove(0);
            self.pipeline.tally.count_drop(DropReason::FragmentStoreFull);
        }
        self.held.push(Held { frame, seen: *seen, port, handed_in, key, since: view.tick() });
        self.count_held();
    }

    /// After a frame that was the first fragment of its packet: the others that have come go the same way, in the order
    /// in which they came. Linear in the frames that wait.
    #[inline]
    pub(super) fn release_followers(&mut self, view: View<'_>) {
        if let Some(key) = self.pipeline.take_settled_fragment()
            && self.held.by_remainder[remainder(key)] > 0
        {
            self.release(key, view);
        }
    }

    #[cold]
    fn release(&mut self, key: FragmentKey, view: View<'_>) {
        let mut from = 0;
        for _ in 0..HELD_FRAGMENTS {
            let next = self.held.frames.iter().skip(from).position(|held| held.key == key);
            let Some(step) = next else { return };
            from += step;
            let Some(held) = self.held.remove(from) else { return };
            self.count_held();
            let Held { frame, mut seen, port, handed_in, .. } = held;
            self.process_general(frame, &mut seen, port, handed_in, view);
        }
    }

    /// Gives up frames that have waited long enough. Returns whether there were any.
    #[inline]
    pub(super) fn expire_held(&mut self, now: Tick) -> bool {
        !self.held.frames.is_empty() && self.expire_some_held(now)
    }

    #[cold]
    fn expire_some_held(&mut self, now: Tick) -> bool {
        let before = self.held.frames.len();
        while before - self.held.frames.len() < BUDGET
            && let Some(oldest) = self.held.frames.front()
            && now.since(oldest.since) > Tick::span(PATIENCE)
        {
            self.held.remove(0);
            self.pipeline.tally.count_drop(DropReason::FragmentWithoutFirst);
        }
        self.count_held();
        self.held.frames.len() < before
    }

    fn count_held(&mut self) {
        self.pipeline.tally.held = self.held.frames.len() as u64;
    }
}
