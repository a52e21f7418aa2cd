//! What happens to the packets of a flow, both ways.

use std::net::SocketAddr;

use evenkeel::model::{OnNoBackend, VlanTag};
use evenkeel::shared::DropReason;

use crate::lab::{BACKEND_MAC, CLIENT_MAC, LOCAL4, LOCAL6, Lab, OUR_MAC, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Decoded, Kind, SYN};

const CLIENT4: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";

fn families() -> [(SocketAddr, SocketAddr, SocketAddr); 2] {
    [(CLIENT4, VIP4, LOCAL4), (CLIENT6, VIP6, LOCAL6)].map(|(client, vip, local)| {
        let at = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
        (client.parse().unwrap(), at(vip, 0), at(local, 0))
    })
}

fn with_port(address: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), port)
}

#[test]
fn a_tcp_connection_is_translated_both_ways_with_right_checksums_and_ttl() {
    for (client, vip, local) in families() {
        let mut lab = Lab::new(Plan::default());
        let vip = with_port(vip, 80);
        let syn = lab.forward(&Build::between(client, vip).tcp());
        assert_eq!(syn.from.ip(), local.ip());
        assert!(syn.from.port() >= 4096);
        assert_eq!(syn.to.port(), 8080);
        assert_eq!((syn.ttl, syn.flags, syn.sequence), (63, SYN, 1000));
        assert_eq!((syn.source_mac, syn.destination_mac), (OUR_MAC, BACKEND_MAC));

        let answer = lab.forward(&Build::answer(&syn).flags(SYN | ACK).ttl(128).tcp());
        assert_eq!((answer.from, answer.to), (vip, client));
        assert_eq!((answer.ttl, answer.flags), (127, SYN | ACK));
        assert_eq!((answer.source_mac, answer.destination_mac), (OUR_MAC, CLIENT_MAC));

        let data =
            lab.forward(&Build::between(client, vip).flags(ACK).payload(b"odd number of octets!").tcp());
        assert_eq!((data.from, data.to), (syn.from, syn.to), "the flow keeps its lease and backend");
        assert_eq!(data.payload, b"odd number of octets!");
        lab.assert_conserved();
    }
}

#[test]
fn udp_is_translated_both_ways() {
    for (client, vip, local) in families() {
        let mut lab = Lab::new(Plan::default());
        let vip = with_port(vip, 53);
        let query = lab.forward(&Build::between(client, vip).payload(b"query").udp());
        assert_eq!((query.kind, query.from.ip(), query.to.port()), (Kind::Udp, local.ip(), 8080));
        let answer = lab.forward(&Build::answer(&query).payload(b"answer").udp());
        assert_eq!((answer.from, answer.to, answer.payload.as_slice()), (vip, client, b"answer".as_slice()));
    }
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    let mut lab = Lab::new(Plan::default());
    let mut frame = Build::new(CLIENT4, "203.0.113.80:53").payload(b"query").udp();
    frame[14 + 20 + 6..14 + 20 + 8].fill(0);
    assert_eq!(lab.forward(&frame).udp_checksum, Some(0));
}

#[test]
fn an_updated_udp_checksum_is_never_sent_as_zero() {
    let mut lab = Lab::new(Plan::default());
    let sent: Vec<Decoded> = (0..=u16::MAX)
        .step_by(251)
        .flat_map(|n| {
            // The same flow, with a payload that walks through the values of the checksum.
            lab.exchange(&Build::new(CLIENT4, "203.0.113.80:53").payload(&n.to_be_bytes()).udp())
        })
        .collect();
    let first = &sent[0];
    // The payload for which the sum comes out as zero: what the first checksum lacks.
    let wanted = first.udp_checksum.unwrap();
    let frame = Build::new(CLIENT4, "203.0.113.80:53").payload(&wanted.to_be_bytes()).udp();
    let sent = lab.forward(&frame);
    assert_eq!(sent.udp_checksum, Some(0xffff));
}

#[test]
fn ipv4_options_are_kept_and_ports_are_found_behind_them() {
    let mut lab = Lab::new(Plan::default());
    let mut build = Build::new(CLIENT4, "203.0.113.80:80");
    build.ipv4_options = vec![0x94, 4, 0, 0, 1, 1, 1, 0];
    let sent = lab.forward(&build.tcp());
    assert_eq!((sent.to.port(), sent.octets), (8080, 14 + 28 + 20));
}

#[test]
fn ipv6_extension_headers_are_walked_to_the_transport() {
    let mut lab = Lab::new(Plan::default());
    let plain = Build::new(CLIENT6, "[2001:db8::80]:80").payload(b"data").tcp();
    let tcp = &plain[14 + 40..];
    // Hop-by-hop options (padding), destination options, an atomic fragment header (RFC 6946).
    let mut payload = vec![60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 9];
    payload.extend_from_slice(tcp);
    let mut frame = Build::new(CLIENT6, "[2001:db8::80]:80").raw(59, &payload);
    frame[14 + 6] = 0;
    let sent = lab.forward(&frame);
    assert_eq!((sent.to.port(), sent.ttl, sent.payload.as_slice()), (8080, 63, b"data".as_slice()));
}

#[test]
fn too_many_extension_headers_are_a_counted_drop() {
    let mut lab = Lab::new(Plan::default());
    let mut payload = Vec::new();
    for _ in 0..20 {
        payload.extend([60, 0, 1, 4, 0, 0, 0, 0]);
    }
    let mut frame = Build::new(CLIENT6, "[2001:db8::80]:80").raw(59, &payload);
    frame[14 + 6] = 60;
    lab.lose(&frame, DropReason::ExtensionHeadersTooDeep);
}

#[test]
fn ethernet_padding_is_not_passed_on() {
    let mut lab = Lab::new(Plan::default());
    let mut frame = Build::new(CLIENT4, "203.0.113.80:80").tcp();
    let octets = frame.len();
    frame.resize(60, 0xee);
    assert_eq!(lab.forward(&frame).octets, octets);
}

#[test]
fn a_tag_is_recognised_and_answers_carry_the_clients() {
    for (next_hop_vlan, towards_backend) in
        [(VlanTag::Untagged, None), (VlanTag::AsReceived, Some(100)), (VlanTag::Id(200), Some(200))]
    {
        let mut lab = Lab::new(Plan { next_hop_vlan, ..Plan::default() });
        let syn = lab.forward(&Build::new(CLIENT4, "203.0.113.80:80").vlan(100).tcp());
        assert_eq!((syn.vlan, syn.to.port()), (towards_backend, 8080), "{next_hop_vlan:?}");
        let mut answer = Build::answer(&syn).flags(SYN | ACK);
        answer.vlan = towards_backend;
        let answer = lab.forward(&answer.tcp());
        assert_eq!((answer.vlan, answer.from.port()), (Some(100), 80), "{next_hop_vlan:?}");
    }
}

#[test]
fn a_retransmitted_syn_keeps_its_backend_and_port() {
    let mut lab = Lab::new(Plan::default());
    let syn = Build::new(CLIENT4, "203.0.113.80:80").tcp();
    let first = lab.forward(&syn);
    assert_eq!(lab.forward(&syn), first);
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn two_first_packets_in_one_burst_make_one_flow() {
    let mut lab = Lab::new(Plan::default());
    let query = Build::new(CLIENT4, "203.0.113.80:53").payload(b"query").udp();
    lab.deliver_to(0, &query);
    lab.deliver_to(0, &query);
    lab.settle();
    let sent = lab.sent();
    assert_eq!(sent[0], sent[1]);
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn a_packet_whose_ttl_is_used_up_is_answered_with_time_exceeded() {
    for (client, vip, kind) in
        [(CLIENT4, "203.0.113.80:80", Kind::Icmp(11, 0)), (CLIENT6, "[2001:db8::80]:80", Kind::Icmp(3, 0))]
    {
        let mut lab = Lab::new(Plan::default());
        let answer = lab.forward(&Build::new(client, vip).ttl(1).tcp());
        assert_eq!((answer.kind, answer.to.ip()), (kind, client.parse::<SocketAddr>().unwrap().ip()));
        assert_eq!(lab.dropped(DropReason::TtlExpired), 1);
        assert_eq!(lab.tally().flows(), 0, "a traceroute costs no flow");
    }
}

#[test]
fn a_wrong_checksum_stays_wrong_so_that_the_receiver_sees_it() {
    let mut lab = Lab::new(Plan { on_no_backend: OnNoBackend::Drop, ..Plan::default() });
    let mut frame = Build::new(CLIENT4, "203.0.113.80:80").payload(b"data").tcp();
    let last = frame.len() - 1;
    frame[last] ^= 1;
    lab.deliver_to(0, &frame);
    lab.settle();
    let sent = lab.sent().remove(0);
    assert!(std::panic::catch_unwind(|| crate::packet::decode(&sent)).is_err(), "the error was hidden");
}
