//! When flows end: a hashed timing wheel with lazy re-arming (Varghese and Lauck, "Hashed and Hierarchical Timing
//! Wheels", SOSP 1987, scheme 6), and queues for the states whose time no packet prolongs.
//!
//! A packet only stamps the time. An entry stands in the slot where it was last due; when that slot's turn comes and
//! the stamp has moved, the entry moves on. Half-open and closed TCP flows, new UDP flows and single datagrams stand in
//! queues in the order of their ends, so that a flood finds its own oldest flow to evict in constant time.
//!
//! What lists an entry is kept here, apart from the flows, as packets do not need it.

use bytemuck::Zeroable;

use crate::dataplane::prefetch::prefetch;
use crate::dataplane::table_memory::TableMemory;
use crate::model::{MemoryNeed, Nanos, TablePages, Timeouts};
use crate::shared::FlowState;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

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
    half_closed: u32,
    fin: u32,
    closed: u32,
    udp: u32,
    udp_new: u32,
    asked: u32,
}

impl TimeoutTicks {
    /// How long the lease of a closed flow rests when no side holds TIME_WAIT on it.
    pub const CLOSED: Nanos = Nanos::from_secs(1);

    /// The same times in ticks.
    #[must_use]
    pub fn new(timeouts: &Timeouts) -> Self {
        Self {
            half_open: Tick::span(timeouts.tcp_syn),
            established: Tick::span(timeouts.tcp_established),
            half_closed: Tick::span(timeouts.tcp_half_closed),
            fin: Tick::span(timeouts.tcp_fin),
            closed: Tick::span(Self::CLOSED),
            udp: Tick::span(timeouts.udp),
            udp_new: Tick::span(timeouts.udp_new.min(timeouts.udp)),
            asked: Tick::span(timeouts.one_packet),
        }
    }

    /// The time-out of `state`.
    #[must_use]
    #[inline]
    pub const fn of(&self, state: FlowState) -> u32 {
        match state {
            FlowState::SynSent | FlowState::SynReceived | FlowState::Connecting => self.half_open,
            FlowState::Established => self.established,
            FlowState::HalfClosed => self.half_closed,
            FlowState::FinWait | FlowState::LastAck | FlowState::TimeWait => self.fin,
            FlowState::Closed => self.closed,
            FlowState::UdpNew => self.udp_new,
            FlowState::Udp => self.udp,
            FlowState::Asked => self.asked,
        }
    }
}

/// The queues, whose entries no packet prolongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Queue {
    HalfOpen = WHEEL * STRANDS,
    /// Whose entries are asked about again and again.
    Connecting,
    Closed,
    TimeWait,
    Asked,
    UdpNew,
    Free,
}

impl Queue {
    /// The queues that entries expire from.
    pub(super) const EXPIRING: [Self; 5] =
        [Self::UdpNew, Self::HalfOpen, Self::Closed, Self::TimeWait, Self::Asked];

    /// The queue of `state`; `None` if it goes by the wheel.
    #[inline]
    pub(super) const fn of(state: FlowState) -> Option<Self> {
        match state {
            FlowState::SynSent | FlowState::SynReceived => Some(Self::HalfOpen),
            FlowState::Connecting => Some(Self::Connecting),
            FlowState::Closed => Some(Self::Closed),
            FlowState::TimeWait => Some(Self::TimeWait),
            FlowState::Asked => Some(Self::Asked),
            FlowState::UdpNew => Some(Self::UdpNew),
            FlowState::Established
            | FlowState::HalfClosed
            | FlowState::FinWait
            | FlowState::LastAck
            | FlowState::Udp => None,
        }
    }
}

/// Slots of the wheel: nine minutes. What is due later is looked at once a round.
const WHEEL: u16 = 8192;

/// Lists of each slot, one entry of each looked at in turn. What stands in one list is found entry by entry, each after
/// the last has come from memory; with several there is the time of as many ends for that.
const STRANDS: u16 = 4;

const LISTS: usize = Queue::Free as usize + 1;

/// An entry's place in the lists. All zero: in none.
#[derive(Clone, Copy, Zeroable)]
struct Link {
    next: u32,
    previous: u32,
    /// The number of the list, plus one.
    list: u32,
}

/// The heads and tails of all lists, and the wheel's hand.
pub(super) struct Expiry {
    links: TableMemory<Link>,
    heads: Box<[u32]>,
    tails: Box<[u32]>,
    /// The next tick whose slot is to be looked at.
    hand: Tick,
    /// The strand of it that was looked at last.
    strand: u16,
    started: bool,
}

impl Expiry {
    /// For up to `capacity` entries, none of them listed.
    pub(super) fn new(capacity: usize, pages: TablePages) -> Self {
        Self {
            links: TableMemory::zeroed(capacity, pages),
            heads: vec![NONE; LISTS].into_boxed_slice(),
            tails: vec![NONE; LISTS].into_boxed_slice(),
            hand: Tick(0),
            strand: 0,
            started: false,
        }
    }

    /// Where the lists lie.
    pub(super) const fn pages(&self) -> TablePages {
        self.links.pages()
    }

    /// What the places of `capacity` entries take.
    pub(super) const fn need(capacity: usize) -> MemoryNeed {
        TableMemory::<Link>::need(capacity)
    }

    /// The oldest entry of a queue.
    pub(super) fn first(&self, queue: Queue) -> Option<u32> {
        let head = self.heads[usize::from(queue as u16)];
        (head != NONE).then_some(head)
    }

    /// The entry behind one in its list.
    #[inline]
    pub(super) fn following(&self, entry: u32) -> Option<u32> {
        let next = self.links[entry as usize].next;
        (next != NONE).then_some(next)
    }

    /// Asks for the place in its list of an entry.
    #[inline]
    pub(super) fn prefetch(&self, entry: u32) {
        prefetch(&self.links, entry as usize);
    }

    /// Puts an unlisted entry at the end of a queue.
    pub(super) fn enqueue(&mut self, queue: Queue, entry: u32) {
        self.append(queue as u16, entry);
    }

    /// Puts an unlisted entry into the slot of the tick it is due at, `span` after `now`.
    pub(super) fn schedule(&mut self, now: Tick, span: u32, entry: u32) {
        self.start(now);
        let due = now.after(span);
        // Never behind the hand, which would cost a whole round, nor so far ahead that the round is taken for due.
        let ahead = due.since(self.hand).min(u32::from(WHEEL) - 1);
        self.append(list(self.hand.after(ahead), entry), entry);
    }

    /// The clock may start anywhere.
    fn start(&mut self, now: Tick) {
        if !self.started {
            self.hand = now;
            self.started = true;
        }
    }

    fn append(&mut self, list: u16, entry: u32) {
        let tail = std::mem::replace(&mut self.tails[usize::from(list)], entry);
        self.links[entry as usize] = Link { next: NONE, previous: tail, list: u32::from(list) + 1 };
        match tail {
            NONE => self.heads[usize::from(list)] = entry,
            tail => self.links[tail as usize].next = entry,
        }
    }

    /// Takes an entry out of its list, if it is in one.
    pub(super) fn unlink(&mut self, entry: u32) {
        let Link { next, previous, list } =
            std::mem::replace(&mut self.links[entry as usize], Link::zeroed());
        let Some(list) = list.checked_sub(1) else { return };
        match previous {
            NONE => self.heads[list as usize] = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.tails[list as usize] = previous,
            next => self.links[next as usize].previous = previous,
        }
    }

    /// The next entry that the wheel wants looked at by `now`, still listed: the caller moves or removes it. `None`
    /// when the hand has caught up, or after `slots` empty slots were passed.
    pub(super) fn due(&mut self, now: Tick, slots: &mut u32) -> Option<u32> {
        self.start(now);
        while self.hand.0.wrapping_sub(now.0).cast_signed() <= 0 {
            if let Some(head) = self.head() {
                return Some(head);
            }
            *slots = slots.checked_sub(1)?;
            self.hand = self.hand.after(1);
        }
        None
    }

    /// The first entry of the next strand in the hand's slot that has any.
    fn head(&mut self) -> Option<u32> {
        for step in 1..=STRANDS {
            let strand = (self.strand + step) % STRANDS;
            let head = self.heads[usize::from(list(self.hand, strand.into()))];
            if head != NONE {
                self.strand = strand;
                return Some(head);
            }
        }
        None
    }
}

/// The list of an entry in the slot of `tick`.
#[expect(clippy::cast_possible_truncation, reason = "the remainders are below WHEEL and STRANDS")]
const fn list(tick: Tick, entry: u32) -> u16 {
    (tick.0 % WHEEL as u32) as u16 * STRANDS + (entry % STRANDS as u32) as u16
}
