//! The highest rate without loss, as RFC 2544, section 26.1, looks for it, in short trials.

use std::time::Duration;

use anyhow::ensure;

use super::generator::{Generator, Trial};

/// Packets a second. Doubles the rate until packets are lost or the generator is too slow, and then halves the interval
/// between the best rate and the worst until it is a twentieth of the rate. About five seconds.
///
/// # Errors
/// Even the lowest rate loses packets.
pub(super) fn highest_rate(generator: &mut Generator) -> anyhow::Result<f64> {
    let mut good = LOWEST;
    ensure!(is_without_loss(generator, good), "packets are lost at {good} a second already");
    while good < HIGHEST && is_without_loss(generator, good * 2.0) {
        good *= 2.0;
    }
    let mut bad = good * 2.0;
    while bad - good > good * RESOLUTION {
        let middle = f64::midpoint(good, bad);
        if is_without_loss(generator, middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

/// One trial without loss is enough: a machine's pauses would fail the others, whatever the rate.
fn is_without_loss(generator: &mut Generator, rate: f64) -> bool {
    (0..ATTEMPTS).any(|_| {
        let outcome = generator.run(&Trial { rate, duration: TRIAL });
        outcome.kept_up && outcome.lost() == 0
    })
}

const ATTEMPTS: u32 = 3;
const TRIAL: Duration = Duration::from_millis(200);

/// Packets a second to begin with, and to stop at.
const LOWEST: f64 = 20_000.0;
const HIGHEST: f64 = 50e6;

/// The share of the rate to which it is found.
const RESOLUTION: f64 = 0.05;
