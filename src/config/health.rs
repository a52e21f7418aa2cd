//! `[service.health]`: what a probe asks, and how often.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Health probing of a service's backends.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthConfig {
    /// What a probe does.
    pub kind: ProbeKind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// After which an unanswered probe has failed; at most `interval`.
    pub timeout: Duration,
    /// Failures in a row that take a backend out of service.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
    /// In place of `fall`.
    pub failure_window: Option<FailureWindow>,
    /// Anomalies in clients' handshakes that take a backend out of service too; `None`: nobody looks.
    pub passive: Option<FailureWindow>,
    /// The port probed; `None`: the backend's.
    pub port: Option<u16>,
    /// The address that probes leave from; `None`: the kernel's choice.
    pub from: Option<IpAddr>,
    /// Whether probes begin with a PROXY header that says that nobody stands behind them.
    pub proxy_header: bool,
    /// The agent that is asked beside; `None`: no agent.
    pub agent: Option<AgentConfig>,
}

/// So many failures within a time, in a row or not, take a backend out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureWindow {
    /// 1 to 100.
    pub failures: u32,
    /// The time.
    pub within: Duration,
}

/// `[service.health.agent]`: an agent on the backend that advises about its state and weight.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Where it listens on the backend's address.
    pub port: u16,
    /// From the start of one question to the start of the next.
    pub interval: Duration,
    /// After which an unanswered question is given up; at most `interval`.
    pub timeout: Duration,
}

/// `kind` of `[service.health]`, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// No probes: always in service.
    None,
    /// A TCP connection opens.
    Tcp,
    /// An HTTP/1.1 GET is answered as expected.
    Http(HttpProbe),
    /// The same over TLS.
    Https(HttpProbe, TlsProbe),
    /// A datagram is answered as expected.
    Udp(UdpProbe),
    /// A DNS query over UDP is answered as expected.
    Dns(DnsProbe),
    /// An ICMP echo request is answered.
    Icmp,
    /// A program ends with status 0.
    Script {
        /// The program by its absolute path, then its arguments.
        command: Vec<String>,
    },
    /// An agent on the backend says how it is, in the language of HAProxy's agent-check.
    Agent,
}

/// What an HTTP probe asks and expects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// The Host header; `None`: the backend's address.
    pub host: Option<String>,
    /// Status codes that count as success.
    pub status: Vec<RangeInclusive<u16>>,
    /// A text that must occur in the first 64 KiB of the body; `None`: the body is not read.
    pub body: Option<String>,
}

/// How a TLS probe judges the backend's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsProbe {
    /// Whether the certificate must be valid.
    pub verify: bool,
    /// A PEM file of the authorities that may have signed it; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The name asked for and verified; `None`: the Host header, else the backend's address.
    pub server_name: Option<String>,
}

impl ProbeKind {
    /// Whether no answer within the timeout is a success.
    #[must_use]
    pub const fn takes_silence_for_success(&self) -> bool {
        matches!(self, Self::Udp(UdpProbe { expect: Expect::Nothing, .. }))
    }
}

/// What a UDP probe sends and expects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpProbe {
    /// The payload of the datagram.
    pub send: String,
    /// The answer that counts as success.
    pub expect: Expect,
}

/// The answer to a UDP probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Any answer.
    Any,
    /// One in which this text occurs.
    Text(String),
    /// No answer is needed: it is enough that nothing says within the timeout that nobody listens.
    Nothing,
}

/// What a DNS probe asks and expects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsProbe {
    /// The name asked for, without the final dot; empty for the root.
    pub query: String,
    /// The type asked for.
    pub record: RecordType,
    /// The response code that counts as success.
    pub rcode: Rcode,
}

/// The type of a DNS record (RFC 1035, 3.2.2; RFC 3596; RFC 2782).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// The types that have a name here.
    pub const NAMED: [(&'static str, Self); 9] = [
        ("A", Self(1)),
        ("NS", Self(2)),
        ("CNAME", Self(5)),
        ("SOA", Self(6)),
        ("PTR", Self(12)),
        ("MX", Self(15)),
        ("TXT", Self(16)),
        ("AAAA", Self(28)),
        ("SRV", Self(33)),
    ];
}

/// The response code of a DNS message, 0 to 15 (RFC 1035, 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rcode(pub u8);

impl Rcode {
    /// The codes that have a name here.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("NOERROR", Self(0)),
        ("FORMERR", Self(1)),
        ("SERVFAIL", Self(2)),
        ("NXDOMAIN", Self(3)),
        ("NOTIMP", Self(4)),
        ("REFUSED", Self(5)),
    ];
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, code)| code == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
