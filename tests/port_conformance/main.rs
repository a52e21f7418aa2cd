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
use self::suite::conforms;

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
