//! What both sides of a TCP connection expect next, as far as a middle can know: for telling their segments from those of
//! a blind sender, who knows addresses and ports alone (RFC 5961), and for resets of our own.
//!
//! Numbers of a *direction* are those of the octets that its segments carry, as the receiver of that direction counts: as
//! they leave us.

use super::{FlowEntry, tcp};
use crate::model::{Direction, Family};
use crate::shared::FlowState;
use crate::wire::Segment;
use crate::wire::tcp_flags::{FIN, RST, SYN};

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
    /// An acknowledgement that is ahead of the last one by less than this is its side's: as much as a window without a
    /// scale (RFC 9293, 3.1). A blind sender meets it with one segment in 65,536.
    const NEAR: u32 = 1 << 16;

    /// Octets that both sides may say before the handshake is complete: no window of a SYN is scaled (RFC 7323, 2.2), and
    /// TCP Fast Open carries data in both directions (RFC 7413).
    const OPENING: u32 = u16::MAX as u32;

    /// How far around the expected number a segment may be once both FINs stand: the scales are gone by then. 8 MiB, more
    /// than hosts have under way by default.
    const CLOSING: u32 = 1 << 23;

    /// Whether `acknowledgement`, of a segment in `direction`, is the last one or a little ahead of it. All that
    /// the fast path asks; an older or a farther one is for [`is_genuine`](Self::is_genuine) to judge.
    #[must_use]
    #[inline(always)]
    pub const fn is_near(&self, direction: Direction, acknowledgement: u32) -> bool {
        self.ahead(direction.opposite(), acknowledgement) < Self::NEAR
    }

    /// Whether a segment can be its side's, by its numbers: as it leaves in `direction`, with the `acknowledgement` that it
    /// came with. A segment that is not changes nothing of its flow. Resets are for
    /// [`judge_reset`](Self::judge_reset).
    ///
    /// A SYN begins a connection, and repeats itself with the same number; an answer has to acknowledge it (RFC 9293,
    /// 3.10.7.3), and the third segment the answer (3.10.7.4, SYN-RECEIVED). From then on a SYN means nothing (RFC 5961,
    /// 4.2), and each segment has an acknowledgement that is near the last one, or within the largest window of it, and
    /// then a number that is in the window of the other side, or as far in front of it (RFC 5961, 5.2). A FIN always needs
    /// both.
    #[must_use]
    #[inline(always)]
    pub fn is_genuine(&self, direction: Direction, segment: &Segment, acknowledgement: Option<u32>) -> bool {
        match self.state() {
            FlowState::SynSent | FlowState::SynReceived => self.opens(direction, segment, acknowledgement),
            // The segments are ours.
            FlowState::Connecting => true,
            FlowState::Established
            | FlowState::HalfClosed
            | FlowState::FinWait
            | FlowState::LastAck
            | FlowState::TimeWait
            | FlowState::Closed => match acknowledgement {
                Some(_) if segment.flags & SYN != 0 => false,
                Some(number) if self.is_near(direction, number) && segment.flags & FIN == 0 => true,
                Some(number) => {
                    self.is_around(direction.opposite(), number)
                        && self.is_around(direction, segment.sequence)
                }
                None => false,
            },
            FlowState::UdpNew | FlowState::Udp | FlowState::Asked => true,
        }
    }

    /// [`is_genuine`](Self::is_genuine) during the handshake.
    fn opens(&self, direction: Direction, segment: &Segment, acknowledgement: Option<u32>) -> bool {
        let follows = |direction, number| self.ahead(direction, number) <= Self::OPENING;
        match (direction, segment.flags & SYN != 0, acknowledgement) {
            // The first one finds nothing expected yet.
            (Direction::Forward, true, None) => {
                let expected = self.expected(Direction::Forward);
                expected == 0 || segment.sequence.wrapping_add(1) == expected
            }
            (Direction::Return, true, Some(number)) => follows(Direction::Forward, number),
            (_, false, Some(number)) if self.state() == FlowState::SynReceived => {
                follows(direction.opposite(), number) && follows(direction, segment.sequence)
            }
            (Direction::Forward | Direction::Return, _, _) => false,
        }
    }

    /// Notes what the sender of a segment in `direction` expects of the other one, if that is more than before.
    #[inline(always)]
    pub const fn note_acknowledgement(&mut self, direction: Direction, acknowledgement: u32) {
        if self.ahead(direction.opposite(), acknowledgement) <= i32::MAX as u32 {
            self.expect(direction.opposite(), acknowledgement);
        }
    }

    /// Notes the number that the receiver of `direction` expects next.
    #[inline(always)]
    pub const fn expect(&mut self, direction: Direction, number: u32) {
        self.expected[direction as usize] = number;
    }

    /// Notes what a SYN, as it leaves in `direction` and offers windows of this scale, lets the other side expect.
    #[inline(always)]
    pub const fn note_syn(&mut self, direction: Direction, segment: &Segment, scale: Option<u8>) {
        self.expect(direction, segment.sequence.wrapping_add(1));
        let scale = match scale {
            Some(scale) => scale,
            None => 0,
        };
        self.note_scale(direction, scale);
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

    /// Whether a reset, as it leaves in `direction` with the `acknowledgement` that it came with, is its sender's: a blind
    /// sender has to guess. It has to be in the window (RFC 9293, 3.10.7.4), which begins at what was acknowledged last and
    /// is no larger than the receiver's scale allows; one that answers a SYN has to acknowledge that SYN (RFC 9293,
    /// 3.10.7.3). While the handshake is under way no number but the expected one is right, and where the connection stands
    /// no other one is certain (RFC 5961, 3.2): behind data that are still on their way it is another one.
    #[must_use]
    #[inline(always)]
    pub fn judge_reset(
        &self,
        direction: Direction,
        segment: &Segment,
        acknowledgement: Option<u32>,
    ) -> Reset {
        debug_assert!(segment.flags & RST != 0, "only resets are judged");
        if self.state() == FlowState::SynSent && direction == Direction::Return {
            return match acknowledgement {
                Some(number) if self.ahead(Direction::Forward, number) <= Self::OPENING => Reset::Certain,
                _ => Reset::Impossible,
            };
        }
        match self.ahead(direction, segment.sequence) {
            0 => Reset::Certain,
            _ if self.state().is_half_open() => Reset::Impossible,
            ahead if ahead > self.window(direction) => Reset::Impossible,
            _ if self.stands() => Reset::Possible,
            _ => Reset::Certain,
        }
    }

    /// Whether nothing has ended the connection for certain: at least one direction is open, but for resets that are only
    /// possible.
    const fn stands(&self) -> bool {
        match self.state() {
            FlowState::Established | FlowState::HalfClosed | FlowState::FinWait => true,
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

    /// Whether a cookie of ours that comes back may begin a new connection in place of this one: no blind sender has it, so
    /// that a half-closed one makes way, too.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.state() == FlowState::HalfClosed || self.syn_starts_anew()
    }

    /// Whether a number of `direction` is in the window, or by as much in front of it, as what is repeated or late.
    fn is_around(&self, direction: Direction, number: u32) -> bool {
        let reach = match self.state() {
            FlowState::LastAck | FlowState::TimeWait | FlowState::Closed => Self::CLOSING,
            FlowState::SynSent
            | FlowState::SynReceived
            | FlowState::Connecting
            | FlowState::Established
            | FlowState::HalfClosed
            | FlowState::FinWait
            | FlowState::UdpNew
            | FlowState::Udp
            | FlowState::Asked => self.window(direction),
        };
        self.ahead(direction, number).wrapping_add(reach) <= 2 * reach
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
            | FlowState::HalfClosed
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
