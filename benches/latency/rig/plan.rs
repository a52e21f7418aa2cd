//! What is to be measured.

use std::time::Duration;

use anyhow::ensure;

/// The measurements wanted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Packets a second that count as full load; `None`: the highest rate without loss is looked for.
    pub(crate) rate: Option<f64>,
    /// Shares of it, more than 0.
    pub(crate) loads: Vec<f64>,
    /// Of each measurement.
    pub(crate) duration: Duration,
    /// Flows that the packets belong to, in turn; 1 to [`MOST_FLOWS`].
    pub(crate) flows: u32,
    /// Settings of evenkeel's worker, each once.
    pub(crate) idle: Vec<Idle>,
    /// The CPU of the generator and of evenkeel's control thread.
    pub(crate) generator_core: usize,
    /// The CPU of evenkeel's worker.
    pub(crate) worker_core: usize,
}

impl Plan {
    /// Refuses what cannot be measured.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        ensure!(self.rate.is_none_or(positive), "--rate: packets a second, more than 0");
        ensure!(self.loads.iter().copied().all(positive), "--loads: shares of the full load, more than 0");
        ensure!(!self.duration.is_zero(), "--seconds: more than 0");
        ensure!((1..=MOST_FLOWS).contains(&self.flows), "--flows: 1 to {MOST_FLOWS}");
        let twice = self.idle.iter().enumerate().any(|(at, idle)| self.idle[..at].contains(idle));
        ensure!(!twice, "--idle: each setting once");
        ensure!(self.generator_core != self.worker_core, "generator and worker take a core each");
        Ok(())
    }
}

/// What the rig's local addresses and backends have local ports for, with some to spare.
pub(super) const MOST_FLOWS: u32 = 400_000;

/// The key `appliance.idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Idle {
    /// Asks for packets without a pause.
    Poll,
    /// Sleeps while there are none.
    Adaptive,
}

impl Idle {
    /// As in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Adaptive => "adaptive",
        }
    }
}
