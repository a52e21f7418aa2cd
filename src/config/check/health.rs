//! `[service.health]`: defaults, and probes that can be answered.

use std::net::IpAddr;
use std::time::Duration;

use super::addresses::Addresses;
use super::addresses::Role;
use super::authorities;
use super::program;
use crate::config::AgentConfig;
use crate::config::BackendConfig;
use crate::config::DnsProbe;
use crate::config::Expect;
use crate::config::FailureWindow;
use crate::config::HealthConfig;
use crate::config::HttpProbe;
use crate::config::ProbeKind;
use crate::config::Rcode;
use crate::config::RecordType;
use crate::config::TlsProbe;
use crate::config::UdpProbe;
use crate::config::duration;
use crate::config::raw;
use crate::config::raw::Probe;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::config::value::List;
use crate::model::ClientAddress;
use crate::model::ServiceProtocol;

/// What the probes of a service have to do with.
pub(super) struct Probed<'a> {
    /// Where the service stands.
    pub(super) at: usize,
    pub(super) protocol: Option<ServiceProtocol>,
    pub(super) client_address: ClientAddress,
    pub(super) vip: Option<IpAddr>,
    pub(super) backends: Option<&'a [BackendConfig]>,
    /// Whether answers can come in: some port has a kernel side.
    pub(super) answers: bool,
}

pub(super) fn check(
    raw: Entry<raw::Health>,
    service: &Probed<'_>,
    addresses: &Addresses<'_>,
) -> Option<HealthConfig> {
    let report = addresses.report;
    let raw = match raw {
        Entry::Given(raw) => raw.value,
        Entry::Wrong => return None,
        // Nothing can be said of a UDP service without knowing its requests.
        Entry::Absent => raw::Health::absent(match service.protocol? {
            ServiceProtocol::Tcp | ServiceProtocol::Any => At { at: service.at, value: Probe::Tcp },
            ServiceProtocol::Udp => At { at: service.at, value: Probe::None },
        }),
    };
    let kind = raw.kind.clone().given();
    if let Some(kind) = kind {
        check_kind(kind, &raw, service, report);
    }
    let from = from(raw.from.clone(), service, addresses);
    let times = times(raw.interval.clone(), raw.timeout.clone(), report);
    let agent = agent(raw.agent.clone(), report);
    let port = raw.port.clone().map(Some).or(None);
    let proxy_header = proxy_header(&raw, service);
    let window = failure_window(raw.failure_window.clone(), raw.fall.place(), times, report);
    let passive = passive(raw.passive.clone(), service, report);
    let (fall, rise) = (raw.fall.clone().or(3), raw.rise.clone().or(2));
    let kind = probe_kind(kind?, raw, report);
    let (interval, timeout) = times?;
    // Whoever turns probes off turns all of them off; and nobody would take back what handshakes say.
    let (agent, passive) = if kind == Some(ProbeKind::None) { (None, None) } else { (agent?, passive?) };
    Some(HealthConfig {
        kind: kind?,
        agent,
        passive,
        interval,
        timeout,
        fall: fall?,
        rise: rise?,
        failure_window: window?,
        port: port?,
        from: from?,
        proxy_header: proxy_header?,
    })
}

/// A backend that expects a header of every client refuses a probe without one; another port is another server's.
fn proxy_header(raw: &raw::Health, service: &Probed<'_>) -> Option<bool> {
    let expected = matches!(service.client_address, ClientAddress::ProxyV2 { .. });
    raw.proxy_header.clone().or(expected && matches!(raw.port, Entry::Absent))
}

/// What clients' handshakes say is told by TCP alone.
fn passive(
    raw: Entry<raw::FailureWindow>,
    service: &Probed<'_>,
    report: &Report<'_>,
) -> Option<Option<FailureWindow>> {
    let at = raw.place();
    let raw = match raw {
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
        Entry::Given(raw) => raw.value,
    };
    if let (Some(at), Some(ServiceProtocol::Udp)) = (at, service.protocol) {
        report.wrong(at, "passive looks at TCP handshakes, and protocol is \"udp\"; remove it");
    }
    let (failures, within) = (raw.failures.given()?, raw.within.given()?);
    Some(Some(FailureWindow { failures: failures.value, within: within.value }))
}

/// A window must have room for the failures that it counts, and stands in place of `fall`.
fn failure_window(
    raw: Entry<raw::FailureWindow>,
    fall: Option<usize>,
    times: Option<(Duration, Duration)>,
    report: &Report<'_>,
) -> Option<Option<FailureWindow>> {
    let raw = match raw {
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
        Entry::Given(raw) => raw.value,
    };
    if let Some(fall) = fall {
        report.wrong(fall, "fall and failure_window are two rules for the same; remove one of them");
    }
    let (failures, within) = (raw.failures.given()?, raw.within.given()?);
    let (interval, _) = times?;
    let needed = interval * (failures.value - 1);
    if within.value < needed {
        let message = format!(
            "{} failures do not fit within {}, with a probe each {}; write at least \"{}\"",
            failures.value,
            duration::print(within.value),
            duration::print(interval),
            duration::print(needed),
        );
        report.wrong(within.at, message);
    }
    Some(Some(FailureWindow { failures: failures.value, within: within.value }))
}

/// Interval and timeout with their defaults; the second may not be longer than the first.
fn times(
    interval: Entry<Duration>,
    timeout: Entry<Duration>,
    report: &Report<'_>,
) -> Option<(Duration, Duration)> {
    let interval = interval.or(DEFAULT_INTERVAL)?;
    let timeout = timeout.or_at(interval.min(DEFAULT_TIMEOUT), 0)?;
    if timeout.value > interval {
        let (long, short) = (duration::print(timeout.value), duration::print(interval));
        let message = format!("timeout {long} is longer than interval {short}; write at most \"{short}\"");
        report.wrong(timeout.at, message);
    }
    Some((interval, timeout.value))
}

fn agent(raw: Entry<raw::Agent>, report: &Report<'_>) -> Option<Option<AgentConfig>> {
    let raw = match raw {
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
        Entry::Given(raw) => raw.value,
    };
    let (interval, timeout) = times(raw.interval, raw.timeout, report)?;
    Some(Some(AgentConfig { port: raw.port.given()?.value, interval, timeout }))
}

/// The address that probes leave from: answers to it must come in, and come to the kernel.
fn from(
    raw: Entry<Option<IpAddr>>,
    service: &Probed<'_>,
    addresses: &Addresses<'_>,
) -> Option<Option<IpAddr>> {
    let At { at, value } = raw.or_at(None, 0)?;
    let Some(from) = value else { return Some(None) };
    let report = addresses.report;
    if let Some(vip) = service.vip
        && vip.is_ipv4() != from.is_ipv4()
    {
        let version = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
        report.wrong(
            at,
            format!("from {from} is not of the family of the backends; write an {version} address"),
        );
    }
    if let Some(Role::Vip) = addresses.role(from).map(|other| other.value) {
        let message = format!(
            "from {from} is a VIP, which takes no answers; write a local address, a port's address or \"any\""
        );
        report.wrong(at, message);
    }
    if service.backends.is_some_and(|backends| backends.iter().any(|b| b.endpoint.address == from)) {
        report
            .wrong(at, format!("from {from} is a backend's address; write one of this balancer or \"any\""));
    }
    Some(Some(from))
}

/// The kind with what belongs to it. A key that it needs and that is absent is reported.
fn probe_kind(kind: At<Probe>, raw: raw::Health, report: &Report<'_>) -> Option<ProbeKind> {
    let needed = |key: &str, example: &str| {
        let name = kind.value.name();
        report.wrong(kind.at, format!("kind = \"{name}\" needs {key}; add it, as {key} = {example}"));
    };
    Some(match kind.value {
        Probe::None => ProbeKind::None,
        Probe::Tcp => ProbeKind::Tcp,
        Probe::Icmp => ProbeKind::Icmp,
        Probe::Http | Probe::Https => {
            let http = HttpProbe {
                path: raw.path.or("/".to_owned())?,
                host: raw.host.map(Some).or(None)?,
                status: raw.status.or(vec![200..=399])?,
                body: raw.body.map(Some).or(None)?,
            };
            if kind.value == Probe::Http {
                return Some(ProbeKind::Http(http));
            }
            let (ca, verify) = (raw.ca.map(Some).or_at(None, 0)?, raw.verify.or(true)?);
            if let At { at, value: Some(path) } = &ca
                && verify
            {
                authorities::warn_if_unusable(path, *at, report);
            }
            if ca.value.is_some() && !verify {
                report.wrong(ca.at, "ca has no use with verify = false; remove one of them");
            }
            let server_name = raw.server_name.map(Some).or(None)?;
            ProbeKind::Https(http, TlsProbe { verify, ca: ca.value, server_name })
        }
        Probe::Udp => {
            if matches!(raw.send, Entry::Absent) {
                needed("send", "\"ping\"");
            }
            ProbeKind::Udp(UdpProbe { send: raw.send.given()?.value, expect: raw.expect.or(Expect::Any)? })
        }
        Probe::Dns => {
            if matches!(raw.query, Entry::Absent) {
                needed("query", "\"health.example.\"");
            }
            let (record, rcode) = (raw.record.or(RecordType(1))?, raw.rcode.or(Rcode(0))?);
            ProbeKind::Dns(DnsProbe { query: raw.query.given()?.value, record, rcode })
        }
        Probe::Script => {
            if matches!(raw.command, Entry::Absent) {
                needed("command", "[\"/usr/lib/check\", \"-q\"]");
            }
            let command = raw.command.given()?.value;
            if let Some(program) = command.items.first() {
                program::warn_if_missing("command", program, report);
            }
            ProbeKind::Script { command: command.whole.then(|| List::into_values(command))? }
        }
        Probe::Agent => {
            if matches!(raw.port, Entry::Absent) {
                needed("port", "9000");
            }
            ProbeKind::Agent
        }
    })
}

/// Whether probes of a kind are answered, and the keys that it has no use for.
fn check_kind(kind: At<Probe>, raw: &raw::Health, service: &Probed<'_>, report: &Report<'_>) {
    if kind.value == Probe::None {
        // Whoever turns probes off for a while keeps the rest for later.
        return;
    }
    if !service.answers {
        let message = "no port has a kernel side, so that probes cannot be answered; write kind = \"none\" in [service.health]";
        report.wrong(kind.at, message);
    }
    let by_client = |backend: &BackendConfig| backend.endpoint.port == 0;
    let connects = matches!(kind.value, Probe::Tcp | Probe::Http | Probe::Https | Probe::Udp | Probe::Dns);
    if connects
        && matches!(raw.port, Entry::Absent)
        && service.backends.is_some_and(|backends| backends.iter().any(by_client))
    {
        let message = "backends use the port that the client used, so that probes have none; write port in [service.health]";
        report.wrong(kind.at, message);
    }
    if let Some(at) = raw.agent.place()
        && kind.value == Probe::Agent
    {
        let message = "[service.health.agent] has no use with kind = \"agent\", which asks the agent; remove it or write another kind";
        report.wrong(at, message);
    }
    for (key, at, kinds) in keys_of_kinds(raw) {
        let Some(at) = at else { continue };
        if !kinds.contains(&kind.value) {
            let name = kind.value.name();
            let others: Vec<_> = kinds.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
            let others = match others.split_last() {
                Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
                Some(_) | None => others.concat(),
            };
            let message =
                format!("{key} has no use with kind = \"{name}\"; remove it or write kind = {others}");
            report.wrong(at, message);
        }
    }
}

/// The keys that not every kind takes: where they stand, and which kinds do.
fn keys_of_kinds(raw: &raw::Health) -> [(&'static str, Option<usize>, &'static [Probe]); 16] {
    use Probe::{Agent, Dns, Http, Https, Icmp, Script, Tcp, Udp};
    [
        ("port", raw.port.place(), &[Tcp, Http, Https, Udp, Dns, Script, Agent]),
        ("from", raw.from.place(), &[Tcp, Http, Https, Udp, Dns, Icmp, Agent]),
        ("proxy_header", raw.proxy_header.place(), &[Tcp, Http, Https, Udp, Dns]),
        ("path", raw.path.place(), &[Http, Https]),
        ("host", raw.host.place(), &[Http, Https]),
        ("status", raw.status.place(), &[Http, Https]),
        ("body", raw.body.place(), &[Http, Https]),
        ("verify", raw.verify.place(), &[Https]),
        ("ca", raw.ca.place(), &[Https]),
        ("server_name", raw.server_name.place(), &[Https]),
        ("send", raw.send.place(), &[Udp]),
        ("expect", raw.expect.place(), &[Udp]),
        ("query", raw.query.place(), &[Dns]),
        ("record", raw.record.place(), &[Dns]),
        ("rcode", raw.rcode.place(), &[Dns]),
        ("command", raw.command.place(), &[Script]),
    ]
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
