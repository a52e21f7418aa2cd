//! Turns after a large snapshot was published of which one backend's state has changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::io::BURST;
use evenkeel::model::BackendState;
use serde_json::json;

use super::balancer::{Balancer, Plan};
use super::durations::Durations;
use super::figures::{Figure, Figures, Samples, Target};
use super::flows::Flows;
use super::options::{Options, Transport};

const SERVICES: u32 = 1_000;
const BACKENDS: u32 = 100;

/// Over all services.
const FLOWS: u32 = 100_000;

/// Publications in each round.
const PUBLICATIONS: u32 = 5_000;

/// Turns after a publication that count as right after it, and those that follow until the next.
const AFTER: u32 = 4;
const FOLLOWING: u32 = 60;

/// Measures turns with and without publications, in turn.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    let plan = Plan { services: SERVICES, backends: BACKENDS, ..Plan::of(FLOWS, options.pages()) };
    let (mut balancer, desks) = Balancer::replaying(&plan, 1, BURST);
    let flows = Flows::establish(&mut balancer, &desks, &plan, Transport::Udp, FLOWS);
    let packets = flows.both_ways(options.order);
    desks[0].repeat(&packets);

    // A backend that rests: its flows stay, so that all packets leave as before.
    let all = balancer.snapshots.current().clone();
    let mut without = all.clone();
    without.services[0] = Some(Arc::new(plan.service(0, Some(0))));
    without.backend_states[0] = BackendState::Resting;
    let (mut quiet, mut after, mut following) = (Durations::new(), Durations::new(), Durations::new());
    let mut publishing = Samples::default();
    for _ in 0..options.rounds {
        balancer.turn_for(packets.len() as u64);
        quiet.watch(|durations| {
            for _ in 0..PUBLICATIONS * AFTER {
                durations.time(|| balancer.turn());
            }
        });
        let mut span = Duration::ZERO;
        after.watch(|after| {
            for number in 0..PUBLICATIONS {
                let began = Instant::now();
                let next = if number % 2 == 0 { &without } else { &all };
                balancer.snapshots.publish(next.clone());
                span += began.elapsed();
                for _ in 0..AFTER {
                    after.time(|| balancer.turn());
                }
                for _ in 0..FOLLOWING {
                    following.time(|| balancer.turn());
                }
            }
        });
        publishing.push(span.as_secs_f64() * 1e3 / f64::from(PUBLICATIONS));
    }
    balancer.assert_lossless(FLOWS.into());

    let parameters = json!({
        "services": SERVICES, "backends_each": BACKENDS, "flows": FLOWS, "order": options.order.name(), "burst": BURST,
        "publications": PUBLICATIONS * options.rounds, "turns_after": AFTER,
    });
    after.add_to(figures, "publication.turn_after", None, &parameters);
    following.add_to(figures, "publication.turn_following", None, &parameters);
    quiet.add_to(figures, "publication.turn_without", None, &parameters);
    let effect = Samples::one(after.micros(99.99) - quiet.micros(99.99));
    let figure = Figure::new("publication.effect_p9999", "us", effect).with(Target::AtMost(20.0));
    figures.add(figure, &parameters);
    figures.add(Figure::new("publication.copy_and_publish", "ms", publishing), &parameters);
}
