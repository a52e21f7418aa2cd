//! Errors of every kind about flows that there are: quoting a little or all, mutated, with their checksums put right, from
//! either side. What goes on is sound, frames are conserved, and no error ends a flow or begins one.
#![no_main]
#![allow(dead_code, reason = "the laboratory of the scenarios has more than this needs")]

#[path = "../../tests/scenario/icmp_message.rs"]
mod icmp_message;
#[path = "../../tests/scenario/lab.rs"]
mod lab;
#[path = "../../tests/scenario/packet.rs"]
mod packet;

use evenkeel::model::ClientAddress;
use lab::{Lab, Plan};
use libfuzzer_sys::fuzz_target;
use packet::{ACK, Build, Kind, SYN, decode};

/// More errors find nothing that fewer do not.
const ERRORS: usize = 32;

const BUFFERS: usize = 32;

const ENDS: [(&str, &str); 4] = [
    ("198.51.100.7:40000", "203.0.113.80:80"),
    ("198.51.100.7:40000", "203.0.113.80:53"),
    ("[2001:db8:7::7]:40000", "[2001:db8::80]:80"),
    ("[2001:db8:7::7]:40000", "[2001:db8::80]:53"),
];

fuzz_target!(|data: &[u8]| {
    let Some((set, mut input)) = data.split_first() else { return };
    let client_address = if set & 1 == 0 { ClientAddress::None } else { ClientAddress::Toa { kind: 254 } };
    let mut lab = Lab::new(Plan { flows: 8, buffers: BUFFERS, client_address, ..Plan::default() });
    let sent = flows(&mut lab);
    let flows = lab.tally().flows();
    for _ in 0..ERRORS {
        let Some(error) = error(&sent, &mut input) else { break };
        lab.deliver_to(0, &error);
        lab.settle();
        for frame in lab.sent() {
            let decoded = decode(&frame);
            assert!(
                matches!(decoded.kind, Kind::Icmp(..)),
                "an error is answered by nothing else: {decoded:?}"
            );
        }
        lab.punted();
        lab.assert_conserved();
        assert_eq!(lab.tally().flows(), flows, "an error changes nothing of its flow");
        assert_eq!(lab.pool.available(), BUFFERS, "every buffer came back");
    }
    // All of them still serve.
    for (client, vip) in ENDS {
        let packet = Build::new(client, vip).flags(ACK).numbers(1001, 2001).payload(b"still there");
        let there = lab.forward(&if vip.ends_with(":80") { packet.tcp() } else { packet.udp() });
        assert_eq!(there.payload, b"still there");
    }
});

/// A flow of each kind: what both sides got last.
fn flows(lab: &mut Lab) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    for (client, vip) in ENDS {
        let tcp = vip.ends_with(":80");
        let bytes = |build: &Build| if tcp { build.tcp() } else { build.udp() };
        let syn = lab.forward(&bytes(&Build::new(client, vip)));
        let answer = Build::answer(&syn).flags(SYN | ACK).numbers(2000, 1001);
        lab.forward(&bytes(&answer));
        for packet in [
            Build::new(client, vip).flags(ACK).numbers(1001, 2001).payload(&[7; 300]),
            Build::answer(&syn).flags(ACK).numbers(2001, 1001).payload(&[8; 300]),
        ] {
            sent.push(lab.exchange_raw(&bytes(&packet)).remove(0));
        }
    }
    sent
}

/// The next error; `None` at the end of the input.
fn error(sent: &[Vec<u8>], input: &mut &[u8]) -> Option<Vec<u8>> {
    let ([about, icmp_type, code, octets, mutations, word @ ..], rest) = input.split_first_chunk::<9>()?;
    *input = rest;
    let about = &sent[usize::from(*about) % sent.len()];
    let v6 = decode(about).from.is_ipv6();
    // Mostly those that are errors.
    let known: [u8; 4] = if v6 { [1, 2, 3, 4] } else { [3, 3, 11, 12] };
    let icmp_type = if icmp_type & 0xf0 == 0 { icmp_type & 0x0f } else { known[usize::from(icmp_type % 4)] };
    let mut quote = about[14..about.len().min(14 + usize::from(*octets) * 2)].to_vec();
    for _ in 0..mutations % 4 {
        let ([high, low, value], rest) = input.split_first_chunk()?;
        *input = rest;
        let at = usize::from(u16::from_be_bytes([*high, *low]));
        if let Some(octet) = quote.get_mut(at) {
            *octet = *value;
        }
    }
    let sender = decode(about).from.ip();
    Some(icmp_message::message(icmp_message::router(v6), sender, (icmp_type, *code, *word), &quote))
}
