//! Packets that only change their MAC addresses, and what is remembered of them.

use evenkeel::model::{ForwardingMode, Nanos, VlanTag};
use evenkeel::shared::{DropReason, FlowFilter, FlowState};

use crate::lab::{BACKEND_MAC, Lab, OUR_MAC, Plan, VIP4, VIP6, backend_id};
use crate::listing::list;
use crate::packet::{ACK, Build, FIN, RST, SYN};

fn plan() -> Plan {
    Plan { mode: ForwardingMode::DirectRouting, ..Plan::default() }
}

/// A client's packets to a VIP: number `n` of 4096.
fn client(vip: &str, n: u16) -> Build {
    match vip {
        VIP4 => Build::new(&format!("198.51.100.7:{}", 40_000 + n), "203.0.113.80:80"),
        _ => Build::new(&format!("[2001:db8:7::7]:{}", 40_000 + n), "[2001:db8::80]:80"),
    }
}

/// Which backend (1 to 3) of the service on `vip` got one packet more because of this frame.
#[track_caller]
fn target(lab: &mut Lab, vip: &str, frame: &[u8]) -> u8 {
    let service = if vip == VIP4 { 0 } else { 2 };
    let before = [1, 2, 3].map(|number| packets(lab, service, number));
    assert_eq!(lab.exchange(frame).len(), 1, "{:?}", lab.drops());
    let after = [1, 2, 3].map(|number| packets(lab, service, number));
    let counted: Vec<u8> =
        (1..=3).filter(|n| after[usize::from(*n) - 1] != before[usize::from(*n) - 1]).collect();
    assert_eq!(counted.len(), 1, "{before:?} {after:?}");
    counted[0]
}

/// Packets that all workers have sent to a backend.
fn packets(lab: &Lab, service: u16, number: u8) -> u64 {
    let id = backend_id(service, number);
    lab.counters.iter().map(|counters| counters.backend(id).unwrap().totals().in_packets).sum()
}

/// The number of a client whose first target is `backend`.
fn client_of(lab: &mut Lab, vip: &str, backend: u8) -> u16 {
    (0..4096).find(|n| target(lab, vip, &client(vip, *n).flags(ACK).tcp()) == backend).unwrap()
}

#[test]
fn the_frame_that_leaves_is_the_one_that_came_but_for_its_mac_addresses() {
    let mut lab = Lab::new(plan());
    let frames = [
        client(VIP4, 0).payload(b"data").tcp(),
        client(VIP6, 0).payload(b"data").tcp(),
        client(VIP4, 1).flags(ACK).ttl(1).tcp(),
        Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(b"query").udp(),
        Build::new("[2001:db8:7::7]:40000", "[2001:db8::80]:53").payload(b"query").udp(),
    ];
    for frame in frames {
        lab.deliver_to(0, &frame);
        lab.settle();
        let sent = lab.sent();
        assert_eq!(sent.len(), 1, "{:?}", lab.drops());
        assert_eq!(sent[0][12..], frame[12..]);
        assert_eq!((&sent[0][..6], &sent[0][6..12]), (&BACKEND_MAC.0[..], &OUR_MAC.0[..]));
    }
    assert_eq!(lab.tally().flows(), 0);
    lab.assert_conserved();
}

#[test]
fn padding_is_not_passed_on_and_the_tag_is_the_next_hops() {
    for (next_hop_vlan, expected) in
        [(VlanTag::Untagged, None), (VlanTag::AsReceived, Some(100)), (VlanTag::Id(200), Some(200))]
    {
        let mut lab = Lab::new(Plan { next_hop_vlan, ..plan() });
        let mut frame = client(VIP4, 0).vlan(100).tcp();
        let octets = frame.len();
        frame.resize(64, 0xee);
        let sent = lab.forward(&frame);
        assert_eq!((sent.vlan, sent.ttl, sent.to.port()), (expected, 64, 80));
        assert_eq!(sent.octets, octets - if expected.is_none() { 4 } else { 0 });
    }
}

#[test]
fn while_every_backend_is_in_service_nothing_is_remembered() {
    let mut lab = Lab::new(plan());
    for n in 0..1000 {
        let first = target(&mut lab, VIP4, &client(VIP4, n).tcp());
        assert_eq!(target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp()), first);
    }
    assert_eq!((lab.tally().flows_created, lab.tally().displaced), (0, 0));
    let service = lab.counters[0].service(evenkeel::model::ServiceId(0)).unwrap().totals();
    assert_eq!(service.connections, 1000, "SYNs are counted");
}

#[test]
fn a_displaced_session_stays_until_it_ends_also_after_its_first_target_recovered() {
    for vip in [VIP4, VIP6] {
        let mut lab = Lab::new(plan());
        let n = client_of(&mut lab, vip, 2);
        lab.set_backend(2, false);
        let second = target(&mut lab, vip, &client(vip, n).tcp());
        assert_ne!(second, 2);
        assert_eq!((lab.tally().flows(), lab.tally().displaced), (1, 1));
        lab.set_backend(2, true);
        for flags in [ACK, ACK, FIN | ACK, ACK] {
            assert_eq!(target(&mut lab, vip, &client(vip, n).flags(flags).tcp()), second);
        }
        lab.wait(lab.plan.timeouts.tcp_fin + Nanos::from_secs(2));
        assert_eq!((lab.tally().flows(), lab.tally().displaced), (0, 0), "it has ended");
        assert_eq!(target(&mut lab, vip, &client(vip, n).tcp()), 2);
        assert_eq!(lab.tally().flows(), 0);
        lab.assert_conserved();
    }
}

#[test]
fn a_client_that_reuses_its_port_begins_on_the_first_target_again() {
    let mut lab = Lab::new(plan());
    let n = client_of(&mut lab, VIP4, 2);
    lab.set_backend(2, false);
    let second = target(&mut lab, VIP4, &client(VIP4, n).tcp());
    target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp());
    lab.set_backend(2, true);
    assert_eq!(target(&mut lab, VIP4, &client(VIP4, n).flags(RST).tcp()), second);
    assert_eq!(target(&mut lab, VIP4, &client(VIP4, n).flags(SYN).tcp()), 2);
    assert_eq!(lab.tally().flows(), 0);
}

#[test]
fn a_session_whose_second_target_goes_out_is_displaced_again() {
    let mut lab = Lab::new(plan());
    let n = client_of(&mut lab, VIP4, 2);
    lab.set_backend(2, false);
    let second = target(&mut lab, VIP4, &client(VIP4, n).tcp());
    lab.set_backend(second, false);
    let third = target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp());
    assert_eq!(third, 6 - 2 - second);
    assert_eq!((lab.tally().flows(), lab.tally().displaced), (1, 1));
    lab.set_backend(third, false);
    lab.exchange(&client(VIP4, n).flags(ACK).tcp());
    assert_eq!(lab.dropped(DropReason::NoBackend), 1);
    assert_eq!((lab.tally().flows(), lab.tally().displaced), (0, 0));
}

#[test]
fn a_flood_without_handshakes_onto_a_failed_backend_gives_way_to_sessions() {
    let mut lab = Lab::new(Plan { flows: 64, ..plan() });
    let real = client_of(&mut lab, VIP4, 1);
    lab.set_backend(1, false);
    lab.set_backend(2, false);
    target(&mut lab, VIP4, &client(VIP4, real).tcp());
    target(&mut lab, VIP4, &client(VIP4, real).flags(ACK).tcp());
    for n in (0..1000).filter(|n| *n != real) {
        target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp());
    }
    assert!(lab.tally().flows() <= 64);
    assert_eq!(lab.dropped(DropReason::FlowTableFull), 0);
    let listed = list(&mut lab, FlowFilter::default());
    let port = 40_000 + real;
    assert!(listed.iter().any(|flow| flow.client.port == port && flow.state == FlowState::Established));
}

#[test]
fn a_record_names_its_backend_and_the_client_as_the_backend_sees_it() {
    let mut lab = Lab::new(plan());
    let n = client_of(&mut lab, VIP4, 2);
    lab.set_backend(2, false);
    let second = target(&mut lab, VIP4, &client(VIP4, n).tcp());
    target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp());
    let listed = list(&mut lab, FlowFilter { displaced: true, ..FlowFilter::default() });
    assert_eq!(listed.len(), 1);
    let record = listed[0];
    assert!(record.displaced);
    assert_eq!(record.local, record.client);
    assert_eq!(record.backend.to_string(), format!("10.0.9.{second}:80"));
    assert_eq!(record.backend_id, backend_id(0, second));
}

#[test]
fn a_displaced_session_has_one_record_whichever_worker_its_packets_reach() {
    let mut lab = Lab::new(Plan { workers: 3, ..plan() });
    let n = client_of(&mut lab, VIP4, 2);
    lab.set_backend(2, false);
    let second = target(&mut lab, VIP4, &client(VIP4, n).tcp());
    lab.set_backend(2, true);
    let before = packets(&lab, 0, second);
    for worker in [1, 2, 0, 2, 1] {
        assert_eq!(lab.exchange_at(worker, &client(VIP4, n).flags(ACK).tcp()).len(), 1);
    }
    assert_eq!(packets(&lab, 0, second), before + 5);
    assert_eq!((lab.tally().flows(), lab.tally().flows_created), (1, 1));
    lab.assert_conserved();
}

#[test]
fn in_a_slot_that_changed_sessions_stay_and_new_ones_begin_on_the_new_target() {
    // Backend 3 had every slot.
    let mut lab = Lab::new(Plan { previous: Some(vec![2; 1009].into()), ..plan() });
    for n in 0..100 {
        assert_eq!(target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp()), 3);
        assert_eq!(target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp()), 3);
    }
    let new: Vec<u8> = (200..300).map(|n| target(&mut lab, VIP4, &client(VIP4, n).tcp())).collect();
    assert!([1, 2, 3].iter().all(|backend| new.contains(backend)));
    for (n, target_of_syn) in (200..300).zip(&new) {
        assert_eq!(target(&mut lab, VIP4, &client(VIP4, n).flags(ACK).tcp()), *target_of_syn);
    }
    let records = list(&mut lab, FlowFilter { displaced: true, ..FlowFilter::default() });
    assert!(
        records.len() < 100 && records.len() > 40,
        "{}: those that 3 does not have anyway",
        records.len()
    );
    assert!(records.iter().all(|record| record.backend.to_string() == "10.0.9.3:80"));
}
