//! What both sides of a TCP connection expect next, as far as a middle can know: for telling a reset that ends a
//! connection from one that somebody guessed, and for resets of our own.
//!
//! Numbers of a *direction* are those of the octets that its segments carry, as the receiver of that direction counts: as
//! they leave us.

use super::{FlowEntry, tcp};
use crate::model::{Direction, Family};
use crate::shared::FlowState;
use crate::wire::Segment;
use crate::wire::tcp_flags::{FIN, RST};

/// What a reset's numbers say of who has sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Somebody who sees the connection.
    Certain,
    /// Perhaps its side, perhaps somebody who guesses.
    Possible,
    /// Nobody whom the receiver would believe.
    Impossible,
}

impl<F: Family> FlowEntry<F> {
    /// Notes what the sender of a segment in `direction` expects of the other one.
    #[inline(always)]
    pub const fn note_acknowledgement(&mut self, direction: Direction, acknowledgement: u32) {
        self.expected[direction.opposite() as usize] = acknowledgement;
    }

    /// Notes what a SYN, as it leaves in `direction` and offers windows of this scale, lets the other side expect. On a
    /// connection that stands already it means nothing.
    #[inline(always)]
    pub fn note_syn(&mut self, direction: Direction, segment: &Segment, scale: Option<u8>) {
        if self.state().is_half_open() || self.state() == FlowState::Connecting {
            self.expected[direction as usize] = segment.sequence.wrapping_add(1);
            self.note_scale(direction, scale.unwrap_or(0));
        }
    }

    /// Notes the scale of windows that senders in `direction` offer, where we answer for their SYN.
    pub const fn note_scale(&mut self, direction: Direction, scale: u8) {
        self.scales[direction as usize] = scale;
    }

    /// Notes where all that is said ends, if this segment, as it leaves in `direction`, has the last FIN: windows do not
    /// matter any more, so half of the number takes the place of their scales.
    #[inline(always)]
    pub const fn note_fin(&mut self, direction: Direction, segment: &Segment) {
        if segment.flags & FIN != 0 && self.fins.is_last(direction) {
            self.scales = low_half(segment.next());
        }
    }

    /// Whether a segment that acknowledges `number` may acknowledge all that was said before and the last FIN. It may repeat
    /// an older number, while that FIN has yet to arrive. True before there is such a FIN.
    #[must_use]
    pub fn is_acknowledgement_of_all(&self, number: u32) -> bool {
        self.state() != FlowState::LastAck || self.scales == low_half(number)
    }

    /// Whether a reset, as it leaves in `direction`, is its sender's: whoever cannot see the connection has to guess.
    /// It has to be in the window (RFC 9293, 3.10.7.4), which begins at what was acknowledged last and is no larger than
    /// the receiver's scale allows; one that answers a SYN has to acknowledge that (RFC 9293, 3.10.7.3). Where the
    /// connection stands, nothing but the number that is expected is certain (RFC 5961, 3.2): behind data that are still
    /// on their way it is another one.
    #[must_use]
    #[inline(always)]
    pub fn judge_reset(&self, direction: Direction, segment: &Segment) -> Reset {
        debug_assert!(segment.flags & RST != 0, "only resets are judged");
        if self.state() == FlowState::SynSent && direction == Direction::Return {
            let most = u32::from(u16::MAX);
            return match segment.acknowledgement {
                Some(number) if self.ahead(Direction::Forward, number) <= most => Reset::Certain,
                _ => Reset::Impossible,
            };
        }
        match self.ahead(direction, segment.sequence) {
            0 => Reset::Certain,
            ahead if ahead > self.window(direction) => Reset::Impossible,
            _ if self.stands() => Reset::Possible,
            _ => Reset::Certain,
        }
    }

    /// Whether nothing has ended the connection for certain: it is established, but for resets that are only possible.
    fn stands(&self) -> bool {
        match self.state() {
            FlowState::Established => true,
            FlowState::FinWait => self.fins.are_none(),
            FlowState::SynSent
            | FlowState::SynReceived
            | FlowState::Connecting
            | FlowState::LastAck
            | FlowState::TimeWait
            | FlowState::Closed
            | FlowState::UdpNew
            | FlowState::Udp
            | FlowState::Asked => false,
        }
    }

    /// Whether a bare SYN of the client's begins a new connection in place of this one; see [`tcp::syn_starts_anew`]. Where
    /// a possible reset alone says that it has ended, the backend is to answer, as it knows. What is changed in the streams
    /// of an altered flow, though, would be wrong in another connection, which the backend may take it for.
    #[must_use]
    pub fn syn_starts_anew(&self) -> bool {
        tcp::syn_starts_anew(self.state()) && (self.is_altered() || !self.stands())
    }

    /// Whether a FIN, as it leaves in `direction`, can be its sender's: in the window like a reset (RFC 9293, 3.10.7.4,
    /// first), or by as much in front of it, as what is repeated or late. While the connection opens any can.
    #[must_use]
    #[inline(always)]
    pub fn believes_end(&self, direction: Direction, segment: &Segment) -> bool {
        let window = self.window(direction);
        match self.state() {
            FlowState::Established | FlowState::FinWait | FlowState::LastAck => {
                self.ahead(direction, segment.sequence).wrapping_add(window) <= 2 * window
            }
            FlowState::SynSent
            | FlowState::SynReceived
            | FlowState::Connecting
            | FlowState::TimeWait
            | FlowState::Closed
            | FlowState::UdpNew
            | FlowState::Udp
            | FlowState::Asked => true,
        }
    }

    /// How far a number is behind what the receiver of `direction` expects next.
    const fn ahead(&self, direction: Direction, number: u32) -> u32 {
        number.wrapping_sub(self.expected[direction as usize])
    }

    /// The largest window that the receiver of `direction` can offer, less than 2^30, as far as the flow still knows.
    fn window(&self, direction: Direction) -> u32 {
        let scale = match self.state() {
            FlowState::LastAck | FlowState::TimeWait | FlowState::Closed => 0,
            FlowState::SynSent
            | FlowState::SynReceived
            | FlowState::Connecting
            | FlowState::Established
            | FlowState::FinWait
            | FlowState::UdpNew
            | FlowState::Udp
            | FlowState::Asked => self.scales[direction.opposite() as usize],
        };
        u32::from(u16::MAX) << scale
    }

    /// What the receiver of `direction` expects next, by the last that it said.
    #[must_use]
    pub const fn expected(&self, direction: Direction) -> u32 {
        self.expected[direction as usize]
    }
}

const fn low_half(number: u32) -> [u8; 2] {
    let [_, _, upper, lower] = number.to_be_bytes();
    [upper, lower]
}
