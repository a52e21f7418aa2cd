//! How many local ports are in use for a backend: a flow has one, until its lease may be used again.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::ServiceConfig;
use crate::control::ledger::Ledger;
use crate::control::registry::Backend;
use crate::control::registry::Registry;
use crate::model::Endpoint;
use crate::model::LOCAL_PORTS;
use crate::model::ServiceProtocol;

/// The local ports of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Leases {
    /// In use.
    pub(super) used: u64,
    /// Those that there are; 0 if the backend needs none.
    pub(super) capacity: u64,
    /// The share in use on the worker where it is the greatest, 0 to 1.
    pub(super) ratio: f64,
}

/// Backends that share local ports: the same endpoint, protocol and local addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pool<'a> {
    endpoint: Endpoint,
    protocol: ServiceProtocol,
    addresses: &'a [IpAddr],
}

impl<'a> Pool<'a> {
    fn of(backend: &Backend, service: &'a ServiceConfig) -> Self {
        let addresses = &service.local_addresses;
        Self { endpoint: backend.endpoint, protocol: service.protocol, addresses }
    }
}

/// The flows of some pools, worker by worker.
pub(super) struct Pools<'a> {
    registry: &'a Registry,
    flows: HashMap<Pool<'a>, Vec<u64>>,
}

impl<'a> Pools<'a> {
    /// The pools of `shown`. Costs a look at each backend and, for those with an endpoint of `shown`, a read of its
    /// counters.
    pub(super) fn new<'b>(
        registry: &'a Registry,
        ledger: &Ledger,
        shown: impl Iterator<Item = &'b Backend>,
    ) -> Self {
        let endpoints: HashSet<Endpoint> = shown.map(|backend| backend.endpoint).collect();
        let workers = ledger.workers().count();
        let mut flows: HashMap<Pool<'_>, Vec<u64>> = HashMap::new();
        for backend in registry.backends().filter(|backend| endpoints.contains(&backend.endpoint)) {
            let Some(service) = registry.service(backend.service) else { continue };
            let sums = flows.entry(Pool::of(backend, &service.config)).or_insert_with(|| vec![0; workers]);
            for (sum, flows) in sums.iter_mut().zip(ledger.flows_on(backend.id)) {
                *sum += flows;
            }
        }
        Self { registry, flows }
    }

    /// The local ports of a backend that is shown. Services with the same endpoint and the same local addresses share
    /// them. Of backends on the port that the client used it is the sum over these ports, each of which has as many.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for a gauge")]
    pub(super) fn leases(&self, backend: &Backend) -> Leases {
        let Some(service) = self.registry.service(backend.service) else { return Leases::default() };
        if service.config.mode.is_stateless() {
            return Leases::default();
        }
        let pool = Pool::of(backend, &service.config);
        let capacity = pool.addresses.len() as u64 * u64::from(LOCAL_PORTS);
        let by_worker = self.flows.get(&pool).map_or(&[][..], Vec::as_slice);
        // Each worker has its part of the ports.
        let fullest = by_worker.iter().copied().max().unwrap_or(0) * by_worker.len() as u64;
        let ratio = if capacity == 0 { 0.0 } else { (fullest as f64 / capacity as f64).min(1.0) };
        Leases { used: by_worker.iter().sum(), capacity, ratio }
    }
}
