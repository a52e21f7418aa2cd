//! No backend, no room, no port: what the client gets.

use evenkeel::model::{Encapsulation, ForwardingMode, Mac, OnNoBackend};
use evenkeel::shared::DropReason;

use crate::lab::{BACKEND_MAC, Lab, Plan};
use crate::packet::{ACK, Build, Kind, RST, SYN};

const CLIENT: &str = "198.51.100.7:40000";
const WEB: &str = "203.0.113.80:80";
const DNS: &str = "203.0.113.80:53";

#[test]
fn what_is_for_a_backend_that_is_not_resolved_is_a_counted_drop_until_it_is() {
    for mode in
        [ForwardingMode::FullNat, ForwardingMode::DirectRouting, ForwardingMode::Tunnel(Encapsulation::Ip)]
    {
        for (client, vip) in
            [("198.51.100.7:40000", "203.0.113.80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]")]
        {
            let mut lab = Lab::new(Plan { mode, ..Plan::default() });
            lab.set_backend_mac(None);
            let syn = Build::new(client, &format!("{vip}:80")).tcp();
            let query = Build::new(client, &format!("{vip}:53")).payload(b"name?").udp();
            for frame in [&syn, &query] {
                lab.lose(frame, DropReason::NextHopUnresolved);
                // Nobody waits here: who does not repeat itself is not served.
                lab.lose(frame, DropReason::NextHopUnresolved);
            }
            lab.assert_conserved();
            assert_eq!(lab.pool.available(), lab.plan.buffers, "no frame is kept");

            let moved = Mac([2, 0, 0, 0, 0, 0x99]);
            lab.set_backend_mac(Some(moved));
            for frame in [&syn, &query] {
                let sent = lab.exchange_raw(frame);
                assert_eq!((sent.len(), &sent[0][..6]), (1, &moved.0[..]), "{mode:?}");
            }

            // It goes again: flows that are there lose their packets and nothing else.
            lab.set_backend_mac(None);
            lab.lose(&query, DropReason::NextHopUnresolved);
            lab.set_backend_mac(Some(BACKEND_MAC));
            assert_eq!(lab.exchange_raw(&query)[0][..6], BACKEND_MAC.0);
            lab.assert_conserved();
        }
    }
}

#[test]
fn without_a_backend_tcp_gets_a_reset_and_udp_port_unreachable() {
    let mut lab = Lab::new(Plan { backends: 0, ..Plan::default() });
    let reset = lab.forward(&Build::new(CLIENT, WEB).tcp());
    assert_eq!((reset.flags, reset.from), (RST | ACK, WEB.parse().unwrap()));
    let query = Build::new(CLIENT, DNS).payload(b"query").udp();
    let error = lab.forward(&query);
    assert_eq!(error.kind, Kind::Icmp(3, 3));
    assert_eq!(error.payload, query[14..], "the error quotes the packet");
    let error =
        lab.forward(&Build::new("[2001:db8:7::7]:40000", "[2001:db8::80]:53").payload(b"query").udp());
    assert_eq!(error.kind, Kind::Icmp(1, 4));
    assert_eq!(lab.dropped(DropReason::NoBackend), 3);
    lab.assert_conserved();
}

#[test]
fn without_a_backend_a_silent_service_stays_silent() {
    let mut lab = Lab::new(Plan { backends: 0, on_no_backend: OnNoBackend::Drop, ..Plan::default() });
    lab.lose(&Build::new(CLIENT, WEB).tcp(), DropReason::NoBackend);
}

#[test]
fn refusals_are_limited_in_rate_and_the_rest_is_counted() {
    let mut lab = Lab::new(Plan { backends: 0, ..Plan::default() });
    let mut answers = 0;
    for _ in 0..3000 {
        answers += lab.exchange(&Build::new(CLIENT, WEB).tcp()).len();
    }
    assert!((1000..1100).contains(&answers), "{answers} answers in no time");
    assert_eq!(lab.tally().unanswered, 3000 - answers as u64);
    assert_eq!(lab.dropped(DropReason::NoBackend), 3000);
    lab.assert_conserved();
}

#[test]
fn a_full_table_gives_up_its_oldest_half_open_flow_before_an_established_one() {
    let mut lab = Lab::new(Plan { flows: 64, ..Plan::default() });
    let client = |n: u16| format!("198.51.100.7:{}", 10_000 + n);
    let established = lab.forward(&Build::new(&client(0), WEB).tcp());
    lab.forward(&Build::answer(&established).flags(SYN | ACK).tcp());
    lab.forward(&Build::new(&client(0), WEB).flags(ACK).tcp());
    for n in 1..1000 {
        lab.forward(&Build::new(&client(n), WEB).tcp());
    }
    assert_eq!(lab.tally().flows(), 64);
    let data = lab.forward(&Build::new(&client(0), WEB).flags(ACK).payload(b"still here").tcp());
    assert_eq!(data.from, established.from);
    assert_eq!(lab.dropped(DropReason::FlowTableFull), 0);
}

/// A UDP flow of client `n` that both sides use.
fn use_flow(lab: &mut Lab, n: u32) {
    let ask = Build::new(&format!("198.51.{}.{}:40000", n >> 8 & 0xff, n & 0xff), DNS).payload(b"q").udp();
    let asked = lab.exchange(&ask);
    assert_eq!(asked.len(), 1, "flow {n}; {:?}", lab.drops());
    lab.forward(&Build::answer(&asked[0]).payload(b"a").udp());
    lab.forward(&ask);
}

#[test]
fn a_table_full_of_flows_in_use_refuses_new_ones() {
    let mut lab = Lab::new(Plan { flows: 64, ..Plan::default() });
    (0..64).for_each(|n| use_flow(&mut lab, n));
    let error = lab.forward(&Build::new(CLIENT, DNS).payload(b"q").udp());
    assert_eq!(error.kind, Kind::Icmp(3, 3));
    assert_eq!(lab.dropped(DropReason::FlowTableFull), 1);
}

#[test]
fn a_backend_whose_ports_are_all_leased_refuses_and_serves_again_when_one_is_free() {
    let mut lab = Lab::new(Plan { flows: 70_000, backends: 1, ..Plan::default() });
    (0..61_440).for_each(|n| use_flow(&mut lab, n));
    let error = lab.forward(&Build::new("192.0.2.7:40000", DNS).payload(b"q").udp());
    assert_eq!(error.kind, Kind::Icmp(3, 3));
    assert_eq!(lab.dropped(DropReason::LocalPortsExhausted), 1);

    lab.wait(lab.plan.timeouts.udp + evenkeel::model::Nanos::from_secs(2));
    assert_eq!(lab.tally().flows(), 0);
    assert_eq!(lab.forward(&Build::new("192.0.2.7:40000", DNS).payload(b"q").udp()).kind, Kind::Udp);
}
