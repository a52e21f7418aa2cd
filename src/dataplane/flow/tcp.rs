//! The TCP states of a flow, seen from between both sides; after the table that IPVS uses (ip_vs_proto_tcp), which
//! follows RFC 9293 figure 5 as far as a middle can.

use crate::model::Direction;
use crate::shared::FlowState;
use crate::wire::tcp_flags::{ACK, FIN, RST, SYN};

/// Which side has sent a FIN, and which was first; and which is said to have reset, by a segment that somebody may have
/// guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fins(u8);

impl Fins {
    const CLIENT: u8 = 1;
    const BACKEND: u8 = 2;
    const BACKEND_FIRST: u8 = 4;
    const BACKEND_LAST: u8 = 8;
    const CLIENT_RESET: u8 = 16;
    const BACKEND_RESET: u8 = 32;

    /// Notes that the side that sends in `direction` is said to have reset.
    pub(in crate::dataplane) const fn note_reset(&mut self, direction: Direction) {
        self.0 |= Self::reset_of(direction);
    }

    /// Whether neither side has sent a FIN.
    pub(super) const fn are_none(self) -> bool {
        self.0 & (Self::CLIENT | Self::BACKEND) == 0
    }

    /// That side sends still, so it has not.
    const fn forget_reset(&mut self, direction: Direction) {
        self.0 &= !Self::reset_of(direction);
    }

    const fn any_reset(self) -> bool {
        self.0 & (Self::CLIENT_RESET | Self::BACKEND_RESET) != 0
    }

    const fn reset_of(direction: Direction) -> u8 {
        match direction {
            Direction::Forward => Self::CLIENT_RESET,
            Direction::Return => Self::BACKEND_RESET,
        }
    }

    fn note(&mut self, direction: Direction) {
        let (own, first, last) = match direction {
            Direction::Forward => (Self::CLIENT, 0, 0),
            Direction::Return => (Self::BACKEND, Self::BACKEND_FIRST, Self::BACKEND_LAST),
        };
        if self.0 & (Self::CLIENT | Self::BACKEND) == 0 {
            self.0 |= first;
        }
        if self.0 & own == 0 {
            self.0 = self.0 & !Self::BACKEND_LAST | last;
        }
        self.0 |= own;
    }

    const fn both(self) -> bool {
        self.0 & (Self::CLIENT | Self::BACKEND) == Self::CLIENT | Self::BACKEND
    }

    /// Whether a FIN of `direction` is the second, and ends what is said.
    pub(super) const fn is_last(self, direction: Direction) -> bool {
        let other = match direction {
            Direction::Forward => Self::BACKEND,
            Direction::Return => Self::CLIENT,
        };
        self.0 & (Self::CLIENT | Self::BACKEND) == other
    }

    /// The side that does not send the last FIN acknowledges it.
    const fn last_acknowledged_by(self) -> Direction {
        if self.0 & Self::BACKEND_LAST != 0 { Direction::Forward } else { Direction::Return }
    }

    /// Whether the backend, having sent the first FIN, now holds TIME_WAIT (RFC 9293, 3.6).
    const fn backend_waits(self) -> bool {
        self.0 & Self::BACKEND_FIRST != 0
    }
}

/// Whether a bare SYN from the client on a flow in this state begins a new connection: the client has given up the old
/// one and reuses its port (RFC 9293, 3.6.1; RFC 6191). In the other states it is a retransmission, or a stray that
/// the backend answers itself.
#[must_use]
pub const fn syn_starts_anew(state: FlowState) -> bool {
    match state {
        FlowState::FinWait | FlowState::LastAck | FlowState::TimeWait | FlowState::Closed => true,
        FlowState::SynSent
        | FlowState::SynReceived
        | FlowState::Connecting
        | FlowState::Established
        | FlowState::HalfClosed
        | FlowState::UdpNew
        | FlowState::Udp
        | FlowState::Asked => false,
    }
}

/// The state after a possible reset, which `fins` has noted: less time is left to a connection that stands.
#[must_use]
pub const fn after_possible_reset(state: FlowState) -> FlowState {
    match state {
        FlowState::Established | FlowState::HalfClosed => FlowState::FinWait,
        FlowState::SynSent
        | FlowState::SynReceived
        | FlowState::Connecting
        | FlowState::FinWait
        | FlowState::LastAck
        | FlowState::TimeWait
        | FlowState::Closed
        | FlowState::UdpNew
        | FlowState::Udp
        | FlowState::Asked => state,
    }
}

/// The state after a segment with `flags` in `direction` whose numbers are right: see `sequence`. The caller
/// takes away the ACK of a last FIN that does not acknowledge that FIN. docs/TCP-STATES.md has the table.
#[must_use]
#[inline]
pub fn next(state: FlowState, fins: &mut Fins, direction: Direction, flags: u8) -> FlowState {
    // The common case first: data and acknowledgements of an established connection.
    if state == FlowState::Established && flags & (FIN | RST | SYN) == 0 {
        return state;
    }
    if flags & RST != 0 {
        return if state == FlowState::TimeWait { state } else { FlowState::Closed };
    }
    match state {
        FlowState::SynSent => match direction {
            Direction::Return if flags & (SYN | ACK) == SYN | ACK => FlowState::SynReceived,
            Direction::Forward | Direction::Return => state,
        },
        FlowState::SynReceived => match direction {
            Direction::Forward if flags & (SYN | ACK) == ACK => {
                after_fin(FlowState::Established, fins, direction, flags)
            }
            _ => after_fin(state, fins, direction, flags),
        },
        FlowState::Established | FlowState::HalfClosed | FlowState::FinWait => {
            // A host that has reset says no more.
            fins.forget_reset(direction);
            let state = if fins.any_reset() {
                FlowState::FinWait
            } else if fins.are_none() {
                FlowState::Established
            } else {
                FlowState::HalfClosed
            };
            after_fin(state, fins, direction, flags)
        }
        FlowState::LastAck => {
            if flags & FIN == 0 && flags & ACK != 0 && direction == fins.last_acknowledged_by() {
                if fins.backend_waits() { FlowState::TimeWait } else { FlowState::Closed }
            } else {
                state
            }
        }
        FlowState::Connecting
        | FlowState::TimeWait
        | FlowState::Closed
        | FlowState::UdpNew
        | FlowState::Udp
        | FlowState::Asked => state,
    }
}

/// [`next`] where only the client's segments come by, behind the backend's back. What the backend answers is not known:
/// the client's second segment without SYN shows that somebody did, and after the client's FIN time decides.
#[must_use]
pub const fn next_one_way(state: FlowState, flags: u8) -> FlowState {
    if flags & RST != 0 {
        return FlowState::Closed;
    }
    match state {
        FlowState::SynSent | FlowState::SynReceived | FlowState::Established if flags & FIN != 0 => {
            FlowState::FinWait
        }
        FlowState::SynSent | FlowState::SynReceived if flags & (SYN | ACK) == ACK => FlowState::Established,
        FlowState::SynSent
        | FlowState::SynReceived
        | FlowState::Connecting
        | FlowState::Established
        | FlowState::HalfClosed
        | FlowState::FinWait
        | FlowState::LastAck
        | FlowState::TimeWait
        | FlowState::Closed
        | FlowState::UdpNew
        | FlowState::Udp
        | FlowState::Asked => state,
    }
}

fn after_fin(state: FlowState, fins: &mut Fins, direction: Direction, flags: u8) -> FlowState {
    if flags & FIN == 0 {
        return state;
    }
    fins.note(direction);
    match (fins.both(), fins.any_reset()) {
        (true, _) => FlowState::LastAck,
        (false, true) => FlowState::FinWait,
        (false, false) => FlowState::HalfClosed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Direction::{Forward, Return};

    fn run(segments: &[(Direction, u8)]) -> FlowState {
        let mut fins = Fins::default();
        segments
            .iter()
            .fold(FlowState::SynSent, |state, (direction, flags)| next(state, &mut fins, *direction, *flags))
    }

    const OPEN: [(Direction, u8); 2] = [(Return, SYN | ACK), (Forward, ACK)];

    fn after_open(segments: &[(Direction, u8)]) -> FlowState {
        run(&[&OPEN, segments].concat())
    }

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(run(&OPEN[..1]), FlowState::SynReceived);
        assert_eq!(run(&OPEN), FlowState::Established);
        assert_eq!(run(&[(Forward, ACK)]), FlowState::SynSent, "an ACK that answers nothing");
    }

    #[test]
    fn a_close_by_the_backend_leaves_it_in_time_wait() {
        let segments = [(Return, FIN | ACK), (Forward, FIN | ACK), (Return, ACK)];
        assert_eq!(after_open(&segments[..1]), FlowState::HalfClosed);
        assert_eq!(after_open(&segments[..2]), FlowState::LastAck);
        assert_eq!(after_open(&segments), FlowState::TimeWait);
    }

    #[test]
    fn a_close_by_the_client_frees_the_lease_soon() {
        let segments = [(Forward, FIN | ACK), (Return, ACK), (Return, FIN | ACK), (Forward, ACK)];
        assert_eq!(after_open(&segments[..2]), FlowState::HalfClosed);
        assert_eq!(after_open(&segments), FlowState::Closed);
    }

    #[test]
    fn a_retransmitted_fin_is_not_its_own_acknowledgement() {
        let segments = [(Forward, FIN | ACK), (Return, FIN | ACK), (Forward, FIN | ACK), (Return, FIN | ACK)];
        assert_eq!(after_open(&segments), FlowState::LastAck);
    }

    #[test]
    fn one_way_the_clients_segments_alone_tell_the_state() {
        let states =
            |first, segments: &[u8]| segments.iter().fold(first, |state, flags| next_one_way(state, *flags));
        assert_eq!(states(FlowState::SynSent, &[SYN]), FlowState::SynSent, "a retransmission");
        assert_eq!(states(FlowState::SynSent, &[ACK]), FlowState::Established);
        assert_eq!(states(FlowState::SynSent, &[ACK, ACK, FIN | ACK, ACK, ACK]), FlowState::FinWait);
        assert_eq!(states(FlowState::Established, &[SYN, ACK]), FlowState::Established);
        assert_eq!(states(FlowState::FinWait, &[RST]), FlowState::Closed);
        assert_eq!(states(FlowState::Udp, &[0]), FlowState::Udp);
    }

    #[test]
    fn a_possible_reset_is_forgotten_when_its_side_goes_on_and_not_before() {
        let mut fins = Fins::default();
        fins.note_reset(Forward);
        assert_eq!(after_possible_reset(FlowState::Established), FlowState::FinWait);
        assert_eq!(next(FlowState::FinWait, &mut fins, Return, ACK), FlowState::FinWait);
        fins.note_reset(Return);
        assert_eq!(after_possible_reset(FlowState::FinWait), FlowState::FinWait);
        assert_eq!(next(FlowState::FinWait, &mut fins, Forward, ACK), FlowState::FinWait, "the backend's");
        assert_eq!(next(FlowState::FinWait, &mut fins, Return, ACK), FlowState::Established);
        assert_eq!(fins, Fins::default());
        // The end of one side stays noted.
        assert_eq!(next(FlowState::Established, &mut fins, Return, FIN | ACK), FlowState::HalfClosed);
        fins.note_reset(Forward);
        assert_eq!(after_possible_reset(FlowState::HalfClosed), FlowState::FinWait);
        assert_eq!(next(FlowState::FinWait, &mut fins, Return, ACK), FlowState::FinWait);
        assert_eq!(next(FlowState::FinWait, &mut fins, Forward, ACK), FlowState::HalfClosed);
        assert_eq!(next(FlowState::HalfClosed, &mut fins, Forward, FIN | ACK), FlowState::LastAck);
        assert_eq!(after_possible_reset(FlowState::LastAck), FlowState::LastAck);
        assert_eq!(next(FlowState::LastAck, &mut fins, Return, ACK), FlowState::TimeWait);
    }

    #[test]
    fn half_open_flow_takes_no_fin_before_the_handshake() {
        assert_eq!(run(&[(Forward, FIN | ACK)]), FlowState::SynSent);
        assert_eq!(run(&[(Return, FIN | ACK)]), FlowState::SynSent);
        assert_eq!(run(&[(Return, SYN | ACK), (Forward, FIN | ACK)]), FlowState::HalfClosed);
    }

    #[test]
    fn a_reset_closes_but_does_not_shorten_time_wait() {
        assert_eq!(after_open(&[(Return, RST)]), FlowState::Closed);
        assert_eq!(run(&[(Return, RST | ACK)]), FlowState::Closed);
        let closed_by_backend = [(Return, FIN | ACK), (Forward, FIN | ACK), (Return, ACK), (Forward, RST)];
        assert_eq!(after_open(&closed_by_backend), FlowState::TimeWait);
    }
}
