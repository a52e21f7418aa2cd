//! `[service.limits]`: it takes flows to count them.

use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::ClientPrefix;
use crate::model::ForwardingMode;
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
