//! The events file: what happens to backends and to the configuration, and when.
//!
//! Read as a configuration is: every mistake is reported at once, with its place and the way out. Names are looked up
//! in the configuration that is in effect at the event's time, so every file that an event loads is read beforehand.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::moment::Moment;
use super::standing::{Reloads, Standing};
use crate::config::{self, Config, ConfigErrors, Entry, Report, Table, Value, document};
use crate::control::health::{ProbeFailure, ProbeResult};
use crate::control::state::{Decision, Order};
use crate::model::{Endpoint, Nanos};

/// The longest time that a drain can be given.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 3600);

/// Something that happens at a time of the capture.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) time: Nanos,
    pub(super) what: Happening,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// A backend is in service or out of it, whatever its probes said.
    Decision { target: Target, decision: Decision },
    /// The operator's command.
    Order { target: Target, order: Order },
    /// A probe of a backend has a result.
    Probe { target: Target, result: ProbeResult },
    /// The configuration is replaced.
    Reload {
        config: Box<Config>,
        /// Where it was read.
        path: PathBuf,
        /// `file:line` of the event.
        place: String,
    },
}

/// A configured backend.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) endpoint: Endpoint,
}

/// What a replay begins with.
#[derive(Clone, Copy)]
pub(super) struct Beginning<'a> {
    pub(super) config: &'a Config,
    /// Where it was read.
    pub(super) path: &'a Path,
    /// The time of the first frame.
    pub(super) first: Nanos,
}

/// The events of the file at `path`, in the order of time; those of one time in the order of the file.
///
/// # Errors
/// Every mistake in it and in the configurations that it names.
pub(super) fn load(path: &Path, beginning: Beginning<'_>) -> Result<Vec<Event>, ConfigErrors> {
    let mut of_others = Vec::new();
    let events = document::load(path, "--health", |mut table, report| {
        let tables = table.tables("event", "[[event]]");
        table.finish();
        let mut typed = Vec::new();
        for table in tables.or(Vec::new())? {
            typed.push(Typed::read(table, report, path, &mut of_others));
        }
        let time = |event: &Typed| event.moment.as_ref().given().map(|at| at.value.since(beginning.first));
        typed.sort_by_key(time);
        let reloads = Reloads {
            any: typed.iter().any(|event| event.reload),
            // Where a part of the file is lost, that may have been one.
            in_order: !report.broken() && typed.iter().all(|event| !event.reload || time(event).is_some()),
        };
        let mut standing = Standing::new(beginning, reloads, report);
        let events: Vec<_> = typed.into_iter().map(|event| event.check(&mut standing, path)).collect();
        events.into_iter().collect()
    });
    events.map(|document| document.value).map_err(|errors| errors.and(of_others))
}

/// An event as typed.
struct Typed {
    at: usize,
    moment: Entry<Moment>,
    service: Entry<String>,
    backend: Entry<Named>,
    state: Entry<Decision>,
    order: Entry<Order>,
    weight: Entry<Order>,
    probe: Entry<ProbeResult>,
    config: Entry<(Box<Config>, PathBuf)>,
    /// Whether it is about `config`, right or wrong.
    reload: bool,
}

/// A backend as it is called.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) address: IpAddr,
    /// `None`: there is only one.
    pub(super) port: Option<u16>,
}

impl Typed {
    fn read(
        mut table: Table<'_>,
        report: &Report<'_>,
        path: &Path,
        of_others: &mut Vec<ConfigErrors>,
    ) -> Self {
        let moment = table.required("at", "\"1.5s\"", Moment::read);
        let config = table.optional("config", |value| load_config(value, path, of_others));
        let reload = match config {
            Entry::Absent => false,
            // Where a part of the file is lost, what is absent looks wrong.
            Entry::Wrong => !report.broken(),
            Entry::Given(_) => true,
        };
        let text = |value: Value<'_>| value.text().map(str::to_owned);
        let (service, backend) = if reload {
            (table.optional("service", not_with_config), table.optional("backend", not_with_config))
        } else {
            (
                table.required("service", "\"web\"", text),
                table.required("backend", "\"10.0.9.1:80\"", Named::read),
            )
        };
        let state = table.optional("state", |value| {
            value.one_of(&[("up", Decision::Up), ("down", Decision::Down), ("dead", Decision::Dead)], &[])
        });
        let within = table.optional("within", |value| value.duration(Duration::ZERO..=LONGEST_DRAIN));
        let drain = Order::Drain(within.clone().given().map(|within| within.value));
        let order = table.optional("order", |value| {
            value.one_of(&[("drain", drain), ("disable", Order::Disable), ("enable", Order::Enable)], &[])
        });
        if let (Some(within), None | Some(Order::Disable | Order::Enable)) =
            (within.given(), order.clone().given().map(|order| order.value))
        {
            report.wrong(within.at, "within has a use with order = \"drain\" alone; remove it");
        }
        let weight = table.optional("weight", |value| value.integer(0..=65_535).map(Order::Weight));
        let probe = table.optional("probe", probe_result);
        let at = table.at;
        table.finish();
        Self { at, moment, service, backend, state, order, weight, probe, config, reload }
    }

    /// The event, after those before it; `None` after a mistake has been reported.
    fn check(self, standing: &mut Standing<'_>, path: &Path) -> Option<Event> {
        let single = self.is_single(standing.report);
        let time = self.moment.given().map(|moment| moment.value.since(standing.first));
        let what = if self.reload {
            let (config, file) = standing.reload(self.config.given(), time)?;
            let place = format!("{}:{}", path.display(), standing.report.line(self.at));
            Happening::Reload { config, path: file, place }
        } else {
            let result = self.probe.given();
            if !standing.is_known_at(time) {
                return None;
            }
            let target = standing.target(self.service.given(), self.backend.given(), result.is_some())?;
            match (self.state.given(), self.order.given().or_else(|| self.weight.given()), result) {
                (Some(decision), None, None) => Happening::Decision { target, decision: decision.value },
                (None, Some(order), None) => Happening::Order { target, order: order.value },
                (None, None, Some(result)) => Happening::Probe { target, result: result.value },
                _ => return None,
            }
        };
        single.then_some(Event { time: time?, what })
    }

    /// Whether it says one thing; reports it if not.
    fn is_single(&self, report: &Report<'_>) -> bool {
        if report.broken() {
            return false;
        }
        let keys = [
            ("state", !matches!(self.state, Entry::Absent)),
            ("order", !matches!(self.order, Entry::Absent)),
            ("weight", !matches!(self.weight, Entry::Absent)),
            ("probe", !matches!(self.probe, Entry::Absent)),
            ("config", self.reload),
        ];
        let given: Vec<&str> = keys.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
        let message = match given.as_slice() {
            [_] => return true,
            [] => {
                "[[event]] says nothing; add state = \"down\", probe = \"timeout\" or config = \"other.toml\""
                    .to_owned()
            }
            several => {
                format!("[[event]] has {}; keep one, and make events of the others", several.join(" and "))
            }
        };
        report.wrong(self.at, message);
        false
    }
}

impl Named {
    fn read(value: Value<'_>) -> Option<Self> {
        let text = value.text()?;
        if let Ok(both) = text.parse::<SocketAddr>() {
            return Some(Self { address: both.ip(), port: Some(both.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Some(Self { address, port: None });
        }
        value.wrong(format!(
            "backend {text:?} is no backend's address; write it as `evenkeel backends` prints it, as \
             \"10.0.9.1:80\" or \"[fd00:9::1]:80\""
        ))
    }
}

fn not_with_config<T>(value: Value<'_>) -> Option<T> {
    let key = value.key;
    value.wrong(format!("{key} stands beside config, which is about everything; remove {key}"))
}

/// The configuration in a file that is named relative to the events file at `path`.
fn load_config(
    value: Value<'_>,
    path: &Path,
    of_others: &mut Vec<ConfigErrors>,
) -> Option<(Box<Config>, PathBuf)> {
    let text = value.text()?;
    let file = path.parent().unwrap_or_else(|| Path::new("")).join(text);
    match config::load(&file) {
        Ok(config) => Some((Box::new(config), file)),
        Err(errors) => {
            if let Some(whole) = errors.iter().find(|error| error.position().is_none()) {
                let reason = whole.message().split("; ").next().unwrap_or_default();
                return value.wrong(format!("config {text:?} {reason}; name a file, relative to this one"));
            }
            of_others.push(errors);
            value.wrong(format!("config {text:?} is wrong; mend it, see below"))
        }
    }
}

/// `ok`, or the name of a failure as logs and listings have it.
fn probe_result(value: Value<'_>) -> Option<ProbeResult> {
    if let Some(code) = value.text()?.strip_prefix("status=").filter(|code| code.len() == 3)
        && let Ok(code @ 100..) = code.parse::<u16>()
    {
        return Some(Err(ProbeFailure::Status(code)));
    }
    value.one_of(&RESULTS, &[])
}

const RESULTS: [(&str, ProbeResult); 7] = [
    ("ok", Ok(())),
    ("timeout", Err(ProbeFailure::Timeout)),
    ("refused", Err(ProbeFailure::Refused)),
    ("unreachable", Err(ProbeFailure::Unreachable)),
    ("closed", Err(ProbeFailure::Closed)),
    ("malformed", Err(ProbeFailure::Malformed)),
    ("status=503", Err(ProbeFailure::Status(503))),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_called_as_in_logs_and_listings() {
        for (name, result) in RESULTS {
            assert_eq!(result.err().map_or_else(|| "ok".to_owned(), |failure| failure.to_string()), name);
        }
    }
}
