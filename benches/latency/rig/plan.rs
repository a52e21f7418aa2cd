//! What is to be measured.

use std::time::Duration;

/// The measurements wanted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Packets a second that count as full load; `None`: the highest rate without loss is looked for.
    pub(crate) rate: Option<f64>,
    /// Shares of it, more than 0.
    pub(crate) loads: Vec<f64>,
    /// Of each measurement.
    pub(crate) duration: Duration,
    /// Flows that the packets belong to, in turn; at least 1.
    pub(crate) flows: u32,
    /// Settings of evenkeel's worker, each once.
    pub(crate) idle: Vec<Idle>,
    /// The CPU of the generator and of evenkeel's control thread.
    pub(crate) generator_core: usize,
    /// The CPU of evenkeel's worker.
    pub(crate) worker_core: usize,
}

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
