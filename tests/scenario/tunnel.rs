//! Packets inside others, judged by etherparse.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, UdpHeaderSlice};
use evenkeel::model::{Encapsulation, ForwardingMode, VlanTag};
use evenkeel::shared::DropReason;

use crate::lab::{BACKEND_MAC, LOCAL4, LOCAL6, Lab, OUR_MAC, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Kind, decode};
use crate::pieces::{join, piece, split};

const GUE: Encapsulation = Encapsulation::Gue { port: 6080 };

fn plan(encapsulation: Encapsulation) -> Plan {
    Plan { mode: ForwardingMode::Tunnel(encapsulation), ..Plan::default() }
}

fn client(vip: &str) -> Build {
    match vip {
        VIP4 => Build::new("198.51.100.7:40000", "203.0.113.80:80"),
        _ => Build::new("[2001:db8:7::7]:40000", "[2001:db8::80]:80"),
    }
}

/// The outer packet of a frame.
struct Opened {
    source: IpAddr,
    destination: IpAddr,
    traffic_class: u8,
    protocol: u8,
    /// Source and destination port and checksum.
    udp: Option<(u16, u16, u16)>,
    inner: Vec<u8>,
}

/// Takes a frame apart and checks every length and checksum of its outer headers.
#[track_caller]
fn open(frame: &[u8]) -> Opened {
    assert_eq!((&frame[..6], &frame[6..12]), (&BACKEND_MAC.0[..], &OUR_MAC.0[..]));
    let packet = &frame[14..];
    let (mut opened, payload) = match frame[12..14] {
        [8, 0] => {
            let header = Ipv4HeaderSlice::from_slice(packet).unwrap();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!(usize::from(header.total_len()), packet.len());
            assert_eq!((header.ttl(), header.dont_fragment(), header.ihl()), (64, true, 5));
            let opened = Opened {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                traffic_class: header.dcp().value() << 2 | header.ecn().value(),
                protocol: header.protocol().0,
                udp: None,
                inner: Vec::new(),
            };
            (opened, &packet[20..])
        }
        [0x86, 0xdd] => {
            let header = Ipv6HeaderSlice::from_slice(packet).unwrap();
            assert_eq!(usize::from(header.payload_length()) + 40, packet.len());
            assert_eq!(header.hop_limit(), 64);
            let opened = Opened {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                traffic_class: header.traffic_class(),
                protocol: header.next_header().0,
                udp: None,
                inner: Vec::new(),
            };
            (opened, &packet[40..])
        }
        ref other => panic!("{other:x?}"),
    };
    opened.inner = payload.to_vec();
    if opened.protocol == 17 {
        let header = UdpHeaderSlice::from_slice(payload).unwrap();
        assert_eq!(usize::from(header.length()), payload.len());
        if let (IpAddr::V6(source), IpAddr::V6(destination)) = (opened.source, opened.destination) {
            let expected = header.to_header().calc_checksum_ipv6_raw(
                source.octets(),
                destination.octets(),
                &payload[8..],
            );
            assert_eq!(header.checksum(), expected.unwrap(), "outer UDP checksum");
        }
        opened.udp = Some((header.source_port(), header.destination_port(), header.checksum()));
        opened.inner = payload[12..].to_vec();
        let inside = if opened.inner[0] >> 4 == 4 { 4 } else { 41 };
        assert_eq!(payload[8..12], [0, inside, 0, 0], "GUE, variant 0");
    }
    opened
}

/// The inner packet as a frame that [`decode`] reads.
fn framed(inner: &[u8]) -> Vec<u8> {
    let ether_type: [u8; 2] = if inner[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&[0; 12], &ether_type[..], inner].concat()
}

fn exchange(lab: &mut Lab, frame: &[u8]) -> Vec<u8> {
    lab.deliver_to(0, frame);
    lab.settle();
    let sent = lab.sent();
    assert_eq!(sent.len(), 1, "{:?}", lab.drops());
    sent[0].clone()
}

#[test]
fn either_family_travels_in_either_with_or_without_gue_and_only_loses_a_hop() {
    for encapsulation in [Encapsulation::Ip, GUE] {
        for (vip, crossed) in [(VIP4, false), (VIP6, false), (VIP4, true), (VIP6, true)] {
            let mut lab = Lab::new(Plan { crossed, ..plan(encapsulation) });
            let mut build = client(vip).flags(ACK).payload(b"an odd number of octets");
            build.ipv4_options = if vip == VIP4 { vec![0x94, 4, 0, 0] } else { Vec::new() };
            let frame = build.tcp();
            let opened = open(&exchange(&mut lab, &frame));

            let outer_v4 = (vip == VIP4) != crossed;
            let local = if outer_v4 { LOCAL4 } else { LOCAL6 };
            assert_eq!(opened.source, local.parse::<IpAddr>().unwrap());
            let backends = if outer_v4 { "10.0.9." } else { "fd00:9::" };
            assert!(opened.destination.to_string().starts_with(backends), "{}", opened.destination);
            match (encapsulation, opened.udp) {
                (Encapsulation::Ip, None) => {
                    assert_eq!(opened.protocol, if vip == VIP4 { 4 } else { 41 });
                }
                (Encapsulation::Gue { .. }, Some((from, to, checksum))) => {
                    assert!(from >= 0xc000);
                    assert_eq!((to, checksum == 0), (6080, outer_v4));
                }
                other => panic!("{other:?}"),
            }

            let mut expected = frame[14..].to_vec();
            let ttl = if vip == VIP4 { 8 } else { 7 };
            assert_eq!(opened.inner[ttl], expected[ttl] - 1);
            expected[ttl] -= 1;
            if vip == VIP4 {
                expected[10..12].copy_from_slice(&opened.inner[10..12]);
            }
            assert_eq!(opened.inner, expected);
            assert_eq!(decode(&framed(&opened.inner)).payload, build.payload);
            assert_eq!(lab.tally().flows(), 0);
            lab.assert_conserved();
        }
    }
}

#[test]
fn dscp_and_congestion_marks_are_those_of_the_inner_packet() {
    for (vip, crossed) in [(VIP4, false), (VIP6, false), (VIP4, true), (VIP6, true)] {
        let mut lab = Lab::new(Plan { crossed, ..plan(Encapsulation::Ip) });
        let mut frame = client(vip).flags(ACK).tcp();
        if vip == VIP4 {
            frame[15] = 0xbb;
            let sum = u16::from_be_bytes([frame[24], frame[25]]) - 0xbb;
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            frame[14] |= 0x0b;
            frame[15] |= 0xb0;
        }
        assert_eq!(open(&exchange(&mut lab, &frame)).traffic_class, 0xbb, "{vip} {crossed}");
    }
}

#[test]
fn a_flow_keeps_its_source_port_and_flows_differ_in_it() {
    let mut lab = Lab::new(plan(GUE));
    let mut port = |client: u16| {
        let build = Build::new(&format!("198.51.100.7:{client}"), "203.0.113.80:80").flags(ACK);
        open(&exchange(&mut lab, &build.tcp())).udp.unwrap().0
    };
    let ports: std::collections::BTreeSet<u16> = (0..100).map(|n| port(40_000 + n)).collect();
    assert!(ports.len() > 90, "{}", ports.len());
    assert_eq!(port(40_000), port(40_000));
}

#[test]
fn a_datagram_without_checksum_travels_in_gue_over_ipv6_too() {
    let mut lab = Lab::new(Plan { crossed: true, ..plan(GUE) });
    let mut frame = Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(b"query").udp();
    frame[14 + 20 + 6..14 + 20 + 8].fill(0);
    let opened = open(&exchange(&mut lab, &frame));
    let inner = decode(&framed(&opened.inner));
    assert_eq!((inner.kind, inner.udp_checksum), (Kind::Udp, Some(0)));
}

#[test]
fn the_tag_is_the_next_hops_and_padding_stays_behind() {
    for (next_hop_vlan, expected) in
        [(VlanTag::Untagged, None), (VlanTag::AsReceived, Some(100)), (VlanTag::Id(200), Some(200))]
    {
        let mut lab = Lab::new(Plan { next_hop_vlan, ..plan(Encapsulation::Ip) });
        let mut frame = client(VIP4).vlan(100).flags(ACK).tcp();
        frame.resize(80, 0xee);
        let mut sent = exchange(&mut lab, &frame);
        if let Some(id) = expected {
            assert_eq!(sent[12..16], [0x81, 0, 0, id]);
            sent.drain(12..16);
        }
        assert_eq!(open(&sent).inner.len(), 40);
    }
}

#[test]
fn what_does_not_fit_with_its_outer_headers_is_dropped_and_its_sender_told() {
    for (encapsulation, crossed, overhead) in
        [(Encapsulation::Ip, false, 20), (Encapsulation::Ip, true, 40), (GUE, false, 32), (GUE, true, 52)]
    {
        let mut lab = Lab::new(Plan { crossed, ..plan(encapsulation) });
        let fits = vec![0; 1500 - overhead - 40];
        exchange(&mut lab, &client(VIP4).flags(ACK).payload(&fits).tcp());
        let more = vec![0; fits.len() + 1];
        let told = lab.forward(&client(VIP4).flags(ACK).payload(&more).tcp());
        assert_eq!((told.kind, told.from.ip()), (Kind::Icmp(3, 4), VIP4.parse::<IpAddr>().unwrap()));
        assert_eq!(lab.dropped(DropReason::MtuExceeded), 1);
    }
}

/// Delivers frames and returns the inner packets of what is sent, as frames, whose outer ones fit 1500 octets.
#[track_caller]
fn inner(lab: &mut Lab, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    for frame in frames {
        lab.deliver_to(0, frame);
    }
    lab.settle();
    let sent = lab.sent();
    assert!(sent.iter().all(|frame| frame.len() <= 1514));
    let mut ends: Vec<_> =
        sent.iter().map(|frame| open(frame)).map(|o| (o.destination, o.udp.map(|u| u.0))).collect();
    ends.dedup();
    assert_eq!(ends.len(), 1, "all take one way to one backend");
    sent.iter().map(|frame| framed(&open(frame).inner)).collect()
}

#[test]
fn what_may_be_fragmented_travels_in_pieces_each_in_outer_headers_of_its_own() {
    for encapsulation in [Encapsulation::Ip, GUE] {
        for (crossed, next_hop_vlan) in
            [(false, VlanTag::Untagged), (true, VlanTag::Untagged), (false, VlanTag::AsReceived)]
        {
            let mut lab = Lab::new(Plan { crossed, next_hop_vlan, ..plan(encapsulation) });
            let mut build = client(VIP4).flags(ACK).payload(&[0x5a; 1460]);
            build.dont_fragment = false;
            build.ipv4_options = vec![0x94, 4, 0, 0];
            let pieces = inner(&mut lab, &[build.tcp()]);
            assert_eq!(pieces.len(), 2);
            assert!(pieces.iter().all(|frame| frame[34..38] == [0x94, 4, 0, 0]), "an option for all");
            let whole = decode(&join(&pieces)[0]);
            assert_eq!((whole.to, whole.ttl, whole.payload.len()), (build.to, 63, 1460));
            assert_eq!((lab.tally().dropped(), lab.tally().originated), (0, 1));

            // Pieces that came as such, each as large as the client's link takes.
            let datagram = Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(&[7; 4000]).udp();
            let pieces = inner(&mut lab, &split(&datagram, 77, &[1480, 2960]));
            assert_eq!(pieces.len(), 5, "the last one fits as it is");
            assert!(pieces.iter().all(|frame| piece(frame).shared.identification == 77), "their sender's");
            assert_eq!(decode(&join(&pieces)[0]).payload, [7; 4000]);
            lab.assert_conserved();
            assert_eq!(lab.pool.available(), 4096);
        }
    }
}

#[test]
fn a_packet_whose_ttl_is_used_up_is_answered_and_costs_no_record() {
    let mut lab = Lab::new(plan(Encapsulation::Ip));
    lab.set_backend(1, false);
    lab.set_backend(2, false);
    for port in 40_000..40_010 {
        let answer =
            lab.forward(&Build::new(&format!("198.51.100.7:{port}"), "203.0.113.80:80").ttl(1).tcp());
        assert_eq!(answer.kind, Kind::Icmp(11, 0));
    }
    assert_eq!(lab.tally().flows_created, 0);
}

#[test]
fn a_displaced_session_stays_also_with_a_backend_of_the_other_family() {
    let mut lab = Lab::new(Plan { crossed: true, ..plan(Encapsulation::Ip) });
    let destination = |lab: &mut Lab| open(&exchange(lab, &client(VIP4).flags(ACK).tcp())).destination;
    let first = destination(&mut lab);
    let number: u8 = first.to_string().rsplit(':').next().unwrap().parse().unwrap();
    lab.set_backend(number, false);
    let second = destination(&mut lab);
    assert_ne!(second, first);
    assert_eq!(destination(&mut lab), second);
    lab.set_backend(number, true);
    assert_eq!(destination(&mut lab), second);
}
