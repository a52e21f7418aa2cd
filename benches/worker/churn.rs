//! Live connections while backends fail and come back: none may reach another backend, and what that costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::io::BURST;
use evenkeel::model::BackendState;
use evenkeel::shared::{ServiceTable, Snapshot};
use serde_json::json;

use super::balancer::{Balancer, Plan};
use super::figures::{Figure, Figures, Samples, nanos_each};
use super::flows::Flows;
use super::options::{Options, Transport};
use super::replay::Replay;

/// Live connections.
const FLOWS: u32 = 16_000;

/// Turns from one publication to the next: there are a hundred a second or so, where control publishes ten at most.
const TURNS: u32 = 10_000;

/// Publications under which every packet is looked at: each backend fails and comes back.
const CHECKED: u32 = 32;

/// Backends that fail one after the other, each until the next publication.
struct Failures {
    all: Snapshot,
    /// The service's table without each of its backends.
    without: Vec<Arc<ServiceTable>>,
    published: usize,
}

impl Failures {
    fn new(plan: &Plan) -> Self {
        let without = (0..plan.backends).map(|place| Arc::new(plan.service(0, Some(place))));
        Self { all: plan.snapshot(), without: without.collect(), published: 0 }
    }

    /// The next snapshot: a backend fails, or all are back.
    fn next(&mut self) -> Snapshot {
        let mut snapshot = self.all.clone();
        self.published += 1;
        snapshot.version += self.published as u64;
        if self.published % 2 == 1 {
            let place = self.published / 2 % self.without.len();
            snapshot.services[0] = Some(Arc::clone(&self.without[place]));
            snapshot.backend_states[place] = BackendState::Down;
        }
        snapshot
    }
}

/// Measures packets with churn and without, in turn.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    let plan = Plan::of(FLOWS, options.pages());
    let (mut balancer, desks) = Balancer::replaying(&plan, 1, BURST);
    let flows = Flows::establish(&mut balancer, &desks, &plan, Transport::Tcp, FLOWS);
    let packets = flows.both_ways(options.order);
    let mut failures = Failures::new(&plan);

    desks[0].repeat_recorded(&packets);
    let mut elsewhere = 0;
    for _ in 0..CHECKED {
        turns(&mut balancer, Some(&mut failures));
        elsewhere += desks[0].take_sent().iter().filter(|packet| !flows.is_in_place(packet)).count();
    }
    assert_eq!(elsewhere, 0, "packets of live connections that went to another backend");

    desks[0].repeat(&packets);
    balancer.turn_for(packets.len() as u64);
    let chunks = options.packets.div_ceil(TURNS * 32);
    let (mut still, mut churning) = (Samples::default(), Samples::default());
    for _ in 0..options.rounds {
        for (samples, churns) in [(&mut still, false), (&mut churning, true)] {
            let mut span = Duration::ZERO;
            for _ in 0..chunks {
                span += turns(&mut balancer, churns.then_some(&mut failures));
            }
            samples.push(nanos_each(span, u64::from(chunks * TURNS * 32)));
        }
    }
    balancer.assert_lossless(FLOWS.into());

    let parameters = json!({
        "flows": FLOWS, "order": options.order.name(), "turns_between_publications": TURNS, "checked_packets": CHECKED * TURNS * 32,
    });
    figures.add(Figure::new("churn.elsewhere", "packets", Samples::one(elsewhere as f64)), &parameters);
    let more = churning.with(&still, |churning, still| (churning / still - 1.0) * 100.0);
    figures.add(Figure::new("churn.whole", "ns", churning), &parameters);
    figures.add(Figure::new("churn.whole_without", "ns", still), &parameters);
    figures.add(Figure::new("churn.over_without", "%", more), &parameters);
}

/// Publishes a snapshot, if there are failures, and turns; how long the turns took.
fn turns(balancer: &mut Balancer<Replay>, failures: Option<&mut Failures>) -> Duration {
    if let Some(failures) = failures {
        balancer.snapshots.publish(failures.next());
    }
    let began = Instant::now();
    for _ in 0..TURNS {
        balancer.turn();
    }
    began.elapsed()
}
