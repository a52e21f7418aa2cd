//! `[[service]]`: services that do not get in each other's way, backends that can be reached.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::BackendConfig;
use crate::config::PortConfig;
use crate::config::ServiceConfig;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::Endpoint;
use crate::model::ForwardingMode;
use crate::model::HashFeature;
use crate::model::OnDeadBackend;
use crate::model::OnNoBackend;
use crate::model::OnUnknownFlow;
use crate::model::PortRange;
use crate::model::Protocol;
use crate::model::ServiceProtocol;

use super::Unique;
use super::access;
use super::addresses::Addresses;
use super::announce;
use super::client_address;
use super::forwarding;
use super::health;
use super::limits;
use super::persistence;
use super::syn_proxy;

/// Per cent of a worker's flow table that one of several services may hold when hardly any of it is free.
const DEFAULT_SHARE: u8 = 50;

/// How much there is room for.
pub(super) struct Limits {
    services: Option<At<usize>>,
    backends: Option<At<usize>>,
}

impl Limits {
    pub(super) fn new(appliance: &raw::Appliance) -> Self {
        let limit = |entry: &Entry<usize>, default| entry.clone().or_at(default, 0);
        Self {
            services: limit(&appliance.max_services, 1024),
            backends: limit(&appliance.max_backends, 4096),
        }
    }
}

/// The services. `ports` is `None` if not all of them could be read.
pub(super) fn check(
    raw: Entry<Vec<raw::Service>>,
    ports: Option<&[PortConfig]>,
    limits: &Limits,
    addresses: &mut Addresses<'_>,
) -> Option<Vec<ServiceConfig>> {
    let raw = raw.or(Vec::new())?;
    check_limits(&raw, limits, addresses.report);
    check_listening(&raw, addresses);
    let probes = ports.is_none_or(|ports| ports.iter().any(|port| port.kernel_interface.is_some()));
    // A service that is alone leaves nothing to others.
    let share = if raw.len() > 1 { DEFAULT_SHARE } else { 100 };
    let groups: Vec<_> = raw.iter().map(persistence::group_place).collect();
    let services: Vec<_> = raw.into_iter().map(|service| one(service, share, probes, addresses)).collect();
    persistence::check_groups(&groups, &services, addresses.report);
    services.into_iter().collect()
}

fn check_limits(raw: &[raw::Service], limits: &Limits, report: &Report<'_>) {
    let exceeded = |at, key: &str, limit: At<usize>| {
        let line = if limit.at == 0 { String::new() } else { format!(" (line {})", report.line(limit.at)) };
        report.wrong(at, format!("{key} is {}{line}, and this is one more; raise {key}", limit.value));
    };
    if let Some(limit) = limits.services
        && let Some(service) = raw.get(limit.value)
    {
        exceeded(service.at, "max_services", limit);
    }
    let backends =
        raw.iter().filter_map(|service| service.backends.as_ref().given()).flat_map(|list| list.value);
    if let Some(limit) = limits.backends
        && let Some(backend) = backends.into_iter().nth(limit.value)
    {
        exceeded(backend.at, "max_backends", limit);
    }
}

/// Names, VIPs, and that no two services mean the same port equally closely.
fn check_listening(raw: &[raw::Service], addresses: &mut Addresses<'_>) {
    let report = addresses.report;
    let mut names = Unique::new();
    let mut listening: HashMap<(IpAddr, Protocol), Vec<At<PortRange>>> = HashMap::new();
    for service in raw {
        if let Some(At { at, value: name }) = service.name.as_ref().given()
            && let Some(earlier) = names.earlier(name, at)
        {
            let line = report.line(earlier);
            report.wrong(at, format!("service name {name:?} is taken (line {line}); choose another"));
        }
        let Some(vip) = service.vip.clone().given() else {
            continue;
        };
        addresses.add_vip(vip);
        let (Some(ports), Some(protocol)) =
            (service.ports.clone().given(), service.protocol.clone().or(ServiceProtocol::Tcp))
        else {
            continue;
        };
        for protocol in protocol.protocols() {
            let others = listening.entry((vip.value, *protocol)).or_default();
            if let Some(other) = others.iter().find(|other| clashes(other.value, ports.value)) {
                let (vip, other, line) = (vip.value, other.value, report.line(other.at));
                let clash = if ports.value == other {
                    "is another service's".to_owned()
                } else {
                    format!("overlaps another service's {other}")
                };
                let message =
                    format!("{protocol} port {} of vip {vip} {clash} (line {line}); change one", ports.value);
                report.wrong(ports.at, message);
            }
            others.push(ports);
        }
    }
}

/// Whether it is not clear which of two services a port is for.
const fn clashes(one: PortRange, other: PortRange) -> bool {
    one.overlaps(other) && one.closeness() as u8 == other.closeness() as u8
}

/// `share` is the default of `flow_share`.
fn one(raw: raw::Service, share: u8, probes: bool, addresses: &Addresses<'_>) -> Option<ServiceConfig> {
    let mode = forwarding::mode(&raw);
    let scheduler = forwarding::scheduler(&raw, mode, addresses.report);
    forwarding::check_tracking(&raw, mode, addresses.report);
    let vip = raw.vip.given();
    let ports = raw.ports.given();
    let protocol = raw.protocol.or(ServiceProtocol::Tcp);
    let pool = raw.pool.or_at("default".to_owned(), raw.at);
    let listens = Listens { at: raw.at, vip, ports, mode };
    let backends = backends(raw.backends, &listens, addresses);
    let local = forwarding::local_addresses(&listens, pool, backends.as_deref(), addresses);
    let client_address = client_address::check(&raw.client_address, mode, protocol, addresses.report);
    let probed = health::Probed {
        at: raw.at,
        protocol,
        client_address: client_address.unwrap_or_default(),
        vip: vip.map(|vip| vip.value),
        backends: backends.as_deref(),
        answers: probes,
    };
    let persistence = persistence::check(raw.persistence, mode, addresses.report);
    let syn_proxy = syn_proxy::check(raw.syn_proxy, mode, protocol, addresses.report);
    let access = access::check(raw.access, vip.map(|vip| vip.value), addresses.report);
    let limits = limits::check(raw.limits, mode, addresses.report);
    let health = health::check(raw.health, &probed, addresses);
    if protocol == Some(ServiceProtocol::Udp)
        && let Some(At { at, value: OnNoBackend::Http503 }) = raw.on_no_backend.clone().given()
    {
        addresses.report.wrong(
            at,
            "on_no_backend \"http-503\" answers TCP clients, and protocol is \"udp\"; write \"reject\" or \"drop\"",
        );
    }
    let one_packet = forwarding::one_packet(raw.one_packet, protocol, mode, addresses.report);
    let announce =
        announce::check(raw.announce, raw.quorum, raw.announce_hold, health.as_ref(), addresses.report);
    Some(ServiceConfig {
        name: raw.name.given()?.value,
        vip: vip?.value,
        ports: ports?.value,
        protocol: protocol?,
        mode: mode?,
        one_packet: one_packet?,
        transition: raw.transition.or(Duration::from_secs(900))?,
        scheduler: scheduler?,
        hash: raw.hash.or(HashFeature::FiveTuple)?,
        client_address: client_address?,
        on_no_backend: raw.on_no_backend.or(OnNoBackend::Reject)?,
        on_unknown_flow: raw.on_unknown_flow.or(OnUnknownFlow::Reset)?,
        on_dead_backend: raw.on_dead_backend.or(OnDeadBackend::Reset)?,
        dead_after: raw.dead_after.or(Duration::from_secs(10))?,
        slow_start: raw.slow_start.or(Duration::ZERO)?,
        hold_down: raw.hold_down.or(Duration::ZERO)?,
        announce: announce?,
        panic_threshold: raw.panic_threshold.or(0)?,
        local_addresses: local?,
        persistence: persistence?,
        access: access?,
        limits: limits?,
        syn_proxy: syn_proxy?,
        flow_share: raw.flow_share.or(share)?,
        health: health?,
        backends: backends?,
    })
}

/// Where a service listens and how its packets go on, as far as that could be read.
pub(super) struct Listens {
    /// The place of the service.
    pub(super) at: usize,
    pub(super) vip: Option<At<IpAddr>>,
    pub(super) ports: Option<At<PortRange>>,
    pub(super) mode: Option<ForwardingMode>,
}

/// The backends of a service.
fn backends(
    raw: Entry<Vec<raw::Backend>>,
    listens: &Listens,
    addresses: &Addresses<'_>,
) -> Option<Vec<BackendConfig>> {
    let report = addresses.report;
    let Listens { at, ports, mode, .. } = *listens;
    let raw = raw.or(Vec::new())?;
    if raw.is_empty() {
        report.warn(
            at,
            "service has no backends, so its clients are refused; add a [[service.backend]] with an address",
        );
    }
    // A range is passed on port by port: 0 stands for the port that the client used.
    let default =
        ports.map(|ports| if ports.value.first == ports.value.last { ports.value.first } else { 0 });
    let mut unique = Unique::new();
    let mut backends = Vec::with_capacity(raw.len());
    for backend in raw {
        let address = backend.address.given();
        if let Some(address) = address {
            check_backend_address(address, listens, addresses);
        }
        forwarding::check_backend_port(&backend.port, ports, mode, report);
        limits::check_backend(&backend.max_connections, mode, report);
        let port = match backend.port {
            Entry::Absent => default,
            Entry::Wrong => None,
            Entry::Given(port) => Some(port.value),
        };
        let endpoint = address.zip(port).map(|(address, port)| Endpoint::new(address.value, port));
        if let Some((endpoint, address)) = endpoint.zip(address)
            && let Some(earlier) = unique.earlier(endpoint, address.at)
        {
            let line = report.line(earlier);
            report.wrong(address.at, format!("backend {endpoint} is listed twice (line {line}); remove one"));
        }
        let (weight, tier) = (backend.weight.or(100), backend.tier.or(0));
        let all = endpoint.zip(weight).zip(tier).zip(backend.max_connections.or(0));
        backends.push(all.map(|(((endpoint, weight), tier), max_connections)| BackendConfig {
            endpoint,
            weight,
            tier,
            max_connections,
        }));
    }
    backends.into_iter().collect()
}

fn check_backend_address(backend: At<IpAddr>, listens: &Listens, addresses: &Addresses<'_>) {
    let (report, address) = (addresses.report, backend.value);
    // A tunnel carries either family in either.
    let same_family = matches!(listens.mode, Some(ForwardingMode::FullNat | ForwardingMode::DirectRouting));
    if let Some(vip) = listens.vip.filter(|_| same_family)
        && vip.value.is_ipv4() != address.is_ipv4()
    {
        let (line, vip) = (report.line(vip.at), vip.value);
        let version = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
        let message = format!(
            "backend {address} is not of the family of vip {vip} (line {line}), and NAT64 is not supported; write an {version} address"
        );
        report.wrong(backend.at, message);
    }
    if let Some(other) = addresses.role(address) {
        let (role, line) = (other.value.described(), report.line(other.at));
        report.wrong(
            backend.at,
            format!("backend {address} is {role} of this balancer (line {line}); write a server's address"),
        );
    }
}
