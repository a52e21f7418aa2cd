//! Any history of one worker over a memory port, in virtual time: packets of clients and pieces of them, answers, routers'
//! complaints, mutants of them, noise, backends that come and go, servers that learn of their clients or do not. Frames,
//! buffers and flows are conserved; what a sound packet becomes is sound.
#![no_main]
#![allow(dead_code, reason = "the laboratory of the scenarios has more than this needs")]

#[path = "../../tests/scenario/icmp_message.rs"]
mod icmp_message;
#[path = "../../tests/scenario/lab.rs"]
mod lab;
#[path = "../../tests/scenario/packet.rs"]
mod packet;
#[path = "../../tests/scenario/pieces.rs"]
mod pieces;

use evenkeel::model::{ClientAddress, Nanos, ProxyDatagrams, SynProxy};
use lab::{Lab, Plan};
use libfuzzer_sys::fuzz_target;
use packet::{ACK, Build, FIN, RST, SYN, decode};
use pieces::{is_piece, split};

const FLAGS: [u8; 8] = [SYN, ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, 0];

/// More steps find nothing that fewer do not.
const STEPS: usize = 64;

/// Every step may leave a fragment that waits.
const BUFFERS: usize = 32 + STEPS;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let Some(plan) = plan(&mut input) else { return };
    let mut lab = Lab::new(plan);
    let mut seen = vec![client(0, 0, 0)];
    for _ in 0..STEPS {
        if step(&mut lab, &mut input, &mut seen).is_none() {
            break;
        }
        // Resets for connections that timed out are nobody's answer.
        lab.sent();
        lab.punted();
        lab.assert_conserved();
    }
    let held = usize::try_from(lab.tally().held).expect("a number of buffers");
    assert_eq!(lab.pool.available(), BUFFERS - held, "every buffer came back that no fragment waits in");
    // Longer than the longest time-out, and often enough for a backend to be asked in vain.
    for _ in 0..40 {
        lab.now = lab.now + Nanos::from_secs(31);
        lab.settle();
        lab.sent();
    }
    assert_eq!(
        (lab.tally().flows(), lab.tally().held),
        (0, 0),
        "every flow ends, and no fragment waits for ever"
    );
    assert_eq!(lab.pool.available(), BUFFERS);
});

/// What the services are like: the first octet tells.
fn plan(input: &mut Input<'_>) -> Option<Plan> {
    let like = input.octet()?;
    let client_address = match like % 4 {
        0 => ClientAddress::None,
        1 => ClientAddress::Toa { kind: 254 },
        2 => ClientAddress::ProxyV2 { datagrams: ProxyDatagrams::UntilAnswered },
        _ => ClientAddress::ProxyV2 { datagrams: ProxyDatagrams::Every },
    };
    let syn_proxy = if like & 4 == 0 { SynProxy::Above(SynProxy::DEFAULT_ABOVE) } else { SynProxy::On };
    let mtus = if like & 8 == 0 { (1500, 1500) } else { (1500, 80) };
    let one_packet = like & 16 != 0;
    Some(Plan { flows: 8, buffers: BUFFERS, client_address, syn_proxy, mtus, one_packet, ..Plan::default() })
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// One thing that happens; `None` at the end of the input.
fn step(lab: &mut Lab, input: &mut Input<'_>, seen: &mut Vec<Vec<u8>>) -> Option<()> {
    let kind = input.octet()?;
    let mut sound = true;
    let frame = match kind % 8 {
        2 if kind & 8 != 0 => {
            let whole = client(input.octet()?, input.octet()?, 0xf9);
            let pieces = split(&whole, u32::from(kind >> 6), &[24, 96]);
            pieces[usize::from(input.octet()?) % pieces.len()].clone()
        }
        0..=2 => client(input.octet()?, input.octet()?, input.octet()?),
        4 if kind & 8 != 0 => {
            let about = &seen[usize::from(input.octet()?) % seen.len()];
            let [icmp_type, code, last, octets] = *input.octets(4).first_chunk()?;
            icmp_message::error(about, (icmp_type, code, [0, 0, 5, last]), usize::from(octets))
        }
        3 | 4 => {
            let sent = decode(&seen[usize::from(input.octet()?) % seen.len()]);
            let what = input.octet()?;
            // Most acknowledge all there is, as often as a part of it.
            let expected =
                sent.sequence.wrapping_add(u32::from(what >> 3)).wrapping_add(u32::from(what & 64) * 2);
            let answer = Build::answer(&sent).flags(FLAGS[usize::from(what) % 8]);
            let answer = answer.numbers(sent.acknowledgement, expected);
            if sent.udp_checksum.is_some() { answer.udp() } else { answer.tcp() }
        }
        5 => {
            sound = false;
            let mut mutant = seen[usize::from(input.octet()?) % seen.len()].clone();
            for _ in 0..input.octet()? % 4 {
                let at = usize::from(input.octet()?) % mutant.len();
                mutant[at] = input.octet()?;
            }
            let cut = usize::from(input.octet()?);
            mutant.truncate(mutant.len().saturating_sub(cut.saturating_sub(128)).max(1));
            mutant
        }
        6 => {
            sound = false;
            let length = usize::from(input.octet()?);
            let mut noise = input.octets(length);
            if kind & 8 != 0
                && let Some(destination) = noise.get_mut(..6)
            {
                destination.copy_from_slice(&lab::OUR_MAC.0);
            }
            noise
        }
        _ => {
            let what = input.octet()?;
            if what < 32 {
                lab.set_backend(what % 4, what & 16 != 0);
            } else {
                lab.now = lab.now + Nanos::from_millis(u64::from(what) * u64::from(input.octet()?) * 10);
            }
            lab.settle();
            return Some(());
        }
    };
    lab.deliver_to(0, &frame);
    lab.settle();
    for sent in lab.sent() {
        if sound && !is_piece(&sent) {
            let decoded = decode(&sent);
            if matches!(decoded.kind, packet::Kind::Tcp | packet::Kind::Udp) {
                seen.push(sent);
            }
        }
    }
    Some(())
}

fn client(client: u8, service: u8, content: u8) -> Vec<u8> {
    let number = u16::from(client % 12);
    let (v4, v6) =
        (format!("198.51.100.{}:{}", number + 1, 40_000 + number), format!("[2001:db8:7::{number}]:4000"));
    let flags = FLAGS[usize::from(content) % 8];
    let payload = vec![content; usize::from(content >> 3)];
    let ttl = if service & 0x40 == 0 { 64 } else { 1 };
    let build = |from: &str, to| Build::new(from, to).flags(flags).payload(&payload).ttl(ttl);
    match service % 8 {
        0 => build(&v4, "203.0.113.80:80").tcp(),
        1 => build(&v4, "203.0.113.80:53").udp(),
        2 => build(&v6, "[2001:db8::80]:80").tcp(),
        3 => build(&v6, "[2001:db8::80]:53").vlan(7).udp(),
        4 => build(&v4, "203.0.113.80:9999").tcp(),
        5 => build(&v6, "[2001:db8::99]:80").tcp(),
        6 => build(&v4, "10.0.8.10:5000").udp(),
        _ => build(&v4, "203.0.113.80:80").vlan(9).tcp(),
    }
}
