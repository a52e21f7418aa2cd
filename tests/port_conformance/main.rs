//! Every kind of port behaves the same: one suite, run on the memory port and on real DPDK devices.
//!
//! A device needs no hardware: a ring, capture files, a pair of interfaces in a network namespace, a TAP, shared
//! memory. Frames of the suite have the EtherType of local experiments, and whatever else an interface brings (the
//! kernel's own chatter) is ignored.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[cfg(feature = "dpdk")]
mod dpdk;
#[cfg(feature = "dpdk")]
mod failures;
mod suite;
#[cfg(feature = "dpdk")]
#[path = "../support/mod.rs"]
mod support;

use evenkeel::io::mem::MemPort;
use evenkeel::io::mem::Pool;
use evenkeel::io::mem::Wire;

use self::suite::Link;
use self::suite::a_frame_in_parts_is_one_frame;
use self::suite::conforms;
use self::suite::test_frame;

#[test]
fn the_memory_port_conforms() {
    let wire = Wire::new(200);
    // What is sent comes back.
    let looped = Wire { inbound: wire.outbound.clone(), outbound: wire.outbound };
    let pool = Pool::new(500, 2048);
    let all = pool.available();
    let port = MemPort::new(looped, pool.clone());
    let in_use = Box::new(move || all - pool.available());
    conforms(&mut Link { ports: vec![port], from: 0, to: 0, refuses: true, in_use });
}

#[test]
fn a_frame_in_parts_of_the_memory_port_is_one_frame() {
    let pool = Pool::new(20, 2048);
    let sent = test_frame(9000, 1);
    let parts: Vec<_> = sent.chunks(2048).collect();
    let frames = [(); 3].map(|()| pool.frame_in_parts(&parts).unwrap());
    a_frame_in_parts_is_one_frame(frames, &sent, &|| 20 - pool.available());
    assert_eq!(pool.available(), 20, "every buffer came back");
    let parts = vec![&sent[..10]; 21];
    assert!(pool.frame_in_parts(&parts).is_none(), "more parts than buffers");
    assert_eq!(pool.available(), 20, "also those of a frame that was not to be");
}
