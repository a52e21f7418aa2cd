//! New flows that are refused: every local port of the only backend is held by an established connection.

use std::sync::Arc;

use evenkeel::io::BURST;
use evenkeel::model::{LOCAL_PORTS, Nanos, TablePages};
use evenkeel::shared::DropReason;

use super::balancer::{Balancer, Plan};
use super::flows::{Flows, client};
use super::options::Transport;
use super::packet::{Packet, Template, flags};

/// SYNs a second of the worker's time.
const RATE: u64 = 1_000_000;

/// Runs `count` SYNs of as many new clients; how many packets that was.
pub(crate) fn run(count: u32, pages: TablePages) -> u64 {
    let held = u32::from(LOCAL_PORTS);
    let plan = Plan { backends: 1, locals: 1, ..Plan::of(held, pages) };
    let (mut balancer, desks) = Balancer::replaying(&plan, 1, BURST);
    Flows::establish(&mut balancer, &desks, &plan, Transport::Tcp, held);
    let syn = Template::segment((flags::SYN, 0, 0));
    let syns: Arc<[Packet]> =
        (held..held + count).map(|flow| syn.packet(client(flow), plan.vip(flow), flow)).collect();
    desks[0].repeat(&syns);
    balancer.clock.step = Nanos(BURST as u64 * 1_000_000_000 / RATE);
    let before = balancer.tally();
    balancer.turn_for(count.into());
    let after = balancer.tally();
    let packets = after.rx_packets - before.rx_packets;
    assert_eq!(after.drops[DropReason::LocalPortsExhausted as usize], packets, "every one is refused");
    assert_eq!(after.flows(), u64::from(held), "established connections keep their ports");
    packets
}
