//! Several workers, and a port that spreads frames as it likes.

use std::collections::HashSet;

use evenkeel::model::Nanos;
use evenkeel::shared::DropReason;

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, FIN, SYN};

#[test]
fn every_flow_has_one_owner_wherever_its_frames_arrive() {
    let mut lab = Lab::new(Plan { workers: 3, ..Plan::default() });
    let mut leases = HashSet::new();
    for n in 0..300_u16 {
        let spread = |step: u16| usize::from((n + step) % 3);
        let client = format!("198.51.100.{}:{}", n % 250, 10_000 + n);
        let (client, vip) = (client.as_str(), "203.0.113.80:80");

        let syn = lab.exchange_at(spread(0), &Build::new(client, vip).tcp()).remove(0);
        assert!(leases.insert((syn.from, syn.to)), "a lease given twice");
        let answer = Build::answer(&syn).flags(SYN | ACK).tcp();
        let answer = lab.exchange_at(spread(1), &answer).remove(0);
        assert_eq!((answer.from, answer.to), (vip.parse().unwrap(), client.parse().unwrap()));
        for step in 0..3 {
            let data = Build::new(client, vip).flags(ACK).payload(b"data").tcp();
            let data = lab.exchange_at(spread(step), &data).remove(0);
            assert_eq!((data.from, data.to), (syn.from, syn.to));
            let back = Build::answer(&syn).flags(ACK).payload(b"back").tcp();
            let back = lab.exchange_at(spread(step), &back).remove(0);
            assert_eq!(back.to, client.parse().unwrap());
        }
        let fin = lab.exchange_at(spread(2), &Build::new(client, vip).flags(FIN | ACK).tcp()).remove(0);
        assert_eq!((fin.from, fin.to), (syn.from, syn.to));
    }
    assert_eq!(lab.tally().flows(), 300);
    assert!(lab.tally().handed_off > 600, "frames were handed off: {}", lab.tally().handed_off);
    assert_eq!(lab.tally().handed_off, lab.tally().handed_in);
    assert!(lab.workers.iter().all(|worker| worker.tally().flows() > 50), "flows spread over workers");
    lab.assert_conserved();
    lab.wait(Nanos::from_secs(902));
    assert_eq!(lab.tally().flows(), 0);
}

#[test]
fn a_full_hand_off_ring_is_a_counted_drop() {
    let mut lab = Lab::new(Plan { workers: 2, flows: 8192, ..Plan::default() });
    // Only the first worker turns: what belongs to the second piles up in its inbox.
    for n in 0..4000_u16 {
        let client = format!("198.51.100.7:{}", 10_000 + n);
        lab.deliver_to(0, &Build::new(&client, "203.0.113.80:80").tcp());
        lab.workers[0].turn(lab.now);
        lab.sent();
    }
    assert!(lab.dropped(DropReason::HandoffRingFull) > 500, "{:?}", lab.drops());
    lab.assert_conserved();
    lab.settle();
    lab.sent();
    lab.assert_conserved();
    assert_eq!(lab.pool.available(), 4096, "every frame came back");
}
