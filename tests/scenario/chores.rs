//! What a worker does beside packets, while packets never stop coming.

use evenkeel::model::{Nanos, PortId, Timeouts};
use evenkeel::shared::rings::PortFrame;

use crate::lab::{Lab, Plan};
use crate::packet::Build;

const DNS: &str = "203.0.113.80:53";

/// The packet of one of many clients.
fn query(client: u32) -> Vec<u8> {
    Build::new(&format!("198.51.{}.{}:40000", client >> 8 & 0xff, client & 0xff), DNS).udp()
}

/// A turn in which these clients send a packet each.
fn turn(lab: &mut Lab, clients: impl IntoIterator<Item = u32>) {
    for client in clients {
        lab.deliver_to(0, &query(client));
    }
    assert!(lab.workers[0].turn(lab.now), "there was something to do");
    lab.assert_conserved();
}

#[test]
fn a_frame_of_the_kernel_leaves_after_as_many_packets_as_a_full_burst_has() {
    let mut lab = Lab::new(Plan::default());
    lab.exchange_raw(&query(0));
    let frame = lab.pool.frame(&query(1)).unwrap();
    assert!(lab.rings.injections[0].push(PortFrame { port: PortId(0), frame }).is_ok());
    let waits = (1..=32).find(|_| {
        turn(&mut lab, [0]);
        lab.sent().len() == 2
    });
    assert!(waits.is_some(), "one packet a turn keeps nothing else from being done");
}

#[test]
fn a_flow_ends_in_the_first_turn_of_its_tick_whatever_comes_in_it() {
    let timeouts = Timeouts { udp: Nanos::from_secs(10), ..Timeouts::default() };
    let mut lab = Lab::new(Plan { timeouts, ..Plan::default() });
    lab.exchange_raw(&query(0));
    let began = lab.now;
    lab.wait(Nanos::from_secs(9));
    lab.exchange_raw(&query(1));
    while lab.tally().flows_ended == 0 {
        lab.now = lab.now + Nanos::from_millis(20);
        turn(&mut lab, [1]);
        lab.sent();
    }
    let lived = lab.now.0 - began.0;
    let most = timeouts.udp + Nanos::from_millis(200);
    assert!((timeouts.udp.0..most.0).contains(&lived), "it ended after {lived} ns");
}

#[test]
fn when_many_flows_end_at_once_turns_stay_short_and_more_end_than_begin() {
    const FLOWS: u32 = 1_000;
    const NEW: u32 = 8;
    let timeouts = Timeouts { udp: Nanos::from_secs(10), ..Timeouts::default() };
    let mut lab = Lab::new(Plan { timeouts, flows: 4 * FLOWS as usize, ..Plan::default() });
    for client in 0..FLOWS {
        lab.exchange_raw(&query(client));
    }
    lab.now = lab.now + Nanos::from_secs(11);
    let mut turns = 0;
    while lab.tally().flows_ended < u64::from(FLOWS) {
        let before = lab.tally().flows_ended;
        let first = FLOWS + turns * NEW;
        turn(&mut lab, first..first + NEW);
        let ended = lab.tally().flows_ended - before;
        let most = u64::from(2 * NEW + 32);
        assert!(ended <= most, "{ended} in a turn");
        turns += 1;
        assert!(turns * NEW < FLOWS, "flows begin faster than they end");
        lab.sent();
    }
    assert_eq!(lab.tally().flows(), u64::from(turns * NEW), "those that began meanwhile are there");
}
