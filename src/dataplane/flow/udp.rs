//! UDP flows: new until more than one datagram each way has passed (what Linux's conntrack calls not yet assured).
//!
//! | state | datagrams | ends |
//! |---|---|---|
//! | `udp_new` | one of the client's, at most one of the backend's | `timeouts.udp_new` after the first one |
//! | `udp` | more | `timeouts.udp` after the last one |
//!
//! A flood from invented sources leaves new flows, and a resolver that takes a port for each question leaves them, too. They
//! give way first when the table is full or a backend has no local port left.

use super::FlowEntry;
use crate::model::{Direction, Family};
use crate::shared::FlowState;

impl<F: Family> FlowEntry<F> {
    /// Notes a datagram of `direction`, the first one of the flow included; the state that follows from it.
    #[inline]
    pub(in crate::dataplane) const fn note_datagram(&mut self, direction: Direction) -> FlowState {
        if matches!(direction, Direction::Return) {
            self.note_answer();
        }
        if !matches!(self.state(), FlowState::UdpNew) {
            return self.state();
        }
        let seen = &mut self.scales[direction as usize];
        *seen = seen.saturating_add(1);
        if *seen > 1 { FlowState::Udp } else { FlowState::UdpNew }
    }
}
