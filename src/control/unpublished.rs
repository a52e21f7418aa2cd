//! What has changed in the registry that the latest snapshot does not have yet: by service, so that a publication costs
//! what has changed and not what there is.

use std::collections::BTreeSet;

use super::health::Advice;
use super::health::HealthState;
use super::registry::Administration;
use super::registry::Backend;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::ServiceId;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Unpublished {
    /// Services whose table may be another one, configured or not any more.
    pub(super) services: BTreeSet<ServiceId>,
    /// Whether the services and backends themselves may be others: a configuration was loaded, an id was freed.
    pub(super) members: bool,
}

/// All of a backend that its service's table follows from. What probes find changes it seldom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bearing {
    endpoint: Endpoint,
    tier: u8,
    max_connections: u32,
    weights: (u32, Option<u32>),
    administration: Administration,
    health: (HealthState, Nanos, u64),
    /// It is as good as known, though no probe has said so.
    known: bool,
    returned: Option<Nanos>,
    /// What it takes to be dead; of one that is down alone.
    silence: Option<(Option<Nanos>, bool)>,
    advice: Advice,
    removed: Option<Nanos>,
}

impl Bearing {
    /// That of `backend` now.
    pub(super) fn of(backend: &Backend) -> Self {
        // Named one by one: a new field of a backend is to be thought of here.
        let Backend {
            id: _,
            service: _,
            endpoint,
            tier,
            max_connections,
            configured_weight,
            weight_override,
            administration,
            health,
            advice,
            observed: _,
            probe: _,
            not_sent: _,
            returned,
            removed,
        } = backend;
        let is_down = health.state() == HealthState::Down;
        Self {
            endpoint: *endpoint,
            tier: *tier,
            max_connections: *max_connections,
            weights: (*configured_weight, *weight_override),
            administration: *administration,
            health: (health.state(), health.since(), health.transitions()),
            known: backend.is_known(),
            returned: *returned,
            silence: is_down.then(|| (health.silent_since(), health.is_given_up())),
            advice: *advice,
            removed: *removed,
        }
    }
}
