//! Services that take each datagram by itself: another backend for every one, and every answer finds its client.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use evenkeel::model::{Nanos, ServiceId, ServiceLimits, Timeouts};
use evenkeel::shared::{Choice, DropReason};

use crate::icmp_message::{error, too_big};
use crate::lab::{Lab, Plan, VIP4, VIP6, backend};
use crate::packet::{Build, Decoded, Kind, decode};
use crate::pieces::{join, split};

const BOTH: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:53"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:53")];

const DNS_ID: ServiceId = ServiceId(1);

/// In turns, so that it is seen where the next one goes.
fn plan() -> Plan {
    Plan { one_packet: true, choice: Some(Choice::Turns([0, 1, 2].into())), ..Plan::default() }
}

/// Sends a datagram and returns what a backend gets.
#[track_caller]
fn ask(lab: &mut Lab, (client, vip): (&str, &str), text: &[u8]) -> Decoded {
    lab.forward(&Build::new(client, vip).payload(text).udp())
}

/// Lets the backend answer with the same text.
#[track_caller]
fn answer(lab: &mut Lab, asked: &Decoded) -> Decoded {
    lab.forward(&Build::answer(asked).payload(&asked.payload).udp())
}

/// The number of the backend that a datagram went to.
fn number(asked: &Decoded) -> u8 {
    let is = |vip, number| asked.to == SocketAddr::from(backend(vip, number));
    (1..=3).find(|number| is(VIP4, *number) || is(VIP6, *number)).expect("a datagram to a backend")
}

#[test]
fn each_datagram_of_one_client_and_port_goes_to_the_next_backend_and_every_answer_comes_back() {
    for ends in BOTH {
        let mut lab = Lab::new(plan());
        let asked: Vec<Decoded> = (0..6).map(|n| ask(&mut lab, ends, &[n])).collect();
        assert_eq!(asked.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
        let leases: BTreeSet<_> = asked.iter().map(|asked| (asked.from, asked.to)).collect();
        assert_eq!((leases.len(), lab.tally().flows()), (6, 6));

        // While these wait, the client asks on; and answers come in any order.
        for n in [3, 0, 5, 1, 4, 2] {
            let back = answer(&mut lab, &asked[n]);
            assert_eq!(back.from, ends.1.parse().unwrap());
            assert_eq!(back.to, ends.0.parse().unwrap());
            assert_eq!(usize::from(back.payload[0]), n);
        }
        assert_eq!(lab.tally().flows(), 0, "each ended with its answer");
        lab.assert_conserved();
    }
}

#[test]
fn a_second_answer_is_nobodys() {
    let mut lab = Lab::new(plan());
    let asked = ask(&mut lab, BOTH[0], b"name?");
    answer(&mut lab, &asked);
    assert_eq!(answer(&mut lab, &asked).kind, Kind::Icmp(3, 3), "the backend is told");
    assert_eq!(lab.dropped(DropReason::UnknownReturn), 1);
    lab.assert_conserved();
}

#[test]
fn what_is_not_answered_makes_room_after_its_time_and_others_do_not_prolong_it() {
    let timeouts = Timeouts { one_packet: Nanos::from_secs(3), ..Timeouts::default() };
    let mut lab = Lab::new(Plan { timeouts, ..plan() });
    let first = ask(&mut lab, BOTH[0], b"0");
    lab.wait(Nanos::from_secs(2));
    ask(&mut lab, BOTH[0], b"1");
    assert_eq!(lab.tally().flows(), 2);
    lab.wait(Nanos::from_millis(1_200));
    assert_eq!(lab.tally().flows(), 1, "the first one's time is over");
    assert_eq!(answer(&mut lab, &first).kind, Kind::Icmp(3, 3));
    lab.wait(Nanos::from_secs(2));
    assert_eq!(lab.tally().flows(), 0);
}

#[test]
fn a_datagram_or_an_answer_in_pieces_goes_one_way() {
    for ends in BOTH {
        for workers in [1, 3] {
            let mut lab = Lab::new(Plan { workers, ..plan() });
            let text = [0x5a; 4000];
            let cuts = [1448, 2896];
            let mut before = None;
            for n in 0..6_u32 {
                let whole = Build::new(ends.0, ends.1).payload(&text).udp();
                let asked = exchange(&mut lab, &split(&whole, n, &cuts));
                assert!(before.is_none_or(|before| number(&asked) == before % 3 + 1), "the next in turn");
                before = Some(number(&asked));
                assert_eq!(asked.payload, text);
                let reply = Build::answer(&asked).payload(&text).udp();
                // The last piece may come early.
                let mut pieces = split(&reply, n, &cuts);
                pieces.swap(1, 2);
                let back = exchange(&mut lab, &pieces);
                assert_eq!((back.to, &back.payload[..]), (ends.0.parse().unwrap(), &text[..]));
            }
            lab.wait(Nanos::from_millis(1_200));
            assert_eq!(lab.tally().flows(), 0);
            lab.assert_conserved();
        }
    }
}

/// Sends the pieces of a packet, each to another worker, and puts together what leaves.
#[track_caller]
fn exchange(lab: &mut Lab, pieces: &[Vec<u8>]) -> Decoded {
    for (n, piece) in pieces.iter().enumerate() {
        lab.deliver_to(n % lab.workers.len(), piece);
    }
    lab.settle();
    let whole = join(&lab.sent());
    assert_eq!(whole.len(), 1, "drops: {:?}", lab.drops());
    decode(&whole[0])
}

#[test]
fn later_pieces_of_a_datagram_that_was_answered_meanwhile_are_dropped() {
    let mut lab = Lab::new(plan());
    let pieces = split(&Build::new(BOTH[0].0, BOTH[0].1).payload(&[1; 2000]).udp(), 9, &[1448]);
    let first = lab.exchange_raw(&pieces[0]);
    assert_eq!(first.len(), 1);
    let [from, to] = [26..30, 30..34].map(|at| <[u8; 4]>::try_from(&first[0][at]).unwrap());
    let ports = [34, 36].map(|at| u16::from_be_bytes([first[0][at], first[0][at + 1]]));
    let too_soon = Build::between((to, ports[1]).into(), (from, ports[0]).into()).payload(b"no").udp();
    assert_eq!(lab.forward(&too_soon).payload, b"no");
    ask(&mut lab, ("198.51.100.7:40001", BOTH[0].1), b"takes the place of the flow");
    lab.lose(&pieces[1], DropReason::FragmentWithoutFirst);
}

#[test]
fn errors_about_a_datagram_reach_its_client() {
    for ends in BOTH {
        let mut lab = Lab::new(plan());
        ask(&mut lab, ends, b"0");
        let raw = lab.exchange_raw(&Build::new(ends.0, ends.1).payload(&[7; 1300]).udp()).remove(0);
        let v6 = ends.0.starts_with('[');
        let told = lab.forward(&error(&raw, too_big(v6), 500));
        let (kind, code, _) = too_big(v6);
        assert_eq!((told.kind, told.to.ip()), (Kind::Icmp(kind, code), decode_ip(ends.0)));
        assert_eq!(lab.tally().flows(), 2, "and end nothing");
    }
}

fn decode_ip(end: &str) -> std::net::IpAddr {
    end.parse::<SocketAddr>().unwrap().ip()
}

#[test]
fn a_full_table_gives_up_the_datagram_that_has_waited_longest() {
    let mut lab = Lab::new(Plan { flows: 4, ..plan() });
    let asked: Vec<Decoded> = (0..5).map(|n| ask(&mut lab, BOTH[0], &[n])).collect();
    assert_eq!(answer(&mut lab, &asked[0]).kind, Kind::Icmp(3, 3), "it made way");
    assert!((1..5).all(|n| answer(&mut lab, &asked[n]).kind == Kind::Udp));
    lab.assert_conserved();
}

#[test]
fn a_datagram_counts_for_limits_until_it_is_answered() {
    let limits = ServiceLimits { connections: 2, ..ServiceLimits::default() };
    let mut lab = Lab::new(Plan { limits, workers: 3, ..plan() });
    let first = ask(&mut lab, BOTH[0], b"0");
    ask(&mut lab, BOTH[0], b"1");
    assert_eq!(ask(&mut lab, BOTH[0], b"2").kind, Kind::Icmp(3, 3));
    assert_eq!(lab.dropped(DropReason::ServiceLimit), 1);
    answer(&mut lab, &first);
    assert_eq!(lab.limits.service_connections(DNS_ID), 1);
    assert_eq!(ask(&mut lab, BOTH[0], b"3").kind, Kind::Udp);
    lab.wait(Nanos::from_secs(6));
    assert_eq!(lab.limits.service_connections(DNS_ID), 0);
}

#[test]
fn a_backend_that_is_out_gets_no_other_datagram_of_the_client() {
    let mut lab = Lab::new(Plan { choice: None, ..plan() });
    let home = number(&ask(&mut lab, BOTH[0], b"0"));
    assert_eq!(number(&ask(&mut lab, BOTH[0], b"1")), home, "by its hash");
    lab.set_backend(home, false);
    assert_ne!(number(&ask(&mut lab, BOTH[0], b"2")), home);
}

#[test]
fn a_reload_takes_datagrams_of_flows_that_exist_one_by_one_and_back() {
    let mut lab = Lab::new(Plan { one_packet: false, ..plan() });
    let numbers = |lab: &mut Lab| [0, 1, 2].map(|_| number(&ask(lab, BOTH[0], b"?")));
    let first = ask(&mut lab, BOTH[0], b"before");
    assert_eq!(numbers(&mut lab), [1; 3], "a flow stays where it is");

    lab.plan.one_packet = true;
    lab.reload();
    lab.settle();
    assert_eq!(numbers(&mut lab), [2, 3, 1]);
    assert_eq!(answer(&mut lab, &first).payload, b"before", "what was under way is answered");
    lab.wait(Nanos::from_secs(6));
    assert_eq!(lab.tally().flows(), 0);

    lab.plan.one_packet = false;
    lab.reload();
    lab.settle();
    let before = numbers(&mut lab);
    assert!(before.iter().all(|number| *number == before[0]), "{before:?}");
    assert_eq!(lab.tally().flows(), 1);
    lab.assert_conserved();
}

#[test]
fn tcp_and_other_services_keep_their_flows() {
    let mut lab = Lab::new(plan());
    let syn = |lab: &mut Lab| lab.forward(&Build::new(BOTH[0].0, "203.0.113.80:80").tcp());
    assert_eq!(syn(&mut lab).to, syn(&mut lab).to);
    assert_eq!(lab.tally().flows(), 1);
}
