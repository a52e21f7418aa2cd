//! Frames larger than a buffer: their headers are in the first part, and the rest is carried along.

use evenkeel::model::{Encapsulation, ForwardingMode, Nanos};
use evenkeel::shared::DropReason;

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, SYN, decode};
use crate::pieces::{join, split};

const WEB: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:80")];

fn jumbo() -> Plan {
    Plan { mtus: (9000, 9000), ..Plan::default() }
}

/// In buffers of 2048 octets, the first of which holds less.
fn parts(frame: &[u8], first: usize) -> Vec<&[u8]> {
    let (first, rest) = frame.split_at(first);
    std::iter::once(first).chain(rest.chunks(2048)).collect()
}

/// Delivers frames in parts and returns what was sent because of them.
fn exchange(lab: &mut Lab, frames: &[Vec<u8>], first: usize) -> Vec<Vec<u8>> {
    for frame in frames {
        lab.deliver_parts(&parts(frame, first));
    }
    lab.settle();
    lab.assert_conserved();
    let sent = lab.sent();
    assert_eq!(lab.pool.available(), 4096, "every buffer came back");
    sent
}

#[test]
fn a_frame_in_parts_is_translated_in_both_directions() {
    for (client, vip) in WEB {
        let mut lab = Lab::new(jumbo());
        let syn = lab.forward(&Build::new(client, vip).tcp());
        lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
        lab.forward(&Build::new(client, vip).flags(ACK).tcp());
        let data: Vec<u8> = (0..8900_u16).map(|n| n.to_le_bytes()[0]).collect();
        let headers = Build::new(client, vip).flags(ACK).tcp().len();
        // Once on the general way and from then on by the fast path; alone and in bursts that lanes look at.
        for count in [1, 2, 8, 20] {
            for first in [headers, headers + 1, 1000, 2048] {
                let there = Build::new(client, vip).flags(ACK).payload(&data).tcp();
                for sent in exchange(&mut lab, &vec![there; count], first) {
                    let there = decode(&sent);
                    assert_eq!((there.from, there.to, there.ttl), (syn.from, syn.to, 63));
                    assert!(there.payload == data);
                }
                let back = Build::answer(&syn).flags(ACK).payload(&data).tcp();
                for sent in exchange(&mut lab, &vec![back; count], first) {
                    let back = decode(&sent);
                    assert_eq!(back.to, client.parse().unwrap());
                    assert!(back.payload == data);
                }
            }
        }
        assert_eq!(lab.tally().dropped(), 0);
    }
}

#[test]
fn a_datagram_header_may_end_the_first_part() {
    let mut lab = Lab::new(jumbo());
    let query = Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(&[7; 5000]).udp();
    for _ in 0..3 {
        let sent = exchange(&mut lab, &vec![query.clone(); 9], 42);
        assert_eq!(sent.len(), 9, "{:?}", lab.drops());
        assert!(sent.iter().all(|frame| decode(frame).payload == [7; 5000]));
    }
}

#[test]
fn headers_that_go_on_in_the_second_part_are_a_counted_drop() {
    for (client, vip) in WEB {
        let mut lab = Lab::new(jumbo());
        let frame = Build::new(client, vip).payload(&[1; 3000]).tcp();
        let headers = Build::new(client, vip).tcp().len();
        for first in [10, 14, 20, 33, headers - 20, headers - 1] {
            let before = lab.dropped(DropReason::FrameTruncated);
            assert!(exchange(&mut lab, &vec![frame.clone(); 8], first).is_empty());
            assert_eq!(lab.dropped(DropReason::FrameTruncated), before + 8, "{first}: {:?}", lab.drops());
        }
        assert_eq!(lab.tally().flows(), 0);
    }
}

#[test]
fn padding_goes_with_the_buffers_it_is_in() {
    let mut lab = Lab::new(jumbo());
    let mut frame = Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(&[7; 100]).udp();
    let octets = frame.len();
    frame.resize(5000, 0xee);
    for first in [60, octets, 200, 2048] {
        let sent = exchange(&mut lab, &[frame.clone()], first);
        assert_eq!((sent[0].len(), decode(&sent[0]).payload), (octets, vec![7; 100]), "{first}");
    }
}

#[test]
fn without_flows_a_frame_in_parts_goes_to_its_backend_as_it_came() {
    for mode in [
        ForwardingMode::DirectRouting,
        ForwardingMode::Tunnel(Encapsulation::Ip),
        ForwardingMode::Tunnel(Encapsulation::Gue { port: 6080 }),
    ] {
        for (client, vip) in WEB {
            let mut lab = Lab::new(Plan { mode, ..jumbo() });
            let frame = Build::new(client, vip).flags(ACK).payload(&[1; 8000]).tcp();
            let sent = exchange(&mut lab, std::slice::from_ref(&frame), 100);
            let outer = sent[0].len() - frame.len();
            // All but the Ethernet header and, in a tunnel, TTL and header checksum.
            let content = if vip == WEB[0].1 { 34 } else { 22 };
            assert!(sent[0][content + outer..] == frame[content..], "{mode:?} {vip}");
            if outer > 0 && matches!(mode, ForwardingMode::Tunnel(Encapsulation::Gue { .. })) {
                assert_eq!(decode(&sent[0]).payload.len(), frame.len() - 14 + 4);
            }
        }
    }
}

#[test]
fn a_frame_in_parts_that_may_be_fragmented_leaves_in_pieces() {
    let data: Vec<u8> = (0..8900_u16).map(|n| n.to_le_bytes()[0]).collect();
    let mut query = Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(&data);
    query.dont_fragment = false;
    for (mode, outer) in [
        (ForwardingMode::FullNat, 0),
        (ForwardingMode::DirectRouting, 0),
        (ForwardingMode::Tunnel(Encapsulation::Ip), 20),
        (ForwardingMode::Tunnel(Encapsulation::Gue { port: 6080 }), 32),
    ] {
        for (mtu, count) in [(1280, 8), (1500, 7), (4000, 5)] {
            for first in [60, 1000, 2048] {
                let mut lab = Lab::new(Plan { mode, mtus: (9000, mtu), ..Plan::default() });
                let sent = exchange(&mut lab, &[query.udp()], first);
                assert_eq!(sent.len(), count, "{mode:?} {mtu} {first}: {:?}", lab.drops());
                assert!(sent.iter().all(|frame| frame.len() <= 14 + usize::from(mtu)));
                let inner: Vec<_> =
                    sent.iter().map(|frame| [&frame[..14], &frame[14 + outer..]].concat()).collect();
                let whole = decode(&join(&inner)[0]);
                assert!(whole.payload == data, "{mode:?} {mtu} {first}");
            }
        }
    }
}

#[test]
fn large_fragments_in_parts_wait_and_follow_as_others_do() {
    let mut lab = Lab::new(jumbo());
    let data: Vec<u8> = (0..20_000_u16).map(|n| n.to_le_bytes()[0]).collect();
    let datagram = Build::new("198.51.100.7:40000", "203.0.113.80:53").payload(&data).udp();
    let mut pieces = split(&datagram, 1, &[8960, 17_920]);
    pieces.reverse();
    for piece in &pieces {
        lab.deliver_parts(&parts(piece, 64));
    }
    lab.settle();
    let sent = lab.sent();
    assert!(decode(&join(&sent)[0]).payload == data);
    lab.deliver_parts(&parts(&pieces[0], 64));
    lab.wait(Nanos::from_secs(20));
    lab.deliver_parts(&parts(&pieces[0], 64));
    lab.wait(Nanos::from_secs(2));
    assert_eq!((lab.sent().len(), lab.tally().held), (1, 0));
    assert_eq!(lab.pool.available(), 4096, "every part came back");
    lab.assert_conserved();
}
