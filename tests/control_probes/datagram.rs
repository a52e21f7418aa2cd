//! UDP and DNS.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::thread;

use evenkeel::config::DnsProbe;
use evenkeel::config::Expect;
use evenkeel::config::ProbeKind;
use evenkeel::config::Rcode;
use evenkeel::config::RecordType;
use evenkeel::config::UdpProbe;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::Question;

use super::ask;
use super::impatient;
use super::question;

/// A server that answers every datagram with those that `answer` makes of it, for the rest of the process.
fn answering(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = socket.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((octets, client)) = socket.recv_from(&mut datagram) {
            for answer in answer(&datagram[..octets]) {
                // The prober may have gone.
                let _gone = socket.send_to(&answer, client);
            }
        }
    });
    address
}

/// A UDP port that nobody listens on.
fn closed() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("it is bound")
}

fn udp(target: SocketAddr, expect: Expect) -> Question {
    question(target, ProbeKind::Udp(UdpProbe { send: "ping\u{0}\n".to_owned(), expect }))
}

fn text(text: &str) -> Expect {
    Expect::Text(text.to_owned())
}

#[tokio::test]
async fn a_header_that_names_no_client_is_in_the_datagram_where_it_is_expected() {
    let at = answering(|datagram| {
        let asked = datagram.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").unwrap_or_default();
        vec![asked.to_vec()]
    });
    let asked = udp(at, text("ping"));
    assert_eq!(ask(Question { proxy_header: true, ..asked.clone() }).await, Ok(()));
    assert_eq!(ask(asked).await, Err(ProbeFailure::Mismatch));
}

#[tokio::test]
async fn a_datagram_is_sent_as_it_is_and_its_answer_judged() {
    let echo = answering(|datagram| vec![datagram.to_vec()]);
    for (description, expect, expected) in [
        ("any answer", Expect::Any, Ok(())),
        ("the text in it", text("g\u{0}\n"), Ok(())),
        ("another text", text("pong"), Err(ProbeFailure::Mismatch)),
        ("one that was not needed", Expect::Nothing, Ok(())),
    ] {
        assert_eq!(ask(udp(echo, expect)).await, expected, "{description}");
    }
    let empty = answering(|_| vec![Vec::new()]);
    assert_eq!(ask(udp(empty, Expect::Any)).await, Ok(()));
    assert_eq!(ask(udp(empty, text("pong"))).await, Err(ProbeFailure::Mismatch));
}

#[tokio::test]
async fn silence_is_a_failure_unless_no_answer_is_expected() {
    let silent = answering(|_| Vec::new());
    assert_eq!(ask(impatient(udp(silent, Expect::Any))).await, Err(ProbeFailure::Timeout));
    assert_eq!(ask(impatient(udp(silent, text("pong")))).await, Err(ProbeFailure::Timeout));
    assert_eq!(ask(impatient(udp(silent, Expect::Nothing))).await, Ok(()));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses_even_if_no_answer_is_expected() {
    for expect in [Expect::Any, text("pong"), Expect::Nothing] {
        assert_eq!(ask(udp(closed(), expect)).await, Err(ProbeFailure::Refused));
    }
}

fn dns(target: SocketAddr, rcode: Rcode) -> Question {
    let query = "health.example".to_owned();
    question(target, ProbeKind::Dns(DnsProbe { query, record: RecordType(28), rcode }))
}

/// The answer to `query` with this response code and no records.
fn response(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | rcode;
    answer
}

const NOERROR: Rcode = Rcode(0);
const NXDOMAIN: Rcode = Rcode(3);

#[tokio::test]
async fn a_dns_server_is_judged_by_its_response_code() {
    for (code, wanted, expected) in [
        (0, NOERROR, Ok(())),
        (2, NOERROR, Err(ProbeFailure::Rcode(Rcode(2)))),
        (3, NXDOMAIN, Ok(())),
        (0, NXDOMAIN, Err(ProbeFailure::Rcode(NOERROR))),
    ] {
        let server = answering(move |query| vec![response(query, code)]);
        assert_eq!(ask(dns(server, wanted)).await, expected, "{code}");
    }
    let asked = answering(|query| {
        let right = query[2..].starts_with(b"\x01\0\0\x01\0\0\0\0\0\0\x06health\x07example\0\0\x1c\0\x01");
        vec![response(query, if right { 0 } else { 1 })]
    });
    assert_eq!(ask(dns(asked, NOERROR)).await, Ok(()));
}

#[tokio::test]
async fn what_is_no_answer_to_the_query_does_not_pass_for_one() {
    let late = answering(|query| {
        let mut other = response(query, 2);
        other[0] ^= 0xff;
        vec![other, response(query, 0)]
    });
    assert_eq!(ask(dns(late, NOERROR)).await, Ok(()), "the answer to another query comes first");
    let echo = answering(|query| vec![query.to_vec()]);
    assert_eq!(ask(dns(echo, NOERROR)).await, Err(ProbeFailure::Malformed));
    let silent = answering(|_| Vec::new());
    assert_eq!(ask(impatient(dns(silent, NOERROR))).await, Err(ProbeFailure::Timeout));
    assert_eq!(ask(dns(closed(), NOERROR)).await, Err(ProbeFailure::Refused));
}
