//! What wakes the loop up.

use tokio::sync::mpsc;
use tokio::task::JoinError;

use crate::control::admin::Call;
use crate::control::health::ProbeNews;
use crate::control::network::Wanted;
use crate::control::reload::Reviewed;
use crate::control::signals::SignalMeaning;
use crate::control::signals::Signals;
use crate::control::step_times::Step;

/// Where the loop hears from others.
pub(super) struct Inputs {
    pub(super) signals: Signals,
    pub(super) probes: mpsc::Receiver<ProbeNews>,
    pub(super) held: mpsc::Receiver<Wanted>,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) established: mpsc::Receiver<bool>,
    pub(super) loaded: mpsc::Receiver<Reviewed>,
}

/// Why the loop wakes up.
pub(super) enum Waking {
    Signal(SignalMeaning),
    Task(Result<Result<(), String>, JoinError>),
    Look,
    Established(bool),
    Held(Wanted),
    Probe(ProbeNews),
    Loaded(Reviewed),
    Call(Call),
    /// Tables are left to build.
    Build,
}

impl Waking {
    pub(super) const fn step(&self) -> Step {
        match self {
            Self::Signal(_) => Step::Signal,
            Self::Task(_) => Step::Task,
            Self::Look => Step::Look,
            Self::Established(_) => Step::Flows,
            Self::Held(_) => Step::Held,
            Self::Probe(_) => Step::Probe,
            Self::Loaded(_) => Step::Load,
            Self::Call(_) => Step::Call,
            Self::Build => Step::Built,
        }
    }
}
