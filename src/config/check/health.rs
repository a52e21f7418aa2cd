//! `[service.health]`: defaults, and probes that can be answered.

use std::time::Duration;

use crate::config::BackendConfig;
use crate::config::FailureWindow;
use crate::config::HealthConfig;
use crate::config::ProbeKind;
use crate::config::duration;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::Protocol;

/// What the probes of a service have to do with.
pub(super) struct Probed<'a> {
    /// Where the service stands.
    pub(super) at: usize,
    pub(super) protocol: Option<Protocol>,
    pub(super) backends: Option<&'a [BackendConfig]>,
    /// Whether answers can come in: some port has a kernel side.
    pub(super) answers: bool,
}

pub(super) fn check(
    raw: Entry<raw::Health>,
    service: &Probed<'_>,
    report: &Report<'_>,
) -> Option<HealthConfig> {
    let raw = match raw {
        Entry::Given(raw) => raw.value,
        Entry::Wrong => return None,
        // Nothing can be said of a UDP service without knowing its requests.
        Entry::Absent => raw::Health::absent(match service.protocol? {
            Protocol::Tcp => At { at: service.at, value: raw::Probe::Tcp },
            Protocol::Udp => At { at: service.at, value: raw::Probe::None },
        }),
    };
    let kind = raw.kind.clone().given();
    if let Some(kind) = kind {
        check_kind(kind, &raw, service, report);
    }
    let interval = raw.interval.or_at(Duration::from_secs(2), 0);
    let timeout = interval.and_then(|interval| {
        let timeout = raw.timeout.or_at(interval.value.min(Duration::from_secs(1)), 0)?;
        if timeout.value > interval.value {
            let (long, short) = (duration::print(timeout.value), duration::print(interval.value));
            let message =
                format!("timeout {long} is longer than interval {short}; write at most \"{short}\"");
            report.wrong(timeout.at, message);
        }
        Some(timeout.value)
    });
    let window = match raw.failure_window {
        Entry::Absent => Some(None),
        Entry::Wrong => None,
        Entry::Given(window) => {
            if let Some(fall) = raw.fall.as_ref().given() {
                let message = "fall and failure_window are two rules for the same; remove one of them";
                report.wrong(fall.at, message);
            }
            failure_window(window.value, &interval, report).map(Some)
        }
    };
    let kind = match kind?.value {
        raw::Probe::None => ProbeKind::None,
        raw::Probe::Tcp => ProbeKind::Tcp,
        raw::Probe::Http => ProbeKind::Http {
            path: raw.path.or("/".to_owned())?,
            host: raw.host.map(Some).or(None)?,
            status: raw.status.or(vec![200..=399])?,
        },
    };
    Some(HealthConfig {
        kind,
        interval: interval?.value,
        timeout: timeout?,
        fall: raw.fall.or(3)?,
        rise: raw.rise.or(2)?,
        failure_window: window?,
        port: raw.port.map(Some).or(None)?,
    })
}

/// A window must have room for the failures that it counts.
fn failure_window(
    raw: raw::FailureWindow,
    interval: &Option<At<Duration>>,
    report: &Report<'_>,
) -> Option<FailureWindow> {
    let (failures, within) = (raw.failures.given()?, raw.within.given()?);
    if let Some(interval) = interval
        && within.value < interval.value * (failures.value - 1)
    {
        let needed = duration::print(interval.value * (failures.value - 1));
        let message = format!(
            "{} failures do not fit within {}, with a probe each {}; write at least \"{needed}\"",
            failures.value,
            duration::print(within.value),
            duration::print(interval.value),
        );
        report.wrong(within.at, message);
    }
    Some(FailureWindow { failures: failures.value, within: within.value })
}

/// What else a kind of probe needs, and what it has no use for.
fn check_kind(kind: At<raw::Probe>, raw: &raw::Health, service: &Probed<'_>, report: &Report<'_>) {
    if kind.value == raw::Probe::None {
        // Whoever turns probes off for a while keeps the rest for later.
        return;
    }
    if !service.answers {
        let message = "no port has a kernel side, so that probes cannot be answered; write kind = \"none\" in [service.health]";
        report.wrong(kind.at, message);
    }
    let by_client = |backend: &BackendConfig| backend.endpoint.port == 0;
    if matches!(raw.port, Entry::Absent)
        && service.backends.is_some_and(|backends| backends.iter().any(by_client))
    {
        let message = "backends use the port that the client used, so that probes have none; write port in [service.health]";
        report.wrong(kind.at, message);
    }
    if kind.value == raw::Probe::Tcp {
        let places = [
            ("path", raw.path.as_ref().given().map(|given| given.at)),
            ("host", raw.host.as_ref().given().map(|given| given.at)),
            ("status", raw.status.as_ref().given().map(|given| given.at)),
        ];
        for (key, at) in places {
            if let Some(at) = at {
                report.wrong(
                    at,
                    format!("{key} has no use with kind = \"tcp\"; remove it or write kind = \"http\""),
                );
            }
        }
    }
}
