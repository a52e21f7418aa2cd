//! `[service.health]` as typed.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::HOUR;
use crate::config::fields;
use crate::config::health::Expect;
use crate::config::health::Rcode;
use crate::config::health::RecordType;
use crate::config::table::{At, Entry, Table};
use crate::config::value::{List, Value};

/// `[service.health]`.
#[derive(Default)]
pub(in crate::config) struct Health {
    pub(in crate::config) kind: Entry<Probe>,
    pub(in crate::config) interval: Entry<Duration>,
    pub(in crate::config) timeout: Entry<Duration>,
    pub(in crate::config) fall: Entry<u32>,
    pub(in crate::config) rise: Entry<u32>,
    pub(in crate::config) failure_window: Entry<FailureWindow>,
    pub(in crate::config) passive: Entry<FailureWindow>,
    pub(in crate::config) port: Entry<u16>,
    pub(in crate::config) from: Entry<Option<IpAddr>>,
    pub(in crate::config) proxy_header: Entry<bool>,
    pub(in crate::config) path: Entry<String>,
    pub(in crate::config) host: Entry<String>,
    pub(in crate::config) status: Entry<Vec<RangeInclusive<u16>>>,
    pub(in crate::config) body: Entry<String>,
    pub(in crate::config) verify: Entry<bool>,
    pub(in crate::config) ca: Entry<PathBuf>,
    pub(in crate::config) server_name: Entry<String>,
    pub(in crate::config) send: Entry<String>,
    pub(in crate::config) expect: Entry<Expect>,
    pub(in crate::config) query: Entry<String>,
    pub(in crate::config) record: Entry<RecordType>,
    pub(in crate::config) rcode: Entry<Rcode>,
    pub(in crate::config) command: Entry<List<String>>,
    pub(in crate::config) agent: Entry<Agent>,
}

/// `failure_window`.
#[derive(Clone)]
pub(in crate::config) struct FailureWindow {
    pub(in crate::config) failures: Entry<u32>,
    pub(in crate::config) within: Entry<Duration>,
}

/// `[service.health.agent]`.
#[derive(Clone)]
pub(in crate::config) struct Agent {
    pub(in crate::config) port: Entry<u16>,
    pub(in crate::config) interval: Entry<Duration>,
    pub(in crate::config) timeout: Entry<Duration>,
}

/// `kind` of `[service.health]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Probe {
    None,
    Tcp,
    Http,
    Https,
    Udp,
    Dns,
    Icmp,
    Script,
    Agent,
}

impl Probe {
    /// Every kind by its name.
    const NAMED: [(&'static str, Self); 9] = [
        ("tcp", Self::Tcp),
        ("http", Self::Http),
        ("https", Self::Https),
        ("udp", Self::Udp),
        ("dns", Self::Dns),
        ("icmp", Self::Icmp),
        ("script", Self::Script),
        ("agent", Self::Agent),
        ("none", Self::None),
    ];

    pub(in crate::config) fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(_, kind)| *kind == self).map_or("none", |(name, _)| *name)
    }
}

impl Health {
    /// What holds when there is no `[service.health]`.
    pub(in crate::config) fn absent(kind: At<Probe>) -> Self {
        Self { kind: Entry::Given(kind), ..Self::default() }
    }

    pub(super) fn read(mut table: Table<'_>) -> Self {
        let health = Self {
            kind: table.required("kind", "\"tcp\"", |v| v.one_of(&Probe::NAMED, &[])),
            interval: table.optional("interval", interval),
            timeout: table.optional("timeout", timeout),
            fall: table.optional("fall", |v| v.integer(1..=100)),
            rise: table.optional("rise", |v| v.integer(1..=100)),
            failure_window: table.table("failure_window", "failure_window").map(FailureWindow::read),
            passive: table.table("passive", "passive").map(FailureWindow::read),
            port: table.optional("port", |v| v.integer(1..=u16::MAX)),
            from: table.optional("from", fields::address_or_any),
            proxy_header: table.optional("proxy_header", Value::truth),
            path: table.optional("path", fields::path),
            host: table.optional("host", fields::host),
            status: table.optional("status", fields::statuses),
            body: table.optional("body", fields::some_text),
            verify: table.optional("verify", Value::truth),
            ca: table.optional("ca", |v| fields::absolute_path(v, "/etc/evenkeel/ca.pem")),
            server_name: table.optional("server_name", fields::server_name),
            send: table.optional("send", fields::some_text),
            expect: table.optional("expect", |v| {
                if v.is("none") { Some(Expect::Nothing) } else { fields::some_text(v).map(Expect::Text) }
            }),
            query: table.optional("query", fields::domain),
            record: table.optional("record", |v| v.one_of(&RecordType::NAMED, &[])),
            rcode: table.optional("rcode", |v| v.one_of(&Rcode::NAMED, &[])),
            command: table.optional("command", command),
            agent: table.table("agent", "[service.health.agent]").map(Agent::read),
        };
        table.finish();
        health
    }
}

impl FailureWindow {
    fn read(mut table: Table<'_>) -> Self {
        let window = Self {
            failures: table.required("failures", "3", |v| v.integer(1..=100)),
            within: table.required("within", "\"10s\"", interval),
        };
        table.finish();
        window
    }
}

impl Agent {
    fn read(mut table: Table<'_>) -> Self {
        let agent = Self {
            port: table.required("port", "9000", |v| v.integer(1..=u16::MAX)),
            interval: table.optional("interval", interval),
            timeout: table.optional("timeout", timeout),
        };
        table.finish();
        agent
    }
}

fn interval(value: Value<'_>) -> Option<Duration> {
    value.duration(Duration::from_millis(100)..=HOUR)
}

fn timeout(value: Value<'_>) -> Option<Duration> {
    value.duration(Duration::from_millis(10)..=HOUR)
}

/// A program by its absolute path, and arguments: there is no shell that would look it up.
fn command(value: Value<'_>) -> Option<List<String>> {
    let mut first = true;
    let list = value.each(|item| {
        if std::mem::take(&mut first) {
            let program = fields::absolute_path(item, "/usr/lib/check");
            return program.map(|path| path.to_string_lossy().into_owned());
        }
        match item.text()? {
            text if text.contains('\0') => item.wrong(format!("{} has a zero in it; leave it out", item.key)),
            text => Some(text.to_owned()),
        }
    })?;
    if list.whole && list.items.is_empty() {
        return value.wrong(format!(
            "{} is an empty list; write a program and its arguments, as [\"/usr/lib/check\", \"-q\"]",
            value.key
        ));
    }
    Some(list)
}
