//! A backend that is dead: both sides of its TCP connections are told.

use evenkeel::model::{BackendState, Protocol, VlanTag};
use evenkeel::shared::DropReason;

use crate::lab::{BACKEND_MAC, CLIENT_MAC, Lab, OUR_MAC, Plan, VIP4, VIP6, backend};
use crate::packet::{ACK, Build, Decoded, FIN, Kind, RST, SYN};

const CLIENT4: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";
const WEB4: &str = "203.0.113.80:80";
const WEB6: &str = "[2001:db8::80]:80";
const FAMILIES: [(&str, &str); 2] = [(CLIENT4, WEB4), (CLIENT6, WEB6)];

/// An established flow, with the SYN that its backend got.
fn open(lab: &mut Lab, client: &str, vip: &str) -> Decoded {
    let syn = lab.forward(&Build::new(client, vip).tcp());
    lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
    for _ in 0..2 {
        lab.forward(&Build::new(client, vip).flags(ACK).tcp());
    }
    syn
}

fn die(lab: &mut Lab) {
    for number in 1..=lab.plan.backends {
        lab.set_backend_state(number, BackendState::Dead);
    }
}

/// The number of the backend that a packet went to.
fn number(sent: &Decoded) -> u8 {
    let ends = [VIP4, VIP6].map(|vip| (1..=3).find(|number| sent.to == backend(vip, *number).into()));
    ends.into_iter().flatten().next().expect("a packet to a backend on its port")
}

/// The only two frames, that for the client first.
#[track_caller]
fn both(lab: &mut Lab, bytes: &[u8], client: &str) -> (Decoded, Decoded) {
    let before = lab.tally();
    let mut sent = lab.exchange(bytes);
    assert_eq!(sent.len(), 2, "{sent:?}; drops: {:?}", lab.drops());
    sent.sort_by_key(|frame| frame.to != client.parse().unwrap());
    let after = lab.tally();
    assert_eq!(after.originated, before.originated + 2);
    assert_eq!(lab.dropped(DropReason::BackendDead), before.drops[DropReason::BackendDead as usize] + 1);
    assert_eq!(after.flows(), before.flows() - 1, "the flow has ended");
    lab.assert_conserved();
    let backend = sent.remove(1);
    (sent.remove(0), backend)
}

#[test]
fn a_packet_of_the_client_resets_both_sides_with_the_numbers_they_expect() {
    for (client, vip) in FAMILIES {
        let mut lab = Lab::new(Plan::default());
        let syn = open(&mut lab, client, vip);
        die(&mut lab);
        let data = Build::new(client, vip).flags(ACK).numbers(5_000, 7_000).payload(b"data").tcp();
        let (to_client, to_backend) = both(&mut lab, &data, client);

        assert_eq!((to_client.from, to_client.to), (vip.parse().unwrap(), client.parse().unwrap()));
        assert_eq!((to_client.flags, to_client.sequence), (RST, 7_000), "what the client has acknowledged");
        assert_eq!((to_client.source_mac, to_client.destination_mac), (OUR_MAC, CLIENT_MAC));
        assert_eq!(to_client.payload, b"");

        assert_eq!((to_backend.from, to_backend.to), (syn.from, syn.to), "from the lease");
        let expected = (RST | ACK, 5_000, 7_000);
        assert_eq!((to_backend.flags, to_backend.sequence, to_backend.acknowledgement), expected);
        assert_eq!((to_backend.source_mac, to_backend.destination_mac), (OUR_MAC, BACKEND_MAC));
        assert_eq!(to_backend.payload, b"");
    }
}

#[test]
fn a_connection_that_had_ended_in_peace_is_not_reset() {
    for (client, vip) in FAMILIES {
        let mut lab = Lab::new(Plan::default());
        let syn = open(&mut lab, client, vip);
        let fin = Build::new(client, vip).closes(FIN | ACK).tcp();
        lab.forward(&Build::answer(&syn).closes(FIN | ACK).tcp());
        lab.forward(&fin);
        lab.forward(&Build::answer(&syn).closes(ACK).tcp());
        die(&mut lab);
        let repeated = lab.forward(&fin);
        assert_eq!((repeated.to, repeated.flags), (syn.to, FIN | ACK), "the acknowledgement was lost");
        let acknowledged = lab.forward(&Build::answer(&syn).closes(ACK).tcp());
        assert_eq!(acknowledged.to, client.parse().unwrap());
    }
}

#[test]
fn a_packet_of_the_backend_resets_both_sides_with_the_numbers_they_expect() {
    for (client, vip) in FAMILIES {
        let mut lab = Lab::new(Plan::default());
        let syn = open(&mut lab, client, vip);
        die(&mut lab);
        let data = Build::answer(&syn).flags(ACK).numbers(7_000, 5_000).payload(b"late").tcp();
        let (to_client, to_backend) = both(&mut lab, &data, client);

        assert_eq!((to_client.from, to_client.to), (vip.parse().unwrap(), client.parse().unwrap()));
        let expected = (RST | ACK, 7_000, 5_000);
        assert_eq!((to_client.flags, to_client.sequence, to_client.acknowledgement), expected);
        assert_eq!((to_client.source_mac, to_client.destination_mac), (OUR_MAC, CLIENT_MAC));

        assert_eq!((to_backend.from, to_backend.to), (syn.from, syn.to));
        assert_eq!((to_backend.flags, to_backend.sequence), (RST, 5_000));
        assert_eq!((to_backend.source_mac, to_backend.destination_mac), (OUR_MAC, BACKEND_MAC));
    }
}

#[test]
fn flows_in_any_state_are_told() {
    let states: [(&str, &[u8]); 3] =
        [("half-open", &[]), ("one FIN", &[FIN | ACK]), ("closed", &[RST | ACK])];
    for (description, flags) in states {
        let mut lab = Lab::new(Plan::default());
        let syn = lab.forward(&Build::new(CLIENT4, WEB4).tcp());
        for flags in flags {
            lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
            lab.forward(&Build::new(CLIENT4, WEB4).flags(ACK).tcp());
            lab.forward(&Build::new(CLIENT4, WEB4).flags(*flags).tcp());
        }
        die(&mut lab);
        let ack = Build::new(CLIENT4, WEB4).flags(ACK).tcp();
        let (to_client, to_backend) = both(&mut lab, &ack, CLIENT4);
        assert_eq!((to_client.flags, to_backend.flags), (RST, RST | ACK), "{description}");
    }
}

#[test]
fn a_segment_without_acknowledgement_is_answered_by_one_that_acknowledges_it() {
    let mut lab = Lab::new(Plan::default());
    let syn = open(&mut lab, CLIENT4, WEB4);
    die(&mut lab);
    let odd = Build::answer(&syn).flags(SYN).numbers(7_000, 0).payload(b"1234").tcp();
    let (to_client, to_backend) = both(&mut lab, &odd, CLIENT4);
    assert_eq!((to_client.flags, to_client.sequence), (RST, 7_000));
    let expected = (RST | ACK, 0, 7_005);
    assert_eq!((to_backend.flags, to_backend.sequence, to_backend.acknowledgement), expected);
}

#[test]
fn resets_carry_the_tag_of_the_network_they_go_to() {
    let mut lab = Lab::new(Plan { next_hop_vlan: VlanTag::Id(200), ..Plan::default() });
    lab.forward(&Build::new(CLIENT6, WEB6).vlan(100).tcp());
    die(&mut lab);
    let ack = Build::new(CLIENT6, WEB6).vlan(100).flags(ACK).tcp();
    let (to_client, to_backend) = both(&mut lab, &ack, CLIENT6);
    assert_eq!((to_client.vlan, to_backend.vlan), (Some(100), Some(200)));
}

#[test]
fn a_reset_is_passed_on_ends_the_flow_and_is_not_answered() {
    for from_client in [true, false] {
        let mut lab = Lab::new(Plan::default());
        let syn = open(&mut lab, CLIENT4, WEB4);
        die(&mut lab);
        let build = if from_client { Build::new(CLIENT4, WEB4) } else { Build::answer(&syn) };
        let reset = lab.forward(&build.flags(RST).tcp());
        assert_eq!(reset.flags, RST);
        assert_eq!(reset.to, if from_client { syn.to } else { CLIENT4.parse().unwrap() });
        assert_eq!((lab.tally().flows(), lab.tally().originated), (0, 0));
        assert_eq!(lab.dropped(DropReason::BackendDead), 0);
    }
}

#[test]
fn a_syn_begins_a_new_flow_on_another_backend() {
    let mut lab = Lab::new(Plan::default());
    let before = open(&mut lab, CLIENT4, WEB4);
    lab.set_backend_state(number(&before), BackendState::Dead);
    let after = lab.forward(&Build::new(CLIENT4, WEB4).tcp());
    assert_eq!(after.flags, SYN);
    assert_ne!(after.to, before.to);
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn flows_on_other_backends_and_on_one_that_is_down_go_on() {
    let mut lab = Lab::new(Plan::default());
    let syn = open(&mut lab, CLIENT4, WEB4);
    die(&mut lab);
    lab.set_backend_state(number(&syn), BackendState::Down);
    let data = lab.forward(&Build::new(CLIENT4, WEB4).flags(ACK).payload(b"on").tcp());
    assert_eq!((data.to, data.payload.as_slice()), (syn.to, b"on".as_slice()));
}

#[test]
fn a_udp_flow_moves_off_a_backend_that_is_dead_at_its_next_packet() {
    let mut lab = Lab::new(Plan::default());
    for (client, dns) in [(CLIENT4, "203.0.113.80:53"), (CLIENT6, "[2001:db8::80]:53")] {
        let query = Build::new(client, dns).payload(b"q").udp();
        let before = lab.forward(&query);
        lab.set_backend_state(number(&before), BackendState::Dead);
        let after = lab.forward(&query);
        assert_ne!(after.to, before.to);
        assert_eq!(after.kind, Kind::of(Protocol::Udp));
        lab.set_backend_state(number(&before), BackendState::Up);
    }
    assert_eq!(lab.tally().flows(), 2);
    assert_eq!(lab.tally().originated, 0);
}

#[test]
fn resets_share_the_rate_of_refusals_and_flows_end_all_the_same() {
    let mut lab = Lab::new(Plan { flows: 4096, ..Plan::default() });
    let client = |n: u16| format!("198.51.100.7:{}", 10_000 + n);
    for n in 0..1_500 {
        lab.forward(&Build::new(&client(n), WEB4).tcp());
    }
    die(&mut lab);
    let sent: usize =
        (0..1_500).map(|n| lab.exchange(&Build::new(&client(n), WEB4).flags(ACK).tcp()).len()).sum();
    assert!((1_000..1_100).contains(&sent), "{sent} resets in no time");
    assert_eq!(lab.tally().unanswered, 3_000 - sent as u64);
    assert_eq!(lab.tally().flows(), 0);
    lab.assert_conserved();
}
