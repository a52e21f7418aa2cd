//! The rate of new flows that the local ports of each service suffice for, as `evenkeel check` prints it: leases of the
//! backends that serve, divided by the time for which a flow holds one.

use std::fmt;
use std::time::Duration;

use crate::config::{Config, ServiceConfig};
use crate::dataplane::flow::TimeoutTicks;
use crate::model::{LOCAL_PORTS, Nanos, Protocol, Scheduler};

/// Below this rate a note says so, new flows a second: one busy resolver or proxy asks more.
const LOW: u64 = 1_000;

/// DNS (RFC 1035, 4.2.1), whose clients take a new port for each question (RFC 5452, 9.2).
const DNS: u16 = 53;

/// The rates of all services in full NAT, to be printed.
pub(super) struct FlowRates<'a> {
    config: &'a Config,
}

impl<'a> FlowRates<'a> {
    /// Of the services of `config`.
    pub(super) const fn new(config: &'a Config) -> Self {
        Self { config }
    }

    /// The lines of a service.
    fn service(&self, f: &mut fmt::Formatter<'_>, service: &ServiceConfig) -> fmt::Result {
        let leases = leases(service);
        let name = &service.name;
        for protocol in service.protocol.protocols() {
            write!(f, "  {name:?} {protocol}: {leases} leases, ")?;
            match protocol {
                Protocol::Tcp => self.tcp(f, name, leases)?,
                Protocol::Udp => self.udp(f, service, leases)?,
            }
        }
        Ok(())
    }

    fn tcp(&self, f: &mut fmt::Formatter<'_>, name: &str, leases: u64) -> fmt::Result {
        let rest = self.config.timeouts.tcp_fin;
        let (slow, fast) = (rate(leases, rest), rate(leases, TimeoutTicks::CLOSED));
        writeln!(
            f,
            "{slow} new connections/s if backends close first (tcp_fin {}), else {fast}/s",
            span(rest)
        )?;
        if slow < LOW {
            writeln!(
                f,
                "  note: {name:?}: if backends close first, connections above {slow}/s are refused; add local addresses, or lower tcp_fin"
            )?;
        }
        Ok(())
    }

    fn udp(&self, f: &mut fmt::Formatter<'_>, service: &ServiceConfig, leases: u64) -> fmt::Result {
        let name = &service.name;
        let timeouts = &self.config.timeouts;
        if service.one_packet {
            let (rate, span) = (rate(leases, timeouts.one_packet), span(timeouts.one_packet));
            return writeln!(
                f,
                "{rate} unanswered datagrams/s (one_packet {span}), answered ones without this limit"
            );
        }
        let longest = timeouts.udp_new.min(timeouts.udp);
        let rate = rate(leases, longest);
        writeln!(f, "{rate} new flows/s of one question each (udp_new {})", span(longest))?;
        let is_dns = service.ports.first == DNS && service.ports.last == DNS;
        if is_dns {
            writeln!(
                f,
                "  note: {name:?}: clients of DNS use a new port for each question; above {rate}/s the oldest flows are evicted; set one_packet = true"
            )?;
        } else if rate < LOW {
            writeln!(
                f,
                "  note: {name:?}: above {rate} new flows/s the oldest flows are evicted; add local addresses, or set one_packet = true if one datagram is asked and one answered"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for FlowRates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut services =
            self.config.services.iter().filter(|service| !service.mode.is_stateless()).peekable();
        if services.peek().is_some() {
            f.write_str("new flows that local ports suffice for, by service:\n")?;
        }
        services.try_for_each(|service| self.service(f, service))
    }
}

/// The leases of one protocol while all backends that are to serve first are up.
fn leases(service: &ServiceConfig) -> u64 {
    let weighted = || service.backends.iter().filter(|backend| backend.weight > 0);
    let tier = weighted().map(|backend| backend.tier).min();
    let serving = weighted().filter(|backend| Some(backend.tier) == tier).count() as u64;
    let serving = if service.scheduler == Scheduler::Failover { serving.min(1) } else { serving };
    serving * service.local_addresses.len() as u64 * u64::from(LOCAL_PORTS)
}

/// Leases a second, each of which is held for so long.
fn rate(leases: u64, held: Nanos) -> u64 {
    leases.saturating_mul(1_000_000_000) / held.0.max(1)
}

fn span(time: Nanos) -> String {
    format!("{:?}", Duration::from_nanos(time.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(services: &str) -> String {
        let text = format!(
            r#"
[appliance]
control_core = 0
workers = [1]
[[port]]
name = "front"
device = "net_null0"
kernel_interface = "none"
[local_addresses]
default = ["10.0.8.10"]
{services}"#
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = crate::config::load(file.path()).unwrap_or_else(|errors| panic!("{errors}"));
        FlowRates::new(&config).to_string()
    }

    fn service(name: &str, port: u16, rest: &str, backends: &[(u8, u8)]) -> String {
        let mut text = format!(
            "[[service]]\nname = \"{name}\"\nvip = \"203.0.113.80\"\nport = {port}\n{rest}\nhealth.kind = \"none\"\n"
        );
        for (number, tier) in backends {
            text +=
                &format!("[[service.backend]]\naddress = \"10.0.9.{number}\"\nport = 8080\ntier = {tier}\n");
        }
        text
    }

    #[test]
    fn rate_of_a_service_is_that_of_the_backends_that_serve_first() {
        let web = service("web", 80, "", &[(1, 0), (2, 0), (3, 1)]);
        assert_eq!(
            rates(&web),
            "new flows that local ports suffice for, by service:\n  \"web\" tcp: 122880 leases, 2048 new connections/s if \
             backends close first (tcp_fin 60s), else 122880/s\n"
        );
        let failover = service("web", 80, "scheduler = \"failover\"", &[(1, 0), (2, 0)]);
        assert!(rates(&failover).contains(": 61440 leases, 1024 new connections/s"));
    }

    #[test]
    fn dns_without_one_packet_has_a_note() {
        let udp = "protocol = \"udp\"";
        let dns = rates(&service("dns", 53, udp, &[(1, 0)]));
        assert!(
            dns.contains("\"dns\" udp: 61440 leases, 512 new flows/s of one question each (udp_new 120s)"),
            "{dns}"
        );
        assert!(dns.contains("note: \"dns\": clients of DNS"), "{dns}");
        let one = rates(&service("dns", 53, "protocol = \"udp\"\none_packet = true", &[(1, 0)]));
        assert!(
            one.contains("12288 unanswered datagrams/s (one_packet 5s)") && !one.contains("note"),
            "{one}"
        );
        let log = rates(&service("log", 514, udp, &[(1, 0)]));
        assert!(log.contains("note: \"log\": above 512 new flows/s"), "{log}");
        assert!(!rates(&service("log", 514, udp, &[(1, 0), (2, 0)])).contains("note"));
    }

    #[test]
    fn service_without_flows_has_no_rate() {
        assert_eq!(
            rates(&service("web", 80, "mode = \"direct-routing\"", &[(1, 0)]).replace("port = 8080\n", "")),
            ""
        );
    }
}
