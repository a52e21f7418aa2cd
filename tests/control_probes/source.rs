//! The address that probes leave from.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::sync::mpsc;

use evenkeel::config::Expect;
use evenkeel::config::ProbeKind;
use evenkeel::config::UdpProbe;
use evenkeel::control::health::PROBE_PORTS;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::Prober;
use evenkeel::control::health::Question;
use evenkeel::dataplane::PortClass;

use super::ask;
use super::closed;
use super::question;
use super::server;
use super::tcp;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));

#[test]
fn answers_to_the_ports_of_probes_come_to_the_kernel() {
    assert_eq!(PROBE_PORTS.end, PortClass::FIRST);
}

#[tokio::test]
async fn tcp_probes_leave_from_the_address_that_they_are_given() {
    let (seen, clients) = mpsc::channel();
    let address = server(move |stream| seen.send(stream.peer_addr().unwrap()).unwrap());
    let from = |question| Question { from: Some(FROM), ..question };
    let prober = Prober::default();
    let mut ports = Vec::new();
    for _ in 0..50 {
        assert_eq!(prober.ask(&from(tcp(address))).await.unwrap().result, Ok(()));
        let client = clients.recv().unwrap();
        assert_eq!(client.ip(), FROM);
        assert!(PROBE_PORTS.contains(&client.port()), "{client}");
        ports.push(client.port());
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
    // Another one begins with the same ports, whose connections rest.
    assert_eq!(ask(from(tcp(address))).await, Ok(()));
    assert_eq!(ask(from(tcp(closed()))).await, Err(ProbeFailure::Refused));
}

#[tokio::test]
async fn datagrams_leave_from_the_address_that_they_are_given() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = socket.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (_, client) = socket.recv_from(&mut [0; 64]).unwrap();
        socket.send_to(b"pong", client).unwrap();
        client
    });
    let kind = ProbeKind::Udp(UdpProbe { send: "ping".to_owned(), expect: Expect::Any });
    assert_eq!(ask(Question { from: Some(FROM), ..question(target, kind) }).await, Ok(()));
    let client = server.join().unwrap();
    assert_eq!(client.ip(), FROM);
    assert!(PROBE_PORTS.contains(&client.port()), "{client}");
}

#[tokio::test]
async fn an_address_that_is_not_ours_says_nothing_about_the_backend() {
    let from = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)));
    let address = server(drop);
    assert!(Prober::default().ask(&Question { from, ..tcp(address) }).await.is_err());
}
