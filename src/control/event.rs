//! What control hears and what it is to do: the two sides of [`super::state::State::apply`].

use std::fmt;
use std::time::Duration;

use super::change::Change;
use super::drain::DrainEnd;
use super::health::NotSent;
use super::health::ProbeReport;
use super::health::ProbeSpec;
use super::network::Wanted;
use super::port_watch::PortFault;
use super::registry::Assigned;
use super::registry::RegistryFull;
use super::suspicion::Strain;
use super::workers::Pulse;
use crate::config::Config;
use crate::model::BackendId;
use crate::shared::Snapshot;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A configuration was read. [`super::state::State::review`] says beforehand whether it can be loaded.
    Load(Box<Config>),
    /// A probe has a result.
    Probe(ProbeReport),
    /// A probe could not be sent.
    NotSent(NotSent),
    /// Whether a backend is in service was decided without its probes; holds until their results, or the
    /// configuration, say otherwise.
    Decided(BackendId, Decision),
    /// Anomalies so far in clients' handshakes with these backends.
    Observed(Vec<(BackendId, u64)>),
    /// How the workers are.
    Workers(Pulse),
    /// What is wrong with the ports now.
    Ports(Vec<PortFault>),
    /// Something in this machine loses or delays answers to probes.
    Strained(Strain),
    /// The network holds this.
    Held(Wanted),
    /// An operator decided about a backend.
    Administer(BackendId, Order),
    /// Time has passed; of the backends that wait for their flows, these have none left
    /// ([`super::ledger::Ledger::flowless`]).
    Tick {
        /// See above.
        flowless: Vec<BackendId>,
    },
    /// There is time to build tables that are left.
    Build,
    /// The process was asked to leave.
    Shutdown,
    /// During a drain: no worker has an established TCP flow.
    NoneEstablished,
}

/// What can be decided of a backend without its probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is in service.
    Up,
    /// It is out of service, and answers as something that is.
    Down,
    /// It is out of service, and does not answer at all.
    Dead,
}

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No new flows; maintenance once the last one has ended, or after this time.
    Drain(Option<Duration>),
    /// Maintenance now.
    Disable,
    /// In service again, if it is healthy.
    Enable,
    /// Another share of new flows, 0 to 65535, until the configuration changes it.
    Weight(u32),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain(_) => f.write_str("drain"),
            Self::Disable => f.write_str("disable"),
            Self::Enable => f.write_str("enable"),
            Self::Weight(weight) => write!(f, "weight={weight}"),
        }
    }
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Take note that an id has a new owner.
    Assign(Assigned),
    /// Probe a backend, in place of what was asked of it before.
    StartProbe(ProbeSpec),
    /// Stop probing a backend.
    StopProbe(BackendId),
    /// Probe backends once more at once.
    RepeatProbes,
    /// Give workers this snapshot.
    Publish(Box<Snapshot>),
    /// Ask the network to hold this.
    Hold(Wanted),
    /// Write to the log.
    Log(Change),
    /// Tell the service manager that the balancer serves.
    Ready,
    /// Tell the service manager that the balancer is leaving, within this time.
    Stopping(Duration),
    /// End the process.
    Leave(DrainEnd),
}

/// Why a configuration cannot be loaded. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It changes what only a restart can change.
    #[error("only a restart can change {}; restart, or take these changes back", .0.join(", "))]
    RestartNeeded(Vec<String>),
    /// It does not fit.
    #[error(transparent)]
    Full(#[from] RegistryFull),
}
