//! How flows age, end and move.

use evenkeel::model::{Nanos, Protocol};
use evenkeel::shared::DropReason;

use crate::lab::{Lab, Plan, VIP4, backend, backend_id};
use crate::packet::{ACK, Build, Decoded, FIN, Kind, RST, SYN};

const CLIENT: &str = "198.51.100.7:40000";
const WEB: &str = "203.0.113.80:80";
const DNS: &str = "203.0.113.80:53";

fn open(lab: &mut Lab) -> Decoded {
    let syn = lab.forward(&Build::new(CLIENT, WEB).tcp());
    lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
    lab.forward(&Build::new(CLIENT, WEB).flags(ACK).tcp());
    syn
}

fn client_sends(lab: &mut Lab, flags: u8) -> Decoded {
    lab.forward(&Build::new(CLIENT, WEB).closes(flags).tcp())
}

fn backend_sends(lab: &mut Lab, syn: &Decoded, flags: u8) -> Decoded {
    lab.forward(&Build::answer(syn).closes(flags).tcp())
}

/// Flows on the only backend: those that exist, and those of them that something may still come of.
fn on_backend(lab: &Lab) -> (u64, u64) {
    let totals = lab.counters[0].backend(backend_id(0, 1)).unwrap().totals();
    (totals.flows, totals.open_flows)
}

#[test]
fn a_connection_that_is_over_holds_its_ports_but_counts_as_open_no_longer() {
    type Step = fn(&mut Lab, &Decoded);
    let cases: [(&str, Step); 4] = [
        ("closed by the backend, which holds TIME_WAIT", |lab, syn| {
            backend_sends(lab, syn, FIN | ACK);
            client_sends(lab, FIN | ACK);
            assert_eq!(on_backend(lab), (1, 1), "the last acknowledgement is due");
            backend_sends(lab, syn, ACK);
        }),
        ("closed by the client", |lab, syn| {
            client_sends(lab, FIN | ACK);
            backend_sends(lab, syn, FIN | ACK);
            client_sends(lab, ACK);
        }),
        ("reset by the client", |lab, _| drop(client_sends(lab, RST))),
        ("reset by the backend", |lab, syn| drop(backend_sends(lab, syn, RST))),
    ];
    for (description, ends) in cases {
        let mut lab = Lab::new(Plan { backends: 1, ..Plan::default() });
        let syn = open(&mut lab);
        assert_eq!(on_backend(&lab), (1, 1), "{description}");
        ends(&mut lab, &syn);
        assert_eq!(on_backend(&lab), (1, 0), "{description}");
        backend_sends(&mut lab, &syn, RST);
        assert_eq!(on_backend(&lab), (1, 0), "{description}: counted once");
        lab.wait(Nanos::from_secs(61));
        assert_eq!(on_backend(&lab), (0, 0), "{description}");
    }
    let mut lab = Lab::new(Plan { backends: 1, ..Plan::default() });
    open(&mut lab);
    lab.wait(Nanos::from_secs(901));
    assert_eq!(on_backend(&lab), (0, 0), "one that never was over");
}

#[test]
fn a_connection_whose_last_fin_got_lost_ends_only_when_its_repetition_is_acknowledged() {
    let (client_end, backend_end) = (u32::MAX, 7_000);
    for client_is_first in [true, false] {
        let mut lab = Lab::new(Plan { backends: 1, ..Plan::default() });
        let syn = open(&mut lab);
        let sends = |lab: &mut Lab, is_client: bool, flags, sequence: u32, acknowledgement: u32| {
            let build = if is_client { Build::new(CLIENT, WEB) } else { Build::answer(&syn) };
            assert_eq!(
                lab.forward(&build.flags(flags).numbers(sequence, acknowledgement).tcp()).flags,
                flags
            );
        };
        let (first, last) =
            if client_is_first { (client_end, backend_end) } else { (backend_end, client_end) };
        sends(&mut lab, client_is_first, FIN | ACK, first, last);
        sends(&mut lab, !client_is_first, FIN | ACK, last, first.wrapping_add(1));
        // The FIN was lost behind us: its receiver says what it has said before, about data of which it has less too.
        for behind in [0, 1, 1_000, 1 << 15, 1 << 17] {
            sends(&mut lab, client_is_first, ACK, first.wrapping_add(1), last.wrapping_sub(behind));
        }
        lab.wait(Nanos::from_secs(2));
        assert_eq!(on_backend(&lab), (1, 1), "client first: {client_is_first}");
        sends(&mut lab, !client_is_first, FIN | ACK, last, first.wrapping_add(1));
        sends(&mut lab, client_is_first, ACK, first.wrapping_add(1), last.wrapping_add(1));
        assert_eq!(on_backend(&lab), (1, 0), "client first: {client_is_first}");
    }
}

#[test]
fn flows_end_at_the_time_out_of_their_state_and_not_before() {
    type Step = fn(&mut Lab);
    let cases: [(&str, Step, u64); 7] = [
        ("half-open", |lab| drop(lab.forward(&Build::new(CLIENT, WEB).tcp())), 30),
        ("established", |lab| drop(open(lab)), 900),
        ("udp_new", |lab| drop(lab.forward(&Build::new(CLIENT, DNS).udp())), 120),
        (
            "udp",
            |lab| {
                lab.forward(&Build::new(CLIENT, DNS).udp());
                lab.forward(&Build::new(CLIENT, DNS).udp());
            },
            300,
        ),
        (
            "one FIN",
            |lab| {
                open(lab);
                client_sends(lab, FIN | ACK);
            },
            900,
        ),
        (
            "closed by the client",
            |lab| {
                let syn = open(lab);
                client_sends(lab, FIN | ACK);
                backend_sends(lab, &syn, FIN | ACK);
                client_sends(lab, ACK);
            },
            1,
        ),
        (
            "closed by the backend, which holds TIME_WAIT",
            |lab| {
                let syn = open(lab);
                backend_sends(lab, &syn, FIN | ACK);
                client_sends(lab, FIN | ACK);
                backend_sends(lab, &syn, ACK);
            },
            60,
        ),
    ];
    for (description, step, seconds) in cases {
        let mut lab = Lab::new(Plan::default());
        step(&mut lab);
        lab.wait(Nanos::from_secs(seconds) - Nanos::from_millis(300));
        assert_eq!(lab.tally().flows(), 1, "{description}: too early");
        lab.wait(Nanos::from_millis(600));
        assert_eq!(lab.tally().flows(), 0, "{description}: too late");
    }
}

#[test]
fn a_flow_of_the_very_first_turn_ends_in_time_whenever_the_clock_began() {
    // The second is a round of the wheel and a little.
    for start in [1, 1_101, 1_000_000] {
        let mut lab = Lab::new(Plan::default());
        lab.now = Nanos::from_secs(start);
        (0..2).for_each(|_| drop(lab.forward(&Build::new(CLIENT, DNS).udp())));
        lab.wait(Nanos::from_secs(299));
        assert_eq!(lab.tally().flows(), 1, "from {start} s");
        lab.wait(Nanos::from_secs(2));
        assert_eq!(lab.tally().flows(), 0, "from {start} s");
    }
}

#[test]
fn a_packet_of_either_side_prolongs_an_established_flow() {
    let mut lab = Lab::new(Plan::default());
    let syn = open(&mut lab);
    for _ in 0..3 {
        lab.wait(Nanos::from_secs(600));
        client_sends(&mut lab, ACK);
        lab.wait(Nanos::from_secs(600));
        backend_sends(&mut lab, &syn, ACK);
    }
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn a_syn_on_a_closing_flow_begins_a_new_connection_on_another_lease() {
    for (description, ends) in [("both FINs", 2), ("closed", 3)] {
        let mut lab = Lab::new(Plan::default());
        let old = open(&mut lab);
        client_sends(&mut lab, FIN | ACK);
        backend_sends(&mut lab, &old, FIN | ACK);
        if ends > 2 {
            client_sends(&mut lab, ACK);
        }
        let new = lab.forward(&Build::new(CLIENT, WEB).tcp());
        assert_ne!(new.from, old.from, "{description}");
        assert_eq!(new.flags, SYN, "{description}");
        assert_eq!(lab.tally().flows(), 1, "{description}");
    }
}

#[test]
fn half_closed_flow_leaves_a_syn_to_its_backend() {
    for of_client in [true, false] {
        let mut lab = Lab::new(Plan::default());
        let old = open(&mut lab);
        if of_client {
            client_sends(&mut lab, FIN | ACK);
        } else {
            backend_sends(&mut lab, &old, FIN | ACK);
        }
        assert_eq!(lab.forward(&Build::new(CLIENT, WEB).numbers(7, 0).tcp()).from, old.from);
        // The client has no connection: it answers the backend's acknowledgement with a reset, and tries again.
        backend_sends(&mut lab, &old, ACK);
        lab.forward(&Build::new(CLIENT, WEB).flags(RST).numbers(1002, 0).tcp());
        assert_ne!(lab.forward(&Build::new(CLIENT, WEB).numbers(7, 0).tcp()).from, old.from);
    }
}

#[test]
fn half_closed_flow_lives_as_long_as_an_established_one_and_closes_with_the_second_fin() {
    for of_client in [true, false] {
        let mut lab = Lab::new(Plan { backends: 1, ..Plan::default() });
        let syn = open(&mut lab);
        let sends = |lab: &mut Lab, by_client: bool, flags| {
            let build = if by_client { Build::new(CLIENT, WEB) } else { Build::answer(&syn) };
            lab.forward(&build.closes(flags).tcp())
        };
        sends(&mut lab, of_client, FIN | ACK);
        for _ in 0..3 {
            lab.wait(Nanos::from_secs(890));
            assert_eq!(sends(&mut lab, !of_client, ACK).flags, ACK, "client first: {of_client}");
        }
        sends(&mut lab, !of_client, FIN | ACK);
        sends(&mut lab, of_client, ACK);
        assert_eq!(on_backend(&lab), (1, 0), "client first: {of_client}");
    }
}

#[test]
fn a_syn_on_an_established_flow_is_the_backends_to_answer() {
    let mut lab = Lab::new(Plan::default());
    let old = open(&mut lab);
    assert_eq!(lab.forward(&Build::new(CLIENT, WEB).tcp()).from, old.from);
}

#[test]
fn a_backend_that_opens_at_the_same_time_as_its_client_gets_its_connection() {
    // RFC 9293, figure 7: both SYNs cross, and each is answered by the other's side.
    for (client, vip) in
        [("198.51.100.7:40000", "203.0.113.80:80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:80")]
    {
        let mut lab = Lab::new(Plan::default());
        let from_client = |lab: &mut Lab, flags| {
            let sequence = if flags & SYN == 0 { 101 } else { 100 };
            lab.forward(&Build::new(client, vip).flags(flags).numbers(sequence, 301).tcp())
        };
        let syn = from_client(&mut lab, SYN);
        let from_backend = |lab: &mut Lab, flags| {
            let sequence = if flags & SYN == 0 { 301 } else { 300 };
            lab.forward(&Build::answer(&syn).flags(flags).numbers(sequence, 101).tcp())
        };
        let crossing = from_backend(&mut lab, SYN);
        assert_eq!((crossing.flags, crossing.sequence), (SYN, 300));
        assert_eq!((crossing.from, crossing.to), (vip.parse().unwrap(), client.parse().unwrap()));
        let answers = [from_client(&mut lab, SYN | ACK), from_backend(&mut lab, SYN | ACK)];
        assert_eq!(
            answers.map(|answer| (answer.flags, answer.acknowledgement)),
            [(SYN | ACK, 301), (SYN | ACK, 101)]
        );
        from_client(&mut lab, ACK);
        from_backend(&mut lab, ACK);

        // Longer than a handshake may take.
        lab.wait(Nanos::from_secs(60));
        assert_eq!(from_client(&mut lab, ACK).to, syn.to);
        assert_eq!((lab.tally().flows(), lab.tally().dropped()), (1, 0));
    }
}

#[test]
fn handshakes_that_are_not_answered_or_refused_are_counted_for_their_backend() {
    let mut lab = Lab::new(Plan { backends: 1, ..Plan::default() });
    let totals = |lab: &Lab| {
        let totals = lab.counters[0].backend(backend_id(0, 1)).unwrap().totals();
        (totals.unanswered, totals.reset)
    };
    let syn = Build::new("198.51.100.7:40000", "203.0.113.80:80").tcp();
    let first = lab.forward(&syn);
    assert_eq!(totals(&lab), (0, 0), "a first SYN is no complaint");
    lab.forward(&syn);
    assert_eq!(totals(&lab), (1, 0));
    lab.forward(&Build::new(&first.to.to_string(), &first.from.to_string()).flags(RST | ACK).tcp());
    assert_eq!(totals(&lab), (1, 1));
    let other = lab.forward(&Build::new("198.51.100.7:40001", "203.0.113.80:80").tcp());
    let answer = |flags| Build::new(&other.to.to_string(), &other.from.to_string()).flags(flags).tcp();
    lab.forward(&answer(SYN | ACK));
    lab.forward(&answer(RST));
    assert_eq!(totals(&lab), (1, 1), "who has answered once is no longer a matter of handshakes");
}

#[test]
fn a_reset_frees_the_lease_in_a_second() {
    let mut lab = Lab::new(Plan::default());
    let syn = open(&mut lab);
    backend_sends(&mut lab, &syn, RST);
    lab.wait(Nanos::from_millis(1300));
    assert_eq!(lab.tally().flows(), 0);
}

#[test]
fn a_udp_flow_moves_off_a_backend_that_is_down_at_its_next_packet() {
    let mut lab = Lab::new(Plan::default());
    let query = Build::new(CLIENT, DNS).payload(b"q").udp();
    let before = lab.forward(&query);
    lab.set_backend(number(&before), false);
    let after = lab.forward(&query);
    assert_ne!(after.to, before.to);
    assert_eq!(after.kind, Kind::of(Protocol::Udp));
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn a_half_open_flow_moves_with_its_next_syn_and_an_established_one_stays() {
    let mut lab = Lab::new(Plan::default());
    let before = lab.forward(&Build::new(CLIENT, WEB).tcp());
    lab.set_backend(number(&before), false);
    let after = lab.forward(&Build::new(CLIENT, WEB).tcp());
    assert_ne!(after.to, before.to);

    backend_sends(&mut lab, &after, SYN | ACK);
    client_sends(&mut lab, ACK);
    lab.set_backend(number(&after), false);
    assert_eq!(client_sends(&mut lab, ACK).to, after.to);
}

#[test]
fn a_changed_time_out_holds_for_flows_that_exist() {
    let mut lab = Lab::new(Plan::default());
    (0..2).for_each(|_| drop(lab.forward(&Build::new(CLIENT, DNS).udp())));
    lab.plan.timeouts.udp = Nanos::from_secs(400);
    lab.set_backend(1, true);
    lab.wait(Nanos::from_secs(398));
    assert_eq!(lab.tally().flows(), 1);
    lab.wait(Nanos::from_secs(3));
    assert_eq!(lab.tally().flows(), 0);
}

#[test]
fn an_expired_flow_is_unknown_and_its_client_is_told() {
    let mut lab = Lab::new(Plan::default());
    open(&mut lab);
    lab.wait(Nanos::from_secs(901));
    lab.sent();
    assert_eq!(client_sends(&mut lab, ACK).flags, RST);
    assert_eq!(lab.dropped(DropReason::UnknownFlow), 1);
}

/// The number of the backend that a packet went to.
fn number(sent: &Decoded) -> u8 {
    assert!(sent.to.ip().to_string().starts_with("10.0.9."), "{VIP4} has IPv4 backends");
    match sent.to.ip() {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(_) => unreachable!("the assertion above"),
    }
}

#[test]
fn a_client_that_uses_its_port_again_keeps_the_lease_on_which_its_backend_waits() {
    // Its sequence numbers go on from those of before, so that the backend takes the SYN in TIME_WAIT (RFC 6191); another
    // client's would not, so that the lease must not become another's.
    let mut lab = Lab::new(Plan::default());
    let first = open(&mut lab);
    let close_by_backend = |lab: &mut Lab| {
        backend_sends(lab, &first, FIN | ACK);
        client_sends(lab, FIN | ACK);
        backend_sends(lab, &first, ACK);
    };
    close_by_backend(&mut lab);
    let again = open(&mut lab);
    assert_eq!((again.from, again.to), (first.from, first.to));
    assert_eq!(lab.tally().flows(), 1);
    // Where it goes to another backend there is nothing to keep.
    close_by_backend(&mut lab);
    let number = (1..=3).find(|number| backend(VIP4, *number).address == first.to.ip()).unwrap();
    lab.set_backend(number, false);
    assert_ne!(open(&mut lab).from, first.from);
}

#[test]
fn with_every_other_port_in_use_the_one_in_time_wait_is_still_not_leased_until_its_time_is_over() {
    let mut lab = Lab::new(Plan { flows: 70_000, backends: 1, ..Plan::default() });
    let web = "203.0.113.80:80";
    let client = |n: u32| format!("198.51.{}.{}:40000", n >> 8 & 0xff, n & 0xff);
    let first = lab.forward(&Build::new(&client(0), web).tcp());
    lab.forward(&Build::answer(&first).flags(SYN | ACK).tcp());
    lab.forward(&Build::new(&client(0), web).flags(ACK).tcp());
    lab.forward(&Build::answer(&first).closes(FIN | ACK).tcp());
    lab.forward(&Build::new(&client(0), web).closes(FIN | ACK).tcp());
    lab.forward(&Build::answer(&first).closes(ACK).tcp());
    for n in 1..61_440 {
        let syn = lab.exchange(&Build::new(&client(n), web).tcp());
        assert_eq!(syn.len(), 1, "flow {n}; {:?}", lab.drops());
        lab.forward(&Build::answer(&syn[0]).flags(SYN | ACK).tcp());
        lab.forward(&Build::new(&client(n), web).flags(ACK).tcp());
    }
    let refused = lab.forward(&Build::new(&client(61_440), web).tcp());
    assert_eq!(refused.flags, RST | ACK);
    assert_eq!(lab.dropped(DropReason::LocalPortsExhausted), 1);
    lab.wait(Nanos::from_secs(58));
    assert_eq!(lab.forward(&Build::new(&client(61_440), web).tcp()).flags, RST | ACK);
    lab.wait(Nanos::from_secs(3));
    // The cursor looks at 128 ports a time.
    let leased = (0..2_000).find_map(|_| {
        let sent = lab.exchange(&Build::new(&client(61_440), web).tcp());
        sent.into_iter().find(|sent| sent.flags == SYN)
    });
    assert_eq!(leased.expect("there is a free port").from, first.from);
}
