//! What control hears and what it is to do: the two sides of [`super::state::State::apply`].

use std::time::Duration;

use super::change::Change;
use super::drain::DrainEnd;
use super::health::ProbeReport;
use super::health::ProbeSpec;
use super::network::Wanted;
use super::registry::Assigned;
use super::registry::RegistryFull;
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
    /// Whether a backend is in service was decided without its probes; holds until their results, or the
    /// configuration, say otherwise.
    Decided {
        /// Whom it is about.
        backend: BackendId,
        /// In service, or out of it.
        up: bool,
    },
    /// How the workers are.
    Workers(Pulse),
    /// The network holds this.
    Held(Wanted),
    /// Time has passed; of the backends in [`super::registry::Registry::waiting`], these have no flows.
    Tick {
        /// See above.
        flowless: Vec<BackendId>,
    },
    /// The process was asked to leave.
    Shutdown,
    /// During a drain: no worker has an established TCP flow.
    NoneEstablished,
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
