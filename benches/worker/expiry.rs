//! Turns while a million flows expire at once, beside traffic of flows that live.

use std::sync::Arc;

use evenkeel::io::BURST;
use evenkeel::model::{Nanos, Timeouts};
use serde_json::json;

use super::balancer::{Balancer, Plan};
use super::durations::Durations;
use super::figures::{Figures, Target};
use super::flows::Flows;
use super::options::{Options, Transport};
use super::order::Order;
use super::packet::Packet;
use super::replay::{Desk, Replay};

/// Flows that expire.
const DYING: u32 = 1_000_000;

/// Flows that live meanwhile.
const LIVING: u32 = 1_000;

const TIMEOUT: Nanos = Nanos::from_secs(10);

/// The time between the first and the last packet of those that expire: of a tick of the table some are due, and which of
/// them has nothing to do with where they lie.
const SPREAD: Nanos = Nanos::from_secs(4);

/// More than the tick of the table, in which nothing is due.
const GAP: Nanos = Nanos::from_millis(500);

/// Measures turns, round by round.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    let timeouts = Timeouts { udp: TIMEOUT, ..Timeouts::default() };
    let plan = Plan { timeouts, ..Plan::of(DYING + LIVING, options.pages()) };
    let (mut balancer, desks) = Balancer::replaying(&plan, 1, BURST);
    let living = Flows::establish(&mut balancer, &desks, &plan, Transport::Udp, LIVING);
    let packets = living.both_ways(Order::Shuffled);
    let (mut quiet, mut expiring) = (Durations::new(), Durations::new());
    for _ in 0..options.rounds {
        let made = fill(&mut balancer, &desks, &plan, &packets);
        quiet.watch(|durations| {
            for _ in 0..DYING / 32 {
                durations.time(|| balancer.turn());
            }
        });
        // When they would have been due but for their later packets, the wheel looks at all of them.
        balancer.clock.now = made + TIMEOUT + Nanos(GAP.0 / 2);
        balancer.turn_for(u64::from(DYING) * 5 / 4);
        balancer.assert_lossless((LIVING + DYING).into());
        // Now the last of them is due. Those that live had packets just now.
        balancer.clock.now = made + TIMEOUT + GAP + SPREAD + GAP;
        expiring.watch(|durations| {
            while balancer.tally().flows() > u64::from(LIVING) {
                durations.time(|| balancer.turn());
            }
        });
        balancer.assert_lossless(LIVING.into());
    }
    let parameters = json!({
        "expiring": DYING, "living": LIVING, "rounds": options.rounds, "burst": BURST, "udp_s": 10, "spread_s": 4,
    });
    expiring.add_to(figures, "expiry.turn", Some(Target::AtMost(50.0)), &parameters);
    quiet.add_to(figures, "expiry.turn_without", None, &parameters);
}

/// Makes the flows that are to expire, then gives each a packet at a random time of [`SPREAD`], and goes on with the traffic
/// of those that live. When they were made.
fn fill(balancer: &mut Balancer<Replay>, desks: &[Arc<Desk>], plan: &Plan, living: &Arc<[Packet]>) -> Nanos {
    let dying = Flows::establish(balancer, desks, plan, Transport::Udp, LIVING + DYING);
    let made = balancer.clock.now;
    let packets = dying.forward(Order::Shuffled);
    let step = std::mem::replace(&mut balancer.clock.step, Nanos(SPREAD.0 * 32 / u64::from(DYING)));
    balancer.clock.now = made + GAP;
    desks[0].repeat(&packets);
    balancer.turn_for(packets.len() as u64);
    balancer.clock.step = step;
    desks[0].repeat(living);
    balancer.turn_for(u64::from(LIVING) * 4);
    made
}
