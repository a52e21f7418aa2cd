//! What a reload changes, in words; and what it may not change.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use super::identity::counterparts;
use crate::config::Appliance;
use crate::config::BackendConfig;
use crate::config::Config;
use crate::config::ServiceConfig;
use crate::model::Endpoint;

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Services, by name.
    pub services: Changes,
    /// Backends, as `web 10.0.9.1:8080`.
    pub backends: Changes,
    /// Keys of other settings that changed.
    pub settings: Vec<String>,
}

/// What came, went and stayed but not as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// New.
    pub added: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// Changed, each with what changed in it.
    pub changed: Vec<String>,
}

impl Difference {
    /// What going from `old` to `new` changes.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut difference = Self { settings: settings(old, new), ..Self::default() };
        let known = old.services.iter().enumerate().map(|(place, service)| (place, service, true));
        let counterparts = counterparts(known, &new.services);
        for (service, counterpart) in new.services.iter().zip(&counterparts) {
            match counterpart {
                Some(place) => difference.compare(&old.services[*place], service),
                None => {
                    difference.services.added.push(service.name.clone());
                    let backends = service.backends.iter();
                    difference.backends.added.extend(backends.map(|b| label(service, b.endpoint)));
                }
            }
        }
        let stay: HashSet<usize> = counterparts.iter().flatten().copied().collect();
        for (place, service) in old.services.iter().enumerate() {
            if !stay.contains(&place) {
                difference.services.removed.push(service.name.clone());
                let backends = service.backends.iter();
                difference.backends.removed.extend(backends.map(|b| label(service, b.endpoint)));
            }
        }
        difference
    }

    fn compare(&mut self, old: &ServiceConfig, new: &ServiceConfig) {
        let keys = service_keys(old, new);
        if !keys.is_empty() {
            self.services.changed.push(format!("{}: {}", new.name, keys.join(", ")));
        }
        if old.backends == new.backends {
            return;
        }
        let standings = |service: &ServiceConfig| -> BTreeMap<Endpoint, (u32, u8, u32)> {
            let standing = |backend: &BackendConfig| {
                let BackendConfig { endpoint, weight, tier, max_connections } = backend;
                (*endpoint, (*weight, *tier, *max_connections))
            };
            service.backends.iter().map(standing).collect()
        };
        let (before, after) = (standings(old), standings(new));
        for (endpoint, (weight, tier, most)) in &after {
            let Some((old_weight, old_tier, old_most)) = before.get(endpoint) else {
                self.backends.added.push(label(new, *endpoint));
                continue;
            };
            let mut change = |what: &str, was: u32, is: u32| {
                if was != is {
                    self.backends.changed.push(format!("{}: {what} {was} -> {is}", label(new, *endpoint)));
                }
            };
            change("weight", *old_weight, *weight);
            change("tier", u32::from(*old_tier), u32::from(*tier));
            change("max_connections", *old_most, *most);
        }
        let gone = before.keys().filter(|endpoint| !after.contains_key(endpoint));
        self.backends.removed.extend(gone.map(|endpoint| label(new, *endpoint)));
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Difference {
    /// A line each, `+`, `-` or `~` in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, changes) in [("service", &self.services), ("backend", &self.backends)] {
            for (sign, list) in [('-', &changes.removed), ('+', &changes.added), ('~', &changes.changed)] {
                list.iter().try_for_each(|what| writeln!(f, "{sign} {kind} {what}"))?;
            }
        }
        self.settings.iter().try_for_each(|key| writeln!(f, "~ {key}"))
    }
}

fn label(service: &ServiceConfig, endpoint: Endpoint) -> String {
    format!("{} {endpoint}", service.name)
}

/// The keys in which a service changed, its backends apart.
fn service_keys(old: &ServiceConfig, new: &ServiceConfig) -> Vec<&'static str> {
    let ServiceConfig {
        name,
        vip,
        ports,
        protocol,
        mode,
        one_packet,
        transition,
        scheduler,
        hash,
        client_address,
        on_no_backend,
        on_unknown_flow,
        on_dead_backend,
        dead_after,
        slow_start,
        hold_down,
        announce,
        panic_threshold,
        local_addresses,
        persistence,
        access,
        limits,
        syn_proxy,
        flow_share,
        health,
        backends: _,
    } = old;
    changed([
        ("name", *name != new.name),
        ("vip", *vip != new.vip),
        ("port", *ports != new.ports),
        ("protocol", *protocol != new.protocol),
        ("mode", *mode != new.mode),
        ("one_packet", *one_packet != new.one_packet),
        ("transition", *transition != new.transition),
        ("scheduler", *scheduler != new.scheduler),
        ("hash", *hash != new.hash),
        ("client_address", *client_address != new.client_address),
        ("on_no_backend", *on_no_backend != new.on_no_backend),
        ("on_unknown_flow", *on_unknown_flow != new.on_unknown_flow),
        ("on_dead_backend", *on_dead_backend != new.on_dead_backend),
        ("dead_after", *dead_after != new.dead_after),
        ("slow_start", *slow_start != new.slow_start),
        ("hold_down", *hold_down != new.hold_down),
        ("announce", *announce != new.announce),
        ("panic_threshold", *panic_threshold != new.panic_threshold),
        ("local_addresses", *local_addresses != new.local_addresses),
        ("persistence", *persistence != new.persistence),
        ("allow, deny", *access != new.access),
        ("limits", *limits != new.limits),
        ("syn_proxy", *syn_proxy != new.syn_proxy),
        ("flow_share", *flow_share != new.flow_share),
        ("health", *health != new.health),
    ])
}

/// The keys outside services that changed and may.
fn settings(old: &Config, new: &Config) -> Vec<String> {
    let keys = changed([
        ("appliance.hash_seed", old.appliance.hash_seed != new.appliance.hash_seed),
        ("appliance.drain_timeout", old.appliance.drain_timeout != new.appliance.drain_timeout),
        ("appliance.min_path_mtu", old.appliance.min_path_mtu != new.appliance.min_path_mtu),
        ("next_hop", old.next_hops != new.next_hops),
        ("timeouts", old.timeouts != new.timeouts),
        ("local_addresses", old.local_addresses != new.local_addresses),
        ("hooks", old.hooks != new.hooks),
    ]);
    keys.into_iter().map(str::to_owned).collect()
}

/// The keys that changed and only a restart can change.
pub(super) fn restart_only(old: &Config, new: &Config) -> Vec<String> {
    let Appliance {
        name,
        control_core,
        workers,
        memory,
        flows_per_worker,
        idle,
        control_socket,
        http_listen,
        mbufs,
        hash_seed: _,
        eal_args,
        drain_timeout: _,
        min_path_mtu: _,
        max_services,
        max_backends,
        max_clients,
    } = &old.appliance;
    let to = &new.appliance;
    let appliance = changed([
        ("name", *name != to.name),
        ("control_core", *control_core != to.control_core),
        ("workers", *workers != to.workers),
        ("memory", *memory != to.memory),
        ("flows_per_worker", *flows_per_worker != to.flows_per_worker),
        ("idle", *idle != to.idle),
        ("control_socket", *control_socket != to.control_socket),
        ("http_listen", *http_listen != to.http_listen),
        ("mbufs", *mbufs != to.mbufs),
        ("eal_args", *eal_args != to.eal_args),
        ("max_services", *max_services != to.max_services),
        ("max_backends", *max_backends != to.max_backends),
        ("max_clients", *max_clients != to.max_clients),
    ]);
    let mut keys: Vec<String> = appliance.into_iter().map(|key| format!("appliance.{key}")).collect();
    // Ports are counted by position, so that one that moved has changed too.
    for place in 0..old.ports.len().max(new.ports.len()) {
        let (before, after) = (old.ports.get(place), new.ports.get(place));
        if before != after
            && let Some(port) = before.or(after)
        {
            keys.push(format!("port {:?}", port.name));
        }
    }
    keys
}

fn changed<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}
