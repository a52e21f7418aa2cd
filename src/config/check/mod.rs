//! What the file means as a whole: defaults, and everything that takes more than one value to see.

mod access;
mod addresses;
mod announce;
mod appliance;
mod authorities;
mod client_address;
mod forwarding;
mod health;
mod limits;
mod persistence;
mod ports;
mod program;
mod services;
mod syn_proxy;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Nanos;
use crate::model::Timeouts;

use super::Config;
use super::HooksConfig;
use super::raw;
use super::report::Report;

use addresses::Addresses;

/// The configuration that `file` means; `None` after at least one error has been reported.
pub(super) fn check(file: raw::File<'_>, report: &Report<'_>) -> Option<Config> {
    let limits = services::Limits::new(&file.appliance);
    let appliance = appliance::check(file.appliance, report);
    let next_hops = ports::next_hops(file.next_hops, &file.ports, report);
    let timeouts = timeouts(file.timeouts);
    let hooks = hooks(file.hooks, report);
    let mut addresses = Addresses::new(file.pools, report);
    let ports = ports::check(file.ports, &mut addresses);
    let services = services::check(file.services, ports.as_deref(), &limits, &mut addresses);
    Some(Config {
        appliance: appliance?,
        ports: ports?,
        next_hops: next_hops?,
        timeouts: timeouts?,
        services: services?,
        local_addresses: addresses.into_local(),
        hooks: Arc::new(hooks?),
        // Known once all is read.
        warnings: Vec::new(),
    })
}

fn timeouts(raw: raw::Timeouts) -> Option<Timeouts> {
    let default = Timeouts::default();
    let tcp_established = raw.tcp_established.map(Nanos::from).or(default.tcp_established)?;
    Some(Timeouts {
        tcp_syn: raw.tcp_syn.map(Nanos::from).or(default.tcp_syn)?,
        tcp_established,
        tcp_half_closed: raw.tcp_half_closed.map(Nanos::from).or(tcp_established)?,
        tcp_fin: raw.tcp_fin.map(Nanos::from).or(default.tcp_fin)?,
        udp: raw.udp.map(Nanos::from).or(default.udp)?,
        udp_new: raw.udp_new.map(Nanos::from).or(default.udp_new)?,
        one_packet: raw.one_packet.map(Nanos::from).or(default.one_packet)?,
    })
}

fn hooks(raw: raw::Hooks, report: &Report<'_>) -> Option<HooksConfig> {
    if let Some(script) = raw.script.as_ref().given()
        && script.value.items.is_empty()
    {
        report.wrong(script.at, "script is empty; write a program, or remove it");
    }
    if let Some(script) = raw.script.as_ref().given()
        && let Some(program) = script.value.items.first()
    {
        program::warn_if_missing("script", program, report);
    }
    Some(HooksConfig {
        script: raw.script.map(|script| Some(script.into_values())).or(None)?,
        webhook: raw.webhook.map(Some).or(None)?,
        timeout: raw.timeout.or(Duration::from_secs(10))?,
    })
}

/// Where things that must be unique stand first.
struct Unique<K>(HashMap<K, usize>);

impl<K: Eq + Hash> Unique<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// The place at which `key` already stands; else notes that it stands at `at`.
    fn earlier(&mut self, key: K, at: usize) -> Option<usize> {
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(at);
                None
            }
        }
    }
}
