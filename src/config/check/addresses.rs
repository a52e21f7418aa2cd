//! The addresses that are ours: local addresses, ports' and VIPs. Each has one role.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;

use super::Unique;

/// Which address has which role, and the pools of local addresses.
pub(super) struct Addresses<'a> {
    /// `None`: unreadable.
    pools: Option<Vec<Pool<'a>>>,
    owners: HashMap<IpAddr, At<Role>>,
    local: Vec<IpAddr>,
    pub(super) report: &'a Report<'a>,
}

/// What an address of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Local,
    Port,
    Vip,
}

struct Pool<'a> {
    name: &'a str,
    addresses: Vec<IpAddr>,
    /// Whether these are all that the file lists.
    whole: bool,
}

impl<'a> Addresses<'a> {
    /// Takes the local addresses.
    pub(super) fn new(raw: Entry<Vec<raw::Pool<'a>>>, report: &'a Report<'a>) -> Self {
        let mut addresses = Self { pools: None, owners: HashMap::new(), local: Vec::new(), report };
        if let Some(raw) = raw.or(Vec::new()) {
            addresses.pools = Some(raw.into_iter().map(|pool| addresses.local_pool(pool)).collect());
        }
        addresses
    }

    fn local_pool(&mut self, raw: raw::Pool<'a>) -> Pool<'a> {
        let name = raw.name;
        let Some(list) = raw.addresses else {
            return Pool { name, addresses: Vec::new(), whole: false };
        };
        let mut unique = Unique::new();
        for At { at, value: address } in &list.items {
            if let Some(earlier) = unique.earlier(address, *at) {
                let line = self.report.line(earlier);
                let message =
                    format!("local address {address} is already in pool {name:?} (line {line}); remove one");
                self.report.wrong(*at, message);
            }
            // The same address in two pools is one address.
            if self.owners.insert(*address, At { at: *at, value: Role::Local }).is_none() {
                self.local.push(*address);
            }
        }
        let whole = list.whole;
        Pool { name, addresses: list.into_values(), whole }
    }

    /// Takes the address of a port.
    pub(super) fn add_port(&mut self, address: IpAddr, at: usize) {
        let Some(earlier) = self.owners.insert(address, At { at, value: Role::Port }) else {
            return;
        };
        match earlier.value {
            Role::Port | Role::Vip => {
                let line = self.report.line(earlier.at);
                let message = format!("address {address} is already a port's (line {line}); remove one");
                self.report.wrong(at, message);
            }
            Role::Local => {
                let line = self.report.line(at);
                let message = format!(
                    "local address {address} is a port's address too (line {line}); use one that is for flows alone"
                );
                self.report.wrong(earlier.at, message);
            }
        }
    }

    /// Takes the VIP of a service; several services may have the same.
    pub(super) fn add_vip(&mut self, vip: At<IpAddr>) {
        let address = vip.value;
        match self.owners.get(&address) {
            None => {
                self.owners.insert(address, At { at: vip.at, value: Role::Vip });
            }
            Some(At { value: Role::Vip, .. }) => {}
            Some(At { at, value: role @ (Role::Local | Role::Port) }) => {
                let (role, line) = (role.described(), self.report.line(*at));
                let message = format!(
                    "vip {address} is {role} too (line {line}); use an address that is for services alone"
                );
                self.report.wrong(vip.at, message);
            }
        }
    }

    /// The role that `address` has, and where it got it.
    pub(super) fn role(&self, address: IpAddr) -> Option<At<Role>> {
        self.owners.get(&address).copied()
    }

    /// The addresses of pool `name` in the family of `peer`, which is called `role`, for use by the service that names
    /// the pool at `at`; `None` after an error.
    pub(super) fn pool(&self, name: &str, (role, peer): (&str, IpAddr), at: usize) -> Option<Vec<IpAddr>> {
        let pools = self.pools.as_ref()?;
        let family = |ip: &IpAddr| ip.is_ipv4() == peer.is_ipv4();
        let (version, example) = if peer.is_ipv4() { ("IPv4", "10.0.8.10") } else { ("IPv6", "fd00:8::10") };
        let Some(pool) = pools.iter().find(|pool| pool.name == name) else {
            if !self.report.broken() {
                let message = format!(
                    "no pool {name:?} of local addresses; add it to [local_addresses], as {name} = [\"{example}\"]"
                );
                self.report.wrong(at, message);
            }
            return None;
        };
        let addresses: Vec<_> = pool.addresses.iter().copied().filter(family).collect();
        if addresses.is_empty() {
            if pool.whole {
                let message = format!(
                    "pool {name:?} of local addresses has no {version} address for {role} {peer}; add one, as \"{example}\""
                );
                self.report.wrong(at, message);
            }
            return None;
        }
        Some(addresses)
    }

    /// Every local address, in order and without repetition.
    pub(super) fn into_local(self) -> Vec<IpAddr> {
        self.local
    }
}

impl Role {
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Local => "a local address",
            Self::Port => "a port's address",
            Self::Vip => "a VIP",
        }
    }
}
