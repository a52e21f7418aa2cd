//! New flows: datagrams of which each is the first of its flow, and the only one; as many flows expire as begin.

use evenkeel::io::{BURST, Frame};
use evenkeel::model::{Nanos, TablePages, Timeouts};
use serde_json::json;

use super::balancer::{Balancer, Plan};
use super::costs::Costs;
use super::figures::{Figure, Figures, Samples, Target};
use super::flows::client;
use super::options::Options;
use super::order::Random;
use super::packet::{Address, Packet, Template};
use super::port::{MemoryFrame, MemoryPort, Traffic};

/// Clients that come once.
pub(crate) struct Newcomers {
    plan: Plan,
    kind: Template,
    serial: u32,
    random: Random,
    /// Packets that are still of flows that exist, half of those that come, of the latest `latest`: their ends move, and so
    /// the places that flows leave stand in an order that is not that of their creation.
    repeats: u64,
    latest: u32,
    /// Packets that are still looked at as they leave.
    checks: u64,
}

/// Flows a second of the worker's time: more than a core does, so that there are more in the table than there would be.
const RATE: u32 = 4_000_000;

/// How long flows are kept: the shortest time that the configuration takes, and what a resolver's clients need.
const TIMEOUTS_MS: [u32; 2] = [100, 1_000];

/// Flows that have another packet before the places in memory are held to be mixed, over those that live at a time.
const REPEATS: u64 = 3;

impl Newcomers {
    fn new(plan: &Plan, live: u32, repeats: u64, checks: u64) -> Self {
        let (kind, random) = (Template::datagram(), Random::new());
        Self { plan: plan.clone(), kind, serial: 0, random, repeats, latest: live / 2, checks }
    }
}

/// The client of a flow, all of them different.
fn newcomer(serial: u32) -> Address {
    let (address, port) = client(serial);
    (address, port ^ u16::from(serial.to_be_bytes()[0]))
}

impl Traffic for Newcomers {
    #[inline]
    fn next(&mut self) -> Option<Packet> {
        let mut serial = self.serial;
        if self.repeats > 0 && self.random.next() >> 63 == 0 && serial > self.latest {
            self.repeats -= 1;
            serial -= 1 + self.random.below(self.latest);
        } else {
            self.serial += 1;
        }
        Some(self.kind.packet(newcomer(serial), self.plan.vip(serial), serial))
    }

    #[inline]
    fn sent(&mut self, frames: &[MemoryFrame]) {
        if self.checks == 0 {
            return;
        }
        for frame in frames {
            let packet = Packet::of(frame.head());
            self.checks = self.checks.saturating_sub(1);
            assert!(packet.is_sound(), "both checksums are right");
            assert!(Plan::is_local(packet.source()), "a flow comes from a local address");
            assert!(self.plan.is_backend(packet.destination(), packet.mark()), "a flow goes to a backend");
        }
    }
}

/// Measures new flows a second, by how long they are kept.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    for timeout in TIMEOUTS_MS {
        measure_kept_for(timeout, options, figures);
    }
}

fn measure_kept_for(timeout_ms: u32, options: &Options, figures: &mut Figures) {
    let live = RATE / 1_000 * timeout_ms;
    // A tick's worth more, as time-outs are in whole ticks.
    let plan = plan(live + RATE / 8, Nanos::from_millis(timeout_ms.into()), options.pages());
    let repeats = REPEATS * u64::from(live);
    let mut balancer = balancer(Newcomers::new(&plan, live, repeats, 1 << 20), &plan, RATE);
    // All of the repeats, and then until the last flow that had one has expired.
    balancer.turn_for(2 * repeats + 2 * u64::from(live + RATE / 8));
    let before = balancer.tally();
    let mut twin = MemoryPort::new(Newcomers::new(&plan, live, 0, 0), BURST);
    let packets = u64::from(options.packets);
    let costs = Costs::measure(&mut balancer, &mut twin, packets, options.rounds);
    let after = balancer.tally();
    balancer.assert_lossless(after.flows());
    let (begun, ended) = (after.flows_created - before.flows_created, after.flows_ended - before.flows_ended);
    assert_eq!(begun, after.rx_packets - before.rx_packets, "every packet begins a flow");
    // Flows end in the ticks of the table, of which there are 15 a second.
    let tick = u64::from(RATE) / 14;
    assert!(begun.abs_diff(ended) < begun / 10 + tick, "as many end ({ended}) as begin ({begun})");

    let parameters = json!({
        "udp_ms": timeout_ms, "in_table": after.flows(), "offered_per_second": RATE, "packets": packets,
    });
    let name = |what: &str| format!("inserts.{timeout_ms}ms.{what}");
    let rate = |samples: &Samples| samples.map(|nanos| 1e3 / nanos);
    let figure = Figure::new(name("rate"), "M/s", rate(&costs.whole)).with(Target::AtLeast(3.0));
    figures.add(figure, &parameters);
    figures.add(Figure::new(name("rate_above_port"), "M/s", rate(&costs.above_port())), &parameters);
    figures.add(Figure::new(name("whole"), "ns", costs.whole), &parameters);
    figures.add(Figure::new(name("port"), "ns", costs.port), &parameters);
}

/// Runs `count` flows, of which about `live` live at a time; how many packets that was.
pub(crate) fn run(live: u32, count: u32, pages: TablePages) -> u64 {
    // With room for those that expire a little late, as time goes in large steps here.
    let plan = plan(live + count / 16, Nanos::from_secs(1), pages);
    let mut balancer = balancer(Newcomers::new(&plan, live, 0, 1 << 14), &plan, live);
    balancer.turn_for(count.into());
    let tally = balancer.tally();
    balancer.assert_lossless(tally.flows());
    tally.rx_packets
}

fn plan(live: u32, timeout: Nanos, pages: TablePages) -> Plan {
    let timeouts = Timeouts { udp: timeout, ..Timeouts::default() };
    Plan { timeouts, ..Plan::of(live + 4096, pages) }
}

/// A balancer to which `rate` packets a second come.
fn balancer(newcomers: Newcomers, plan: &Plan, rate: u32) -> Balancer<Newcomers> {
    let mut balancer = Balancer::new(plan, vec![MemoryPort::new(newcomers, BURST)]);
    balancer.clock.step = Nanos(BURST as u64 * 1_000_000_000 / u64::from(rate));
    balancer
}
