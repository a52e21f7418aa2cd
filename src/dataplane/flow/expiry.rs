//! When flows end: a hashed timing wheel with lazy re-arming (Varghese and Lauck, "Hashed and Hierarchical Timing
//! Wheels", SOSP 1987, scheme 6), and queues for the states whose time no packet prolongs.
//!
//! A packet only stamps the time. An entry stands in the slot where it was last due; when that slot's turn comes and
//! the stamp has moved, the entry moves on. Half-open and closed flows stand in queues in the order of their ends, so
//! that a flood finds its own oldest flow to evict in constant time.
//!
//! The links live in the entries; this module sees them through [`Links`].

use crate::model::{Nanos, Timeouts};
use crate::shared::FlowState;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// An entry in no list.
pub(super) const UNLISTED: u16 = u16::MAX;

/// Time in units of 2^26 ns (67 ms): fine enough for time-outs of seconds, and 32 bits last for nine years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    const SHIFT: u32 = 26;

    /// The tick that `time` lies in.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "ticks wrap after nine years; spans stay right")]
    pub const fn at(time: Nanos) -> Self {
        Self((time.0 >> Self::SHIFT) as u32)
    }

    /// When the tick after the one that `time` lies in begins: the next moment at which anything can be due.
    #[must_use]
    pub const fn next(time: Nanos) -> Nanos {
        Nanos(((time.0 >> Self::SHIFT) + 1) << Self::SHIFT)
    }

    /// Ticks from `earlier` to `self`, over a wrap too; 0 if `earlier` is later.
    #[must_use]
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        let span = self.0.wrapping_sub(earlier.0);
        if span > u32::MAX / 2 { 0 } else { span }
    }

    /// `span` ticks later.
    #[must_use]
    #[inline]
    pub const fn after(self, span: u32) -> Self {
        Self(self.0.wrapping_add(span))
    }

    /// `span` in whole ticks, rounded up, one at least.
    #[must_use]
    pub fn span(span: Nanos) -> u32 {
        u32::try_from(span.0.div_ceil(1 << Self::SHIFT)).unwrap_or(u32::MAX / 2).clamp(1, u32::MAX / 2)
    }

    /// `span` ticks in whole seconds.
    #[must_use]
    pub fn seconds(span: u32) -> u32 {
        u32::try_from((u64::from(span) << Self::SHIFT) / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

/// The time-outs of the states, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutTicks {
    half_open: u32,
    established: u32,
    fin: u32,
    closed: u32,
    udp: u32,
}

impl TimeoutTicks {
    /// How long the lease of a closed flow rests when no side holds TIME_WAIT on it.
    const CLOSED: Nanos = Nanos::from_secs(1);

    /// The same times in ticks.
    #[must_use]
    pub fn new(timeouts: &Timeouts) -> Self {
        Self {
            half_open: Tick::span(timeouts.tcp_syn),
            established: Tick::span(timeouts.tcp_established),
            fin: Tick::span(timeouts.tcp_fin),
            closed: Tick::span(Self::CLOSED),
            udp: Tick::span(timeouts.udp),
        }
    }

    /// The time-out of `state`.
    #[must_use]
    #[inline]
    pub const fn of(&self, state: FlowState) -> u32 {
        match state {
            FlowState::SynSent | FlowState::SynReceived | FlowState::Connecting => self.half_open,
            FlowState::Established => self.established,
            FlowState::FinWait | FlowState::LastAck | FlowState::TimeWait => self.fin,
            FlowState::Closed => self.closed,
            FlowState::Udp => self.udp,
        }
    }
}

/// The queues, whose entries no packet prolongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Queue {
    HalfOpen = WHEEL,
    /// Whose entries are asked about again and again.
    Connecting,
    Closed,
    TimeWait,
    Free,
}

impl Queue {
    /// The queues that entries expire from.
    pub(super) const EXPIRING: [Self; 3] = [Self::HalfOpen, Self::Closed, Self::TimeWait];

    /// The queue of `state`; `None` if it goes by the wheel.
    #[inline]
    pub(super) const fn of(state: FlowState) -> Option<Self> {
        match state {
            FlowState::SynSent | FlowState::SynReceived => Some(Self::HalfOpen),
            FlowState::Connecting => Some(Self::Connecting),
            FlowState::Closed => Some(Self::Closed),
            FlowState::TimeWait => Some(Self::TimeWait),
            FlowState::Established | FlowState::FinWait | FlowState::LastAck | FlowState::Udp => None,
        }
    }
}

/// Slots of the wheel: nine minutes. What is due later is looked at once a round.
const WHEEL: u16 = 8192;

const LISTS: usize = WHEEL as usize + 5;

/// The links of an entry, wherever they are kept.
pub(super) trait Links {
    /// Next, previous, list.
    fn links(&mut self, entry: u32) -> (&mut u32, &mut u32, &mut u16);
}

/// The heads and tails of all lists, and the wheel's hand.
pub(super) struct Expiry {
    heads: Box<[u32]>,
    tails: Box<[u32]>,
    /// The next tick whose slot is to be looked at.
    hand: Tick,
    started: bool,
}

impl Expiry {
    pub(super) fn new() -> Self {
        Self {
            heads: vec![NONE; LISTS].into_boxed_slice(),
            tails: vec![NONE; LISTS].into_boxed_slice(),
            hand: Tick(0),
            started: false,
        }
    }

    /// The oldest entry of a queue.
    pub(super) fn first(&self, queue: Queue) -> Option<u32> {
        let head = self.heads[usize::from(queue as u16)];
        (head != NONE).then_some(head)
    }

    /// Puts an unlisted entry at the end of a queue.
    pub(super) fn enqueue(&mut self, queue: Queue, entry: u32, links: &mut impl Links) {
        self.append(queue as u16, entry, links);
    }

    /// Puts an unlisted entry into the slot of the tick it is due at, `span` after `now`.
    pub(super) fn schedule(&mut self, now: Tick, span: u32, entry: u32, links: &mut impl Links) {
        self.start(now);
        let due = now.after(span);
        // Never behind the hand, which would cost a whole round, nor so far ahead that the round is taken for due.
        let ahead = due.since(self.hand).min(u32::from(WHEEL) - 1);
        self.append(slot(self.hand.after(ahead)), entry, links);
    }

    /// The clock may start anywhere.
    fn start(&mut self, now: Tick) {
        if !self.started {
            self.hand = now;
            self.started = true;
        }
    }

    fn append(&mut self, list: u16, entry: u32, links: &mut impl Links) {
        let tail = std::mem::replace(&mut self.tails[usize::from(list)], entry);
        let (next, previous, of) = links.links(entry);
        (*next, *previous, *of) = (NONE, tail, list);
        match tail {
            NONE => self.heads[usize::from(list)] = entry,
            tail => *links.links(tail).0 = entry,
        }
    }

    /// Takes an entry out of its list.
    pub(super) fn unlink(&mut self, entry: u32, links: &mut impl Links) {
        let (next, previous, of) = links.links(entry);
        let (next, previous, list) = (*next, *previous, std::mem::replace(of, UNLISTED));
        if list == UNLISTED {
            return;
        }
        match previous {
            NONE => self.heads[usize::from(list)] = next,
            previous => *links.links(previous).0 = next,
        }
        match next {
            NONE => self.tails[usize::from(list)] = previous,
            next => *links.links(next).1 = previous,
        }
    }

    /// The next entry that the wheel wants looked at by `now`, still listed: the caller moves or removes it. `None`
    /// when the hand has caught up, or after `slots` empty slots were passed.
    pub(super) fn due(&mut self, now: Tick, slots: &mut u32) -> Option<u32> {
        self.start(now);
        while self.hand.0.wrapping_sub(now.0).cast_signed() <= 0 {
            let head = self.heads[usize::from(slot(self.hand))];
            if head != NONE {
                return Some(head);
            }
            *slots = slots.checked_sub(1)?;
            self.hand = self.hand.after(1);
        }
        None
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below WHEEL")]
const fn slot(tick: Tick) -> u16 {
    (tick.0 % WHEEL as u32) as u16
}
