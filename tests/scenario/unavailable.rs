//! A service without a backend that shows a page: whole conversations of HTTP, and no flow.

use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};
use evenkeel::model::{Nanos, OnNoBackend, OnUnknownFlow};
use evenkeel::shared::DropReason;

use crate::allocations;
use crate::lab::{CLIENT_MAC, Lab, OUR_MAC, Plan};
use crate::packet::{ACK, Build, Decoded, FIN, Kind, RST, SYN};

const CLIENT4: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";
const WEB4: &str = "203.0.113.80:80";
const WEB6: &str = "[2001:db8::80]:80";
const FAMILIES: [(&str, &str); 2] = [(CLIENT4, WEB4), (CLIENT6, WEB6)];
/// The client's first sequence number: its data go over the end of the numbers.
const ISN: u32 = u32::MAX - 5;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.net\r\n\r\n";

fn lab() -> Lab {
    let mut lab = Lab::new(Plan { backends: 1, on_no_backend: OnNoBackend::Http503, ..Plan::default() });
    lab.set_backend(1, false);
    lab
}

/// What a client knows of its connection.
#[derive(Clone, Copy)]
struct Client {
    from: &'static str,
    to: &'static str,
    /// Of its next octet.
    sequence: u32,
    /// What it expects next.
    expected: u32,
}

impl Client {
    /// A client that has got its SYN-ACK.
    #[track_caller]
    fn connect(lab: &mut Lab, (from, to): (&'static str, &'static str)) -> Self {
        let accepted = lab.forward(&Build::new(from, to).numbers(ISN, 0).tcp());
        assert_eq!(accepted.flags, SYN | ACK);
        let sequence = ISN.wrapping_add(1);
        assert_eq!(accepted.acknowledgement, sequence);
        Self { from, to, sequence, expected: accepted.sequence.wrapping_add(1) }
    }

    fn segment(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let build = Build::new(self.from, self.to).flags(flags);
        build.numbers(self.sequence, self.expected).payload(payload).tcp()
    }

    /// The same behind `octets` more of its own.
    fn behind(mut self, octets: usize) -> Self {
        self.sequence = self.sequence.wrapping_add(u32::try_from(octets).unwrap());
        self
    }

    /// The same after `answer` has come.
    #[track_caller]
    fn hears(mut self, answer: &Decoded) -> Self {
        assert_eq!(answer.sequence, self.expected);
        let marks = u32::from(answer.flags & (SYN | FIN) != 0);
        let octets = u32::try_from(answer.payload.len()).unwrap() + marks;
        self.expected = self.expected.wrapping_add(octets);
        self
    }
}

/// Checks an answer that shows the page, for what the client has said up to `client.sequence`.
#[track_caller]
fn assert_page(answer: &Decoded, client: &Client, has_body: bool) {
    assert_eq!(answer.flags, FIN | ACK);
    assert_eq!((answer.sequence, answer.acknowledgement), (client.expected, client.sequence));
    assert_eq!((answer.from, answer.to), (client.to.parse().unwrap(), client.from.parse().unwrap()));
    let text = str::from_utf8(&answer.payload).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an empty line behind the head");
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("HTTP/1.1 503 Service Unavailable"));
    let fields: Vec<_> = lines.map(|line| line.split_once(": ").expect("a name and a value")).collect();
    let field = |name| fields.iter().find(|(is, _)| *is == name).map(|(_, value)| *value);
    assert_eq!(field("Connection"), Some("close"));
    assert_eq!(field("Retry-After"), Some("5"));
    assert_eq!(field("Content-Type"), Some("text/plain; charset=utf-8"));
    let length: usize = field("Content-Length").unwrap().parse().unwrap();
    assert_eq!(body.len(), if has_body { length } else { 0 });
}

#[test]
fn a_whole_conversation_is_answered_without_a_flow_or_an_allocation() {
    for ends in FAMILIES {
        let mut lab = lab();
        let client = Client::connect(&mut lab, ends);
        lab.lose(&client.segment(ACK, b""), DropReason::NoBackend);

        lab.deliver_to(0, &client.segment(ACK, GET));
        let (_, calls) = allocations::count(|| lab.settle());
        assert_eq!(calls, 0);
        let page = crate::packet::decode(&lab.sent().remove(0));
        let client = client.behind(GET.len());
        assert_page(&page, &client, true);
        assert_eq!((page.source_mac, page.destination_mac), (OUR_MAC, CLIENT_MAC));

        let client = client.hears(&page);
        lab.lose(&client.segment(ACK, b""), DropReason::NoBackend);
        let last = lab.forward(&client.segment(FIN | ACK, b""));
        let expected = (ACK, client.expected, client.sequence.wrapping_add(1));
        assert_eq!((last.flags, last.sequence, last.acknowledgement), expected);
        assert_eq!(last.payload, b"");

        assert_eq!((lab.tally().flows_created, lab.tally().originated), (0, 3));
        assert_eq!(lab.dropped(DropReason::NoBackend), 5);
        assert_eq!(lab.dropped(DropReason::UnknownFlow), 0);
        lab.assert_conserved();
    }
}

#[test]
fn a_syn_is_accepted_with_a_segment_size_a_window_and_no_other_option() {
    for (ends, mss) in FAMILIES.into_iter().zip([1460, 1440]) {
        let mut lab = lab();
        lab.deliver_to(0, &Build::new(ends.0, ends.1).payload(b"early").tcp());
        lab.settle();
        let frame = lab.sent().remove(0);
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:x?}") };
        let options: Vec<_> = tcp.options_iterator().collect();
        assert_eq!(options, [Ok(TcpOptionElement::MaximumSegmentSize(mss))]);
        assert_eq!((tcp.window_size(), tcp.acknowledgment_number()), (65_535, 1_001));
    }
}

#[test]
fn the_page_is_pushed_and_fits_any_segment() {
    let mut lab = lab();
    let client = Client::connect(&mut lab, FAMILIES[0]);
    lab.deliver_to(0, &client.segment(ACK, GET));
    lab.settle();
    let frame = lab.sent().remove(0);
    let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:x?}") };
    assert!(tcp.psh());
    assert!(tcp.payload().len() <= 536);
}

#[test]
fn a_head_request_gets_the_head_alone_and_ends_as_well() {
    for ends in FAMILIES {
        let mut lab = lab();
        let client = Client::connect(&mut lab, ends);
        let request = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
        let page = lab.forward(&client.segment(ACK, request));
        let client = client.behind(request.len());
        assert_page(&page, &client, false);
        let client = client.hears(&page);
        lab.lose(&client.segment(ACK, b""), DropReason::NoBackend);
        assert_eq!(lab.forward(&client.segment(FIN | ACK, b"")).flags, ACK);
    }
}

#[test]
fn what_is_sent_again_is_answered_alike() {
    let mut lab = lab();
    let syn = Build::new(CLIENT4, WEB4).numbers(ISN, 0).tcp();
    assert_eq!(lab.forward(&syn), lab.forward(&syn));
    let client = Client::connect(&mut lab, FAMILIES[0]);
    let first = lab.forward(&client.segment(ACK, GET));
    lab.wait(Nanos::from_secs(30));
    assert_eq!(lab.forward(&client.segment(ACK, GET)), first);
    // What did not get through is often sent again with what has been said since.
    let more = [GET, GET].concat();
    let longer = lab.forward(&client.segment(ACK, &more));
    assert_eq!(longer.payload, first.payload);
    assert_eq!(longer.acknowledgement, client.behind(more.len()).sequence);
}

#[test]
fn a_request_in_two_segments_is_answered_once_and_acknowledged_in_the_end() {
    let mut lab = lab();
    let client = Client::connect(&mut lab, FAMILIES[0]);
    let (first, second) = GET.split_at(10);
    // The second before the first: to acknowledge it would be to acknowledge both.
    lab.lose(&client.behind(10).segment(ACK, second), DropReason::NoBackend);
    let page = lab.forward(&client.segment(ACK, first));
    assert_page(&page, &client.behind(10), true);
    // On its way before the answer came.
    lab.lose(&client.behind(10).segment(ACK, second), DropReason::NoBackend);
    let client = client.behind(10).hears(&page);
    let rest = lab.forward(&client.segment(ACK, second));
    let expected = (ACK, client.expected, client.behind(second.len()).sequence);
    assert_eq!((rest.flags, rest.sequence, rest.acknowledgement), expected);
    assert_eq!(rest.payload, b"");
}

#[test]
fn requests_of_any_length_end_in_peace() {
    // Also as long as the page and its head, and longer.
    for octets in (1..600).chain([1_400]) {
        let mut lab = lab();
        let client = Client::connect(&mut lab, FAMILIES[1]);
        let page = lab.forward(&client.segment(ACK, &vec![b'G'; octets]));
        let client = client.behind(octets);
        assert_page(&page, &client, true);
        let client = client.hears(&page);
        lab.lose(&client.segment(ACK, b""), DropReason::NoBackend);
        let last = lab.forward(&client.segment(FIN | ACK, b""));
        let expected = (ACK, client.expected, client.sequence.wrapping_add(1));
        assert_eq!((last.flags, last.sequence, last.acknowledgement), expected, "{octets}");
    }
}

#[test]
fn a_client_that_closes_is_closed_too() {
    // With its request.
    let mut lab = lab();
    let client = Client::connect(&mut lab, FAMILIES[0]);
    let page = lab.forward(&client.segment(FIN | ACK, GET));
    let client = client.behind(GET.len() + 1);
    assert_page(&page, &client, true);
    lab.lose(&client.hears(&page).segment(ACK, b""), DropReason::NoBackend);

    // Instead of one.
    let client = Client::connect(&mut lab, FAMILIES[0]);
    let close = lab.forward(&client.segment(FIN | ACK, b""));
    let client = client.behind(1);
    let expected = (FIN | ACK, client.expected, client.sequence);
    assert_eq!((close.flags, close.sequence, close.acknowledgement), expected);
    lab.lose(&client.hears(&close).segment(ACK, b""), DropReason::NoBackend);

    // After one that is not answered yet: again after the answer.
    let client = Client::connect(&mut lab, FAMILIES[0]);
    lab.lose(&client.behind(GET.len()).segment(FIN | ACK, b""), DropReason::NoBackend);
    let page = lab.forward(&client.segment(ACK, GET));
    let client = client.behind(GET.len()).hears(&page);
    assert_eq!(lab.forward(&client.segment(FIN | ACK, b"")).flags, ACK);
}

#[test]
fn resets_are_never_answered_and_padding_is_no_request() {
    let mut lab = lab();
    let client = Client::connect(&mut lab, FAMILIES[0]);
    assert_eq!(lab.exchange(&client.segment(RST, b"")), []);
    assert_eq!(lab.exchange(&client.segment(RST | ACK, GET)), []);
    let mut padded = client.segment(ACK, b"");
    padded.resize(60, b'G');
    lab.lose(&padded, DropReason::NoBackend);
}

#[test]
fn answers_keep_the_tag_that_a_packet_came_with() {
    let mut lab = lab();
    let accepted = lab.forward(&Build::new(CLIENT6, WEB6).vlan(100).tcp());
    assert_eq!((accepted.flags, accepted.vlan), (SYN | ACK, Some(100)));
    let request = Build::answer(&accepted).vlan(100).flags(ACK);
    let request = request.numbers(accepted.acknowledgement, accepted.sequence.wrapping_add(1));
    let page = lab.forward(&request.payload(GET).tcp());
    assert_eq!((page.flags, page.vlan), (FIN | ACK, Some(100)));
}

#[test]
fn a_segment_without_our_cookie_is_of_an_unknown_flow() {
    for (policy, answers) in [(OnUnknownFlow::Reset, 1), (OnUnknownFlow::Drop, 0)] {
        let on_no_backend = OnNoBackend::Http503;
        let mut lab =
            Lab::new(Plan { backends: 0, on_no_backend, on_unknown_flow: policy, ..Plan::default() });
        let client = Client::connect(&mut lab, FAMILIES[0]);
        let wrong = [
            Client { expected: client.expected.wrapping_add(100), ..client },
            Client { from: "198.51.100.7:40001", ..client },
            Client { from: "198.51.100.8:40000", ..client },
        ];
        for client in wrong {
            let sent = lab.exchange(&client.segment(ACK, GET));
            assert_eq!(sent.len(), answers);
            assert!(sent.iter().all(|answer| answer.flags == RST));
        }
        // A request that came too late.
        lab.wait(Nanos::from_secs(128));
        assert_eq!(lab.exchange(&client.segment(ACK, GET)).len(), answers);
        assert_eq!(lab.dropped(DropReason::UnknownFlow), 4);
    }
}

#[test]
fn with_a_backend_again_what_was_begun_is_unknown_and_new_clients_are_served() {
    let mut lab = lab();
    let client = Client::connect(&mut lab, FAMILIES[0]);
    lab.set_backend(1, true);
    assert_eq!(lab.forward(&client.segment(ACK, GET)).flags, RST);
    assert_eq!(lab.dropped(DropReason::UnknownFlow), 1);
    let syn = lab.forward(&Build::new(CLIENT4, WEB4).tcp());
    assert_eq!((syn.flags, lab.tally().flows()), (SYN, 1));
}

#[test]
fn other_services_of_the_vip_refuse_as_before() {
    let mut lab = lab();
    let error = lab.forward(&Build::new(CLIENT4, "203.0.113.80:53").payload(b"q").udp());
    assert_eq!(error.kind, Kind::Icmp(3, 3));
}

#[test]
fn any_worker_that_gets_a_segment_has_it_answered_by_its_owner() {
    let mut lab =
        Lab::new(Plan { workers: 3, backends: 0, on_no_backend: OnNoBackend::Http503, ..Plan::default() });
    for worker in 0..3 {
        let accepted = lab.exchange_at(worker, &Build::new(CLIENT4, WEB4).tcp()).remove(0);
        let request = Build::answer(&accepted).flags(ACK).payload(GET);
        let request = request.numbers(accepted.acknowledgement, accepted.sequence.wrapping_add(1));
        let page = lab.exchange_at((worker + 1) % 3, &request.tcp()).remove(0);
        assert_eq!(page.flags, FIN | ACK);
    }
    lab.assert_conserved();
}

#[test]
fn answers_are_limited_in_rate() {
    let mut lab = lab();
    let answers: usize = (0..3_000).map(|_| lab.exchange(&Build::new(CLIENT4, WEB4).tcp()).len()).sum();
    assert!((1_000..1_100).contains(&answers), "{answers} answers in no time");
    assert_eq!(lab.tally().unanswered, 3_000 - answers as u64);
    assert_eq!(lab.dropped(DropReason::NoBackend), 3_000);
    lab.assert_conserved();
}
