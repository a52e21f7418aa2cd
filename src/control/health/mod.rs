//! Health of backends: what a probe does, when probes run, and what their results mean.
//!
//! [`Prober`] asks a [`Question`] once, [`Probes`] keeps one task per question asking and tells every backend that
//! shares it, and [`Health`] decides from the results. Only the last knows of states, and it knows of nothing else.
//! What a kind of probe says on the wire is in a file of its own.

mod advice;
mod agent;
mod body;
mod dns;
mod failure;
mod http;
mod icmp;
mod machine;
mod observed;
mod probe;
mod punctuality;
mod refusals;
mod runner;
mod script;
mod source;
mod tls;
mod udp;

pub use advice::{Advice, AdvisedMode, AdvisedState};
pub use failure::{ProbeFailure, TlsFailure};
pub use machine::{Health, HealthState, Thresholds, Transition};
pub use observed::Observed;
pub use probe::{ProbeOutcome, ProbeResult, ProbeSpec, Prober, Question};
pub use punctuality::{BEAT, Lateness, MOST_DISCARDED, Punctuality};
pub use runner::{Asked, MOST_REPEATED, NotSent, ProbeNews, ProbeReport, Probes, REPEAT_PAUSE};
pub use source::PROBE_PORTS;
