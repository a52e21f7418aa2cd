//! What the way of a service's packets asks of the rest of the service.

use std::net::IpAddr;

use crate::config::BackendConfig;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::Encapsulation;
use crate::model::ForwardingMode;
use crate::model::PortRange;
use crate::model::Scheduler;
use crate::model::ServiceProtocol;

use super::addresses::Addresses;
use super::services::Listens;

/// The port that IANA gave to Generic UDP Encapsulation.
const GUE_PORT: u16 = 6080;

/// The mode; `None` after an error.
pub(super) fn mode(raw: &raw::Service) -> Option<ForwardingMode> {
    let encapsulation = raw.encapsulation.clone().or(raw::Encapsulation::Ipip);
    let port = raw.encapsulation_port.clone().or(GUE_PORT);
    Some(match raw.mode.clone().or(raw::Mode::FullNat)? {
        raw::Mode::FullNat => ForwardingMode::FullNat,
        raw::Mode::DirectRouting => ForwardingMode::DirectRouting,
        raw::Mode::Tunnel => ForwardingMode::Tunnel(match encapsulation? {
            raw::Encapsulation::Ipip => Encapsulation::Ip,
            raw::Encapsulation::Gue => Encapsulation::Gue { port: port? },
        }),
    })
}

/// The scheduler; without flows nobody counts them, and only the packet itself can say where it belongs.
pub(super) fn scheduler(
    raw: &raw::Service,
    mode: Option<ForwardingMode>,
    report: &Report<'_>,
) -> Option<Scheduler> {
    let At { at, value: scheduler } = raw.scheduler.clone().or_at(Scheduler::Maglev, raw.at)?;
    if let Some(mode) = mode
        && mode.is_stateless()
        && !scheduler.is_by_hash()
    {
        report.wrong(
            at,
            format!(
                "scheduler \"{scheduler}\" needs flows, which mode \"{mode}\" does not keep; write \"maglev\" or \"source-hash\""
            ),
        );
        return None;
    }
    Some(scheduler)
}

/// Tracking follows from the mode; a file may say it, but not otherwise.
pub(super) fn check_tracking(raw: &raw::Service, mode: Option<ForwardingMode>, report: &Report<'_>) {
    let Some((At { at, value: tracking }, mode)) = raw.tracking.clone().given().zip(mode) else { return };
    let right = mode.tracking();
    if tracking != right {
        report.wrong(
            at,
            format!("tracking \"{tracking}\" is not possible in mode \"{mode}\"; write \"{right}\", or leave it out"),
        );
    }
}

/// Whether each datagram is a flow of its own; `None` after an error.
pub(super) fn one_packet(
    raw: Entry<bool>,
    protocol: Option<ServiceProtocol>,
    mode: Option<ForwardingMode>,
    report: &Report<'_>,
) -> Option<bool> {
    let At { at, value: wanted } = raw.or_at(false, 0)?;
    if !wanted {
        return Some(false);
    }
    let (protocol, mode) = (protocol?, mode?);
    if protocol != ServiceProtocol::Udp {
        report.wrong(
            at,
            format!(
                "one_packet is for datagrams that need no others, and protocol is \"{protocol}\"; remove it, or write protocol = \"udp\""
            ),
        );
        return None;
    }
    if mode.is_stateless() {
        report.wrong(
            at,
            format!("one_packet ends flows with their answers, and mode \"{mode}\" keeps none; remove it"),
        );
        return None;
    }
    Some(true)
}

/// A packet that is not changed arrives at the port that the client used.
pub(super) fn check_backend_port(
    port: &Entry<u16>,
    ports: Option<At<PortRange>>,
    mode: Option<ForwardingMode>,
    report: &Report<'_>,
) {
    let Some(mode) = mode.filter(|mode| mode.is_stateless()) else { return };
    let (Some(port), Some(ports)) = (port.clone().given(), ports) else { return };
    let PortRange { first, last } = ports.value;
    if first != last || port.value != first {
        let line = report.line(ports.at);
        report.wrong(
            port.at,
            format!(
                "port {} is not the service's {} (line {line}), which mode \"{mode}\" leaves in the packets; leave it out",
                port.value, ports.value
            ),
        );
    }
}

/// The local addresses that the service needs: of the VIP's family to translate to, of the backends' as the source of
/// a tunnel, none for direct routing. `None` after an error.
pub(super) fn local_addresses(
    service: &Listens,
    pool: Option<At<String>>,
    backends: Option<&[BackendConfig]>,
    addresses: &Addresses<'_>,
) -> Option<Vec<IpAddr>> {
    let pool = pool?;
    let of = |peer| addresses.pool(&pool.value, peer, pool.at);
    match service.mode? {
        ForwardingMode::FullNat => of(("vip", service.vip?.value)),
        ForwardingMode::DirectRouting => Some(Vec::new()),
        ForwardingMode::Tunnel(_) => {
            let backend = |v4: bool| {
                let addresses = backends?.iter().map(|backend| backend.endpoint.address);
                addresses.into_iter().find(|address| address.is_ipv4() == v4)
            };
            let families = [backend(true), backend(false)].into_iter().flatten();
            // Both are looked at before either error ends it.
            let found: Vec<_> = families.map(|peer| of(("backend", peer))).collect();
            Some(found.into_iter().collect::<Option<Vec<_>>>()?.concat())
        }
    }
}
