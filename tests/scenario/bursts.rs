//! Bursts among so many flows that the third pass over a full one waits until the port is read again.

use evenkeel::model::BackendState;

use crate::lab::{BACKEND_MAC, Lab, Plan};
use crate::packet::{ACK, Build, SYN, decode};

const DNS: &str = "203.0.113.80:53";

/// More than a core's cache holds.
const FLOWS: u32 = 20_000;

fn client(n: u32) -> String {
    format!("198.51.{}.{}:40000", n >> 8 & 0xff, n & 0xff)
}

fn crowded(workers: u16) -> Lab {
    let mut lab = Lab::new(Plan { workers, flows: 2 * FLOWS as usize, ..Plan::default() });
    for n in 0..FLOWS {
        lab.deliver_to(0, &Build::new(&client(n), DNS).udp());
        if n % 64 == 63 {
            lab.settle();
            lab.sent();
        }
    }
    lab.settle();
    lab.sent();
    assert_eq!(lab.tally().flows(), u64::from(FLOWS));
    lab
}

#[test]
fn a_full_burst_waits_for_the_next_look_at_its_port_and_no_longer() {
    let mut lab = crowded(1);
    for n in 0..32_u8 {
        lab.deliver_to(0, &Build::new(&client(u32::from(n) * 77), DNS).payload(&[n]).udp());
    }
    assert!(lab.workers[0].turn(lab.now), "there is more to do");
    lab.assert_conserved();
    assert_eq!(lab.sent().len(), 0, "the memory that they need is on its way");
    assert!(lab.workers[0].turn(lab.now));
    lab.assert_conserved();
    let payloads: Vec<_> = lab.sent().iter().map(|frame| decode(frame).payload).collect();
    assert_eq!(payloads, (0..32_u8).map(|n| vec![n]).collect::<Vec<_>>(), "in the order in which they came");
    assert!(!lab.workers[0].turn(lab.now), "nothing is left");
}

#[test]
fn what_is_left_of_a_full_burst_leaves_before_what_comes_later() {
    let mut lab = crowded(1);
    for n in 0..200_u8 {
        lab.deliver_to(0, &Build::new(&client(7), DNS).payload(&[n]).udp());
    }
    lab.settle();
    let payloads: Vec<_> = lab.sent().iter().map(|frame| decode(frame).payload).collect();
    assert_eq!(payloads, (0..200_u8).map(|n| vec![n]).collect::<Vec<_>>());
}

#[test]
fn whatever_happens_while_a_burst_waits_every_frame_of_it_ends_somewhere() {
    let mut lab = crowded(3);
    let mut number = 0x9e37_79b9_u32;
    let mut random = |below: u32| {
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        number % below
    };
    for round in 0..300 {
        for _ in 0..random(80) {
            let known = client(random(FLOWS));
            let frame = match random(6) {
                0 => {
                    Build::new(&known, "203.0.113.80:80").flags(if random(2) == 0 { SYN } else { ACK }).tcp()
                }
                1 => Build::new(&known, "203.0.113.80:9").udp(),
                2 => vec![0; 60],
                3 => Build::new(&client(FLOWS + random(500)), DNS).udp(),
                _ => Build::new(&known, DNS).udp(),
            };
            let worker = random(3) as usize;
            lab.deliver_to(worker, &frame);
        }
        for worker in &mut lab.workers {
            worker.turn(lab.now);
        }
        lab.assert_conserved();
        lab.sent();
        lab.punted();
        match round % 40 {
            10 => lab.set_backend_state(1, BackendState::Dead),
            20 => lab.set_backend_state(1, BackendState::Up),
            30 => lab.set_backend_mac(None),
            35 => lab.set_backend_mac(Some(BACKEND_MAC)),
            _ => {}
        }
    }
    lab.settle();
    lab.assert_conserved();
    lab.sent();
    lab.punted();
    assert_eq!(lab.pool.available(), lab.plan.buffers, "every buffer came back");
}
