//! What a worker does beside the packets that it receives: time-outs, frames of the kernel, commands of control, the count.
//!
//! Small bursts share it, until as many packets have come as a full one has. An idle turn does it, and the first one of
//! each tick, as nothing becomes due between; and it goes on in the next turn while anything is left.

use super::Core;
use crate::dataplane::flow::Tick;
use crate::dataplane::pipeline::View;
use crate::io::{BURST, Port};
use crate::shared::rings::PortFrame;
use crate::shared::{Command, Event};

/// When it was done last.
pub(super) struct Chores {
    /// Packets that had come by then.
    packets: u64,
    tick: Tick,
    /// Whether something was left.
    unfinished: bool,
    /// Turns that are in the tally which was copied up last, busy ones.
    published: u64,
}

impl Chores {
    pub(super) const fn new() -> Self {
        Self { packets: 0, tick: Tick(0), unfinished: true, published: 0 }
    }
}

/// Flows looked at for expiry at a time and in each family, beside one for each packet that has come. So flows end as fast
/// as they can begin: a look ends a flow, or finds that a packet has prolonged it since the last one.
const EXPIRY_BUDGET: u32 = 16;

/// Frames taken from the kernel's ring at a time.
const RING_BUDGET: usize = BURST;

/// Busy turns between two copies of the tally at least.
const PUBLISH_INTERVAL: u64 = 256;

impl<P: Port> Core<P> {
    /// Whether the chores are due in a turn that is `busy` or not; then the packets that have come since they were done.
    #[inline(always)]
    pub(super) fn chores_due(&mut self, busy: bool, now: Tick) -> Option<u32> {
        let Self { chores, pipeline, .. } = self;
        let packets = pipeline.tally.rx_packets + pipeline.tally.handed_in;
        let since = packets - chores.packets;
        let are_due = !busy || chores.unfinished || since >= BURST as u64 || chores.tick != now;
        if !are_due {
            return None;
        }
        (chores.packets, chores.tick) = (packets, now);
        Some(u32::try_from(since).unwrap_or(u32::MAX))
    }

    /// Does them, after so many packets. Returns whether there was anything to do.
    #[inline]
    pub(super) fn do_chores(&mut self, packets: u32, view: View<'_>) -> bool {
        let mut busy = self.expire_held(view.tick());
        busy |= self.pipeline.expire(view, EXPIRY_BUDGET.saturating_add(packets));
        busy |= self.say_farewells(view.now) | self.remind(view);
        busy |= self.serve_command(view.tick());
        // What was said now leaves in the next turn.
        busy |= self.has_staged;
        self.chores.unfinished = busy || !self.frames.injections[self.id.index()].is_empty();
        busy
    }

    /// Frames of the kernel, to be sent as they are.
    #[inline]
    pub(super) fn take_injected(&mut self) -> bool {
        !self.frames.injections[self.id.index()].is_empty() && self.take_frames_injected()
    }

    #[inline(never)]
    fn take_frames_injected(&mut self) -> bool {
        let mut taken = 0;
        while taken < RING_BUDGET {
            let Some(PortFrame { port, frame }) = self.frames.injections[self.id.index()].pop() else {
                break;
            };
            taken += 1;
            self.send(port, frame);
        }
        self.pipeline.tally.injected += taken as u64;
        taken > 0
    }

    /// A step of a command of control's.
    #[inline]
    pub(super) fn serve_command(&mut self, now: Tick) -> bool {
        !self.commands.commands[self.id.index()].is_empty() && self.serve_next_command(now)
    }

    #[inline(never)]
    fn serve_next_command(&mut self, now: Tick) -> bool {
        let events = &self.commands.events[self.id.index()];
        // An event ring without room keeps the command where it is.
        if events.is_full() {
            return false;
        }
        let Some(command) = self.commands.commands[self.id.index()].pop() else { return false };
        let event = match command {
            Command::ListFlows(mut page) => {
                self.pipeline.list_flows(&mut page, now);
                Event::Flows(page)
            }
        };
        // This worker is the only producer, and there was room.
        let _ = events.push(event);
        true
    }

    /// Counts a turn; copies the tally up, if the last copy is some time ago.
    #[inline(always)]
    pub(super) fn count_turn(&mut self, busy: bool) {
        self.counters.count_turn();
        let Self { chores, pipeline, .. } = self;
        pipeline.tally.busy_turns += u64::from(busy);
        let unpublished = pipeline.tally.busy_turns - chores.published;
        // Idle turns have the time; busy ones share the cost.
        if unpublished >= PUBLISH_INTERVAL || !busy && unpublished > 0 {
            self.publish_tally();
        }
    }

    #[inline(never)]
    fn publish_tally(&mut self) {
        let Self { chores, pipeline, counters, .. } = self;
        pipeline.tally.fullest_table = pipeline.flows.fullest() as u64;
        counters.publish(&pipeline.tally);
        chores.published = pipeline.tally.busy_turns;
    }
}
