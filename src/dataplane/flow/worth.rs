//! The order in which flows give way: their place in a full table, or their local port.

use std::cmp::Reverse;

use super::{FlowEntry, FlowId, Tick};
use crate::model::Family;
use crate::shared::FlowState;

/// What is lost with a flow. The least is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// Nothing: it is closed, and no side holds TIME_WAIT.
    Over,
    /// A TCP handshake that the client has not completed.
    HalfOpen,
    /// A datagram of a service with `one_packet` that waits for its answer.
    Asked,
    /// A UDP flow to which the client alone has sent, or each side once, and not just now.
    OneWay,
    /// The same within `GRACE` of its beginning: its answer may be under way.
    Fresh,
    /// A UDP flow without a packet for `IDLE`.
    Idle,
    /// A TCP connection whose client has completed the handshake with us, and whose backend has not answered.
    Connecting,
}

impl Worth {
    /// Ticks within which an answer is expected, about 0.3 s: clients and servers on one continent answer in less.
    const GRACE: u32 = 4;

    /// Ticks after which a UDP flow is idle, one second: media and games send more often.
    const IDLE: u32 = 15;
}

/// A flow that can be evicted. Of several the least goes first: of equal worth the one that was idle longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// What is lost with it.
    pub worth: Worth,
    /// Ticks without a packet.
    pub idle: u32,
    /// Which flow.
    pub id: FlowId,
}

impl Victim {
    const fn key(&self) -> (Worth, Reverse<u32>) {
        (self.worth, Reverse(self.idle))
    }

    /// The one that goes first, this or `other`; this one if there is no difference.
    #[must_use]
    pub fn or_lesser(self, other: Self) -> Self {
        if other.key() < self.key() { other } else { self }
    }
}

impl<F: Family> FlowEntry<F> {
    /// What is lost with the flow; `None` if it must not be evicted: established TCP, a UDP flow in use, a local port that
    /// rests for its backend's TIME_WAIT.
    #[must_use]
    pub const fn worth(&self, now: Tick) -> Option<Worth> {
        let idle = now.since(self.stamp);
        Some(match self.state() {
            FlowState::Closed => Worth::Over,
            FlowState::SynSent | FlowState::SynReceived => Worth::HalfOpen,
            FlowState::Asked => Worth::Asked,
            FlowState::UdpNew if idle < Worth::GRACE => Worth::Fresh,
            FlowState::UdpNew => Worth::OneWay,
            FlowState::Udp if self.is_unanswered() => Worth::OneWay,
            FlowState::Udp if idle >= Worth::IDLE => Worth::Idle,
            FlowState::Connecting => Worth::Connecting,
            FlowState::Udp
            | FlowState::Established
            | FlowState::HalfClosed
            | FlowState::FinWait
            | FlowState::LastAck
            | FlowState::TimeWait => return None,
        })
    }
}
