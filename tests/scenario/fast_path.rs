//! The fast path and the general way give the same frame. A tag keeps a packet off the fast path and changes nothing
//! else where next hops keep the tag that a frame came with.

use evenkeel::model::{ClientAddress, VlanTag};
use proptest::prelude::*;

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, SYN};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";

/// Of TCP: none, timestamps as they usually are and otherwise, somebody's address.
const OPTIONS: [&[u8]; 4] = [
    &[],
    &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1],
    &[254, 8, 0, 1, 1, 2, 3, 4, 1, 1, 1, 1],
];

/// Without its 802.1Q tag, which must be there.
fn untagged(mut frame: Vec<u8>) -> Vec<u8> {
    assert_eq!(frame[12..14], [0x81, 0x00]);
    frame.drain(12..16);
    frame
}

/// Sets what a packet builder does not: for IPv4, type of service and identification.
fn mark(frame: &mut [u8], type_of_service: u8, identification: u16) {
    frame[15] = type_of_service;
    frame[18..20].copy_from_slice(&identification.to_be_bytes());
    frame[24..26].fill(0);
    let sum = !evenkeel::wire::checksum::fold(evenkeel::wire::checksum::sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn sent_for(lab: &mut Lab, bytes: &[u8]) -> Vec<u8> {
    lab.deliver_to(0, bytes);
    lab.settle();
    let mut sent = lab.sent();
    assert_eq!(sent.len(), 1, "{:?}", lab.drops());
    sent.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_give_the_same_frame(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8),
        ttl in 2_u8..,
        v6: bool,
        tcp: bool,
        type_of_service: u8,
        identification: u16,
        padding in 0_usize..8,
        // With it the fast path looks at options.
        toa: bool,
        options in prop::sample::select(&OPTIONS[..]),
    ) {
        let client_address = if toa { ClientAddress::Toa { kind: 254 } } else { ClientAddress::None };
        let mut lab =
            Lab::new(Plan { next_hop_vlan: VlanTag::AsReceived, client_address, ..Plan::default() });
        let (client, vip) = match (v6, tcp) {
            (false, true) => (CLIENT, "203.0.113.80:80"),
            (false, false) => (CLIENT, "203.0.113.80:53"),
            (true, true) => (CLIENT6, "[2001:db8::80]:80"),
            (true, false) => (CLIENT6, "[2001:db8::80]:53"),
        };
        let bytes = |build: &Build| if tcp { build.tcp() } else { build.udp() };
        let first = lab.forward(&bytes(&Build::new(client, vip)));
        if tcp {
            lab.forward(&Build::answer(&first).flags(SYN | ACK).tcp());
            lab.forward(&Build::new(client, vip).flags(ACK).tcp());
            lab.forward(&Build::answer(&first).flags(ACK).numbers(1, 1002).tcp());
        }
        let (mut burst, mut expected) = (Vec::new(), Vec::new());
        for payload in payloads {
            let forward = Build::new(client, vip).flags(ACK).ttl(ttl).payload(&payload);
            let back = Build::answer(&first).flags(ACK).ttl(ttl).payload(&payload);
            for mut build in [forward, back] {
                build.tcp_options = options.to_vec();
                let mut plain = bytes(&build);
                if !v6 {
                    mark(&mut plain, type_of_service, identification);
                }
                plain.resize(plain.len() + padding, 0xee);
                let mut tagged = plain.clone();
                tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);

                let fast = sent_for(&mut lab, &plain);
                let general = sent_for(&mut lab, &tagged);
                // Answers carry the tag of the client's first frame, which had none.
                let general = if general[12..14] == [0x81, 0x00] { untagged(general) } else { general };
                prop_assert_eq!(&fast, &general);
                burst.push(plain);
                expected.push(general);
            }
        }
        // Whole bursts go another way yet through the first pass, eight frames at a time.
        for _ in 0..2 {
            burst.iter().for_each(|frame| lab.deliver_to(0, frame));
        }
        lab.settle();
        expected.extend_from_within(..);
        prop_assert_eq!(lab.sent(), expected);
    }
}
