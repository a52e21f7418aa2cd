//! Changes of the configuration under load.

use std::time::Duration;

use rustix::process::Signal;

use crate::balancer::Balancer;
use crate::client::Stream;
use crate::configuration::Configuration;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;

#[test]
fn reloads_under_load_fail_no_request() {
    let Some(lab) = Lab::lay("reload", Arms::Two, 1) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    let balancer = Balancer::start(&lab, &configuration);
    let stream = Stream::start(&lab, &[WEB4, WEB6]);
    for weights in
        [[Some(100), Some(20), Some(100)], [Some(100), None, Some(300)], [Some(100), Some(100), Some(0)]]
    {
        configuration.weights = weights;
        let before = version(&balancer);
        let done = balancer.reload(&configuration);
        assert!(done.success, "{}{}\n{}", done.out, done.err, balancer.circumstances());
        balancer.wait("a new snapshot", SOON, || version(&balancer) > before);
        wait_weights(&balancer, weights);
    }
    // The signal does the same.
    configuration.weights = [Some(1), Some(2), Some(3)];
    balancer.write(&configuration);
    balancer.signal(Signal::HUP);
    wait_weights(&balancer, configuration.weights);
    let answers = stream.stop();
    assert!(answers.errors.is_empty() && answers.count() > 100, "{answers:?}\n{}", balancer.circumstances());
    eprintln!("{} requests over four reloads", answers.count());
}

#[test]
fn a_bad_file_changes_nothing_and_is_told_what_is_wrong_with_it() {
    let Some(lab) = Lab::lay("bad", Arms::Two, 1) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    let mut balancer = Balancer::start(&lab, &configuration);
    let before = version(&balancer);
    configuration.extra = "nonsense = 1";
    configuration.weights = [Some(70_000), None, None];
    let done = balancer.reload(&configuration);
    assert_eq!(done.code, Some(2), "{}{}", done.out, done.err);
    // All errors at once, each with its line.
    for told in ["evenkeel.toml:1:", "nonsense", "weight"] {
        assert!(done.err.contains(told), "{told}: {}", done.err);
    }
    balancer.signal(Signal::HUP);
    balancer.wait("the log says why the signal had no effect", SOON, || balancer.log().contains("nonsense"));
    assert!(balancer.runs());
    assert_eq!(version(&balancer), before);
    wait_weights(&balancer, [Some(100); 3]);
    crate::traffic::assert_traffic(&lab);
}

#[test]
fn a_dry_run_prints_the_difference_and_changes_nothing() {
    let Some(lab) = Lab::lay("dry", Arms::Two, 1) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    let balancer = Balancer::start(&lab, &configuration);
    let before = version(&balancer);
    configuration.weights = [Some(100), None, Some(7)];
    balancer.write(&configuration);
    let done = balancer.run(&["reload", "--dry-run"]);
    assert!(done.success && done.out.contains("10.0.9.2"), "{}{}", done.out, done.err);
    assert_eq!(version(&balancer), before);
    wait_weights(&balancer, [Some(100); 3]);
}

/// The snapshot in force.
fn version(balancer: &Balancer) -> u64 {
    balancer.ask("status")["snapshot_version"].as_u64().unwrap()
}

/// Waits until the service web has these weights.
fn wait_weights(balancer: &Balancer, weights: [Option<u32>; 3]) {
    let there = || {
        let answer = balancer.ask("backends");
        let backends: Vec<_> = answer["backends"].as_array().unwrap().clone();
        (1..).zip(weights).all(|(number, weight)| {
            let is = backends.iter().find(|backend| {
                backend["service"] == "web"
                    && backend["address"] == format!("10.0.9.{number}")
                    && backend["state"] != "removed"
            });
            is.map(|backend| backend["weight"].as_u64().unwrap()) == weight.map(u64::from)
        })
    };
    balancer.wait(&format!("the weights are {weights:?}"), SOON, there);
}

const SOON: Duration = Duration::from_secs(5);
