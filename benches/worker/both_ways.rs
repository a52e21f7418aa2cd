//! Packets in the middle of established flows, both ways: what nearly every packet is.

use evenkeel::io::BURST;
use serde_json::json;

use super::balancer::{Balancer, Plan};
use super::costs::{Costs, twin};
use super::figures::{Figure, Figures, Samples, Target};
use super::flows::Flows;
use super::options::{Options, Transport, short};

/// Flows that growth is counted from.
const BASE: u32 = 1_000;

/// Measures every number of flows that is asked for.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    for transport in &options.transport {
        let mut base = None;
        for count in &options.flows {
            let above = measure_flows(options, figures, *transport, *count);
            if *count == BASE {
                base = Some(above);
            } else if let Some(base) = base.as_ref().filter(|_| *count > BASE) {
                let name = format!("both_ways.{}.{}.growth", transport.name(), short(*count));
                let growth = Figure::new(name, "ns", above.map(|above| above - base.median()));
                let growth = if *count == 4_000_000 { growth.with(Target::AtMost(60.0)) } else { growth };
                figures.add(growth, &json!({ "flows": count, "over": BASE, "order": options.order.name() }));
            }
        }
    }
}

/// Adds the figures of `count` flows; what the worker costs above its port.
fn measure_flows(options: &Options, figures: &mut Figures, transport: Transport, count: u32) -> Samples {
    let plan = Plan::of(count, options.pages());
    let (mut balancer, desks) = Balancer::replaying(&plan, 1, BURST);
    let flows = Flows::establish(&mut balancer, &desks, &plan, transport, count);
    let packets = flows.both_ways(options.order);
    desks[0].repeat(&packets);
    let each = u64::from(options.packets).max(packets.len() as u64);
    // Once, so that the first measurement does not begin in a cold cache.
    balancer.turn_for(packets.len() as u64);
    let costs = Costs::measure(&mut balancer, &mut twin(&packets, BURST), each, options.rounds);
    balancer.assert_lossless(u64::from(count));

    let name = |what| format!("both_ways.{}.{}.{what}", transport.name(), short(count));
    let (octets, pages) = balancer.workers[0].flow_tables();
    let parameters = json!({
        "flows": count, "order": options.order.name(), "burst": BURST, "packets": each,
        "table_octets": octets, "pages": format!("{pages:?}").to_lowercase(),
    });
    let above = costs.above_port();
    figures.add(Figure::new(name("whole"), "ns", costs.whole), &parameters);
    figures.add(Figure::new(name("port"), "ns", costs.port), &parameters);
    let figure = Figure::new(name("above_port"), "ns", above.clone());
    let figure = if count == BASE { figure.with(Target::AtMost(20.0)) } else { figure };
    figures.add(figure, &parameters);
    // Nothing grows and nothing is rehashed: else some turn would be long.
    let longest = Samples::one(flows.longest_turn.as_secs_f64() * 1e6);
    figures.add(Figure::new(name("longest_turn_filling"), "us", longest), &parameters);
    above
}

/// Measures small bursts against full ones.
pub(crate) fn measure_bursts(options: &Options, figures: &mut Figures) {
    let plan = Plan::of(BASE, options.pages());
    let mut full = None;
    for burst in [32, 8, 4, 2, 1] {
        let (mut balancer, desks) = Balancer::replaying(&plan, 1, burst);
        let flows = Flows::establish(&mut balancer, &desks, &plan, Transport::Udp, BASE);
        let packets = flows.both_ways(options.order);
        desks[0].repeat(&packets);
        balancer.turn_for(packets.len() as u64);
        let each = u64::from(options.packets);
        let costs = Costs::measure(&mut balancer, &mut twin(&packets, burst), each, options.rounds);
        balancer.assert_lossless(u64::from(BASE));
        let parameters =
            json!({ "flows": BASE, "order": options.order.name(), "burst": burst, "packets": each });
        let name = |what: &str| format!("bursts.{burst}.{what}");
        if let Some(full) = &full {
            let more = costs.whole.map(|whole| (whole / full - 1.0) * 100.0);
            let figure = Figure::new(name("over_full"), "%", more);
            let figure = if burst <= 4 { figure.with(Target::AtMost(60.0)) } else { figure };
            figures.add(figure, &parameters);
        } else {
            full = Some(costs.whole.median());
        }
        let above = costs.above_port();
        figures.add(Figure::new(name("whole"), "ns", costs.whole), &parameters);
        figures.add(Figure::new(name("port"), "ns", costs.port), &parameters);
        figures.add(Figure::new(name("above_port"), "ns", above), &parameters);
    }
}
