//! Health of backends: what a probe does, when probes run, and what their results mean.
//!
//! [`probe()`] asks a backend once, [`Probes`] keeps one task per probed backend asking, and [`Health`] decides from
//! the results. Only the last knows of states, and it knows of nothing else.

mod http;
mod machine;
mod probe;
mod runner;

pub use machine::{Health, HealthState, Thresholds, Transition};
pub use probe::{ProbeFailure, ProbeResult, ProbeSpec, probe};
pub use runner::{ProbeReport, Probes};
