//! Floods of SYNs from everywhere: whoever has a connection loses nothing, and nothing is left behind.

use std::net::SocketAddr;

use evenkeel::model::{Nanos, ServiceId, SynProxy};
use evenkeel::shared::ServiceTotals;

use crate::allocations;
use crate::lab::{Lab, Plan, VIP4, VIP6, backend};
use crate::packet::{ACK, Build, Decoded, RST, SYN, decode};

const WEB: [&str; 2] = ["203.0.113.80:80", "[2001:db8::80]:80"];
const FLOWS: usize = 1024;
const BUFFERS: usize = 4096;
const FLOOD: usize = 20 * FLOWS;
const THRESHOLD: u32 = 100;

/// A client of an HTTP server, at the place where it is in its connection.
struct Client {
    at: SocketAddr,
    vip: SocketAddr,
    /// What it expects from the server next, once there is one.
    expects: Option<u32>,
    /// Segments that were answered.
    heard: u32,
}

impl Client {
    fn new(number: usize) -> Self {
        let port = 30_000 + u16::try_from(number).unwrap();
        let at = [format!("198.51.100.7:{port}"), format!("[2001:db8:7::7]:{port}")];
        let family = number % 2;
        let [at, vip] = [at[family].as_str(), WEB[family]].map(|at| at.parse().unwrap());
        Self { at, vip, expects: None, heard: 0 }
    }

    /// Its SYN, or its next octet.
    fn packet(&self) -> Vec<u8> {
        let build = Build::between(self.at, self.vip);
        match self.expects {
            None => build.numbers(1_000, 0).tcp(),
            Some(next) => build.flags(ACK).numbers(1_001 + self.heard, next).payload(b"x").tcp(),
        }
    }

    /// What it says at once to what it hears.
    fn hear(&mut self, sent: &Decoded) -> Option<Vec<u8>> {
        assert_eq!(sent.flags & RST, 0, "nobody resets {}", self.at);
        let next = sent.sequence.wrapping_add(1);
        if sent.flags & SYN != 0 {
            self.expects = Some(next);
            return Some(Build::between(self.at, self.vip).flags(ACK).numbers(1_001, next).tcp());
        }
        self.heard += u32::from(sent.acknowledgement == 1_002 + self.heard);
        None
    }
}

fn is_server(at: SocketAddr) -> bool {
    [VIP4, VIP6].iter().any(|vip| (1..=3).any(|n| at == SocketAddr::from(backend(vip, n))))
}

/// What a server says to a client that it hears.
fn answer(asked: &Decoded) -> Option<Vec<u8>> {
    let data = u32::try_from(asked.payload.len()).unwrap();
    if asked.flags & SYN != 0 {
        return Some(Build::answer(asked).flags(SYN | ACK).numbers(7_000, asked.sequence + 1).tcp());
    }
    (data > 0).then(|| Build::answer(asked).flags(ACK).numbers(7_001, asked.sequence + data).tcp())
}

/// Lets a frame have all its consequences; frames to nobody of ours are the flood's.
fn pass(lab: &mut Lab, clients: &mut [Client], turn: &mut usize, frames: Vec<Vec<u8>>) {
    let mut frames = frames;
    while !frames.is_empty() {
        for frame in frames.drain(..) {
            *turn += 1;
            lab.deliver_to(*turn % lab.workers.len(), &frame);
        }
        let (_, calls) = allocations::count(|| lab.settle());
        assert_eq!(calls, 0, "a turn called the allocator");
        for sent in lab.sent() {
            let sent = decode(&sent);
            let said = if is_server(sent.to) {
                // A server has no room for what a flood says.
                if sent.payload.is_empty() && sent.flags & SYN != 0 && sent.sequence != 1_000 {
                    None
                } else {
                    answer(&sent)
                }
            } else {
                let client = clients.iter_mut().find(|client| client.at == sent.to);
                client.and_then(|client| client.hear(&sent))
            };
            frames.extend(said);
        }
    }
}

/// The n-th SYN of a flood: each from somebody else.
fn flood(n: usize) -> Vec<u8> {
    let (high, low, port) = (n / 250 % 250 + 1, n % 250 + 1, 1024 + n % 60_000);
    let from = if n.is_multiple_of(2) {
        format!("192.0.{high}.{low}:{port}")
    } else {
        format!("[2001:db8:f::{high:x}:{low:x}]:{port}")
    };
    Build::new(&from, WEB[n % 2]).numbers(u32::try_from(n).unwrap() + 50_000, 0).tcp()
}

fn totals(lab: &Lab) -> ServiceTotals {
    let mut sum = ServiceTotals::default();
    for totals in
        lab.counters.iter().flat_map(|c| [0, 2].map(|id| c.service(ServiceId(id)).unwrap().totals()))
    {
        sum.connections += totals.connections;
        sum.half_open = sum.half_open.wrapping_add(totals.half_open);
        sum.cookies_sent += totals.cookies_sent;
        sum.cookies_accepted += totals.cookies_accepted;
    }
    sum
}

fn is_on(lab: &Lab) -> bool {
    [0, 2].iter().any(|id| lab.syn_proxies.is_on(ServiceId(*id), lab.now))
}

/// Floods both services with twenty times what the tables of all workers hold, within four seconds, while old clients go on
/// and new ones come.
fn withstand(syn_proxy: SynProxy, workers: u16) -> Lab {
    let mut lab = Lab::new(Plan { workers, flows: FLOWS, buffers: BUFFERS, syn_proxy, ..Plan::default() });
    let mut clients: Vec<Client> = (0..40).map(Client::new).collect();
    let mut turn = 0;
    for n in 0..clients.len() {
        let frame = clients[n].packet();
        pass(&mut lab, &mut clients, &mut turn, vec![frame]);
    }
    assert!(clients.iter().all(|client| client.expects.is_some()), "{:?}", lab.drops());
    let mut said = 0;
    let total = FLOOD * usize::from(workers);
    for n in (0..total).step_by(64) {
        pass(&mut lab, &mut clients, &mut turn, (n..n + 64).map(flood).collect());
        let number = n / 64;
        if number.is_multiple_of(4) {
            // One octet of each, and each is answered.
            let frames = clients.iter().map(Client::packet).collect();
            pass(&mut lab, &mut clients, &mut turn, frames);
            said += 1;
            let behind = clients.iter().take(40).filter(|client| client.heard != said).count();
            assert_eq!(behind, 0, "after {n} SYNs: {:?}", lab.drops());
        }
        if number.is_multiple_of(16) {
            let news = Client::new(clients.len());
            let frame = news.packet();
            clients.push(news);
            pass(&mut lab, &mut clients, &mut turn, vec![frame]);
            let client = clients.last().unwrap();
            assert!(client.expects.is_some(), "a new client is served after {n} SYNs: {:?}", lab.drops());
        }
        lab.now = lab.now + Nanos((4_000_000_000 / total * 64) as u64);
    }
    lab.assert_conserved();
    assert_eq!(lab.pool.available(), BUFFERS, "every buffer came back");
    assert_eq!(lab.drops(), std::collections::BTreeMap::new(), "nothing is lost");
    lab
}

/// All half-open flows end, and established ones when their time is over.
fn assert_as_before(lab: &mut Lab) {
    lab.wait(Nanos::from_secs(45));
    assert_eq!(totals(lab).half_open, 0);
    assert!(!is_on(lab), "the flood is over");
    lab.wait(Nanos::from_secs(900));
    lab.sent();
    assert_eq!(lab.tally().flows(), 0, "every flow ends");
    assert_eq!(lab.pool.available(), BUFFERS);
    lab.assert_conserved();
}

#[test]
fn without_a_proxy_a_flood_evicts_its_own_half_open_flows_and_no_connection() {
    for workers in [1, 3] {
        let mut lab = withstand(SynProxy::Off, workers);
        assert!(totals(&lab).connections > FLOOD as u64, "every SYN got a flow for a while");
        assert_eq!(totals(&lab).cookies_sent, 0);
        assert_as_before(&mut lab);
    }
}

#[test]
fn with_a_proxy_always_on_a_flood_makes_no_flow_at_all() {
    for workers in [1, 3] {
        let mut lab = withstand(SynProxy::On, workers);
        let totals = totals(&lab);
        assert_eq!(totals.connections, totals.cookies_accepted, "who comes back alone has a flow");
        assert_eq!(totals.connections, lab.tally().flows());
        assert!(totals.cookies_sent >= FLOOD as u64);
        assert_as_before(&mut lab);
    }
}

#[test]
fn a_flood_switches_the_proxy_on_at_its_threshold_and_its_end_switches_it_off() {
    for workers in [1, 3] {
        let mut lab = withstand(SynProxy::Above(THRESHOLD), workers);
        assert!(is_on(&lab));
        let totals = totals(&lab);
        let flows_of_flood = totals.half_open;
        // Of two services; each worker judges by its own share.
        assert!(
            flows_of_flood <= 2 * u64::from(THRESHOLD + THRESHOLD / 5),
            "{flows_of_flood} half-open flows"
        );
        assert!(flows_of_flood >= u64::from(THRESHOLD), "{flows_of_flood} half-open flows");
        assert!(totals.cookies_sent > FLOOD as u64 / 2);
        assert_as_before(&mut lab);
        let sent = lab.forward(&flood(1));
        assert!(is_server(sent.to), "the backend hears SYNs again");
    }
}

#[test]
fn a_quiet_service_hears_nothing_of_its_proxy() {
    let mut lab = Lab::new(Plan { syn_proxy: SynProxy::Above(THRESHOLD), ..Plan::default() });
    for n in 0..THRESHOLD as usize {
        assert!(is_server(lab.forward(&flood(n * 2)).to), "{n}");
    }
    assert!(!is_on(&lab));
}

#[test]
fn a_slow_flood_is_held_off_for_as_long_as_it_lasts() {
    let mut lab = Lab::new(Plan { syn_proxy: SynProxy::Above(THRESHOLD), ..Plan::default() });
    let mut to_servers = Vec::new();
    // Ten a second for two minutes: 300 half-open flows, if nothing were done.
    for n in 0..1_200_usize {
        if is_server(lab.forward(&flood(n * 2)).to) {
            to_servers.push(n);
        }
        lab.wait(Nanos::from_millis(100));
    }
    assert_eq!(to_servers, (0..=THRESHOLD as usize).collect::<Vec<_>>(), "on for good after the threshold");
    // One a second: 30 would be there.
    let mut passed = 0;
    for n in 2_000..2_060_usize {
        passed += usize::from(is_server(lab.forward(&flood(n * 2)).to));
        lab.wait(Nanos::from_secs(1));
    }
    assert!((40..=55).contains(&passed), "off a while after it has ended: {passed}");
}

#[test]
fn a_table_that_is_full_of_half_open_flows_switches_the_proxy_on_below_any_threshold() {
    let mut lab = Lab::new(Plan { flows: 128, syn_proxy: SynProxy::Above(1_000_000), ..Plan::default() });
    for n in 0..200_usize {
        lab.exchange(&flood(n * 2));
    }
    assert!(is_on(&lab));
    assert_eq!(
        totals(&lab).half_open,
        128,
        "all of the table, and the one that found no room made another end"
    );
}
