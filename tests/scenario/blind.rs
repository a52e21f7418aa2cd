//! Segments of a blind sender, who knows the addresses and ports of a connection and none of its numbers (RFC 5961): they
//! change nothing of a flow, in any state and from either side.

use evenkeel::model::Nanos;
use evenkeel::shared::{FlowFilter, FlowState};
use proptest::prelude::*;

use crate::lab::{Lab, Plan};
use crate::listing::list;
use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN};

const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:80")];

/// First numbers, near the end, so that they come round on the way.
const CLIENT_ISN: u32 = u32::MAX - 3;
const BACKEND_ISN: u32 = u32::MAX - 700;

const STATES: [FlowState; 7] = [
    FlowState::SynSent,
    FlowState::SynReceived,
    FlowState::Established,
    FlowState::HalfClosed,
    FlowState::LastAck,
    FlowState::TimeWait,
    FlowState::Closed,
];

const FLAGS: [u8; 8] = [SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, FIN];

/// A connection of which both sides have said 1,000 octets, or less, if it does not come that far.
struct Connection {
    lab: Lab,
    ends: (&'static str, &'static str),
    syn: Decoded,
    /// Next numbers of client and backend.
    next: [u32; 2],
}

impl Connection {
    fn begin(ends: (&'static str, &'static str)) -> Self {
        let mut lab = Lab::new(Plan::default());
        let mut syn = Build::new(ends.0, ends.1).numbers(CLIENT_ISN, 0);
        syn.tcp_options = vec![3, 3, 7, 1];
        let syn = lab.forward(&syn.tcp());
        Self { lab, ends, syn, next: [CLIENT_ISN.wrapping_add(1), 0] }
    }

    fn build(&self, by_client: bool) -> Build {
        if by_client { Build::new(self.ends.0, self.ends.1) } else { Build::answer(&self.syn) }
    }

    /// A segment that is the side's own.
    fn say(&mut self, by_client: bool, flags: u8, octets: usize) {
        let (own, other) = (usize::from(!by_client), usize::from(by_client));
        let build = self.build(by_client).flags(flags).numbers(self.next[own], self.next[other]);
        self.lab.forward(&build.payload(&vec![7; octets]).tcp());
        let taken = u32::try_from(octets).unwrap() + u32::from(flags & (SYN | FIN) != 0);
        self.next[own] = self.next[own].wrapping_add(taken);
    }

    /// A connection in `state`, of which the client, or else the backend, was the first to close.
    fn in_state(state: FlowState, client_first: bool, ends: (&'static str, &'static str)) -> Self {
        let mut this = Self::begin(ends);
        // TIME_WAIT is the backend's, where that closes first.
        let client_first = match state {
            FlowState::TimeWait => false,
            FlowState::Closed => true,
            _ => client_first,
        };
        let steps = STATES.iter().position(|other| *other == state).unwrap();
        if steps >= 1 {
            this.next[1] = BACKEND_ISN;
            let mut answer = this.build(false).flags(SYN | ACK).numbers(BACKEND_ISN, this.next[0]);
            answer.tcp_options = vec![3, 3, 7, 1];
            this.lab.forward(&answer.tcp());
            this.next[1] = BACKEND_ISN.wrapping_add(1);
        }
        if steps >= 2 {
            this.say(true, ACK, 0);
            for by_client in [true, false, true, false, true] {
                this.say(by_client, ACK, 500);
            }
            this.say(false, ACK, 0);
        }
        if steps >= 3 {
            this.say(client_first, FIN | ACK, 0);
            this.say(!client_first, ACK, 0);
        }
        if steps >= 4 {
            this.say(!client_first, FIN | ACK, 0);
        }
        if steps >= 5 {
            this.say(client_first, ACK, 0);
        }
        this
    }

    /// State of the flow, seconds since its last packet, and seconds left.
    fn life(&mut self) -> Vec<(FlowState, u32, u32)> {
        let records = list(&mut self.lab, FlowFilter::default());
        records.iter().map(|record| (record.state, record.idle_secs, record.expires_secs)).collect()
    }
}

/// A segment of a blind sender.
#[derive(Clone, Copy, Debug)]
struct Blind {
    by_client: bool,
    flags: u8,
    /// How far from the right numbers: farther than 16 MiB, twice the largest window.
    off: (u32, u32),
    octets: usize,
}

fn blind() -> impl Strategy<Value = Vec<Blind>> {
    let off = 1_u32 << 24..u32::MAX - (1 << 24);
    let one = (any::<bool>(), prop::sample::select(&FLAGS[..]), (off.clone(), off), 0..9_usize);
    let one = one.prop_map(|(by_client, flags, off, octets)| Blind { by_client, flags, off, octets });
    prop::collection::vec(one, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flow_keeps_its_state_its_lifetime_and_its_numbers_whatever_a_blind_sender_sends(
        state in prop::sample::select(&STATES[..]),
        client_first: bool,
        v6: bool,
        segments in blind(),
    ) {
        let ends = ENDS[usize::from(v6)];
        let mut flow = Connection::in_state(state, client_first, ends);
        let mut twin = Connection::in_state(state, client_first, ends);
        prop_assert_eq!(flow.life()[0].0, state);
        // A closed flow has a second.
        let pause = match state {
            FlowState::Closed => Nanos::from_millis(30),
            _ => Nanos::from_millis(1_100),
        };
        let is_ending = matches!(state, FlowState::LastAck | FlowState::TimeWait | FlowState::Closed);
        for Blind { by_client, flags, off, octets } in segments {
            // The client's next connection may begin there: RFC 9293, 3.6.1.
            if is_ending && by_client && flags == SYN {
                continue;
            }
            flow.lab.wait(pause);
            twin.lab.wait(pause);
            let (own, other) = (usize::from(!by_client), usize::from(by_client));
            let numbers = (flow.next[own].wrapping_add(off.0), flow.next[other].wrapping_add(off.1));
            let build = flow.build(by_client).flags(flags).numbers(numbers.0, numbers.1).payload(&vec![0; octets]);
            flow.lab.exchange(&build.tcp());

            prop_assert_eq!(flow.life(), twin.life(), "{:?}", build);
        }
        // Until it ends, with the numbers that both sides are then told.
        for _ in 0..100 {
            flow.lab.wait(Nanos::from_secs(10));
            twin.lab.wait(Nanos::from_secs(10));
            prop_assert_eq!(flow.life(), twin.life());
            prop_assert_eq!(flow.lab.sent(), twin.lab.sent());
        }
        prop_assert_eq!(flow.lab.tally().flows(), 0);
    }
}

#[test]
fn blind_ack_leaves_a_flow_half_open() {
    for ends in ENDS {
        let mut flow = Connection::in_state(FlowState::SynReceived, true, ends);
        let right = (flow.next[0], flow.next[1]);
        for numbers in
            [(1 << 20, 1 << 21), (right.0, 1 << 21), (1 << 20, right.1), (right.0, right.1.wrapping_sub(1))]
        {
            let build = flow.build(true).flags(ACK).numbers(numbers.0, numbers.1);
            assert_eq!(flow.lab.forward(&build.tcp()).flags, ACK, "the backend is to answer");
            assert_eq!(flow.life()[0].0, FlowState::SynReceived, "{numbers:?}");
        }
        flow.say(true, ACK, 10);
        assert_eq!(flow.life()[0].0, FlowState::Established);
    }
}

#[test]
fn blind_answer_does_not_answer_a_syn() {
    for ends in ENDS {
        let mut flow = Connection::in_state(FlowState::SynSent, true, ends);
        for (sequence, acknowledgement) in [(9, flow.next[0].wrapping_sub(1)), (9, 70_000), (9, 1 << 31)] {
            let build = flow.build(false).flags(SYN | ACK).numbers(sequence, acknowledgement);
            flow.lab.forward(&build.tcp());
            assert_eq!(flow.life()[0].0, FlowState::SynSent, "{acknowledgement}");
        }
    }
}

#[test]
fn fast_path_and_general_way_believe_the_same_acknowledgements() {
    for ends in ENDS {
        for (ahead, genuine) in
            [(0, true), (65_535, true), (65_536, true), (1 << 24, false), (1 << 31, false)]
        {
            let mut flow = Connection::in_state(FlowState::Established, true, ends);
            flow.lab.wait(Nanos::from_secs(500));
            let acknowledgement = flow.next[1].wrapping_add(ahead);
            let build = flow.build(true).flags(ACK).numbers(flow.next[0], acknowledgement);
            flow.lab.forward(&build.tcp());
            let idle = flow.life()[0].1;
            assert_eq!(idle < 2, genuine, "{ahead} ahead, idle for {idle} s");
        }
    }
}
