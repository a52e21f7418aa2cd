//! What holds at the time of an event: the configuration in effect, while the events are checked one after the other.

use std::path::PathBuf;

use super::events::{Beginning, Named, Target};
use crate::config::{At, Config, ProbeKind, Report, ServiceConfig, suggest};
use crate::control::event::Event as ControlEvent;
use crate::control::state::State;
use crate::model::{Endpoint, Nanos};

/// Goes through the events in the order of time.
pub(super) struct Standing<'a> {
    /// The time of the first frame.
    pub(super) first: Nanos,
    pub(super) report: &'a Report<'a>,
    /// Has loaded what is in effect; `None`: it could not even begin.
    state: Option<State>,
    /// Where that was read.
    file: PathBuf,
    /// A mistake hides what is in effect.
    hidden: bool,
    reloads: Reloads,
}

/// The reloads among the events.
#[derive(Clone, Copy)]
pub(super) struct Reloads {
    /// There is one at least.
    pub(super) any: bool,
    /// The time of each is known.
    pub(super) in_order: bool,
}

impl<'a> Standing<'a> {
    /// Before the first event.
    pub(super) fn new(beginning: Beginning<'_>, reloads: Reloads, report: &'a Report<'a>) -> Self {
        // If that fails, so does the replay itself, with the reason.
        let state = State::new(Nanos(0), beginning.config.clone()).ok().map(|(state, _)| state);
        Self {
            first: beginning.first,
            report,
            state,
            file: beginning.path.to_owned(),
            hidden: false,
            reloads,
        }
    }

    /// Whether it is known what is in effect at the time of an event, `None` being an unknown one.
    pub(super) fn is_known_at(&self, time: Option<Nanos>) -> bool {
        !self.hidden && self.reloads.in_order && (time.is_some() || !self.reloads.any)
    }

    /// Loads a configuration at `time`; reports a refusal.
    pub(super) fn reload(
        &mut self,
        given: Option<At<(Box<Config>, PathBuf)>>,
        time: Option<Nanos>,
    ) -> Option<(Box<Config>, PathBuf)> {
        self.hidden = true;
        let At { at, value: (config, file) } = given?;
        let (state, now) = (self.state.as_mut()?, time?);
        // Whatever was removed may have lost its flows by now: only what is refused even so is a mistake.
        let flowless = state.registry().waiting(now).collect();
        state.apply(now, ControlEvent::Tick { flowless });
        if let Err(refusal) = state.review(&config) {
            self.report.wrong(at, format!("config \"{}\" is refused: {refusal}", file.display()));
            return None;
        }
        state.apply(now, ControlEvent::Load(config.clone()));
        self.hidden = false;
        self.file.clone_from(&file);
        Some((config, file))
    }

    /// The backend that an event is about; reports one that is not in effect, or not probed although it is `probed`.
    pub(super) fn target(
        &self,
        service: Option<At<String>>,
        backend: Option<At<Named>>,
        probed: bool,
    ) -> Option<Target> {
        let (state, service) = (self.state.as_ref()?, service?);
        let services = &state.config().services;
        let Some(found) = services.iter().find(|found| found.name == service.value) else {
            let names = services.iter().map(|service| service.name.as_str());
            let way_out = match suggest::nearest(&service.value, names.clone()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("it has {}", listed(names.map(str::to_owned))),
            };
            let (name, file) = (&service.value, self.file.display());
            self.report
                .wrong(service.at, format!("{file}, then in effect, has no service {name:?}; {way_out}"));
            return None;
        };
        let endpoint = self.endpoint(found, backend?)?;
        if probed && found.health.kind == ProbeKind::None {
            let name = &found.name;
            self.report.wrong(
                service.at,
                format!(
                    "service {name:?} is not probed; write state, or give the service a [service.health]"
                ),
            );
            return None;
        }
        Some(Target { service: service.value, endpoint })
    }

    fn endpoint(&self, service: &ServiceConfig, backend: At<Named>) -> Option<Endpoint> {
        let Named { address, port } = backend.value;
        let endpoints = || service.backends.iter().map(|backend| backend.endpoint);
        let meant = |endpoint: &Endpoint| {
            endpoint.address == address && port.is_none_or(|port| endpoint.port == port)
        };
        let mut matching = endpoints().filter(meant);
        let (name, file) = (&service.name, self.file.display());
        let message = match (matching.next(), matching.next()) {
            (Some(endpoint), None) => return Some(endpoint),
            (Some(_), Some(_)) => {
                let choices = listed(endpoints().filter(meant).map(|endpoint| endpoint.to_string()));
                format!("service {name:?} has several backends on {address}; write one of {choices}")
            }
            (None, _) => {
                let what =
                    port.map_or_else(|| address.to_string(), |port| Endpoint::new(address, port).to_string());
                let choices = listed(endpoints().map(|endpoint| endpoint.to_string()));
                format!(
                    "service {name:?} of {file}, then in effect, has no backend {what}; write one of {choices}"
                )
            }
        };
        self.report.wrong(backend.at, message);
        None
    }
}

/// The first of `names`, for a message.
fn listed(names: impl Iterator<Item = String>) -> String {
    const MOST: usize = 8;
    let names: Vec<String> = names.collect();
    match names.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{} and {more} more", names[..MOST].join(", ")),
        Some(0) | None if names.is_empty() => "none".to_owned(),
        Some(0) | None => names.join(", "),
    }
}
