//! SYNs that the balancer answers itself.

use std::net::SocketAddr;

use evenkeel::io::fault::Rates;
use evenkeel::model::{BackendState, ClientAddress, Nanos, ProxyDatagrams, ServiceId, SynProxy, VlanTag};
use evenkeel::shared::{DropReason, ServiceTotals};
use proptest::prelude::*;

use crate::allocations;
use crate::lab::{Lab, OUR_MAC, Plan, VIP4, backend};
use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN, decode};
use crate::tcp_end::{Able, End, text};

const WEB: [&str; 2] = ["203.0.113.80:80", "[2001:db8::80]:80"];
const CLIENTS: [&str; 2] = ["198.51.100.7:40000", "[2001:db8:7::7]:40000"];

fn proxied() -> Plan {
    Plan { syn_proxy: SynProxy::On, ..Plan::default() }
}

/// What TCP services counted.
fn totals(lab: &Lab) -> ServiceTotals {
    let mut sum = ServiceTotals::default();
    for counters in &lab.counters {
        for id in [0, 2] {
            let totals = counters.service(ServiceId(id)).unwrap().totals();
            sum.connections += totals.connections;
            sum.half_open = sum.half_open.wrapping_add(totals.half_open);
            sum.cookies_sent += totals.cookies_sent;
            sum.cookies_accepted += totals.cookies_accepted;
            sum.cookies_wrong += totals.cookies_wrong;
            sum.cookies_late += totals.cookies_late;
        }
    }
    sum
}

/// Linux's options: segment size, SACK, timestamps, scale 7.
fn options(clock: u32, echo: u32) -> Vec<u8> {
    [&[2, 4, 5, 180, 4, 2, 8, 10][..], &clock.to_be_bytes(), &echo.to_be_bytes(), &[1, 3, 3, 7]].concat()
}

fn timestamps(clock: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &clock.to_be_bytes(), &echo.to_be_bytes()].concat()
}

fn clocks(decoded: &Decoded) -> (u32, u32) {
    let at = decoded.tcp_options.windows(2).position(|pair| pair == [8, 10]).expect("timestamps") + 2;
    let number = |at: usize| u32::from_be_bytes(decoded.tcp_options[at..at + 4].try_into().unwrap());
    (number(at), number(at + 4))
}

fn syn(family: usize) -> Build {
    let mut build = Build::new(CLIENTS[family], WEB[family]).numbers(5_000, 0);
    build.tcp_options = options(77_000, 0);
    build
}

/// The client's acknowledgement of `answer`.
fn acknowledgement(answer: &Decoded) -> Build {
    let mut build = Build::answer(answer).flags(ACK).numbers(5_001, answer.sequence.wrapping_add(1));
    build.tcp_options = timestamps(77_010, clocks(answer).0);
    build.window = 500;
    build
}

/// The backend's answer to our SYN.
fn backend_answer(asked: &Decoded) -> Build {
    let mut build = Build::answer(asked).flags(SYN | ACK).numbers(900_000, asked.sequence.wrapping_add(1));
    build.tcp_options = options(3_000_000, clocks(asked).0);
    build.window = 64_000;
    build
}

/// A connection through it all: the client's answer from us, what the backend saw as client, both frames of the end.
fn connect(lab: &mut Lab, family: usize) -> (Decoded, Decoded, Decoded, Decoded) {
    let answer = lab.forward(&syn(family).tcp());
    let asked = lab.forward(&acknowledgement(&answer).tcp());
    let mut both = lab.exchange(&backend_answer(&asked).tcp());
    assert_eq!(both.len(), 2, "{:?}", lab.drops());
    both.sort_by_key(|sent| sent.to != CLIENTS[family].parse().unwrap());
    let acknowledged = both.pop().unwrap();
    (answer, asked, both.pop().unwrap(), acknowledged)
}

#[test]
fn a_syn_is_answered_with_a_cookie_and_leaves_nothing_behind() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let sent = lab.forward(&syn(family).tcp());
        assert_eq!((sent.from, sent.to), (WEB[family].parse().unwrap(), CLIENTS[family].parse().unwrap()));
        assert_eq!((sent.source_mac, sent.flags), (OUR_MAC, SYN | ACK));
        assert_eq!((sent.acknowledgement, sent.window, sent.ttl), (5_001, 0, 64));
        let mss = [1460_u16, 1440][family].to_be_bytes();
        assert_eq!(sent.tcp_options[..8], [2, 4, mss[0], mss[1], 4, 2, 8, 10]);
        assert_eq!((clocks(&sent).1, sent.tcp_options[16..].to_vec()), (77_000, vec![1, 3, 3, 7]));
        assert_eq!(lab.tally().flows_created, 0);
        assert_eq!((totals(&lab).cookies_sent, totals(&lab).connections), (1, 0));
        // Without timestamps there is no room for the rest.
        let mut plain = syn(family);
        plain.tcp_options = vec![2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7];
        assert_eq!(lab.forward(&plain.tcp()).tcp_options, [2, 4, mss[0], mss[1]]);
        plain.tcp_options = Vec::new();
        let tagged = lab.forward(&plain.vlan(12).tcp());
        assert_eq!((tagged.vlan, tagged.tcp_options.len()), (Some(12), 4), "however long the SYN was");
        lab.assert_conserved();
    }
}

#[test]
fn an_acknowledged_cookie_opens_a_connection_to_a_backend_with_the_clients_own_options() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let (answer, asked, news, acknowledged) = connect(&mut lab, family);
        assert_eq!((asked.flags, asked.sequence, asked.acknowledgement), (SYN, 5_000, 0));
        assert_eq!(asked.window, 64_000, "500 in units of 128");
        assert_eq!(clocks(&asked), (77_010, 0));
        let mss = 1440_u16.to_be_bytes();
        let all = asked.tcp_options.clone();
        assert_eq!(
            (&all[..8], &all[16..]),
            (&[2, 4, 5, if family == 0 { 180 } else { mss[1] }, 4, 2, 8, 10][..], &[1, 3, 3, 7][..])
        );

        assert_eq!((news.flags, news.sequence), (ACK, answer.sequence.wrapping_add(1)));
        assert_eq!((news.acknowledgement, news.window), (5_001, 500));
        assert_eq!(clocks(&news), (clocks(&answer).0, 77_010), "the clock that the client knows goes on");
        assert_eq!((acknowledged.flags, acknowledged.sequence), (ACK, 5_001));
        assert_eq!((acknowledged.acknowledgement, acknowledged.window), (900_001, 500));
        assert_eq!(clocks(&acknowledged), (77_010, 3_000_000));

        // Data both ways.
        let mut request = acknowledgement(&answer).payload(b"GET");
        request.tcp_options = timestamps(77_020, clocks(&answer).0);
        let request = lab.forward(&request.tcp());
        assert_eq!((request.sequence, request.acknowledgement), (5_001, 900_001));
        assert_eq!(clocks(&request), (77_020, 3_000_000));
        let mut response = Build::answer(&request).flags(ACK).numbers(900_001, 5_004).payload(b"200");
        response.tcp_options = timestamps(3_000_040, 77_020);
        let response = lab.forward(&response.tcp());
        let first = answer.sequence.wrapping_add(1);
        assert_eq!((response.sequence, response.acknowledgement), (first, 5_004));
        assert_eq!(clocks(&response), (clocks(&answer).0 + 40, 77_020));
        let totals = totals(&lab);
        assert_eq!((totals.connections, totals.cookies_accepted, totals.half_open), (1, 1, 0));
        lab.assert_conserved();
    }
}

#[test]
fn backend_that_offers_no_timestamps_gets_none() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let answer = lab.forward(&syn(family).tcp());
        let asked = lab.forward(&acknowledgement(&answer).tcp());
        let mut accepts = backend_answer(&asked);
        accepts.tcp_options = vec![2, 4, 5, 180, 1, 3, 3, 7];
        assert_eq!(lab.exchange(&accepts.tcp()).len(), 2, "{:?}", lab.drops());
        // In the usual place, in another one, and beside SACK blocks.
        let block = answer.sequence.wrapping_add(11).to_be_bytes();
        let sack = [&[1, 1, 5, 10][..], &block, &block].concat();
        let usual = timestamps(77_020, clocks(&answer).0);
        let odd = [&[1][..], &usual[2..], &[1]].concat();
        for options in [usual.clone(), odd, [usual, sack].concat()] {
            let mut request = acknowledgement(&answer).payload(b"request");
            request.tcp_options = options.clone();
            let request = lab.forward(&request.tcp());
            assert_eq!((request.payload.as_slice(), request.acknowledgement), (&b"request"[..], 900_001));
            assert_eq!(request.tcp_options.len(), options.len(), "the segment keeps its length");
            assert_eq!(request.tcp_options[..12], [1; 12]);
        }
        lab.assert_conserved();
    }
}

#[test]
fn what_we_say_in_the_clients_place_has_the_tag_that_its_packets_have() {
    for (next_hop_vlan, tag) in
        [(VlanTag::Untagged, None), (VlanTag::AsReceived, Some(100)), (VlanTag::Id(200), Some(200))]
    {
        for family in [0, 1] {
            let mut lab = Lab::new(Plan { next_hop_vlan, ..proxied() });
            let answer = lab.forward(&syn(family).vlan(100).tcp());
            let asked = lab.forward(&acknowledgement(&answer).vlan(100).tcp());
            lab.wait(Nanos::from_millis(1100));
            let again: Vec<_> = lab.sent().iter().map(|frame| decode(frame)).collect();
            assert_eq!((again.len(), again[0].flags, again[0].vlan), (1, SYN, tag), "{next_hop_vlan:?}");
            let mut answered = backend_answer(&asked);
            answered.vlan = tag;
            for sent in lab.exchange(&answered.tcp()) {
                let wanted = if sent.to == CLIENTS[family].parse().unwrap() { Some(100) } else { tag };
                assert_eq!((sent.flags, sent.vlan), (ACK, wanted), "{next_hop_vlan:?}");
            }
            lab.wait(Nanos::from_secs(901));
            let ended: Vec<_> = lab.sent().iter().map(|frame| decode(frame)).collect();
            assert_eq!(ended.len(), 2, "both sides are told");
            for sent in ended {
                let wanted = if sent.to == CLIENTS[family].parse().unwrap() { Some(100) } else { tag };
                assert_eq!((sent.flags, sent.vlan), (RST, wanted), "{next_hop_vlan:?}");
            }
            lab.assert_conserved();
        }
    }
}

#[test]
fn what_is_no_cookie_or_a_late_one_is_refused_and_counted() {
    let mut lab = Lab::new(proxied());
    let answer = lab.forward(&syn(0).tcp());
    let mut guess = acknowledgement(&answer);
    guess.acknowledgement = guess.acknowledgement.wrapping_add(1);
    let reset = lab.forward(&guess.tcp());
    assert_eq!((reset.flags & RST, reset.sequence), (RST, guess.acknowledgement));
    let late = acknowledgement(&answer).tcp();
    lab.now = lab.now + Nanos::from_secs(130);
    assert_eq!(lab.forward(&late).flags & RST, RST);
    assert_eq!((totals(&lab).cookies_wrong, totals(&lab).cookies_late), (1, 1));
    assert_eq!(lab.tally().flows_created, 0);
    lab.lose(&acknowledgement(&answer).flags(RST).tcp(), DropReason::UnknownFlow);
}

/// A connection by cookie that its backend has closed first: what the backend saw, and its last acknowledgement.
fn closed_by_backend(lab: &mut Lab, family: usize) -> (Decoded, Build) {
    let (answer, asked, ..) = connect(lab, family);
    let sent = |build: Build, lab: &mut Lab| lab.forward(&build.tcp());
    sent(Build::answer(&asked).flags(FIN | ACK).numbers(900_001, 5_001), lab);
    let last = Build::answer(&answer).flags(FIN | ACK).numbers(5_001, answer.sequence.wrapping_add(2));
    sent(last, lab);
    let waits = Build::answer(&asked).flags(ACK).numbers(900_002, 5_002);
    sent(waits.clone(), lab);
    (asked, waits)
}

#[test]
fn a_syn_on_a_closing_flow_leaves_it_alone_until_its_cookie_comes_back() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let (answer, asked, ..) = connect(&mut lab, family);
        // The client has said all; its FIN, which repeats the cookie, comes twice.
        for _ in 0..2 {
            let end = lab.forward(&acknowledgement(&answer).flags(FIN | ACK).tcp());
            assert_eq!((end.flags, end.from, end.to), (FIN | ACK, asked.from, asked.to));
        }
        let guessed = lab.forward(&syn(family).numbers(777_777, 0).tcp());
        assert_eq!((guessed.flags, guessed.acknowledgement), (SYN | ACK, 777_778));
        let data = Build::answer(&asked).flags(ACK).numbers(900_001, 5_002).payload(b"the rest");
        let data = lab.forward(&data.tcp());
        assert_eq!((data.to, data.payload.as_slice()), (CLIENTS[family].parse().unwrap(), &b"the rest"[..]));
        assert_eq!((lab.tally().flows_created, lab.tally().flows()), (1, 1));
        let next =
            lab.forward(&acknowledgement(&guessed).numbers(777_778, guessed.sequence.wrapping_add(1)).tcp());
        assert_eq!((next.flags, next.sequence), (SYN, 777_777));
        assert_ne!(next.from, asked.from, "another lease");
        assert_eq!((lab.tally().flows_created, lab.tally().flows()), (2, 1));
        assert_eq!((totals(&lab).cookies_accepted, totals(&lab).cookies_wrong), (2, 0));
        lab.assert_conserved();
    }
}

#[test]
fn a_client_whose_cookie_comes_back_keeps_the_lease_on_which_its_backend_waits() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let (asked, waits) = closed_by_backend(&mut lab, family);
        let answer = lab.forward(&syn(family).numbers(9_000, 0).tcp());
        assert_eq!(answer.flags, SYN | ACK);
        assert_eq!(lab.forward(&waits.tcp()).to, CLIENTS[family].parse().unwrap(), "the flow is still there");
        let next =
            lab.forward(&acknowledgement(&answer).numbers(9_001, answer.sequence.wrapping_add(1)).tcp());
        assert_eq!((next.flags, next.sequence), (SYN, 9_000));
        assert_eq!((next.from, next.to), (asked.from, asked.to));
        assert_eq!(lab.tally().flows(), 1);
    }
}

#[test]
fn cookies_that_are_out_hold_when_a_reload_ends_the_proxy() {
    for after in [SynProxy::Off, SynProxy::Above(1000)] {
        for family in [0, 1] {
            let mut lab = Lab::new(proxied());
            let answer = lab.forward(&syn(family).tcp());
            lab.plan.syn_proxy = after;
            lab.reload();
            lab.now = lab.now + Nanos::from_secs(60);
            let asked = lab.forward(&acknowledgement(&answer).tcp());
            assert_eq!((asked.flags, asked.sequence), (SYN, 5_000));
            // From now on backends are asked themselves.
            let other = Build::new(&CLIENTS[family].replace("40000", "40001"), WEB[family]);
            let syn = lab.forward(&other.tcp());
            assert_eq!((syn.flags, syn.to == WEB[family].parse().unwrap()), (SYN, false), "{after:?}");
            // Nobody looks for what is out no longer.
            lab.now = lab.now + Nanos::from_secs(130);
            let guess = Build::new(&CLIENTS[family].replace("40000", "40002"), WEB[family]).flags(ACK);
            let sent = lab.exchange(&guess.tcp());
            assert!(sent.iter().any(|sent| sent.to == guess.from && sent.flags & RST != 0), "{sent:?}");
            assert_eq!((totals(&lab).cookies_sent, totals(&lab).cookies_accepted), (1, 1));
            assert_eq!((totals(&lab).cookies_wrong, totals(&lab).cookies_late), (0, 0));
        }
    }
}

#[test]
fn a_syn_that_a_backend_does_not_answer_comes_again_by_itself_and_when_the_client_asks() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let answer = lab.forward(&syn(family).tcp());
        let asked = lab.forward(&acknowledgement(&answer).tcp());
        let mut probe = acknowledgement(&answer);
        probe.sequence = 5_000;
        let again = lab.forward(&probe.tcp());
        assert_eq!((again.flags, again.from, again.to, again.sequence), (SYN, asked.from, asked.to, 5_000));
        let mut times = Vec::new();
        let began = lab.now;
        while lab.now.since(began) < Nanos::from_secs(31) {
            lab.wait(Nanos::from_millis(100));
            for sent in lab.sent() {
                let sent = decode(&sent);
                times.push((lab.now.since(began).0 / 1_000_000_000, sent.flags));
                if sent.flags == SYN {
                    assert_eq!((sent.from, sent.to, sent.sequence), (asked.from, asked.to, 5_000));
                    assert_eq!(clocks(&sent).0, 77_010);
                } else {
                    assert_eq!(sent.to, CLIENTS[family].parse().unwrap());
                    assert_eq!(
                        (sent.sequence, sent.acknowledgement),
                        (answer.sequence.wrapping_add(1), 5_001)
                    );
                }
            }
        }
        let seconds =
            |flags| times.iter().filter(|(_, f)| *f == flags).map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!((seconds(SYN).len(), seconds(RST | ACK).len()), (5, 1), "{times:?}");
        lab.wait(Nanos::from_secs(3));
        assert_eq!(lab.tally().flows(), 0);
        lab.assert_conserved();
    }
}

#[test]
fn an_answer_of_the_backend_that_comes_again_is_acknowledged_again_and_stays_between_us() {
    let mut lab = Lab::new(proxied());
    let (_, asked, _, acknowledged) = connect(&mut lab, 0);
    let again = lab.forward(&backend_answer(&asked).tcp());
    assert_eq!((again.from, again.to, again.flags), (acknowledged.from, acknowledged.to, ACK));
    assert_eq!((again.sequence, again.acknowledgement), (5_001, 900_001));
}

#[test]
fn a_backend_that_refuses_resets_the_client_with_numbers_that_it_believes() {
    for family in [0, 1] {
        let mut lab = Lab::new(proxied());
        let answer = lab.forward(&syn(family).tcp());
        let asked = lab.forward(&acknowledgement(&answer).tcp());
        lab.lose(&Build::answer(&asked).flags(RST | ACK).numbers(0, 77).tcp(), DropReason::UnknownReturn);
        let reset = lab.forward(&Build::answer(&asked).flags(RST | ACK).numbers(0, 5_001).tcp());
        assert_eq!((reset.to, reset.flags), (CLIENTS[family].parse().unwrap(), RST | ACK));
        assert_eq!((reset.sequence, reset.acknowledgement), (answer.sequence.wrapping_add(1), 5_001));
        lab.wait(Nanos::from_secs(2));
        assert_eq!(lab.tally().flows(), 0);
    }
}

#[test]
fn an_old_connection_of_the_backends_on_the_same_port_is_reset() {
    let mut lab = Lab::new(proxied());
    let answer = lab.forward(&syn(0).tcp());
    let asked = lab.forward(&acknowledgement(&answer).tcp());
    let reset = lab.forward(&Build::answer(&asked).flags(ACK).numbers(42, 4_242).tcp());
    assert_eq!((reset.to, reset.flags, reset.sequence), (asked.to, RST, 4_242));
}

#[test]
fn a_client_whose_backend_went_down_meanwhile_gets_another() {
    let mut lab = Lab::new(proxied());
    let answer = lab.forward(&syn(0).tcp());
    let asked = lab.forward(&acknowledgement(&answer).tcp());
    let number = (1..=3).find(|n| asked.to == SocketAddr::from(backend(VIP4, *n))).unwrap();
    lab.set_backend(number, false);
    let other = lab.forward(&acknowledgement(&answer).tcp());
    assert_eq!((other.flags, other.sequence), (SYN, 5_000));
    assert_ne!(other.to, asked.to);
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn a_second_attempt_while_the_first_waits_gets_its_own_cookie_and_wins() {
    let mut lab = Lab::new(proxied());
    let answer = lab.forward(&syn(0).tcp());
    lab.forward(&acknowledgement(&answer).tcp());
    lab.lose(&syn(0).tcp(), DropReason::UnknownFlow);
    let second = lab.forward(&syn(0).numbers(9_000, 0).tcp());
    assert_eq!((second.flags, second.acknowledgement), (SYN | ACK, 9_001));
    let stray = acknowledgement(&second).numbers(9_001, 1).tcp();
    lab.lose(&stray, DropReason::UnknownFlow);
    let acknowledged = acknowledgement(&second).numbers(9_001, second.sequence.wrapping_add(1));
    assert_eq!(lab.forward(&acknowledged.tcp()).sequence, 9_000);
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn a_client_that_gives_up_takes_its_backend_with_it() {
    let mut lab = Lab::new(proxied());
    let answer = lab.forward(&syn(0).tcp());
    let asked = lab.forward(&acknowledgement(&answer).tcp());
    lab.lose(&acknowledgement(&answer).numbers(7, 0).flags(RST).tcp(), DropReason::UnknownFlow);
    let reset = lab.forward(&acknowledgement(&answer).flags(RST).tcp());
    assert_eq!((reset.to, reset.flags & RST, reset.sequence), (asked.to, RST, 5_001));
    lab.wait(Nanos::from_secs(2));
    assert_eq!(lab.tally().flows(), 0);
}

#[test]
fn without_a_backend_a_syn_is_refused_as_ever() {
    let mut lab = Lab::new(Plan { backends: 0, ..proxied() });
    assert_eq!(lab.forward(&syn(0).tcp()).flags & RST, RST);
    assert_eq!(totals(&lab).cookies_sent, 0);
}

#[test]
fn a_dead_backend_kills_no_connection_that_is_only_being_opened() {
    let mut lab = Lab::new(proxied());
    let answer = lab.forward(&syn(0).tcp());
    lab.forward(&acknowledgement(&answer).tcp());
    (1..=3).for_each(|n| lab.set_backend_state(n, BackendState::Dead));
    let refused = lab.forward(&acknowledgement(&answer).tcp());
    assert_eq!((refused.flags & RST, refused.sequence), (RST, answer.sequence.wrapping_add(1)));
}

fn able() -> impl Strategy<Value = Able> {
    let options = (
        prop_oneof![Just(1460_u16), 300..9_000_u16],
        prop::option::weighted(0.8, 0..=14_u8),
        any::<bool>(),
        prop::option::weighted(0.8, any::<u32>()),
    );
    let streams = (any::<u32>(), 3_000..300_000_u32, 500..100_000_u32, 0..20_000_usize, any::<bool>());
    (options, streams).prop_map(
        |((mss, scale, sack, clock), (isn, buffer, reads, says, probes_with_data))| {
            // A window below a unit of its scale is none.
            let buffer = buffer.max(2 << scale.unwrap_or(0)).min(65_535 << scale.unwrap_or(0));
            Able { mss, scale, sack, clock, isn, buffer, reads, says, probes_with_data }
        },
    )
}

fn rates() -> impl Strategy<Value = Rates> {
    let rate = || prop_oneof![Just(0), 1_000..150_000_u32];
    (rate(), rate(), rate()).prop_map(|(lose, double, delay)| Rates {
        lose,
        double,
        delay,
        ..Rates::default()
    })
}

/// How backends may learn of clients' addresses.
const ADDRESSES: [ClientAddress; 3] = [
    ClientAddress::None,
    ClientAddress::ProxyV2 { datagrams: ProxyDatagrams::UntilAnswered },
    ClientAddress::Toa { kind: 254 },
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_both_ends_can_their_streams_arrive_whole(
        (client, server) in (able(), able()),
        (inward, outward, seed) in (rates(), rates(), any::<u64>()),
        family in 0..2_usize,
        three: bool,
        client_address in prop::sample::select(&ADDRESSES[..]),
    ) {
        let workers = if three { 3 } else { 1 };
        let mut lab = Lab::new(Plan { workers, client_address, faults: (inward, outward, seed >> 1), ..proxied() });
        let says = [client.says, server.says].map(text);
        let mut client = End::new(CLIENTS[family].parse().unwrap(), client);
        client.open(WEB[family].parse().unwrap());
        let mut at: Option<End> = None;
        let mut turn = 0;
        for _ in 0..3_000 {
            if client.is_done() && at.as_ref().is_some_and(End::is_done) {
                break;
            }
            let now = lab.now;
            let said = at.iter_mut().flat_map(|server| server.speak(now)).collect::<Vec<_>>();
            for frame in client.speak(lab.now).into_iter().chain(said) {
                turn += 1;
                lab.deliver_to(turn % lab.workers.len(), &frame);
                let (_, calls) = allocations::count(|| lab.settle());
                assert_eq!(calls, 0, "a turn called the allocator");
            }
            for sent in lab.sent() {
                let sent = decode(&sent);
                if sent.to == client.at {
                    client.hear(&sent, lab.now);
                } else {
                    let server = at.get_or_insert_with(|| End::new(sent.to, server.clone()));
                    prop_assert_eq!(sent.to, server.at, "a connection stays where it is");
                    server.hear(&sent, lab.now);
                }
            }
            lab.now = lab.now + Nanos::from_millis(50);
            lab.settle();
        }
        prop_assert!(at.is_some(), "no backend was asked: {:?} {:?} {:?}", client, totals(&lab), lab.drops());
        let server = at.unwrap();
        // Of an end that is lost its sender may hear only after the flow is forgotten.
        let ended = client.is_done() && server.is_done() || inward.lose + outward.lose > 0;
        prop_assert!(ended, "{:?} {:?} {:?}", client, server, lab.drops());
        prop_assert_eq!(server.was_told, client_address == ADDRESSES[2]);
        let mut heard = server.heard.as_slice();
        if client_address == ADDRESSES[1] {
            let (header, rest) = heard.split_at([28, 52][family]);
            prop_assert_eq!(&header[..13], b"\r\n\r\n\0\r\nQUIT\n\x21");
            heard = rest;
        }
        prop_assert_eq!((&client.heard, heard), (&says[1], says[0].as_slice()));
        lab.assert_conserved();
    }
}
