//! Resets: which end a connection.

use evenkeel::model::Nanos;

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, Decoded, RST, SYN};

const FAMILIES: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:80")];

/// Near the end of the numbers, so that they come round on the way.
const CLIENT_FIRST: u32 = u32::MAX - 2;
const BACKEND_FIRST: u32 = u32::MAX - 40_000;

/// A connection of a client that has sent 1,000 octets and got 100,000, all acknowledged.
struct Connection {
    lab: Lab,
    client: &'static str,
    vip: &'static str,
    syn: Decoded,
}

impl Connection {
    const CLIENT_NEXT: u32 = CLIENT_FIRST.wrapping_add(1_001);
    const BACKEND_NEXT: u32 = BACKEND_FIRST.wrapping_add(100_001);

    /// `scales` are those of the client's windows and of the backend's.
    fn open((client, vip): (&'static str, &'static str), scales: [u8; 2]) -> Self {
        let mut lab = Lab::new(Plan::default());
        let with_scale = |mut build: Build, scale: u8| {
            // Behind an option that is none of ours.
            build.tcp_options = vec![4, 2, 1, 3, 3, scale, 1, 0];
            build
        };
        let syn = Build::new(client, vip).numbers(CLIENT_FIRST, 0);
        let syn = lab.forward(&with_scale(syn, scales[0]).tcp());
        let answer =
            Build::answer(&syn).flags(SYN | ACK).numbers(BACKEND_FIRST, CLIENT_FIRST.wrapping_add(1));
        lab.forward(&with_scale(answer, scales[1]).tcp());
        let mut connection = Self { lab, client, vip, syn };
        connection.from_client(ACK, CLIENT_FIRST.wrapping_add(1), BACKEND_FIRST.wrapping_add(1));
        // The first segment on an established flow settles it, the next one takes the fast path.
        for _ in 0..2 {
            connection.from_backend(ACK, Self::BACKEND_NEXT, Self::CLIENT_NEXT);
            connection.from_client(ACK, Self::CLIENT_NEXT, Self::BACKEND_NEXT);
        }
        connection
    }

    fn from_client(&mut self, flags: u8, sequence: u32, acknowledgement: u32) {
        let segment = Build::new(self.client, self.vip).flags(flags).numbers(sequence, acknowledgement);
        assert_eq!(self.lab.forward(&segment.tcp()).flags, flags, "whatever it says, it is sent on");
    }

    fn from_backend(&mut self, flags: u8, sequence: u32, acknowledgement: u32) {
        let segment = Build::answer(&self.syn).flags(flags).numbers(sequence, acknowledgement);
        assert_eq!(self.lab.forward(&segment.tcp()).flags, flags, "whatever it says, it is sent on");
    }

    /// Whether the connection has ended, which it does within a second or not at all.
    fn has_ended(mut self) -> bool {
        self.lab.wait(Nanos::from_millis(1300));
        let ended = self.lab.tally().flows() == 0;
        assert_eq!(self.lab.tally().resets_doubted, u64::from(!ended));
        ended
    }
}

#[test]
fn a_reset_ends_a_connection_only_if_its_number_is_in_the_window() {
    let window = 65_535 << 3;
    for family in FAMILIES {
        for (ahead, ends) in
            [(0, true), (1, true), (window, true), (window + 1, false), (1 << 31, false), (u32::MAX, false)]
        {
            let mut connection = Connection::open(family, [7, 3]);
            connection.from_client(RST, Connection::CLIENT_NEXT.wrapping_add(ahead), 0);
            assert_eq!(connection.has_ended(), ends, "of the client, {ahead} ahead");

            let mut connection = Connection::open(family, [3, 7]);
            connection.from_backend(RST | ACK, Connection::BACKEND_NEXT.wrapping_add(ahead), 0);
            assert_eq!(connection.has_ended(), ends, "of the backend, {ahead} ahead");
        }
    }
}

#[test]
fn a_connection_goes_on_after_a_reset_that_somebody_guessed() {
    let mut connection = Connection::open(FAMILIES[0], [0, 0]);
    connection.from_client(RST, Connection::CLIENT_NEXT.wrapping_sub(1), 0);
    connection.lab.wait(Nanos::from_secs(600));
    connection.from_client(ACK, Connection::CLIENT_NEXT, Connection::BACKEND_NEXT);
    connection.from_backend(ACK, Connection::BACKEND_NEXT, Connection::CLIENT_NEXT);
    connection.lab.wait(Nanos::from_secs(600));
    assert_eq!(connection.lab.tally().flows(), 1);
}

#[test]
fn a_reset_that_answers_a_syn_ends_the_connection_only_if_it_acknowledges_that() {
    let cases = [
        (RST | ACK, 0, CLIENT_FIRST.wrapping_add(1), true),
        (RST | ACK, 0, CLIENT_FIRST, false),
        (RST | ACK, 0, 100_000, false),
        (RST, 0, 0, false),
    ];
    for (client, vip) in FAMILIES {
        for (flags, sequence, acknowledgement, ends) in cases {
            let mut lab = Lab::new(Plan::default());
            let syn = lab.forward(&Build::new(client, vip).numbers(CLIENT_FIRST, 0).tcp());
            lab.forward(&Build::answer(&syn).flags(flags).numbers(sequence, acknowledgement).tcp());
            lab.wait(Nanos::from_millis(1300));
            assert_eq!(lab.tally().flows() == 0, ends, "{flags:#x} {acknowledgement}");
        }
    }
}

#[test]
fn a_syn_on_an_established_connection_does_not_move_the_window() {
    let mut connection = Connection::open(FAMILIES[0], [0, 0]);
    connection.from_client(SYN, 5_000_000, 0);
    connection.from_client(RST, 5_000_001, 0);
    assert!(!connection.has_ended());
}
