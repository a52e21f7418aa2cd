//! One scenario, to be watched from outside: callgrind counts its instructions, which no other load on the machine can
//! move. Of two runs that differ in `count` alone, the difference is that of the packets between.

use std::sync::Arc;

use evenkeel::model::TablePages;

use super::balancer::{Balancer, Plan};
use super::flows::Flows;
use super::options::{Scenario, Transport};
use super::order::Order;
use super::packet::Packet;
use super::{connections, inserts, refusals};

/// Runs `scenario` with `flows` flows and `count` packets, or connections; packets of established flows come `burst` at a
/// time.
pub(crate) fn run(scenario: Scenario, (flows, count): (u32, u32), burst: usize, pages: TablePages) {
    let replay = |transport, choose: fn(&Flows) -> Arc<[Packet]>| {
        replay(transport, (flows, count), burst, pages, choose)
    };
    let counted = match scenario {
        Scenario::UdpOneWay => replay(Transport::Udp, |flows| flows.forward(Order::Shuffled)),
        Scenario::UdpBothWays => replay(Transport::Udp, |flows| flows.both_ways(Order::Shuffled)),
        Scenario::TcpBothWays => replay(Transport::Tcp, |flows| flows.both_ways(Order::Shuffled)),
        Scenario::Connections => connections::run(flows, count, pages),
        Scenario::Inserts => inserts::run(flows, count, pages),
        Scenario::Refusals => refusals::run(count, pages),
    };
    println!("{counted}");
}

fn replay(
    transport: Transport,
    (count, packets): (u32, u32),
    burst: usize,
    pages: TablePages,
    choose: fn(&Flows) -> Arc<[Packet]>,
) -> u64 {
    let plan = Plan::of(count, pages);
    let (mut balancer, desks) = Balancer::replaying(&plan, 1, burst);
    let flows = Flows::establish(&mut balancer, &desks, &plan, transport, count);
    desks[0].repeat(&choose(&flows));
    let before = balancer.tally().rx_packets;
    balancer.turn_for(packets.into());
    balancer.assert_lossless(count.into());
    balancer.tally().rx_packets - before
}
