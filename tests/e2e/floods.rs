//! Floods of packets for the kernel, beside established connections and probes.
//!
//! Each flood lasts for three seconds, or for as many as EVENKEEL_FLOOD_SECONDS says. Three failed probes, each after its
//! time-out of a second, take a backend out: 10 s and more show that none fails.

use std::time::Duration;

use etherparse::NetSlice;
use etherparse::SlicedPacket;
use etherparse::checksum::Sum16BitWords;
use evenkeel::wire::tcp_flags;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::connection::Connection;
use crate::flood::Flood;
use crate::flood::Kind;
use crate::lab::Arms;
use crate::lab::Lab;

#[test]
fn floods_of_packets_for_the_kernel_disturb_no_probe_and_no_connection() {
    let Some(lab) = Lab::lay("floods", Arms::Two, 1) else { return };
    let probe = "kind = \"http\"\npath = \"/healthz\"\nport = 8080\n".to_owned();
    let balancer = Balancer::start(&lab, &Configuration { probe, ..Configuration::new(Arms::Two) });
    let mut connections: Vec<(&str, Connection)> =
        [VIP4, VIP6, VIP4, VIP6].map(|vip| (vip, Connection::open(&lab, vip))).into();
    let known = balancer.log().len();
    for (name, flood) in floods() {
        let running = Flood { time: flood_time(), ..flood }.start(&lab);
        let mut requests = 0;
        while !running.is_over() {
            for (vip, connection) in &mut connections {
                let answer = connection.ask("/");
                assert!(answer.is_ok(), "{name}: {vip}: {answer:?}\n{}", balancer.circumstances());
                requests += 1;
            }
        }
        let sent = running.wait();
        eprintln!("{name}: {:.0} packets per second, {requests} requests answered", sent.rate());
        let log = balancer.log();
        let log = &log[known..];
        assert!(!log.contains("backend_down"), "{name}: a backend left service\n{log}");
    }
    let policed = balancer.run(&["counters"]);
    eprintln!("{}", policed.out);
    for url in [WEB4, WEB6] {
        client::requests(&lab, url, 20).assert_complete(20);
    }
}

/// One flood of each kind of packet that may be for the kernel.
fn floods() -> Vec<(&'static str, Flood)> {
    let syn = Kind::Tcp { flags: tcp_flags::SYN };
    let ack = Kind::Tcp { flags: tcp_flags::ACK };
    let backend = |flood: Flood, source: &str, port| Flood {
        source: source.parse().unwrap(),
        source_bits: 0,
        source_port: port,
        ..flood
    };
    let on_link = |flood: Flood, source: &str, bits| Flood {
        source: source.parse().unwrap(),
        source_bits: bits,
        ..flood
    };
    vec![
        ("echo replies to a VIP", Flood::new(Kind::EchoReply, VIP4, 0)),
        ("ICMPv6 echo replies to a VIP", Flood::new(Kind::EchoReply, VIP6, 0)),
        ("echo replies to a local address", Flood::new(Kind::EchoReply, LOCAL4, 0)),
        ("echo requests to a port's address", Flood::new(Kind::EchoRequest, FRONT4, 0)),
        ("UDP to a port's address", Flood::new(Kind::Udp, FRONT4, 9)),
        ("UDP over IPv6 to a port's address", Flood::new(Kind::Udp, FRONT6, 9)),
        ("SYN to a port's address", Flood::new(syn, FRONT4, 22)),
        ("SYN to a BGP port", Flood::new(syn, FRONT4, 179)),
        ("SYN to a local address", Flood::new(syn, LOCAL4, 2222)),
        ("ACK to a port's address", Flood::new(ack, FRONT4, 40_000)),
        ("ACK to the other port's address", Flood::new(ack, BACK4, 40_000)),
        ("ACK from a backend's address", backend(Flood::new(ack, BACK4, 40_000), "10.0.9.1", Some(8080))),
        (
            "UDP from a backend's address",
            backend(Flood::new(Kind::Udp, LOCAL4, 2000), "10.0.9.1", Some(5353)),
        ),
        ("ARP", on_link(Flood::new(Kind::Arp, FRONT4, 0), "192.0.2.128", 6)),
        (
            "neighbour solicitations",
            on_link(Flood::new(Kind::NeighbourSolicitation, FRONT6, 0), "2001:db8:2::1:0", 6),
        ),
        ("OSPF", on_link(Flood::new(Kind::Ospf, "224.0.0.5", 0), "192.0.2.128", 6)),
        ("IGMP", on_link(Flood::new(Kind::Igmp, "224.0.0.9", 0), "192.0.2.128", 6)),
        ("UDP to a group", Flood::new(Kind::Udp, "224.0.0.251", 5353)),
    ]
}

fn flood_time() -> Duration {
    let seconds = std::env::var("EVENKEEL_FLOOD_SECONDS").ok();
    Duration::from_secs(seconds.map_or(3, |seconds| seconds.parse().unwrap()))
}

/// Addresses of the ports "front" and "back", and the local one.
const FRONT4: &str = "192.0.2.10";
const FRONT6: &str = "2001:db8:2::10";
const BACK4: &str = "10.0.9.254";
const LOCAL4: &str = "10.0.8.10";

#[test]
fn packets_of_a_flood_have_valid_headers_and_checksums() {
    for kind in [Kind::EchoRequest, Kind::EchoReply, Kind::Udp, Kind::Tcp { flags: tcp_flags::SYN }] {
        for to in ["192.0.2.10", "2001:db8:2::10"] {
            assert_valid(&Flood::new(kind, to, 80));
        }
    }
    assert_valid(&Flood::new(Kind::NeighbourSolicitation, "2001:db8:2::10", 0));
    assert_valid(&Flood::new(Kind::Ospf, "224.0.0.5", 0));
    assert_valid(&Flood::new(Kind::Igmp, "224.0.0.9", 0));
}

fn assert_valid(flood: &Flood) {
    for frame in flood.sample(100) {
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let (source, destination, payload) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum(), "{flood:?}");
                (header.source().to_vec(), header.destination().to_vec(), ip.payload())
            }
            NetSlice::Ipv6(ip) => {
                (ip.header().source().to_vec(), ip.header().destination().to_vec(), ip.payload())
            }
            NetSlice::Arp(_) => continue,
        };
        let mut sum = Sum16BitWords::new().add_slice(payload.payload);
        let has_pseudo_header = source.len() == 16 || matches!(flood.kind, Kind::Udp | Kind::Tcp { .. });
        if has_pseudo_header {
            let length = u16::try_from(payload.payload.len()).unwrap();
            sum = sum.add_slice(&source).add_slice(&destination);
            sum = sum.add_2bytes([0, payload.ip_number.0]).add_2bytes(length.to_be_bytes());
        }
        assert_eq!(sum.ones_complement(), 0, "{flood:?}");
    }
}
