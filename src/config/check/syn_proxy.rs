//! `syn_proxy`: it takes TCP, and flows in both directions.

use crate::config::raw;
use crate::config::raw::When;
use crate::config::report::Report;
use crate::config::table::At;
use crate::model::ForwardingMode;
use crate::model::ServiceProtocol;
use crate::model::SynProxy;

/// When a service answers SYNs in its backends' place; `None` after an error.
pub(super) fn check(
    raw: raw::SynProxy,
    mode: Option<ForwardingMode>,
    protocol: Option<ServiceProtocol>,
    report: &Report<'_>,
) -> Option<SynProxy> {
    let stateless = mode.filter(|mode| mode.is_stateless());
    if let Some(At { at, value: when @ (When::Auto | When::On) }) = raw.when.clone().given() {
        let name = if when == When::On { "on" } else { "auto" };
        if let Some(mode) = stateless {
            let message = format!(
                "syn_proxy \"{name}\" changes the numbers of both directions, and in mode \"{mode}\" backends answer clients directly; remove it"
            );
            report.wrong(at, message);
        } else if protocol == Some(ServiceProtocol::Udp) {
            report.wrong(at, format!("syn_proxy \"{name}\" is for TCP, and protocol is \"udp\"; remove it"));
        }
    }
    let impossible = stateless.is_some() || protocol == Some(ServiceProtocol::Udp);
    let default = if impossible { When::Off } else { When::Auto };
    let when = raw.when.or(default);
    if let Some(at) = raw.above.place()
        && when.is_some_and(|when| when != When::Auto)
    {
        report.wrong(
            at,
            "syn_proxy_above is for syn_proxy = \"auto\", and it is not; write \"auto\", or remove syn_proxy_above",
        );
    }
    let above = raw.above.or(SynProxy::DEFAULT_ABOVE);
    Some(match when? {
        When::Off => SynProxy::Off,
        When::Auto => SynProxy::Above(above?),
        When::On => SynProxy::On,
    })
}
