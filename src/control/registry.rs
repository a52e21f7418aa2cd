//! Services and backends with their ids, stable over reloads.
//!
//! What is configured keeps its id, its health and its counters, whatever else changes. What was removed keeps its id
//! while a worker may still have a flow on it: for [`GRACE`], and then until no worker counts one. Put back into the
//! configuration in that time it gets its id back. A backend that leaves a service without flows keeps its sessions
//! ([`Registry::leaving`]), so that the grace begins after the service's transition only.

mod questions;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;

pub(super) use self::questions::probe_spec;
pub use super::backend::Administration;
pub use super::backend::Backend;
use super::free_ids::FreeIds;
use super::health::Advice;
use super::health::Health;
use super::health::Observed;
use super::health::Thresholds;
use super::identity::counterparts;
use super::suspicion::Census;
use super::unpublished::Bearing;
use super::unpublished::Unpublished;
use crate::config::BackendConfig;
use crate::config::HealthConfig;
use crate::config::ServiceConfig;
use crate::model::BackendId;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::ServiceId;
use crate::shared::Capacities;

/// How long the id of a removed service or backend waits at least: longer than a worker that turns takes to see a
/// snapshot, and longer than it takes to notice that one does not turn. No id is given back while one does not.
pub const GRACE: Nanos = Nanos::from_secs(2);

/// Every service and backend that has an id.
#[derive(Clone, Debug)]
pub struct Registry {
    capacities: Capacities,
    services: BTreeMap<ServiceId, Service>,
    backends: BTreeMap<BackendId, Backend>,
    /// The configured services, in the order of the file.
    order: Vec<ServiceId>,
    /// Configurations loaded so far.
    loads: u64,
    /// Backends that are being drained, and some that are not any more.
    drains: BTreeSet<BackendId>,
    /// What the latest snapshot does not have yet.
    pub(super) unpublished: Unpublished,
    census: Census,
}

/// A service with an id.
#[derive(Clone, Debug)]
pub struct Service {
    /// Stable while configured.
    pub id: ServiceId,
    /// As configured, or as it last was.
    pub config: Arc<ServiceConfig>,
    /// Its configured backends, in the order of the file.
    pub backends: Vec<BackendId>,
    /// See [`Registry::leaving`].
    leaving: Vec<BackendId>,
    /// When it was removed from the configuration.
    pub removed: Option<Nanos>,
}

/// An id was given out: what its counters show belongs to the one who had it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// To a service.
    Service(ServiceId),
    /// To a backend.
    Backend(BackendId),
}

/// There is no id for another service or backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegistryFull {
    /// See the message.
    #[error(
        "no room for more services: {0} are configured or were removed while flows are left on their backends; load again when fewer are left, change fewer services at a time, or raise appliance.max_services and restart"
    )]
    Services(usize),
    /// See the message.
    #[error(
        "no room for more backends: {0} are configured or were removed and still have flows; load again when `evenkeel backends` shows fewer as removed, replace fewer at a time, or raise appliance.max_backends and restart"
    )]
    Backends(usize),
}

impl Registry {
    /// Empty, with ids below `capacities`.
    #[must_use]
    pub const fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            order: Vec::new(),
            loads: 0,
            drains: BTreeSet::new(),
            unpublished: Unpublished { services: BTreeSet::new(), members: false },
            census: Census { up: 0, silent: 0 },
        }
    }

    /// Makes `services` the configured ones. On an error the registry is half changed: load into a clone.
    ///
    /// # Errors
    ///
    /// If there are not enough ids.
    pub fn load(&mut self, now: Nanos, services: &[ServiceConfig]) -> Result<Vec<Assigned>, RegistryFull> {
        let known =
            self.services.values().map(|service| (service.id, &*service.config, service.removed.is_none()));
        let counterparts = counterparts(known, services);
        let (services_taken, backends_taken) = (&self.services, &self.backends);
        let mut ids = FreeIds::new(
            self.capacities,
            |id| services_taken.contains_key(&id),
            |id| backends_taken.contains_key(&id),
        );
        let mut assigned = Vec::new();
        let mut known: HashMap<ServiceId, HashMap<Endpoint, BackendId>> = HashMap::new();
        for backend in self.backends.values() {
            known.entry(backend.service).or_default().insert(backend.endpoint, backend.id);
        }

        self.loads += 1;
        self.order.clear();
        for (config, counterpart) in services.iter().zip(counterparts) {
            let id = match counterpart {
                Some(id) => id,
                None => {
                    let id = ids.service()?;
                    assigned.push(Assigned::Service(id));
                    id
                }
            };
            self.order.push(id);
            let known = known.remove(&id).unwrap_or_default();
            let ids = config.backends.iter().map(|backend| match known.get(&backend.endpoint) {
                Some(id) => Ok(*id),
                None => {
                    let id = ids.backend()?;
                    assigned.push(Assigned::Backend(id));
                    Ok(id)
                }
            });
            let ids = ids.collect::<Result<Vec<_>, RegistryFull>>()?;
            self.load_backends(now, id, config, ids);
        }
        self.remove_others(now);
        self.unpublished.members = true;
        self.census = Census::default();
        self.backends.values().for_each(|backend| self.census.count(backend));
        Ok(assigned)
    }

    fn load_backends(&mut self, now: Nanos, service: ServiceId, config: &ServiceConfig, ids: Vec<BackendId>) {
        let leaving = self.services.get(&service).map_or_else(Vec::new, |service| service.leaving.clone());
        let thresholds = thresholds(&config.health);
        for (BackendConfig { endpoint, weight, tier, max_connections }, id) in
            config.backends.iter().zip(&ids)
        {
            let id = *id;
            let backend = self.backends.entry(id).or_insert_with(|| Backend {
                id,
                service,
                endpoint: *endpoint,
                tier: *tier,
                max_connections: *max_connections,
                configured_weight: *weight,
                weight_override: None,
                administration: Administration::Enabled,
                health: Health::unknown(now, thresholds),
                advice: Advice::default(),
                observed: Observed::default(),
                probe: None,
                not_sent: None,
                returned: None,
                removed: None,
            });
            if backend.configured_weight != *weight {
                backend.configured_weight = *weight;
                backend.weight_override = None;
            }
            backend.tier = *tier;
            backend.max_connections = *max_connections;
            backend.health.set_thresholds(thresholds);
            if backend.removed.take().is_some() {
                // What is still probed is known, and its sessions are on it.
                if !leaving.contains(&id) {
                    backend.health = Health::unknown(now, thresholds);
                }
                backend.administration = Administration::Enabled;
                backend.weight_override = None;
                backend.not_sent = None;
                backend.returned = None;
            }
        }
        let before = self.services.get(&service).filter(|before| before.removed.is_none());
        // What is configured as before is not looked at again.
        if before.is_none_or(|before| before.backends != ids || *before.config != *config) {
            let config = Arc::new(config.clone());
            let backends = ids;
            self.services.insert(service, Service { id: service, config, backends, leaving, removed: None });
            self.unpublished.services.insert(service);
        }
    }

    fn remove_others(&mut self, now: Nanos) {
        let order: HashSet<ServiceId> = self.order.iter().copied().collect();
        for service in self.services.values_mut().filter(|service| !order.contains(&service.id)) {
            if service.removed.is_none() {
                service.removed = Some(now);
                service.backends.clear();
                self.unpublished.services.insert(service.id);
            }
        }
        self.services.values_mut().for_each(|service| service.leaving.clear());
        let listed = self.services.values().flat_map(|service| service.backends.iter().copied());
        let configured: HashSet<BackendId> = listed.collect();
        for backend in self.backends.values_mut() {
            let Some(service) = self.services.get_mut(&backend.service) else { continue };
            if !configured.contains(&backend.id) {
                backend.removed.get_or_insert(now);
                if service.removed.is_none() && keeps_sessions(&service.config) {
                    service.leaving.push(backend.id);
                }
            }
        }
    }

    /// Backends whose drain is over as soon as they have no flows, each with the time at which it is over in any case.
    /// Costs what is being drained.
    pub fn draining(&self) -> impl Iterator<Item = (BackendId, Option<Nanos>)> + '_ {
        let drained = self.drains.iter().filter_map(|id| self.backends.get(id));
        let configured = drained.filter(|backend| backend.removed.is_none());
        configured.filter_map(|backend| match backend.administration {
            Administration::Draining { deadline } => Some((backend.id, deadline)),
            Administration::Enabled | Administration::Maintenance => None,
        })
    }

    /// Backends whose id is free as soon as they have no flows.
    pub fn waiting(&self, now: Nanos) -> impl Iterator<Item = BackendId> + '_ {
        let over = move |backend: &&Backend| {
            let stays =
                self.services.get(&backend.service).filter(|service| service.leaving.contains(&backend.id));
            let span = stays.map_or(GRACE, |service| GRACE + Nanos::from(service.config.transition));
            backend.removed.is_some_and(|at| now.since(at) >= span)
        };
        self.backends.values().filter(over).map(|backend| backend.id)
    }

    /// Frees the ids of those waiting backends that are in `flowless`, and of removed services that have none left.
    /// Returns the backends.
    pub fn release(&mut self, now: Nanos, flowless: &[BackendId]) -> Vec<Backend> {
        let flowless: HashSet<BackendId> = flowless.iter().copied().collect();
        let free: Vec<BackendId> = self.waiting(now).filter(|id| flowless.contains(id)).collect();
        let freed: Vec<Backend> = free.iter().filter_map(|id| self.backends.remove(id)).collect();
        for backend in &freed {
            if let Some(service) = self.services.get_mut(&backend.service) {
                service.leaving.retain(|id| *id != backend.id);
            }
            self.unpublished.services.insert(backend.service);
            self.unpublished.members = true;
        }
        let over = |service: &Service| service.removed.is_some_and(|at| now.since(at) >= GRACE);
        if self.services.values().any(over) {
            let owners: HashSet<ServiceId> = self.backends.values().map(|backend| backend.service).collect();
            self.services.retain(|id, service| !over(service) || owners.contains(id));
        }
        freed
    }

    /// Changes a backend's health, its probe or what is said of it; `None` if there is none with this id.
    pub(super) fn change<T>(&mut self, id: BackendId, change: impl FnOnce(&mut Backend) -> T) -> Option<T> {
        let backend = self.backends.get_mut(&id)?;
        let before = Bearing::of(backend);
        self.census.uncount(backend);
        let result = change(backend);
        self.census.count(backend);
        if Bearing::of(backend) != before {
            self.unpublished.services.insert(backend.service);
            match backend.administration {
                Administration::Draining { .. } => self.drains.insert(id),
                Administration::Enabled | Administration::Maintenance => self.drains.remove(&id),
            };
        }
        Some(result)
    }

    /// How many of the probed backends are up, and silent.
    #[must_use]
    pub const fn census(&self) -> Census {
        self.census
    }

    /// The configured services in the order of the file.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.order.iter().filter_map(|id| self.services.get(id))
    }

    /// The configured services from place `from` on, in the order of the file.
    pub fn services_from(&self, from: usize) -> impl Iterator<Item = &Service> {
        self.order.iter().skip(from).filter_map(|id| self.services.get(id))
    }

    /// Every service, configured or waiting, by id.
    pub fn known_services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The number of configurations loaded so far: while it stays, the places of services do.
    #[must_use]
    pub const fn loads(&self) -> u64 {
        self.loads
    }

    /// A service, configured or waiting.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(&id)
    }

    /// A backend, configured or waiting.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(&id)
    }

    /// Every backend, configured or waiting, by id.
    pub fn backends(&self) -> impl DoubleEndedIterator<Item = &Backend> {
        self.backends.values()
    }

    /// Every backend from `from` on, configured or waiting, by id.
    pub fn backends_from(&self, from: BackendId) -> impl Iterator<Item = &Backend> {
        self.backends.range(from..).map(|(_, backend)| backend)
    }

    /// The configured backends of a service, in the order of the file.
    pub fn backends_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Backend> {
        service.backends.iter().filter_map(|id| self.backends.get(id))
    }

    /// The backends that were removed from a configured service and keep its sessions: of a service without flows, for
    /// its transition and until no record is left. They are probed as before, so that sessions of one that fails move.
    pub fn leaving<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Backend> {
        service.leaving.iter().filter_map(|id| self.backends.get(id))
    }
}

/// Whether sessions stay on a backend that leaves the configuration, though no flow says so.
fn keeps_sessions(service: &ServiceConfig) -> bool {
    service.mode.is_stateless() && !service.transition.is_zero()
}

fn thresholds(health: &HealthConfig) -> Thresholds {
    Thresholds { fall: health.fall, rise: health.rise, window: health.failure_window }
}
