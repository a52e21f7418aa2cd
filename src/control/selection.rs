//! Which backends of a service get new flows: health, tiers, weights and what the operator said, put together.
//!
//! Pure. The lowest tier with a backend in service serves; the backends of the others stand by. A tier that comes back
//! takes over again at once, or after the service's hold-down.

use std::sync::Arc;

use super::change::Change;
use super::health::AdvisedState;
use super::health::HealthState;
use super::registry::Administration;
use super::registry::Backend;
use crate::config::ServiceConfig;
use crate::model::BackendId;
use crate::model::BackendState;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::OnDeadBackend;
use crate::model::ServiceProtocol;

/// What follows for the backends of a service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The tier that serves; `None`: no backend is in service.
    pub tier: Option<u8>,
    /// Whether a backend is in service, as operators are told it; `None`: too few first probes have a result to say.
    pub serves: Option<bool>,
    /// The configured backends and those that leave, in the order of their endpoints.
    pub standings: Vec<Standing>,
    /// So few are healthy that health is disregarded.
    pub panics: bool,
    /// When time alone changes it.
    pub due: Option<Nanos>,
}

/// What a backend is to new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which backend.
    pub id: BackendId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Connections that it takes at a time; 0: any number.
    pub max_connections: u32,
    /// What workers do with its flows.
    pub state: BackendState,
    /// Its share of new flows now.
    pub weight: u32,
    /// Its share by configuration and operator alone, 0 if it belongs to the first targets no longer: what does not
    /// depend on health or agents.
    pub settled_weight: u32,
}

/// Of a selection, what operators are told when it changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    tier: Option<u8>,
    serves: Option<bool>,
    panics: bool,
}

impl Served {
    /// That of `selection`.
    pub(super) const fn of(selection: &Selection) -> Self {
        Self { tier: selection.tier, serves: selection.serves, panics: selection.panics }
    }

    /// The changes of `service` from `before` to this.
    pub(super) fn changes(self, before: Self, service: Arc<str>) -> impl Iterator<Item = Change> {
        let name = || Arc::clone(&service);
        let served = self.serves.filter(|_| self.serves != before.serves);
        let served = served.map(|serves| match serves {
            true => Change::ServiceUp { service: name() },
            false => Change::ServiceDown { service: name() },
        });
        // The lowest tier serves unless something else is said.
        let moved = self.tier.filter(|tier| before.tier.map_or(*tier > 0, |old| old != *tier));
        let moved = moved.map(|tier| Change::TierServes { service: name(), tier });
        let panics = (self.tier.is_some() && self.panics != before.panics)
            .then(|| Change::Panic { service: name(), begins: self.panics });
        [served, moved, panics].into_iter().flatten()
    }
}

/// Steps in which a backend's weight grows during its slow start.
const SLOW_START_STEPS: u64 = 10;

impl Selection {
    /// Backends that new flows can be placed on now.
    #[must_use]
    pub fn eligible(&self) -> usize {
        self.standings.iter().filter(|standing| standing.weight > 0).count()
    }

    /// What follows at `now` for `backends`, those configured for `service`, and those `leaving` it; `before` is what
    /// followed last.
    #[must_use]
    pub fn next(
        before: &Self,
        service: &ServiceConfig,
        (backends, leaving): (&[&Backend], &[&Backend]),
        now: Nanos,
    ) -> Self {
        let panics = panics(service, backends);
        let serves = |backend: &Backend| {
            let healthy = panics || backend.health.state() == HealthState::Up;
            let wanted = backend.administration == Administration::Enabled && backend.is_advised();
            healthy && wanted && backend.advised_weight() > 0
        };
        let mut due = None;
        let tier = serving_tier(before.tier, service, backends, serves, now, &mut due);
        let known = |backend: &&Backend| {
            let asked = backend.administration == Administration::Enabled;
            !asked || backend.is_known()
        };
        let serves_none = before.serves.is_some() || backends.iter().all(known);
        let lowest = backends.iter().map(|backend| backend.tier).min();
        let mut standings: Vec<Standing> = backends
            .iter()
            .map(|backend| {
                let in_tier = serves(backend) && Some(backend.tier) == tier;
                let is_first =
                    Some(backend.tier) == lowest && backend.administration == Administration::Enabled;
                Standing {
                    id: backend.id,
                    endpoint: backend.endpoint,
                    max_connections: backend.max_connections,
                    state: state(service, backend, in_tier, now, &mut due),
                    weight: if in_tier { slow_start(service, backend, now, &mut due) } else { 0 },
                    settled_weight: if is_first { backend.weight() } else { 0 },
                }
            })
            .collect();
        standings.extend(leaving.iter().map(|backend| Standing {
            id: backend.id,
            endpoint: backend.endpoint,
            max_connections: backend.max_connections,
            state: leaving_state(service, backend, now, &mut due),
            weight: 0,
            settled_weight: 0,
        }));
        standings.sort_unstable_by_key(|standing| standing.endpoint);
        Self {
            tier,
            serves: if tier.is_some() { Some(true) } else { serves_none.then_some(false) },
            standings,
            panics,
            due,
        }
    }
}

fn state(
    service: &ServiceConfig,
    backend: &Backend,
    serves: bool,
    now: Nanos,
    due: &mut Option<Nanos>,
) -> BackendState {
    match (backend.administration, backend.health.state()) {
        _ if serves => BackendState::Up,
        // Whoever waits for its flows has drained the backend first.
        (Administration::Maintenance, _) => BackendState::Dead,
        _ if matches!(backend.advice.state(), Some(AdvisedState::Down | AdvisedState::Maint)) => {
            BackendState::Down
        }
        // Whoever is being drained keeps its flows for as long as it answers.
        (Administration::Enabled | Administration::Draining { .. }, HealthState::Up) => BackendState::Resting,
        (_, HealthState::Down) => {
            let silent = backend.health.silent_since();
            let silent = silent.filter(|_| service.on_dead_backend == OnDeadBackend::Reset);
            let Some(silent) = silent else { return BackendState::Down };
            let dead = silent + Nanos::from(service.dead_after);
            if dead <= now || backend.health.is_given_up() {
                return BackendState::Dead;
            }
            soonest(due, Some(dead));
            BackendState::Down
        }
        (_, HealthState::Unknown) => BackendState::Down,
    }
}

/// Of a backend that was removed from a service without flows: its sessions stay as in a drain. Those that a record
/// names stay also after the transition, if they would break elsewhere.
fn leaving_state(
    service: &ServiceConfig,
    backend: &Backend,
    now: Nanos,
    due: &mut Option<Nanos>,
) -> BackendState {
    let end = backend.removed.unwrap_or(now) + Nanos::from(service.transition);
    if service.protocol == ServiceProtocol::Udp {
        if end <= now {
            return BackendState::Removed;
        }
        soonest(due, Some(end));
    }
    state(service, backend, false, now, due)
}

/// Fewer backends than `panic_threshold` of the configured ones are healthy: the probes are more likely wrong than
/// all these servers, or the rest could not carry the load.
fn panics(service: &ServiceConfig, backends: &[&Backend]) -> bool {
    let (mut all, mut healthy) = (0, 0);
    for backend in backends.iter().filter(|backend| backend.administration == Administration::Enabled) {
        match backend.health.state() {
            // Before its first probe nothing is known of a backend.
            HealthState::Unknown => return false,
            HealthState::Up => healthy += 1,
            HealthState::Down => {}
        }
        all += 1;
    }
    healthy * 100 < all * u32::from(service.panic_threshold)
}

fn serving_tier(
    before: Option<u8>,
    service: &ServiceConfig,
    backends: &[&Backend],
    serves: impl Fn(&Backend) -> bool,
    now: Nanos,
    due: &mut Option<Nanos>,
) -> Option<u8> {
    let hold_down = Nanos::from(service.hold_down);
    let in_service = || backends.iter().filter(|backend| serves(backend));
    let current = before.filter(|tier| in_service().any(|backend| backend.tier == *tier));
    let Some(current) = current else { return in_service().map(|backend| backend.tier).min() };
    // Since when a better tier is back; one that was never away is not held down.
    let back = |backend: &Backend| {
        let returned = backend.health.transitions() > 1;
        if returned { backend.health.since() + hold_down } else { now }
    };
    let better = in_service().filter(|backend| backend.tier < current);
    let ready = better.clone().filter(|backend| back(backend) <= now).map(|backend| backend.tier).min();
    let serves = ready.unwrap_or(current);
    // One that is better still may be held down for longer.
    soonest(due, better.filter(|backend| backend.tier < serves).map(|backend| back(backend)).min());
    Some(serves)
}

/// The weight of a backend that has come into service not long ago, by its probes, an operator or its agent: it grows from a tenth to the whole.
fn slow_start(service: &ServiceConfig, backend: &Backend, now: Nanos, due: &mut Option<Nanos>) -> u32 {
    let whole = backend.advised_weight();
    let span = Nanos::from(service.slow_start);
    // Balancers that must choose alike do not see the same moment of recovery.
    let recovered = (backend.health.transitions() > 1).then(|| backend.health.since());
    let Some(since) = recovered.max(backend.returned) else { return whole };
    if span == Nanos(0) || service.scheduler.is_by_hash() {
        return whole;
    }
    let step = Nanos((span.0 / SLOW_START_STEPS).max(1));
    let steps = now.since(since).0 / step.0 + 1;
    if steps >= SLOW_START_STEPS {
        return whole;
    }
    soonest(due, Some(since + Nanos(step.0 * steps)));
    u32::try_from(u64::from(whole) * steps / SLOW_START_STEPS).unwrap_or(whole).max(1)
}

fn soonest(due: &mut Option<Nanos>, other: Option<Nanos>) {
    *due = [*due, other].into_iter().flatten().min();
}
