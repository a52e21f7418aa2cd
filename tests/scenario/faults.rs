//! Networks and cards that fail: whatever they do, every frame is accounted for, every buffer comes back, and what is
//! not hit goes on.

use std::net::SocketAddr;

use evenkeel::io::fault::{Hits, Rates};
use evenkeel::model::{BackendState, Nanos, OnNoBackend, Protocol};
use evenkeel::shared::rings::PuntRings;
use evenkeel::shared::{DropReason, PuntClass};
use proptest::prelude::*;

use crate::allocations;
use crate::lab::{Lab, Plan, VIP4, VIP6, backend};
use crate::packet::{ACK, Build, Decoded, FIN, Kind, RST, SYN, decode};

const BUFFERS: usize = 4096;
const WEB: [&str; 2] = ["203.0.113.80:80", "[2001:db8::80]:80"];
const DNS: [&str; 2] = ["203.0.113.80:53", "[2001:db8::80]:53"];

/// A client that repeats what is not answered, as TCP does, with the server that it is on.
#[derive(Debug)]
struct Client {
    at: String,
    vip: &'static str,
    /// Answered so far: SYN, so many requests, FIN.
    answered: u32,
    /// Where its requests arrive.
    server: Option<SocketAddr>,
}

const REQUESTS: u32 = 5;
const DONE: u32 = REQUESTS + 2;

impl Client {
    fn new(number: u16, family: usize) -> Self {
        let at =
            [format!("198.51.100.7:{}", 20_000 + number), format!("[2001:db8:7::7]:{}", 20_000 + number)];
        Self { at: at[family].clone(), vip: WEB[family], answered: 0, server: None }
    }

    /// What it sends next, or again.
    fn packet(&self) -> Vec<u8> {
        let build = Build::new(&self.at, self.vip).numbers(1000 + self.answered, 1);
        match self.answered {
            0 => build.flags(SYN).tcp(),
            DONE.. | 6 => build.flags(FIN | ACK).tcp(),
            _ => build.flags(ACK).payload(self.at.as_bytes()).tcp(),
        }
    }
}

/// What a server answers.
fn answer(asked: &Decoded) -> Vec<u8> {
    let flags = match asked.flags {
        SYN => SYN | ACK,
        flags if flags & FIN != 0 => FIN | ACK,
        _ => ACK,
    };
    // Its acknowledgement says what it has seen.
    Build::answer(asked)
        .flags(flags)
        .numbers(u32::from(flags & SYN == 0), asked.sequence + 1)
        .payload(b"answer")
        .tcp()
}

/// Lets clients and servers talk until all clients are done, or for so many rounds; frames go to the workers in turn.
fn talk(lab: &mut Lab, clients: &mut [Client], rounds: usize) {
    let mut turn = 0;
    for _ in 0..rounds {
        if clients.iter().all(|client| client.answered >= DONE) {
            return;
        }
        for client in clients.iter_mut().filter(|client| client.answered < DONE) {
            turn += 1;
            lab.deliver_to(turn % lab.workers.len(), &client.packet());
        }
        // There, back, and once more for what was delayed.
        for _ in 0..4 {
            settle(lab);
            for sent in lab.sent() {
                turn += 1;
                take(lab, clients, &decode(&sent), turn % lab.workers.len());
            }
        }
        lab.now = lab.now + Nanos::from_millis(100);
    }
}

fn settle(lab: &mut Lab) {
    let (_, calls) = allocations::count(|| lab.settle());
    assert_eq!(calls, 0, "a turn called the allocator");
}

/// A frame that the balancer sent arrives where it is for.
fn take(lab: &Lab, clients: &mut [Client], sent: &Decoded, worker: usize) {
    let Some(client) = clients.iter_mut().find(|client| sent.to == client.at.parse().unwrap()) else {
        let is_server = [VIP4, VIP6].iter().any(|vip| (1..=3).any(|n| sent.to == backend(vip, n).into()));
        assert!(is_server, "for nobody: {sent:?}");
        if let Some(client) = clients.iter_mut().find(|client| sent.payload == client.at.as_bytes()) {
            assert_eq!(*client.server.get_or_insert(sent.to), sent.to, "a connection stays where it is");
        }
        return lab.deliver_to(worker, &answer(sent));
    };
    assert_eq!(sent.from, client.vip.parse().unwrap(), "clients see the VIP alone");
    assert_eq!(sent.flags & RST, 0, "nobody resets anything");
    // Of old requests, repeated or late ones, the answer was seen.
    if sent.acknowledgement == 1001 + client.answered {
        client.answered += 1;
    }
}

fn hits(lab: &Lab) -> Hits {
    let mut sum = Hits::default();
    for hits in lab.faults.iter().map(|faults| faults.hits()) {
        sum.lost += hits.lost;
        sum.doubled += hits.doubled;
        sum.delayed += hits.delayed;
        sum.damaged += hits.damaged;
        sum.cut += hits.cut;
    }
    sum
}

/// After the faults: nothing is held or lost, and every flow ends.
fn assert_as_before(lab: &mut Lab) {
    lab.faults.iter().for_each(|faults| faults.heal());
    settle(lab);
    lab.sent();
    lab.punted();
    lab.assert_conserved();
    assert_eq!(lab.pool.available(), BUFFERS, "every buffer came back");
    lab.wait(Nanos::from_secs(1200));
    assert_eq!(lab.tally().flows(), 0, "every flow ends");
    // Resets for connections that timed out.
    lab.sent();
    assert_eq!(lab.pool.available(), BUFFERS, "every buffer came back");
}

/// A new connection works from its SYN to its FIN.
fn assert_serves(lab: &mut Lab) {
    let mut clients = [Client::new(900, 0), Client::new(900, 1)];
    talk(lab, &mut clients, 20);
    assert!(clients.iter().all(|client| client.answered >= DONE), "{clients:?}");
}

fn rates() -> impl Strategy<Value = Rates> {
    let rate = || prop_oneof![Just(0), 1_000..300_000_u32];
    (rate(), rate(), rate(), rate(), rate()).prop_map(|(lose, double, delay, damage, cut)| Rates {
        lose,
        double,
        delay,
        damage,
        cut,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn connections_over_a_network_that_loses_doubles_and_delays_are_served_to_their_ends(
        inward in rates(),
        outward in rates(),
        seed: u64,
        three: bool,
    ) {
        let whole = |rates| Rates { damage: 0, cut: 0, ..rates };
        let workers = if three { 3 } else { 1 };
        let faults = (whole(inward), whole(outward), seed >> 1);
        let mut lab = Lab::new(Plan { workers, faults, ..Plan::default() });
        let mut clients: Vec<Client> = (0..20).map(|n| Client::new(n, usize::from(n % 2))).collect();
        talk(&mut lab, &mut clients, 400);
        prop_assert!(clients.iter().all(|client| client.answered >= DONE), "{:?} {:?}", clients, lab.drops());
        assert_as_before(&mut lab);
    }

    #[test]
    fn frames_that_are_damaged_and_cut_short_end_somewhere_and_break_nothing_for_those_that_come_after(
        inward in rates(),
        outward in rates(),
        seed: u64,
        three: bool,
        states in prop::collection::vec(prop::sample::select(&[BackendState::Up, BackendState::Dead]), 3),
    ) {
        let on_no_backend = OnNoBackend::Http503;
        let (workers, faults) = (if three { 3 } else { 1 }, (inward, outward, seed >> 1));
        let mut lab = Lab::new(Plan { workers, faults, flows: 64, on_no_backend, ..Plan::default() });
        let clients: Vec<Client> = (0..20).map(|n| Client::new(n, usize::from(n % 2))).collect();
        for round in 0..30 {
            for (n, client) in clients.iter().enumerate() {
                lab.deliver_to(n % lab.workers.len(), &client.packet());
                let udp = Build::new(&client.at, DNS[n % 2]).udp();
                lab.deliver_to(n % lab.workers.len(), &udp);
            }
            settle(&mut lab);
            // What is sent comes back as it is, turned round by a server that answers anything.
            for (n, mut sent) in lab.sent().into_iter().enumerate().filter(|(_, sent)| sent.len() > 12) {
                sent[..12].rotate_left(6);
                lab.deliver_to(n % lab.workers.len(), &sent);
            }
            settle(&mut lab);
            lab.sent();
            lab.now = lab.now + Nanos::from_secs(round % 7);
            if round == 15 {
                (1..).zip(&states).for_each(|(number, state)| lab.set_backend_state(number, *state));
            }
            lab.assert_conserved();
        }
        (1..=3).for_each(|number| lab.set_backend_state(number, BackendState::Up));
        assert_as_before(&mut lab);
        assert_serves(&mut lab);
    }
}

#[test]
fn every_fault_has_a_reason_that_is_counted() {
    let always = 1_000_000;
    let cut = Rates { cut: always, ..Rates::default() };
    let mut lab = Lab::new(Plan { faults: (cut, Rates::default(), 5), ..Plan::default() });
    for n in 0..100 {
        lab.deliver_to(0, &Client::new(n, 0).packet());
    }
    settle(&mut lab);
    let truncated: u64 = [
        DropReason::FrameTruncated,
        DropReason::IpTruncated,
        DropReason::IpHeaderInvalid,
        DropReason::TransportHeaderInvalid,
        DropReason::NotOurMac,
    ]
    .map(|reason| lab.dropped(reason))
    .iter()
    .sum();
    assert_eq!((hits(&lab).cut, truncated), (100, 100), "{:?}", lab.drops());
    assert_eq!(lab.tally().flows(), 0, "nothing that is not whole makes a flow");
    assert_as_before(&mut lab);
}

#[test]
fn a_frame_that_comes_twice_makes_one_flow_and_goes_to_one_backend() {
    let twice = Rates { double: 1_000_000, ..Rates::default() };
    let mut lab = Lab::new(Plan { faults: (twice, Rates::default(), 5), ..Plan::default() });
    for n in 0..50 {
        let sent = lab.exchange(&Client::new(n, usize::from(n % 2)).packet());
        assert_eq!(sent.len(), 2);
        assert_eq!((sent[0].from, sent[0].to), (sent[1].from, sent[1].to));
    }
    assert_eq!(lab.tally().flows_created, 50);
    assert_as_before(&mut lab);
}

#[test]
fn a_card_that_takes_nothing_costs_its_frames_and_nothing_else() {
    for workers in [1, 3] {
        let mut lab = Lab::new(Plan { workers, ..Plan::default() });
        let mut clients: Vec<Client> = (0..20).map(|n| Client::new(n, usize::from(n % 2))).collect();
        talk(&mut lab, &mut clients, 3);
        let flows = lab.tally().flows();
        lab.faults.iter().for_each(|faults| faults.set_refuses(true));
        for _ in 0..100 {
            talk(&mut lab, &mut clients, 1);
        }
        assert_eq!(lab.dropped(DropReason::TxQueueFull), 100 * 20, "{:?}", lab.drops());
        lab.assert_conserved();
        assert_eq!(lab.pool.available(), BUFFERS, "nothing is held for later");
        assert_eq!(lab.tally().flows(), flows, "a frame that is lost ends no flow");
        lab.faults.iter().for_each(|faults| faults.set_refuses(false));
        talk(&mut lab, &mut clients, 20);
        assert!(clients.iter().all(|client| client.answered >= DONE), "{clients:?}");
        assert_as_before(&mut lab);
    }
}

#[test]
fn an_empty_pool_leaves_refusals_unsaid_and_all_else_as_it_is() {
    let mut lab = Lab::new(Plan::default());
    let mut clients: Vec<Client> = (0..10).map(|n| Client::new(n, usize::from(n % 2))).collect();
    talk(&mut lab, &mut clients, 3);
    lab.faults[0].set_pool_empty(true);
    let stray = Build::new("198.51.100.9:4000", WEB[0]).flags(ACK).tcp();
    assert_eq!(lab.exchange(&stray), []);
    assert_eq!((lab.tally().unanswered, lab.tally().originated), (1, 0));
    talk(&mut lab, &mut clients, 20);
    assert!(clients.iter().all(|client| client.answered >= DONE), "forwarding takes no buffer");

    // Both sides of a killed flow stay untold, and the flow ends all the same.
    let established = Client::new(50, 0);
    let syn = lab.forward(&established.packet());
    lab.forward(&answer(&syn));
    let data = Build::new(&established.at, established.vip).flags(ACK).numbers(1001, 1).tcp();
    lab.forward(&data);
    let flows = lab.tally().flows();
    (1..=3).for_each(|number| lab.set_backend_state(number, BackendState::Dead));
    assert_eq!(lab.exchange(&data), []);
    assert_eq!((lab.tally().unanswered, lab.tally().flows()), (3, flows - 1));

    lab.faults[0].set_pool_empty(false);
    let told = lab.forward(&stray);
    assert_eq!((told.kind, told.flags & RST), (Kind::of(Protocol::Tcp), RST));
    (1..=3).for_each(|number| lab.set_backend_state(number, BackendState::Up));
    assert_as_before(&mut lab);
}

#[test]
fn punts_that_nobody_takes_fill_their_ring_and_hold_nothing_up() {
    let mut lab = Lab::new(Plan::default());
    let datagram = |n: u32| Build::new("198.51.100.9:9", "192.0.2.10:9").payload(&n.to_be_bytes()).udp();
    let mut clients: Vec<Client> = (0..10).map(|n| Client::new(n, usize::from(n % 2))).collect();
    for n in 0..3_000 {
        lab.deliver_to(0, &datagram(n));
        settle(&mut lab);
        lab.now = lab.now + Nanos::from_millis(10);
    }
    let punted = lab.tally().punted;
    assert_eq!(punted, PuntRings::<()>::capacity(PuntClass::Other) as u64);
    assert_eq!(lab.dropped(DropReason::PuntRingFull), 3_000 - punted, "{:?}", lab.drops());
    talk(&mut lab, &mut clients, 20);
    assert!(clients.iter().all(|client| client.answered >= DONE), "balancing goes on");
    assert_eq!(lab.punted() as u64, punted);
    lab.deliver_to(0, &datagram(0));
    settle(&mut lab);
    assert_eq!(lab.punted(), 1, "and punting, once there is room");
    assert_as_before(&mut lab);
}
