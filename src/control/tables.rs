//! From state to what workers decide by: builds the [`Snapshot`].
//!
//! The table of a service is built anew only if something in it changed, and its lookup only if the backends in
//! service, their weights or the seed did. Backends stand in the order of their endpoints, so that the order of the
//! file does not show.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::registry::Registry;
use super::registry::Service;
use crate::config::Config;
use crate::config::ServiceConfig;
use crate::hash::ChoiceSeed;
use crate::hash::maglev;
use crate::model::BackendState;
use crate::model::Endpoint;
use crate::model::Scheduler;
use crate::model::ServiceId;
use crate::shared::AddressRole;
use crate::shared::AddressRoles;
use crate::shared::ServiceBackend;
use crate::shared::ServiceTable;
use crate::shared::Snapshot;
use crate::shared::VipServices;

/// The tables of the latest snapshot.
#[derive(Debug, Default)]
pub struct Tables {
    built: BTreeMap<ServiceId, Built>,
}

#[derive(Debug)]
struct Built {
    seed: ChoiceSeed,
    /// By position, as in `table.backends`.
    weights: Vec<u32>,
    table: Arc<ServiceTable>,
}

impl Tables {
    /// The snapshot of `registry` under `config`. Costs a Maglev table (milliseconds) per service that changed.
    pub fn snapshot(&mut self, registry: &Registry, config: &Config, version: u64) -> Snapshot {
        let seed = ChoiceSeed::new(config.appliance.hash_seed);
        let mut before = std::mem::take(&mut self.built);
        for service in registry.services() {
            let built = build(service, registry, seed, before.remove(&service.id));
            self.built.insert(service.id, built);
        }
        let mut services = vec![None; self.built.keys().next_back().map_or(0, |id| id.index() + 1)];
        for (id, built) in &self.built {
            services[id.index()] = Some(Arc::clone(&built.table));
        }
        Snapshot {
            version,
            services,
            backend_states: backend_states(registry),
            roles: roles(registry, config),
            timeouts: config.timeouts,
            choice_seed: seed,
        }
    }
}

fn build(service: &Service, registry: &Registry, seed: ChoiceSeed, before: Option<Built>) -> Built {
    let ServiceConfig {
        name,
        protocol,
        scheduler,
        hash,
        on_no_backend,
        on_unknown_flow,
        local_addresses,
        ..
    } = &*service.config;
    let mut members: Vec<_> = registry
        .backends_of(service)
        .filter(|backend| backend.in_service() && backend.weight > 0)
        .map(|backend| (backend.endpoint, backend.weight, backend.id))
        .collect();
    members.sort_unstable();
    let backends: Vec<_> =
        members.iter().map(|(endpoint, _, id)| ServiceBackend { id: *id, endpoint: *endpoint }).collect();
    let weights: Vec<u32> = members.iter().map(|(_, weight, _)| *weight).collect();

    let same_choice = |old: &&Built| {
        let endpoints = |list: &[ServiceBackend]| list.iter().map(|b| b.endpoint).collect::<Vec<_>>();
        old.seed == seed && old.weights == weights && endpoints(&old.table.backends) == endpoints(&backends)
    };
    let lookup = before.as_ref().filter(same_choice).map(|old| Arc::clone(&old.table.lookup));
    if let (Some(old), Some(_)) = (&before, &lookup)
        && *old.table.name == **name
        && old.table.protocol == *protocol
        && old.table.hash == *hash
        && old.table.on_no_backend == *on_no_backend
        && old.table.on_unknown_flow == *on_unknown_flow
        && old.table.backends == backends
        && *old.table.local_addresses == **local_addresses
    {
        return Built { seed, weights, table: Arc::clone(&old.table) };
    }
    let lookup = lookup.unwrap_or_else(|| {
        let shares: Vec<(Endpoint, u32)> =
            members.iter().map(|(endpoint, weight, _)| (*endpoint, *weight)).collect();
        match scheduler {
            Scheduler::Maglev => maglev::build(seed, &shares, maglev::TABLE_SIZE).into(),
        }
    });
    let table = Arc::new(ServiceTable {
        id: service.id,
        name: name.as_str().into(),
        protocol: *protocol,
        hash: *hash,
        on_no_backend: *on_no_backend,
        on_unknown_flow: *on_unknown_flow,
        backends,
        lookup,
        local_addresses: local_addresses.as_slice().into(),
    });
    Built { seed, weights, table }
}

fn backend_states(registry: &Registry) -> Vec<BackendState> {
    let count = registry.backends().next_back().map_or(0, |last| last.id.index() + 1);
    let mut states = vec![BackendState::Removed; count];
    for backend in registry.backends() {
        states[backend.id.index()] = match (backend.removed, backend.in_service()) {
            (Some(_), _) => BackendState::Removed,
            (None, true) => BackendState::Up,
            (None, false) => BackendState::Down,
        };
    }
    states
}

fn roles(registry: &Registry, config: &Config) -> AddressRoles {
    let mut roles = AddressRoles::default();
    for address in local_addresses(config) {
        roles.insert(address, AddressRole::Local);
    }
    let mut vips: BTreeMap<IpAddr, Vec<_>> = BTreeMap::new();
    for service in registry.services() {
        let ServiceConfig { vip, protocol, ports, .. } = &*service.config;
        vips.entry(*vip).or_default().push((*protocol, *ports, service.id));
    }
    for (vip, ranges) in vips {
        roles.insert(vip, AddressRole::Vip(VipServices::new(ranges)));
    }
    roles
}

/// Every local address, of the whole configuration and of single services; some may come twice.
pub(super) fn local_addresses(config: &Config) -> impl Iterator<Item = IpAddr> + '_ {
    let of_services = config.services.iter().flat_map(|service| &service.local_addresses);
    config.local_addresses.iter().chain(of_services).copied()
}
