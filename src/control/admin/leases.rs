//! How many local ports are in use for a backend: a flow has one, until its lease may be used again.

use std::collections::HashMap;

use crate::control::ledger::Ledger;
use crate::control::registry::Backend;
use crate::control::registry::Registry;
use crate::model::Endpoint;
use crate::model::LOCAL_PORTS;

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

/// Every backend by its endpoint.
pub(super) struct Endpoints<'a> {
    registry: &'a Registry,
    ledger: &'a Ledger,
    backends: HashMap<Endpoint, Vec<&'a Backend>>,
}

impl<'a> Endpoints<'a> {
    pub(super) fn new(registry: &'a Registry, ledger: &'a Ledger) -> Self {
        let mut backends: HashMap<Endpoint, Vec<&Backend>> = HashMap::new();
        for backend in registry.backends() {
            backends.entry(backend.endpoint).or_default().push(backend);
        }
        Self { registry, ledger, backends }
    }

    /// The local ports of a backend's endpoint. Services with the same endpoint and the same local addresses share them.
    /// Of backends on the port that the client used it is the sum over these ports, each of which has as many.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for a gauge")]
    pub(super) fn leases(&self, backend: &Backend) -> Leases {
        let Some(service) = self.registry.service(backend.service) else { return Leases::default() };
        if service.config.mode.is_stateless() {
            return Leases::default();
        }
        let addresses = &service.config.local_addresses;
        let capacity = addresses.len() as u64 * u64::from(LOCAL_PORTS);
        let shares = |other: &&&Backend| {
            let other = self.registry.service(other.service).map(|service| &service.config);
            other.is_some_and(|other| {
                other.protocol == service.config.protocol && other.local_addresses == *addresses
            })
        };
        let mut by_worker: Vec<u64> = self.ledger.workers().map(|_| 0).collect();
        for other in self.backends.get(&backend.endpoint).into_iter().flatten().filter(shares) {
            for (sum, flows) in by_worker.iter_mut().zip(self.ledger.flows_on(other.id)) {
                *sum += flows;
            }
        }
        // Each worker has its part of the ports.
        let fullest = by_worker.iter().copied().max().unwrap_or(0) * by_worker.len() as u64;
        let ratio = if capacity == 0 { 0.0 } else { (fullest as f64 / capacity as f64).min(1.0) };
        Leases { used: by_worker.iter().sum(), capacity, ratio }
    }
}
