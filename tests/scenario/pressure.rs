//! Floods on services with one backend and one local address: legitimate clients lose nothing, whatever is scarce.

use std::collections::VecDeque;

use evenkeel::model::{Mac, Nanos, ServiceId, SynProxy};
use evenkeel::shared::DropReason;

use crate::lab::{Lab, Plan, VIP4, backend, backend_id};
use crate::packet::{ACK, Build, Decoded, Kind, RST, SYN};

const WEB: &str = "203.0.113.80:80";
const DNS: &str = "203.0.113.80:53";
const DNS6: &str = "[2001:db8::80]:53";
const WEB_ID: ServiceId = ServiceId(0);
const DNS_ID: ServiceId = ServiceId(1);

/// Floods and clients act in slots of 10 ms.
const SLOT: Nanos = Nanos::from_millis(10);
const SLOTS_A_SECOND: u32 = 100;

/// Slots from a packet of a client, or of a server, to the answer.
const ROUND_TRIP: usize = 5;

/// One backend and one local address for each family: 61,440 leases.
fn plan(flows: usize) -> Plan {
    Plan { flows, backends: 1, syn_proxy: SynProxy::Above(100_000), flow_share: 50, ..Plan::default() }
}

/// The n-th source of a flood: all of them different.
fn spoofed(n: u32, to: &str) -> Build {
    let [a, b, c, d] = n.to_be_bytes();
    let port = 1024 + u16::from_be_bytes([a, b]);
    Build::new(&format!("11.{b}.{c}.{d}:{port}"), to).numbers(50_000 + n, 0).payload(b"")
}

/// What a server answers.
fn reply(asked: &Decoded) -> Option<Vec<u8>> {
    match asked.kind {
        Kind::Udp => Some(Build::answer(asked).payload(&asked.payload).udp()),
        Kind::Tcp if asked.flags & RST != 0 => None,
        Kind::Tcp if asked.flags & SYN != 0 => {
            Some(Build::answer(asked).flags(SYN | ACK).numbers(7_000, asked.sequence.wrapping_add(1)).tcp())
        }
        Kind::Tcp if !asked.payload.is_empty() => {
            let next = asked.sequence + u32::try_from(asked.payload.len()).unwrap();
            Some(Build::answer(asked).flags(ACK).numbers(asked.acknowledgement, next).tcp())
        }
        _ => None,
    }
}

fn is_server(sent: &Decoded) -> bool {
    sent.to == backend(VIP4, 1).into()
}

/// Sends a frame and all that servers answer to it; what reaches clients.
fn exchange(lab: &mut Lab, frame: &[u8]) -> Vec<Decoded> {
    let mut heard = Vec::new();
    let mut frames = vec![frame.to_vec()];
    while let Some(frame) = frames.pop() {
        for sent in lab.exchange(&frame) {
            if is_server(&sent) { frames.extend(reply(&sent)) } else { heard.push(sent) }
        }
    }
    heard
}

/// A TCP client that connects, says something a round trip later, and stays.
struct Connection {
    at: String,
    /// The next octet that it expects of the server.
    next: u32,
    sent: u32,
}

impl Connection {
    fn begin(lab: &mut Lab, number: u32) -> Self {
        let at = format!("198.51.{}.{}:40000", number >> 8, number & 0xff);
        let heard = exchange(lab, &Build::new(&at, WEB).numbers(1_000, 0).tcp());
        let [answer] = heard.as_slice() else { panic!("{at} heard {heard:?}; drops: {:?}", lab.drops()) };
        assert_eq!(answer.flags, SYN | ACK, "client {number} is accepted; drops: {:?}", lab.drops());
        Self { at, next: answer.sequence.wrapping_add(1), sent: 0 }
    }

    fn establish(&self, lab: &mut Lab) {
        let heard = exchange(lab, &Build::new(&self.at, WEB).flags(ACK).numbers(1_001, self.next).tcp());
        assert!(heard.iter().all(|answer| answer.flags & RST == 0), "{} is reset", self.at);
    }

    /// Says an octet, which the server acknowledges.
    fn speak(&mut self, lab: &mut Lab) {
        let build = Build::new(&self.at, WEB).flags(ACK).numbers(1_001 + self.sent, self.next);
        self.sent += 1;
        let heard = exchange(lab, &build.payload(b"x").tcp());
        let acknowledged = heard.iter().any(|answer| answer.acknowledgement == 1_001 + self.sent);
        assert!(acknowledged, "{} heard {heard:?}; drops: {:?}", self.at, lab.drops());
    }
}

/// SYNs from invented sources, and a new client every 10 ms. Everybody is served, and stays connected.
fn withstand_syns(syn_proxy: SynProxy, a_second: u32, seconds: u32) -> Lab {
    let mut lab = Lab::new(Plan { syn_proxy, ..plan(200_000) });
    let (mut connecting, mut connected) = (VecDeque::new(), Vec::new());
    let mut sources = 0..;
    for slot in 0..seconds * SLOTS_A_SECOND {
        for n in sources.by_ref().take((a_second / SLOTS_A_SECOND) as usize) {
            exchange(&mut lab, &spoofed(n, WEB).tcp());
        }
        connecting.push_back(Connection::begin(&mut lab, slot));
        if connecting.len() > ROUND_TRIP {
            let mut connection = connecting.pop_front().unwrap();
            connection.establish(&mut lab);
            connection.speak(&mut lab);
            connected.push(connection);
        }
        lab.wait(SLOT);
        lab.sent();
    }
    for connection in &mut connected {
        connection.speak(&mut lab);
    }
    assert_eq!(lab.drops().get("local_ports_exhausted"), None);
    assert_eq!(lab.drops().get("flow_table_full"), None);
    lab.assert_conserved();
    lab
}

fn proxy_is_on(lab: &Lab) -> bool {
    lab.syn_proxies.is_on(WEB_ID, lab.now)
}

#[test]
fn syn_flood_of_2_kpps_on_one_backend_starts_its_syn_proxy_and_refuses_no_client() {
    let lab = withstand_syns(SynProxy::Above(100_000), 2_000, 40);
    assert!(proxy_is_on(&lab), "a quarter of the leases is half-open after 7.7 s");
    assert_eq!(lab.tally().evicted, 0, "long before any has to be taken");
}

#[test]
fn syn_flood_of_60_kpps_on_one_backend_starts_its_syn_proxy_and_refuses_no_client() {
    let lab = withstand_syns(SynProxy::Above(100_000), 60_000, 4);
    assert!(proxy_is_on(&lab));
    assert!(lab.counters[0].service(WEB_ID).unwrap().half_open() < 20_000);
}

#[test]
fn half_open_flow_gives_its_lease_to_a_new_flow() {
    let lab = withstand_syns(SynProxy::Off, 60_000, 4);
    assert!(lab.tally().evicted > 100_000, "{} leases were taken from the flood", lab.tally().evicted);
}

#[test]
fn evicted_half_open_flow_counts_as_a_flood() {
    let mut lab = Lab::new(Plan { syn_proxy: SynProxy::Above(1_000_000), ..plan(1_024) });
    let mut n = 0;
    while lab.tally().evicted == 0 {
        exchange(&mut lab, &spoofed(n, WEB).tcp());
        n += 1;
    }
    assert!(proxy_is_on(&lab), "after {n} SYNs");
}

/// A question whose server takes a round trip to answer.
struct Question {
    at: String,
    to: &'static str,
    asked: Decoded,
}

impl Question {
    fn ask(lab: &mut Lab, at: String, to: &'static str) -> Self {
        let sent = lab.exchange(&Build::new(&at, to).payload(b"name?").udp());
        let [asked] = sent.as_slice() else { panic!("{at}: {sent:?}; drops: {:?}", lab.drops()) };
        assert_eq!(asked.to.port(), 8080, "{at} is refused; drops: {:?}", lab.drops());
        Self { at, to, asked: asked.clone() }
    }

    fn answer(self, lab: &mut Lab) {
        let heard = lab.exchange(&Build::answer(&self.asked).payload(b"here").udp());
        let [answer] = heard.as_slice() else { panic!("{}: {heard:?}; drops: {:?}", self.at, lab.drops()) };
        assert_eq!((answer.from, answer.to), (self.to.parse().unwrap(), self.at.parse().unwrap()));
    }
}

/// Sessions that have begun and go on, by client.
struct Sessions(Vec<Decoded>);

impl Sessions {
    fn client(number: usize) -> String {
        format!("198.18.0.{number}:5000")
    }

    fn begin(lab: &mut Lab, count: usize) -> Self {
        let begin = |number| {
            let question = Question::ask(lab, Self::client(number), DNS);
            let asked = question.asked.clone();
            question.answer(lab);
            asked
        };
        let mut sessions = Self((0..count).map(begin).collect());
        sessions.go_on(lab);
        sessions
    }

    /// Each sends a datagram, which has the same local address and port as before.
    fn go_on(&mut self, lab: &mut Lab) {
        for (number, before) in self.0.iter().enumerate() {
            let question = Question::ask(lab, Self::client(number), DNS);
            assert_eq!(question.asked.from, before.from, "session {number} is another flow");
            question.answer(lab);
        }
    }
}

/// Datagrams from invented sources, each of which sends so many, beside questions, sessions and TCP clients.
fn withstand_datagrams(flows: usize, each: u32, a_second: u32, seconds: u32) -> Lab {
    let mut lab = Lab::new(plan(flows));
    let mut sessions = Sessions::begin(&mut lab, 20);
    let (mut asked, mut connecting) = (VecDeque::new(), VecDeque::new());
    let mut sources = 0..;
    for slot in 0..seconds * SLOTS_A_SECOND {
        for n in sources.by_ref().take((a_second / each / SLOTS_A_SECOND) as usize) {
            for _ in 0..each {
                lab.exchange(&spoofed(n, DNS).payload(b"flood").udp());
            }
        }
        let at = format!("198.51.{}.{}:{}", slot >> 8, slot & 0xff, 30_000 + slot % 20_000);
        asked.push_back(Question::ask(&mut lab, at, DNS));
        connecting.push_back(Connection::begin(&mut lab, slot));
        if asked.len() > ROUND_TRIP {
            asked.pop_front().unwrap().answer(&mut lab);
            let mut connection = connecting.pop_front().unwrap();
            connection.establish(&mut lab);
            connection.speak(&mut lab);
        }
        if slot % (SLOTS_A_SECOND / 2) == 0 {
            sessions.go_on(&mut lab);
        }
        lab.wait(SLOT);
        lab.sent();
    }
    lab.assert_conserved();
    lab
}

#[test]
fn udp_flood_of_18_kpps_on_one_backend_refuses_no_client() {
    let lab = withstand_datagrams(200_000, 1, 18_000, 8);
    assert!(lab.tally().evicted > 60_000, "{} leases were taken from the flood", lab.tally().evicted);
    assert_eq!(lab.dropped(DropReason::LocalPortsExhausted), 0);
}

#[test]
fn udp_flood_that_sends_twice_from_each_source_refuses_no_client() {
    let lab = withstand_datagrams(200_000, 2, 36_000, 6);
    assert!(lab.tally().evicted > 20_000, "{} leases were taken from the flood", lab.tally().evicted);
    assert_eq!(lab.dropped(DropReason::LocalPortsExhausted), 0);
}

#[test]
fn udp_flood_that_fills_the_flow_table_takes_nothing_from_tcp_clients() {
    for each in [1, 2] {
        let lab = withstand_datagrams(20_000, each, 20_000 * each, 4);
        assert!(lab.tally().evicted > 40_000, "{} flows gave way", lab.tally().evicted);
        assert_eq!(lab.dropped(DropReason::FlowTableFull), 0);
    }
}

#[test]
fn unanswered_datagrams_of_one_sender_give_their_leases_to_new_ones() {
    let mut lab = Lab::new(Plan { one_packet: true, ..plan(200_000) });
    let line = Build::new("198.51.100.7:514", DNS).payload(b"<13>m").udp();
    // 20,000 a second for 5 s.
    for n in 0..100_000 {
        assert!(is_server(&lab.forward(&line)), "datagram {n}");
        if n % 200 == 199 {
            lab.wait(SLOT);
        }
    }
    assert_eq!(lab.drops().len(), 0, "{:?}", lab.drops());
}

#[test]
fn questions_from_1000_new_ports_a_second_on_one_backend_are_all_answered() {
    let mut lab = Lab::new(plan(200_000));
    let mut asked = VecDeque::new();
    for slot in 0..100 * SLOTS_A_SECOND {
        for n in slot * 10..slot * 10 + 10 {
            let at = format!("198.51.100.{}:{}", n / 50_000 + 1, 1_024 + n % 50_000);
            asked.push_back(Question::ask(&mut lab, at, DNS));
        }
        while asked.len() > 10 * ROUND_TRIP {
            asked.pop_front().unwrap().answer(&mut lab);
        }
        lab.wait(SLOT);
    }
    assert_eq!(lab.drops().len(), 0, "{:?}", lab.drops());
    assert!(lab.tally().evicted > 30_000);
}

#[test]
fn service_above_its_share_leaves_the_last_tenth_of_the_table_to_others() {
    let mut lab = Lab::new(plan(1_000));
    let use_flow = |lab: &mut Lab, n: u32| {
        for _ in 0..2 {
            exchange(lab, &spoofed(n, DNS).payload(b"in use").udp());
        }
    };
    (0..900).for_each(|n| use_flow(&mut lab, n));
    assert_eq!(lab.tally().flows(), 900);
    // Its flows are in use, so that none gives way.
    let refused = lab.forward(&Build::new("198.51.100.7:7", DNS).payload(b"q").udp());
    assert_eq!(refused.kind, Kind::Icmp(3, 3));
    assert_eq!(lab.dropped(DropReason::ServiceShare), 1);
    let mut connections: Vec<_> = (0..100).map(|n| Connection::begin(&mut lab, n)).collect();
    for connection in &mut connections {
        connection.establish(&mut lab);
        connection.speak(&mut lab);
    }
    assert_eq!(lab.tally().flows(), 1_000);
    // A second later the oldest flow of the service gives way to another one of it.
    lab.wait(Nanos::from_secs(2));
    assert_eq!(lab.forward(&Build::new("198.51.100.7:8", DNS).payload(b"q").udp()).kind, Kind::Udp);
    assert_eq!((lab.tally().flows(), lab.tally().evicted), (1_000, 1));
    connections.iter_mut().for_each(|connection| connection.speak(&mut lab));
    assert_eq!(lab.counters[0].service(DNS_ID).unwrap().flows(), 900);
    assert_eq!(lab.counters[0].service(WEB_ID).unwrap().flows(), 100);
}

#[test]
fn refused_lease_is_counted_for_its_backend() {
    let mut lab = Lab::new(plan(200_000));
    for n in 0..61_440 {
        for _ in 0..2 {
            exchange(&mut lab, &spoofed(n, DNS).payload(b"in use").udp());
        }
    }
    let before = lab.tally().flows();
    let error = lab.forward(&Build::new("198.51.100.7:7", DNS).payload(b"q").udp());
    assert_eq!(error.kind, Kind::Icmp(3, 3));
    assert_eq!(lab.counters[0].backend(backend_id(1, 1)).unwrap().totals().no_lease, 1);
    assert_eq!((lab.tally().flows(), lab.tally().evicted), (before, 0), "flows in use keep theirs");
}

#[test]
fn flood_from_invented_mac_addresses_leaves_room_for_a_new_router() {
    let mut lab = Lab::new(plan(200_000));
    let from = |n: u32, build: Build| {
        let [_, a, b, c] = n.to_be_bytes();
        Build { source_mac: Mac([2, 0, 1, a, b, c]), ..build }
    };
    let first = lab.forward(&from(1 << 20, Build::new("198.51.100.1:5000", DNS)).payload(b"q").udp());
    lab.forward(&Build::answer(&first).udp());
    lab.forward(&from(1 << 20, Build::new("198.51.100.1:5000", DNS)).payload(b"q").udp());
    for n in 0..30_000 {
        let build = if n % 2 == 0 { spoofed(n, WEB) } else { spoofed(n, DNS6) };
        let build = if n % 2 == 0 {
            build
        } else {
            Build { from: format!("[2001:db8:f::{n:x}]:9").parse().unwrap(), ..build }
        };
        let frame = from(n, build);
        lab.exchange(&if n % 2 == 0 { frame.tcp() } else { frame.udp() });
    }
    assert_eq!(lab.dropped(DropReason::NextHopUnresolved), 0);
    let router = 1 << 21;
    for n in 0..100 {
        let build = from(router, Build::new(&format!("198.51.100.{n}:6000"), DNS)).payload(b"q");
        let asked = lab.forward(&build.udp());
        let answer = lab.forward(&Build::answer(&asked).udp());
        assert_eq!(answer.destination_mac, from(router, spoofed(0, DNS)).source_mac);
    }
    // Whoever was there before is answered where it is.
    let answer = lab.forward(&Build::answer(&first).udp());
    assert_eq!(answer.destination_mac, from(1 << 20, spoofed(0, DNS)).source_mac);
    lab.assert_conserved();
}

#[test]
fn single_datagram_ends_after_udp_new_and_a_second_one_makes_it_last() {
    let mut lab = Lab::new(plan(1_024));
    let ask = |lab: &mut Lab, port: u16| lab.forward(&Build::new(&format!("198.51.100.7:{port}"), DNS).udp());
    let flows_after = |lab: &mut Lab, seconds| {
        lab.wait(Nanos::from_secs(seconds));
        lab.tally().flows()
    };
    let asked = ask(&mut lab, 1);
    lab.wait(Nanos::from_secs(100));
    lab.forward(&Build::answer(&asked).udp());
    assert_eq!(flows_after(&mut lab, 19), 1);
    assert_eq!(flows_after(&mut lab, 2), 0, "an answer does not prolong it");

    ask(&mut lab, 2);
    ask(&mut lab, 2);
    assert_eq!(flows_after(&mut lab, 299), 1, "the client has sent twice");
    assert_eq!(flows_after(&mut lab, 2), 0);

    let asked = ask(&mut lab, 3);
    lab.forward(&Build::answer(&asked).udp());
    lab.forward(&Build::answer(&asked).udp());
    assert_eq!(flows_after(&mut lab, 299), 1, "the backend has sent twice");
    assert_eq!(flows_after(&mut lab, 2), 0);
}

#[test]
fn first_answer_to_a_client_that_sends_many_is_seen_and_forwarded() {
    let mut lab = Lab::new(plan(1_024));
    let line = Build::new("198.51.100.7:514", DNS).payload(b"line").udp();
    let asked = lab.forward(&line);
    (0..100).for_each(|_| drop(lab.forward(&line)));
    let answer = lab.forward(&Build::answer(&asked).payload(b"ok").udp());
    assert_eq!((answer.to, answer.payload), ("198.51.100.7:514".parse().unwrap(), b"ok".to_vec()));
    let again = lab.forward(&Build::answer(&asked).payload(b"ok again").udp());
    assert_eq!(again.payload, b"ok again");
}
