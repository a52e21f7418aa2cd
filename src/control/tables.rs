//! From state to what workers decide by: builds the [`Snapshot`].
//!
//! A service is looked at only if something of it changed or its time has come: then its table is another one only if
//! something in that changed, and its lookup only if the backends in service, their weights or the seed did. Whatever
//! else the table of a service followed from would be missed; the tests compare with looking at all of them. Backends
//! stand in the order of their endpoints, so that the order of the file does not show.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::lookups::Lookups;
use super::lookups::Shares;
use super::persistence_ids::PersistenceIds;
use super::registry::Registry;
use super::registry::Service;
use super::selection::Selection;
use super::selection::Standing;
use super::transition::FirstTargets;
use super::transition::Transition;
use crate::config::Config;
use crate::config::ServiceConfig;
use crate::hash::ChoiceSeed;
use crate::hash::turns;
use crate::model::AccessRules;
use crate::model::BackendId;
use crate::model::BackendState;
use crate::model::Endpoint;
use crate::model::ForwardingMode;
use crate::model::HashFeature;
use crate::model::LOCAL_PORTS;
use crate::model::Nanos;
use crate::model::Scheduler;
use crate::model::ServiceId;
use crate::shared::Access;
use crate::shared::AddressRole;
use crate::shared::AddressRoles;
use crate::shared::Choice;
use crate::shared::Positions;
use crate::shared::ServiceBackend;
use crate::shared::ServiceTable;
use crate::shared::Snapshot;
use crate::shared::TunnelPath;
use crate::shared::VipServices;

/// The tables of the latest snapshot.
#[derive(Debug, Default)]
pub struct Tables {
    built: BTreeMap<ServiceId, Built>,
    /// When time alone changes a service's.
    due: BTreeSet<(Nanos, ServiceId)>,
    flow_rules: u64,
    /// From now on all backends are dead to the workers.
    buried: bool,
    backend_states: Vec<BackendState>,
    roles: AddressRoles,
    kept: Kept,
}

/// Parts of tables that more than one build, or more than one service, uses.
#[derive(Debug, Default)]
struct Kept {
    lookups: Lookups,
    persistence: PersistenceIds,
}

/// How much is built at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Everything.
    Whole,
    /// Up to this many services, and lookups for a few milliseconds.
    Parts(usize),
}

/// Maglev tables in a slice: two to eight milliseconds.
const LOOKUPS_IN_SLICE: u64 = 2;

#[derive(Debug)]
struct Built {
    seed: ChoiceSeed,
    scheduler: Scheduler,
    selection: Selection,
    /// What the table's `access` was built of.
    access: Option<Arc<AccessRules>>,
    /// First targets that were others a while ago.
    transition: Option<Transition>,
    table: Arc<ServiceTable>,
}

impl Built {
    /// The first targets with those they stand for; `None` if this is not chosen by hash.
    fn first_targets(&self) -> Option<FirstTargets<'_>> {
        match &self.table.choice {
            Choice::Hash { all, .. } => Some(FirstTargets { standings: &self.selection.standings, all }),
            Choice::Turns(_) | Choice::LeastConnections(_) | Choice::TwoChoices(_) | Choice::One(_) => None,
        }
    }

    /// When time alone changes it.
    fn due(&self) -> Option<Nanos> {
        [self.selection.due, self.transition.as_ref().map(Transition::end)].into_iter().flatten().min()
    }
}

impl Tables {
    /// Takes the services to look at next out of `left`: those that workers know first, as their clients wait.
    pub(super) fn take_slice(&self, left: &mut BTreeSet<ServiceId>, slice: Slice) -> Vec<ServiceId> {
        let Slice::Parts(most) = slice else { return std::mem::take(left).into_iter().collect() };
        let known = left.iter().filter(|id| self.built.contains_key(id)).copied();
        let mut ids: Vec<_> = known.take(most).collect();
        if ids.is_empty() {
            ids = left.iter().take(most).copied().collect();
        }
        ids.iter().for_each(|id| _ = left.remove(id));
        ids
    }

    /// Builds the tables of `services` as they follow from `registry` under `config` at `now`, if since the last time
    /// nothing has changed but these. Returns those at the end that are more than a slice. Costs a Maglev table (one to
    /// four milliseconds) per service that has other backends or weights, unless another service has the same, and else
    /// some microseconds.
    pub(super) fn build(
        &mut self,
        registry: &Registry,
        config: &Config,
        services: &[ServiceId],
        (slice, now): (Slice, Nanos),
    ) -> Vec<ServiceId> {
        let seed = ChoiceSeed::new(config.appliance.hash_seed);
        let mut dies = false;
        let mut done = 0;
        let filled = self.kept.lookups.filled;
        for id in services {
            if matches!(slice, Slice::Parts(_)) && self.kept.lookups.filled - filled >= LOOKUPS_IN_SLICE {
                break;
            }
            done += 1;
            let old = self.built.remove(id);
            let states_before = self.forget_states(registry, *id, old.as_ref());
            if let Some(due) = old.as_ref().and_then(Built::due) {
                self.due.remove(&(due, *id));
            }
            let Some(service) = registry.service(*id).filter(|service| service.removed.is_none()) else {
                continue;
            };
            let built = built(registry, service, old.as_ref(), &mut self.kept, (seed, now));
            let admission_before = old.as_ref().map(|old| &old.table);
            if admission_before.is_none_or(|before| admits_otherwise(before, &built.table)) {
                self.flow_rules += 1;
            }
            for Standing { id, state, .. } in &built.selection.standings {
                self.backend_states[id.index()] = *state;
                let before = states_before.get(id);
                dies |= *state == BackendState::Dead && before.is_some_and(|before| before != state);
            }
            self.due.extend(built.due().map(|due| (due, *id)));
            self.built.insert(*id, built);
        }
        self.flow_rules += u64::from(dies);
        services[done..].to_vec()
    }

    /// Gives the addresses to the services that are configured now.
    pub(super) fn place(&mut self, registry: &Registry, config: &Config) {
        self.roles = roles(registry, config);
        self.kept.persistence.keep(registry.services().map(|service| &*service.config));
        let count = registry.backends().next_back().map_or(0, |last| last.id.index() + 1);
        self.backend_states.resize(count, BackendState::Removed);
    }

    /// What is built, as number `version`. Costs some 100 ns per service and address.
    pub(super) fn snapshot(&self, config: &Config, version: u64) -> Snapshot {
        let mut services = vec![None; self.built.keys().next_back().map_or(0, |id| id.index() + 1)];
        for (id, built) in &self.built {
            services[id.index()] = Some(Arc::clone(&built.table));
        }
        Snapshot {
            version,
            services,
            backend_states: match self.buried {
                true => vec![BackendState::Dead; self.backend_states.len()],
                false => self.backend_states.clone(),
            },
            roles: self.roles.clone(),
            timeouts: config.timeouts,
            min_path_mtu: config.appliance.min_path_mtu,
            choice_seed: ChoiceSeed::new(config.appliance.hash_seed),
            flow_rules: self.flow_rules,
        }
    }

    /// Has every backend be dead in the snapshots from now on, so that workers reset both sides of all connections that they
    /// translate. What backends are selected by stays.
    pub(super) fn bury_backends(&mut self) {
        self.buried = true;
        self.flow_rules += 1;
    }

    /// The backends of what was built have no state, for they may be others' now. Returns those that they had.
    fn forget_states(
        &mut self,
        registry: &Registry,
        owner: ServiceId,
        built: Option<&Built>,
    ) -> HashMap<BackendId, BackendState> {
        let mut before = HashMap::new();
        for standing in built.into_iter().flat_map(|built| &built.selection.standings) {
            let is_anothers = registry.backend(standing.id).is_some_and(|backend| backend.service != owner);
            if let Some(state) = self.backend_states.get_mut(standing.id.index()).filter(|_| !is_anothers) {
                before.insert(standing.id, std::mem::replace(state, BackendState::Removed));
            }
        }
        let count = registry.backends().next_back().map_or(0, |last| last.id.index() + 1);
        if self.backend_states.len() < count {
            self.backend_states.resize(count, BackendState::Removed);
        }
        before
    }

    /// Which backends of a service got new flows in the latest snapshot; `None` if it was not in it.
    #[must_use]
    pub fn selection(&self, service: ServiceId) -> Option<&Selection> {
        self.built.get(&service).map(|built| &built.selection)
    }

    /// When time alone changes the table of a service.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The services whose tables time alone may have changed by `now`.
    pub(super) fn due_by(&self, now: Nanos) -> impl Iterator<Item = ServiceId> + '_ {
        self.due.iter().take_while(move |(due, _)| *due <= now).map(|(_, id)| *id)
    }

    /// Whether sessions of a service may still be without a record on backends that are no longer their first targets.
    #[must_use]
    pub fn in_transition(&self, service: ServiceId) -> bool {
        self.built.get(&service).is_some_and(|built| built.transition.is_some())
    }
}

/// What follows for `service` from the registry and from what was built `before`.
fn built(
    registry: &Registry,
    service: &Service,
    before: Option<&Built>,
    kept: &mut Kept,
    (seed, now): (ChoiceSeed, Nanos),
) -> Built {
    let backends: Vec<_> = registry.backends_of(service).collect();
    let leaving: Vec<_> = registry.leaving(service).collect();
    let none = Selection::default();
    let last = before.map_or(&none, |old| &old.selection);
    let selection = Selection::next(last, &service.config, (&backends, &leaving), now);
    build(service, selection, (seed, now), before, kept)
}

fn build(
    service: &Service,
    selection: Selection,
    (seed, now): (ChoiceSeed, Nanos),
    before: Option<&Built>,
    kept: &mut Kept,
) -> Built {
    let config = &*service.config;
    let scheduler = config.scheduler;
    let backends: Vec<_> = selection
        .standings
        .iter()
        .map(|Standing { id, endpoint, weight, max_connections, .. }| ServiceBackend {
            id: *id,
            weight: *weight,
            max_connections: *max_connections,
            endpoint: *endpoint,
        })
        .collect();
    let like_before = before.filter(|old| old.seed == seed && old.scheduler == scheduler);
    let mut choice = choose(scheduler, &selection, seed, like_before, &mut kept.lookups);
    let hash = if scheduler == Scheduler::SourceHash { HashFeature::SourceAddress } else { config.hash };
    // Another seed or another feature gives every packet another number; so does the end of flows.
    let stateless = |old: &&Built| config.mode.is_stateless() && old.table.mode.is_stateless();
    let comparable = like_before.filter(stateless).filter(|old| old.table.hash == hash);
    let mut transition = None;
    if let (Some(old), Choice::Hash { all, previous, .. }) = (comparable, &mut choice)
        && let Some(before) = old.first_targets()
    {
        let after = FirstTargets { standings: &selection.standings, all };
        let span = Nanos::from(config.transition);
        transition = Transition::next(old.transition.as_ref(), &before, &after, (now, span));
        *previous = transition.as_ref().map(Transition::previous);
    }
    let access = match before {
        Some(old) if old.access == config.access => old.table.access.clone(),
        _ => config.access.as_deref().map(|rules| Arc::new(Access::new(rules))),
    };
    let persistence =
        config.persistence.as_ref().map(|config| kept.persistence.persistent(config, &backends));
    let serving = backends.iter().filter(|backend| backend.weight > 0).count() as u64;
    let leases = serving * config.local_addresses.len() as u64 * u64::from(LOCAL_PORTS);
    let table = ServiceTable {
        id: service.id,
        name: config.name.as_str().into(),
        protocol: config.protocol,
        mode: config.mode,
        one_packet: config.one_packet,
        hash,
        client_address: config.client_address,
        on_no_backend: config.on_no_backend,
        on_unknown_flow: config.on_unknown_flow,
        backends,
        choice,
        persistence,
        access,
        limits: config.limits,
        syn_proxy: config.syn_proxy,
        leases,
        flow_share: config.flow_share,
        local_addresses: config.local_addresses.as_slice().into(),
    };
    // Workers that see the same table need not be told.
    let table = match before {
        Some(old) if *old.table == table => Arc::clone(&old.table),
        _ => Arc::new(table),
    };
    Built { seed, scheduler, selection, access: config.access.clone(), transition, table }
}

/// Whether flows that exist must be looked at anew.
fn admits_otherwise(before: &ServiceTable, after: &ServiceTable) -> bool {
    let limits = |table: &ServiceTable| -> BTreeMap<BackendId, u32> {
        table.backends.iter().map(|backend| (backend.id, backend.max_connections)).collect()
    };
    before.access != after.access
        || before.limits != after.limits
        || before.one_packet != after.one_packet
        || before.choice.counts_connections() != after.choice.counts_connections()
        || before.backends != after.backends && limits(before) != limits(after)
}

/// How backends are chosen that stand like this; what was built `before` is used again where it is the same.
fn choose(
    scheduler: Scheduler,
    selection: &Selection,
    seed: ChoiceSeed,
    before: Option<&Built>,
    lookups: &mut Lookups,
) -> Choice {
    let standings = &selection.standings;
    let now = |standing: &Standing| (standing.endpoint, standing.weight);
    let settled = |standing: &Standing| (standing.endpoint, standing.settled_weight);
    let same = |of: &dyn Fn(&Standing) -> (Endpoint, u32)| {
        let before = before.filter(|old| old.selection.standings.iter().map(of).eq(standings.iter().map(of)));
        before.map(|old| &old.table.choice)
    };
    let mut lookup = |of: &dyn Fn(&Standing) -> (Endpoint, u32)| -> Positions {
        lookups.get(Shares { seed, of: standings.iter().map(of).collect() })
    };
    match scheduler {
        Scheduler::Maglev | Scheduler::SourceHash => {
            let all = match same(&settled) {
                Some(Choice::Hash { all, .. }) => Arc::clone(all),
                _ => lookup(&settled),
            };
            let in_service = match same(&now) {
                Some(Choice::Hash { in_service, .. }) => Arc::clone(in_service),
                _ if standings.iter().map(now).eq(standings.iter().map(settled)) => Arc::clone(&all),
                _ => lookup(&now),
            };
            Choice::Hash { all, in_service, previous: None }
        }
        Scheduler::RandomTwoChoices => match same(&now) {
            Some(choice @ Choice::TwoChoices(_)) => choice.clone(),
            _ => Choice::TwoChoices(lookup(&now)),
        },
        Scheduler::WeightedRoundRobin => match same(&now) {
            Some(choice @ Choice::Turns(_)) => choice.clone(),
            _ => Choice::Turns(turns(&standings.iter().map(|s| s.weight).collect::<Vec<_>>()).into()),
        },
        Scheduler::WeightedLeastConnections => {
            Choice::LeastConnections(weighted(standings).map(|(position, _)| position).collect())
        }
        Scheduler::Failover => {
            // The first of those of equal weight.
            let best = weighted(standings).min_by_key(|(_, standing)| std::cmp::Reverse(standing.weight));
            Choice::One(best.map(|(position, _)| position))
        }
    }
}

/// Those that get new flows, with their positions.
fn weighted(standings: &[Standing]) -> impl Iterator<Item = (u16, &Standing)> {
    (0..=u16::MAX).zip(standings).filter(|(_, standing)| standing.weight > 0)
}

fn roles(registry: &Registry, config: &Config) -> AddressRoles {
    let mut roles = AddressRoles::default();
    roles.set_backends(registry.backends().map(|backend| backend.endpoint.address));
    for (address, _) in config.ports.iter().flat_map(|port| &port.addresses) {
        roles.insert(*address, AddressRole::Port);
    }
    for address in local_addresses(config) {
        roles.insert(address, AddressRole::Local);
    }
    let mut vips: BTreeMap<IpAddr, Vec<_>> = BTreeMap::new();
    for service in registry.services() {
        let ServiceConfig { vip, protocol, ports, .. } = &*service.config;
        let listens = protocol.protocols().iter().map(|protocol| (*protocol, *ports, service.id));
        vips.entry(*vip).or_default().extend(listens);
        if let ForwardingMode::Tunnel(encapsulation) = service.config.mode {
            for backend in &service.config.backends {
                let end = backend.endpoint.address;
                let sources = &service.config.local_addresses;
                let source = sources.iter().find(|source| source.is_ipv4() == end.is_ipv4());
                if let Some(source) = source {
                    roles.insert_tunnel(end, TunnelPath { source: *source, encapsulation });
                }
            }
        }
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
