//! `[service.limits]` and `[service.persistence]`: it takes flows to count them, and to know the next one.

use std::time::Duration;

use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::ClientPrefix;
use crate::model::ForwardingMode;
use crate::model::PersistenceRules;
use crate::model::ServiceLimits;

/// The limits of a service; `None` after an error.
pub(super) fn check(
    raw: Entry<raw::Limits>,
    mode: Option<ForwardingMode>,
    report: &Report<'_>,
) -> Option<ServiceLimits> {
    if let Some(mode) = mode.filter(|mode| mode.is_stateless())
        && let Some(at) = raw.place()
    {
        report.wrong(
            at,
            format!("limits count flows, which mode \"{mode}\" does not keep; remove [service.limits]"),
        );
    }
    let raw = raw.or(raw::Limits::default())?;
    let default = ClientPrefix::default();
    for (prefix, key) in
        [(&raw.client_prefix_v4, "client_prefix_v4"), (&raw.client_prefix_v6, "client_prefix_v6")]
    {
        let absent = |limit: &Entry<u32>| matches!(limit, Entry::Absent);
        if let Some(at) = prefix.place()
            && absent(&raw.client_connections)
            && absent(&raw.client_connections_per_second)
        {
            report.wrong(
                at,
                format!("{key} is for limits of clients, and there is none; add client_connections or client_connections_per_second, or remove it"),
            );
        }
    }
    Some(ServiceLimits {
        connections: raw.connections.or(0)?,
        connections_per_second: raw.connections_per_second.or(0)?,
        client_connections: raw.client_connections.or(0)?,
        client_connections_per_second: raw.client_connections_per_second.or(0)?,
        client_prefix: ClientPrefix {
            v4: raw.client_prefix_v4.or(default.v4)?,
            v6: raw.client_prefix_v6.or(default.v6)?,
        },
    })
}

/// `max_connections` of a backend; without flows there can be none.
pub(super) fn check_backend(raw: &Entry<u32>, mode: Option<ForwardingMode>, report: &Report<'_>) {
    let Some(At { at, value: 1.. }) = raw.clone().given() else { return };
    if let Some(mode) = mode.filter(|mode| mode.is_stateless()) {
        report.wrong(
            at,
            format!("max_connections counts flows, which mode \"{mode}\" does not keep; remove it"),
        );
    }
}

/// Whether clients go to the backend that they were sent to before; `None` after an error.
pub(super) fn check_persistence(
    raw: Entry<raw::Persistence>,
    mode: Option<ForwardingMode>,
    report: &Report<'_>,
) -> Option<Option<PersistenceRules>> {
    let At { at, value: raw } = match raw {
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
        Entry::Given(raw) => raw,
    };
    if let Some(mode) = mode.filter(|mode| mode.is_stateless()) {
        report.wrong(
            at,
            format!(
                "persistence needs flows, which mode \"{mode}\" does not keep; remove [service.persistence], and write hash = \"source-address\""
            ),
        );
    }
    let timeout = raw.timeout.or(Duration::from_secs(300));
    let prefix = ClientPrefix { v4: raw.prefix_v4.or(32)?, v6: raw.prefix_v6.or(128)? };
    Some(Some(PersistenceRules { timeout: timeout?.into(), prefix }))
}
