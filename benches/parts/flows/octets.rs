//! What a flow takes of the memory.

use std::fs;

use evenkeel::dataplane::flow::FlowTable;
use evenkeel::model::{TablePages, Timeouts, V4, V6};
use rustix::thread::disable_transparent_huge_pages;

use super::Filled;
use crate::numbered::Numbered;

/// What an IPv4 flow may take, its part of the index included.
const TARGET: f64 = 128.0;

/// Flows with which the index has just become twice as large as before, and its fullest just before that.
const SPARSE: u32 = 662_000;
const DENSE: u32 = 629_000;

/// Prints what a flow takes, as the system counts it, in a full table of small pages; fails if it is more than it may be.
pub(crate) fn check() {
    let of_v4 = [DENSE, SPARSE].map(resident::<V4>);
    let of_v6 = [DENSE, SPARSE].map(resident::<V6>);
    println!("flows: octets of memory per flow, with index and expiry, by how full the index is:");
    println!(
        "  IPv4 {:.0} to {:.0} (target: at most {TARGET:.0}), IPv6 {:.0} to {:.0}",
        of_v4[0], of_v4[1], of_v6[0], of_v6[1]
    );
    println!("  set aside at start for a million: IPv4 {}, IPv6 {}", aside::<V4>(), aside::<V6>());
    assert!(of_v4.iter().all(|octets| *octets <= TARGET), "an IPv4 flow takes too much");
}

/// Octets of a million flows' table, for each of them, whether in use or not.
fn aside<F: Numbered>() -> usize {
    FlowTable::<F>::need(1_000_000).octets / 1_000_000
}

/// Octets of memory that a full table takes for each of its flows.
fn resident<F: Numbered>(flows: u32) -> f64 {
    // A huge page would count as a whole.
    disable_transparent_huge_pages(true).expect("any process may do without");
    let before = resident_octets();
    let filled = Filled::<F>::new(flows, &Timeouts::default(), TablePages::Ordinary);
    let octets = resident_octets() - before - size_of_val(filled.ids.as_slice());
    disable_transparent_huge_pages(false).expect("what was allowed once is");
    octets as f64 / f64::from(flows)
}

/// Memory of this process that is not only promised.
fn resident_octets() -> usize {
    const PAGE: usize = 4096;
    let text = fs::read_to_string("/proc/self/statm").expect("the system tells a process of its memory");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number are the pages in memory") * PAGE
}
