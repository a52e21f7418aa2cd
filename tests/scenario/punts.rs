//! Packets for the kernel: classes, rates and rings, and packets that no program of this host has asked for.

use std::net::IpAddr;
use std::net::SocketAddr;

use evenkeel::model::{Mac, Nanos, PortId};
use evenkeel::shared::rings::PuntRings;
use evenkeel::shared::{DropReason, PuntClass};

use crate::icmp_message::{error, message};
use crate::lab::{BACK4, BACK6, BACKEND_MAC, FRONT4, FRONT6, LOCAL4, LOCAL6, Lab, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, RST, SYN};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";
const BACKEND: &str = "10.0.9.1:8080";
const BACKEND6: &str = "[fd00:9::1]:8080";
/// Ports of the two-port lab.
const FRONT: PortId = PortId(0);
const BACK: PortId = PortId(1);

fn lab() -> Lab {
    Lab::new(Plan { ports: 2, ..Plan::default() })
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// From a backend's own MAC address.
fn from_backend(from: &str, to: &str, port: u16) -> Build {
    Build { source_mac: BACKEND_MAC, ..Build::between(from.parse().unwrap(), at(to, port)) }
}

/// To everybody, or to one MAC address.
fn arp(destination: Mac) -> Vec<u8> {
    [&destination.0[..], &[2, 0, 0, 0, 0, 0xc, 0x08, 0x06], &[0; 46]].concat()
}

/// An ICMP message without data beyond its header.
fn icmp(from: &str, to: &str, icmp_type: u8) -> Vec<u8> {
    message(from, to.parse::<IpAddr>().unwrap(), (icmp_type, 0, [0; 4]), &[0; 16])
}

fn with_hop_limit_255(mut frame: Vec<u8>) -> Vec<u8> {
    frame[14 + 7] = 255;
    frame
}

fn with_source_mac(mut frame: Vec<u8>, mac: Mac) -> Vec<u8> {
    frame[6..12].copy_from_slice(&mac.0);
    frame
}

fn deliver(lab: &mut Lab, port: PortId, frame: &[u8]) {
    let answers = if port == FRONT { lab.exchange(frame) } else { lab.exchange_by_back(frame) };
    assert_eq!(answers, [], "an answer to a packet for the kernel");
}

/// The class and port of the only frame that waits for the kernel.
#[track_caller]
fn only_punt(lab: &Lab, what: &str) -> (PuntClass, PortId) {
    let waits = PuntClass::ALL.into_iter().flat_map(|class| {
        let rings = &lab.rings.punts;
        [FRONT, BACK].into_iter().filter_map(move |port| rings.pop(class, port).map(|_| (class, port)))
    });
    let waits: Vec<_> = waits.collect();
    assert_eq!(waits.len(), 1, "{what}: {waits:?}; drops {:?}", lab.drops());
    waits[0]
}

#[test]
fn packets_for_the_kernel_are_classed_by_evidence_and_port() {
    let mut lab = lab();
    let our_mac = Build::new(CLIENT, CLIENT).destination_mac;
    let group = Mac([1, 0, 0x5e, 0, 0, 5]);
    let to_group = |build: Build| Build { destination_mac: group, ..build };
    let cases = [
        ("broadcast ARP", FRONT, arp(Mac([0xff; 6])), PuntClass::NeighbourGroup),
        ("unicast ARP", FRONT, arp(our_mac), PuntClass::Neighbour),
        (
            "neighbour advertisement",
            BACK,
            with_hop_limit_255(icmp("fd00:9::1", BACK6, 136)),
            PuntClass::Neighbour,
        ),
        (
            "advertisement of another host for an address of ours",
            FRONT,
            with_hop_limit_255(icmp(FRONT6, FRONT6, 136)),
            PuntClass::Neighbour,
        ),
        (
            "OSPF to a group",
            FRONT,
            to_group(Build::new(CLIENT, "224.0.0.5:0")).raw(89, &[2; 24]),
            PuntClass::Routing,
        ),
        (
            "OSPF between neighbours",
            BACK,
            Build::new(BACKEND, "10.0.9.254:0").raw(89, &[2; 24]),
            PuntClass::Routing,
        ),
        (
            "OSPF from elsewhere",
            FRONT,
            Build::new(CLIENT, "192.0.2.10:0").raw(89, &[2; 24]),
            PuntClass::Other,
        ),
        (
            "BGP of a neighbour",
            BACK,
            Build::new("10.0.9.77:179", "10.0.9.254:5555").flags(ACK).tcp(),
            PuntClass::Routing,
        ),
        (
            "BGP of a neighbour that opens",
            BACK,
            Build::new("10.0.9.77:5555", "10.0.9.254:179").tcp(),
            PuntClass::Routing,
        ),
        (
            "BGP from elsewhere",
            FRONT,
            Build::new(CLIENT, "192.0.2.10:179").flags(ACK).tcp(),
            PuntClass::Reply,
        ),
        (
            "BGP from elsewhere that opens",
            FRONT,
            Build::new(CLIENT, "192.0.2.10:179").tcp(),
            PuntClass::Other,
        ),
        (
            "answer to a probe",
            BACK,
            from_backend(BACKEND, BACK4, 40_000).flags(SYN | ACK).tcp(),
            PuntClass::Probe,
        ),
        (
            "refusal of a probe",
            BACK,
            from_backend(BACKEND6, BACK6, 40_000).flags(RST).tcp(),
            PuntClass::Probe,
        ),
        ("UDP answer to a probe", BACK, from_backend(BACKEND, BACK4, 40_000).udp(), PuntClass::Probe),
        (
            "answer to a local address",
            BACK,
            from_backend(BACKEND, LOCAL4, 1024).flags(ACK).tcp(),
            PuntClass::Probe,
        ),
        ("UDP answer to a local address", BACK, from_backend(BACKEND6, LOCAL6, 4095).udp(), PuntClass::Probe),
        (
            "echo reply of a backend",
            BACK,
            with_source_mac(icmp("10.0.9.1", BACK4, 0), BACKEND_MAC),
            PuntClass::Probe,
        ),
        (
            "echo reply of a backend to a local address",
            BACK,
            with_source_mac(icmp("fd00:9::1", LOCAL6, 129), BACKEND_MAC),
            PuntClass::Probe,
        ),
        (
            "backend's address from another MAC address",
            BACK,
            Build::new(BACKEND, "10.0.9.254:40000").flags(ACK).tcp(),
            PuntClass::Reply,
        ),
        (
            "backend's address by the clients' port",
            FRONT,
            from_backend(BACKEND, FRONT4, 40_000).flags(ACK).tcp(),
            PuntClass::Reply,
        ),
        (
            "backend's address to a local one by the clients' port",
            FRONT,
            from_backend(BACKEND, LOCAL4, 2000).udp(),
            PuntClass::Reply,
        ),
        ("SYN of a backend", BACK, from_backend(BACKEND, BACK4, 40_000).tcp(), PuntClass::Other),
        (
            "segment of a backend to a system port",
            BACK,
            from_backend(BACKEND, BACK4, 22).flags(ACK).tcp(),
            PuntClass::Other,
        ),
        (
            "segment to a port of the kernel's",
            FRONT,
            Build::new(CLIENT, "192.0.2.10:40000").flags(ACK).tcp(),
            PuntClass::Reply,
        ),
        ("echo reply to a port's address", FRONT, icmp("198.51.100.7", FRONT4, 0), PuntClass::Reply),
        ("SYN to a port's address", FRONT, Build::new(CLIENT, "192.0.2.10:22").tcp(), PuntClass::Other),
        (
            "UDP to a port's address",
            FRONT,
            Build::new(CLIENT6, "[2001:db8:2::10]:53").udp(),
            PuntClass::Other,
        ),
        ("echo request to a port's address", FRONT, icmp("198.51.100.7", FRONT4, 8), PuntClass::Other),
    ];
    for (what, port, frame, expected) in cases {
        deliver(&mut lab, port, &frame);
        assert_eq!(only_punt(&lab, what), (expected, port), "{what}");
    }
    lab.assert_conserved();
}

#[test]
fn a_flood_of_one_class_leaves_other_classes_and_ports_their_rate_and_ring() {
    let probe = from_backend(BACKEND, BACK4, 40_000).flags(SYN | ACK).tcp();
    let group = Mac([0xff; 6]);
    let floods = [
        ("UDP", FRONT, Build::new(CLIENT, "192.0.2.10:9").udp(), PuntClass::Other),
        ("UDP on the backends' port", BACK, Build::new(CLIENT, "10.0.9.254:9").udp(), PuntClass::Other),
        (
            "segments on the backends' port",
            BACK,
            Build::new(CLIENT, "10.0.9.254:40000").flags(ACK).tcp(),
            PuntClass::Reply,
        ),
        (
            "a backend's address on the clients' port",
            FRONT,
            from_backend(BACKEND, BACK4, 40_000).flags(ACK).tcp(),
            PuntClass::Reply,
        ),
        ("ARP", BACK, arp(group), PuntClass::NeighbourGroup),
        ("BGP", BACK, Build::new("10.0.9.77:179", "10.0.9.254:5555").flags(ACK).tcp(), PuntClass::Routing),
    ];
    for (what, port, flood, class) in floods {
        let mut lab = lab();
        // Nobody takes frames: at first the ring fills, then the burst of the rate is used up.
        for _ in 0..8_000 {
            deliver(&mut lab, port, &flood);
        }
        let policed = lab.dropped(class.policed());
        let ring = PuntRings::<()>::capacity(class) as u64;
        assert_eq!(lab.tally().punted, ring, "{what}: {:?}", lab.drops());
        assert!(policed > 5_000, "{what}: {:?}", lab.drops());
        assert_eq!(policed + lab.dropped(DropReason::PuntRingFull), 8_000 - ring, "{what}");
        for _ in 0..200 {
            deliver(&mut lab, BACK, &probe);
        }
        assert_eq!(lab.tally().punted, ring + 200, "{what}: {:?}", lab.drops());
        let probes = std::iter::from_fn(|| lab.rings.punts.pop(PuntClass::Probe, BACK)).count();
        assert_eq!(probes, 200, "{what}");
        lab.rings.punts.drain().for_each(drop);
        lab.now = lab.now + Nanos::from_secs(1);
        deliver(&mut lab, port, &flood);
        assert_eq!(only_punt(&lab, what), (class, port), "{what}: after a second the rate is back");
        lab.assert_conserved();
    }
}

#[test]
fn answers_to_questions_that_nobody_asked_are_dropped() {
    let mut lab = lab();
    for (v6, vip, local, reply) in [(false, VIP4, LOCAL4, 0), (true, VIP6, LOCAL6, 129)] {
        let [client, backend] =
            if v6 { ["2001:db8:7::7", "fd00:9::1"] } else { ["198.51.100.7", "10.0.9.1"] };
        lab.lose(&icmp(client, vip, reply), DropReason::Unsolicited);
        lab.lose(&icmp(backend, vip, reply), DropReason::Unsolicited);
        lab.lose(&icmp(client, local, reply), DropReason::Unsolicited);
        let unreachable = if v6 { (1, 4, [0; 4]) } else { (3, 3, [0; 4]) };
        let stranger = Build::between(at(local, 2000), at(client, 53)).udp();
        lab.lose(&error(&stranger, unreachable, 100), DropReason::Unsolicited);
        let probe = Build::between(at(local, 2000), at(backend, 53)).udp();
        deliver(&mut lab, BACK, &error(&probe, unreachable, 100));
        only_punt(&lab, "an error about a probe");
    }
    for icmp_type in 133..=137 {
        for to in [VIP6, FRONT6, "ff02::1:ff00:10"] {
            lab.lose(
                &icmp("fe80::1", to, icmp_type),
                if icmp_type == 137 && to == VIP6 {
                    DropReason::IcmpNotAllowed
                } else {
                    DropReason::NeighbourOffLink
                },
            );
        }
    }
    for protocol in [2, 88, 89, 103, 112] {
        lab.lose(&Build::new(CLIENT, "203.0.113.80:0").raw(protocol, &[2; 24]), DropReason::NoService);
        lab.lose(&Build::new(CLIENT, "10.0.8.10:0").raw(protocol, &[2; 24]), DropReason::UnknownReturn);
    }
    lab.assert_conserved();
}

#[test]
fn ports_of_a_local_address_below_those_of_flows_are_refused_to_all_but_backends_that_answer() {
    let mut lab = lab();
    for (client, backend, local) in [(CLIENT, BACKEND, LOCAL4), (CLIENT6, BACKEND6, LOCAL6)] {
        for port in [22, 1024, 4095] {
            let from_client = Build::between(client.parse().unwrap(), at(local, port));
            for (frame, is_tcp) in [
                (from_client.clone().tcp(), true),
                (from_client.clone().flags(SYN | ACK).tcp(), true),
                (from_client.clone().udp(), false),
                (from_backend(backend, local, port).tcp(), true),
            ] {
                let refused = lab.dropped(DropReason::UnknownReturn);
                let answer = lab.forward(&frame);
                assert_eq!(is_tcp && answer.flags & RST != 0, is_tcp, "{answer:?}");
                assert_eq!(lab.dropped(DropReason::UnknownReturn), refused + 1);
                assert!(lab.rings.punts.is_empty());
            }
            deliver(&mut lab, BACK, &from_backend(backend, local, port).flags(SYN | ACK).tcp());
            only_punt(&lab, "a backend's answer");
        }
    }
    lab.assert_conserved();
}

#[test]
fn an_address_of_ours_as_source_is_a_martian() {
    let mut lab = lab();
    for source in [FRONT4, BACK4, VIP4, LOCAL4] {
        for to in [at(VIP4, 80), at(FRONT4, 22), at(BACK4, 40_000), at(LOCAL4, 2000), at(LOCAL4, 5000)] {
            let build = Build::between(at(source, 5555), to);
            lab.lose(&build.tcp(), DropReason::Martian);
            lab.lose(&build.udp(), DropReason::Martian);
        }
        lab.lose(&icmp(source, FRONT4, 8), DropReason::Martian);
        lab.lose(&icmp(source, VIP4, 8), DropReason::Martian);
    }
    for source in [FRONT6, BACK6, VIP6, LOCAL6] {
        for to in [at(VIP6, 80), at(FRONT6, 22), at(LOCAL6, 2000)] {
            lab.lose(&Build::between(at(source, 5555), to).tcp(), DropReason::Martian);
        }
        lab.lose(&icmp(source, FRONT6, 128), DropReason::Martian);
    }
    lab.assert_conserved();
}
