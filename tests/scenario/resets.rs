//! Resets: which end a connection, and those that we send when one ends without its sides' doing.

use evenkeel::model::{BackendState, Nanos, Timeouts};

use crate::lab::{BACKEND_MAC, CLIENT_MAC, Lab, OUR_MAC, Plan};
use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN, decode};

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
        let timeouts = Timeouts { tcp_half_closed: Nanos::from_secs(60), ..Timeouts::default() };
        let mut lab = Lab::new(Plan { timeouts, ..Plan::default() });
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
        connection.client_sends(ACK, CLIENT_FIRST.wrapping_add(1), BACKEND_FIRST.wrapping_add(1));
        // The first segment on an established flow settles it, later ones take the fast path. No window is larger.
        for sent in [50_001, 100_001, 100_001] {
            let backend_next = BACKEND_FIRST.wrapping_add(sent);
            connection.backend_sends(ACK, backend_next, Self::CLIENT_NEXT);
            connection.client_sends(ACK, Self::CLIENT_NEXT, backend_next);
        }
        connection
    }

    fn client_sends(&mut self, flags: u8, sequence: u32, acknowledgement: u32) {
        let segment = Build::new(self.client, self.vip).flags(flags).numbers(sequence, acknowledgement);
        assert_eq!(self.lab.forward(&segment.tcp()).flags, flags, "whatever it says, it is sent on");
    }

    fn backend_sends(&mut self, flags: u8, sequence: u32, acknowledgement: u32) {
        let segment = Build::answer(&self.syn).flags(flags).numbers(sequence, acknowledgement);
        assert_eq!(self.lab.forward(&segment.tcp()).flags, flags, "whatever it says, it is sent on");
    }

    /// Whether a reset has ended the connection, which it does within a second or, in doubt, not at once.
    fn has_ended(mut self) -> bool {
        self.lab.wait(Nanos::from_millis(1300));
        let ended = self.lab.tally().flows() == 0;
        assert_eq!(self.lab.tally().resets_doubted, u64::from(!ended));
        ended
    }
}

#[test]
fn a_reset_ends_a_connection_at_once_only_if_its_number_is_the_one_expected() {
    let window = 65_535 << 3;
    for family in FAMILIES {
        for (ahead, ends) in [(0, true), (1, false), (window, false), (1 << 31, false), (u32::MAX, false)] {
            let mut connection = Connection::open(family, [7, 3]);
            connection.client_sends(RST, Connection::CLIENT_NEXT.wrapping_add(ahead), 0);
            assert_eq!(connection.has_ended(), ends, "of the client, {ahead} ahead");

            let mut connection = Connection::open(family, [3, 7]);
            connection.backend_sends(RST | ACK, Connection::BACKEND_NEXT.wrapping_add(ahead), 0);
            assert_eq!(connection.has_ended(), ends, "of the backend, {ahead} ahead");
        }
    }
}

#[test]
fn behind_data_on_their_way_a_reset_in_the_window_ends_a_connection_whose_side_says_no_more() {
    let window = 65_535 << 3;
    for family in FAMILIES {
        for (ahead, ends) in [(1, true), (window, true), (window + 1, false), (u32::MAX, false)] {
            for of_client in [true, false] {
                let mut connection = Connection::open(family, if of_client { [7, 3] } else { [3, 7] });
                if of_client {
                    connection.client_sends(RST, Connection::CLIENT_NEXT.wrapping_add(ahead), 0);
                    connection.backend_sends(ACK, Connection::BACKEND_NEXT, Connection::CLIENT_NEXT);
                } else {
                    connection.backend_sends(RST | ACK, Connection::BACKEND_NEXT.wrapping_add(ahead), 0);
                    connection.client_sends(ACK, Connection::CLIENT_NEXT, Connection::BACKEND_NEXT);
                }
                connection.lab.wait(Nanos::from_secs(59));
                assert_eq!(connection.lab.tally().flows(), 1, "{ahead} ahead");
                connection.lab.wait(Nanos::from_secs(2));
                assert_eq!(connection.lab.tally().flows() == 0, ends, "{ahead} ahead");
                assert_eq!(connection.lab.tally().resets_doubted, 1);
            }
        }
    }
}

#[test]
fn a_connection_goes_on_after_a_reset_that_somebody_guessed() {
    for family in FAMILIES {
        for ahead in [u32::MAX, 1, 60_000] {
            let mut connection = Connection::open(family, [0, 0]);
            for _ in 0..3 {
                // However often, and in both sides' names.
                connection.client_sends(RST, Connection::CLIENT_NEXT.wrapping_add(ahead), 0);
                connection.client_sends(RST | ACK, Connection::CLIENT_NEXT.wrapping_add(ahead), 0);
                connection.backend_sends(RST, Connection::BACKEND_NEXT.wrapping_add(ahead), 0);
            }
            for _ in 0..2 {
                connection.client_sends(ACK, Connection::CLIENT_NEXT, Connection::BACKEND_NEXT);
                connection.backend_sends(ACK, Connection::BACKEND_NEXT, Connection::CLIENT_NEXT);
            }
            connection.lab.wait(Nanos::from_secs(600));
            connection.client_sends(ACK, Connection::CLIENT_NEXT, Connection::BACKEND_NEXT);
            connection.lab.wait(Nanos::from_secs(600));
            assert_eq!(connection.lab.tally().flows(), 1, "{ahead} ahead");
            connection.client_sends(RST, Connection::CLIENT_NEXT, 0);
            connection.lab.wait(Nanos::from_secs(2));
            assert_eq!(connection.lab.tally().flows(), 0, "the number that is expected");
        }
    }
}

#[test]
fn a_guessed_reset_does_not_let_a_guessed_syn_end_the_connection() {
    for (client, vip) in FAMILIES {
        let mut connection = Connection::open((client, vip), [0, 0]);
        connection.client_sends(RST, Connection::CLIENT_NEXT.wrapping_add(7), 0);
        let syn = connection.lab.forward(&Build::new(client, vip).numbers(5_000_000, 0).tcp());
        assert_eq!(syn.from, connection.syn.from, "the backend answers it");
        connection.lab.wait(Nanos::from_secs(50));
        connection.client_sends(ACK, Connection::CLIENT_NEXT, Connection::BACKEND_NEXT);
        connection.lab.wait(Nanos::from_secs(600));
        assert_eq!(connection.lab.tally().flows(), 1);
    }
}

#[test]
fn an_end_that_somebody_guessed_closes_nothing() {
    let window = 65_535 << 3;
    let cases = [
        (0, true),
        (window, true),
        (u32::MAX, true),
        (window + 1, false),
        (1 << 31, false),
        (u32::MAX - window, false),
    ];
    for (client, vip) in FAMILIES {
        for (ahead, closes) in cases {
            let mut connection = Connection::open((client, vip), [7, 3]);
            let end = Connection::CLIENT_NEXT.wrapping_add(ahead);
            connection.client_sends(FIN | ACK, end, Connection::BACKEND_NEXT);
            connection.lab.wait(Nanos::from_secs(62));
            assert_eq!(connection.lab.tally().flows() == 0, closes, "{ahead} ahead");
        }
    }
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
    connection.client_sends(SYN, 5_000_000, 0);
    connection.client_sends(RST, 5_000_001, 0);
    assert!(!connection.has_ended());
}

/// Checks that the only frames sent are resets for both sides, with the numbers that these expect.
fn assert_both_are_told(connection: &mut Connection) {
    let mut sent: Vec<Decoded> = connection.lab.sent().iter().map(|frame| decode(frame)).collect();
    assert_eq!(sent.len(), 2, "{sent:?}");
    let (client, vip) = (connection.client.parse().unwrap(), connection.vip.parse().unwrap());
    sent.sort_by_key(|frame| frame.to != client);
    let [to_client, to_backend] = &sent[..] else { unreachable!("two, as asserted") };

    assert_eq!((to_client.from, to_client.to), (vip, client));
    assert_eq!((to_client.flags, to_client.sequence), (RST, Connection::BACKEND_NEXT));
    assert_eq!((to_client.source_mac, to_client.destination_mac), (OUR_MAC, CLIENT_MAC));

    assert_eq!((to_backend.from, to_backend.to), (connection.syn.from, connection.syn.to));
    assert_eq!((to_backend.flags, to_backend.sequence), (RST, Connection::CLIENT_NEXT));
    assert_eq!((to_backend.source_mac, to_backend.destination_mac), (OUR_MAC, BACKEND_MAC));

    assert_eq!(connection.lab.tally().flows(), 0);
    connection.lab.assert_conserved();
}

#[test]
fn both_sides_of_a_connection_that_times_out_are_told_with_the_numbers_they_expect() {
    for family in FAMILIES {
        let mut connection = Connection::open(family, [0, 0]);
        connection.lab.wait(Nanos::from_secs(899));
        assert_eq!(connection.lab.sent(), [[0; 0]; 0], "too early");
        connection.lab.wait(Nanos::from_secs(2));
        assert_both_are_told(&mut connection);

        let mut connection = Connection::open(family, [0, 0]);
        // Half closed, and the other side has nothing to say.
        connection.client_sends(FIN | ACK, Connection::CLIENT_NEXT, Connection::BACKEND_NEXT);
        connection.lab.wait(Nanos::from_secs(62));
        assert_both_are_told(&mut connection);
    }
}

#[test]
fn nobody_is_told_of_the_end_of_what_is_no_connection_or_has_ended() {
    for (client, vip) in FAMILIES {
        let mut lab = Lab::new(Plan::default());
        lab.forward(&Build::new(client, vip).tcp());
        lab.forward(&Build::new(client, &vip.replace(":80", ":53").replace("::53", "::80")).udp());
        lab.wait(Nanos::from_secs(400));
        assert_eq!((lab.tally().flows(), lab.tally().originated), (0, 0));

        let mut connection = Connection::open((client, vip), [0, 0]);
        connection.client_sends(RST, Connection::CLIENT_NEXT, 0);
        connection.lab.wait(Nanos::from_secs(2));
        assert_eq!((connection.lab.tally().flows(), connection.lab.tally().originated), (0, 0));
    }
}

#[test]
fn who_only_waits_is_told_when_the_backend_is_dead() {
    for family in FAMILIES {
        let mut connection = Connection::open(family, [0, 0]);
        connection.lab.sent();
        for number in 1..=connection.lab.plan.backends {
            connection.lab.set_backend_state(number, BackendState::Dead);
        }
        connection.lab.reload();
        connection.lab.settle();
        assert_both_are_told(&mut connection);
    }
}

#[test]
fn however_many_connections_die_with_their_backend_both_sides_of_each_are_told() {
    const CONNECTIONS: u16 = 3000;
    let mut lab = Lab::new(Plan { backends: 1, flows: 4096, ..Plan::default() });
    let vip = FAMILIES[0].1;
    for number in 0..CONNECTIONS {
        let client = format!("198.51.100.7:{}", 10_000 + number);
        let syn = lab.forward(&Build::new(&client, vip).tcp());
        lab.forward(&Build::answer(&syn).flags(SYN | ACK).numbers(7_000, 1_001).tcp());
    }
    let half_open = lab.forward(&Build::new("198.51.100.8:1", vip).tcp());
    let mut told = 0;
    lab.set_backend_state(1, BackendState::Dead);
    lab.reload();
    for _ in 0..100 {
        lab.wait(Nanos::from_millis(1));
        let sent = lab.sent();
        assert!(sent.iter().all(|frame| decode(frame).flags == RST));
        told += sent.len();
    }
    assert_eq!(told, 2 * usize::from(CONNECTIONS));
    assert_eq!((lab.tally().flows(), lab.tally().unanswered), (1, 0), "{half_open:?} tries again by itself");
    lab.assert_conserved();
}
