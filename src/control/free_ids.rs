//! The ids that a load of a configuration may give out.

use super::registry::RegistryFull;
use crate::model::BackendId;
use crate::model::ServiceId;
use crate::shared::Capacities;

/// The ids that nobody had when a load began, lowest first.
pub(super) struct FreeIds {
    capacities: Capacities,
    services: std::vec::IntoIter<ServiceId>,
    backends: std::vec::IntoIter<BackendId>,
}

impl FreeIds {
    /// Those below `capacities` that are not taken.
    pub(super) fn new(
        capacities: Capacities,
        service_taken: impl Fn(ServiceId) -> bool,
        backend_taken: impl Fn(BackendId) -> bool,
    ) -> Self {
        let services = (0..u16::try_from(capacities.services).unwrap_or(u16::MAX)).map(ServiceId);
        let backends = (0..u32::try_from(capacities.backends).unwrap_or(u32::MAX)).map(BackendId);
        let services: Vec<_> = services.filter(|id| !service_taken(*id)).collect();
        let backends: Vec<_> = backends.filter(|id| !backend_taken(*id)).collect();
        Self { capacities, services: services.into_iter(), backends: backends.into_iter() }
    }

    /// The next service's, once each.
    pub(super) fn service(&mut self) -> Result<ServiceId, RegistryFull> {
        self.services.next().ok_or(RegistryFull::Services(self.capacities.services))
    }

    /// The next backend's, once each.
    pub(super) fn backend(&mut self) -> Result<BackendId, RegistryFull> {
        self.backends.next().ok_or(RegistryFull::Backends(self.capacities.backends))
    }
}
