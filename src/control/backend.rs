//! A backend as control knows it: configuration, operator, agent and probes, side by side.

use std::sync::Arc;

use super::health::Advice;
use super::health::AdvisedState;
use super::health::Health;
use super::health::HealthState;
use super::health::Observed;
use super::health::ProbeSpec;
use super::suspicion::Census;
use crate::model::BackendId;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::ServiceId;

/// A backend with an id.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Stable while configured.
    pub id: BackendId,
    /// Whose it is.
    pub service: ServiceId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Lower serves first.
    pub tier: u8,
    /// Connections that it takes at a time; 0: any number.
    pub max_connections: u32,
    /// Its share of new flows, as configured.
    pub configured_weight: u32,
    /// The operator's, in place of the configured one: until that changes.
    pub weight_override: Option<u32>,
    /// What the operator said of it.
    pub administration: Administration,
    /// What its probes say.
    pub health: Health,
    /// What its agent has advised so far; nothing without an agent.
    pub advice: Advice,
    /// What clients' handshakes have said of it.
    pub observed: Observed,
    /// How it is being probed; `None`: it is not.
    pub probe: Option<ProbeSpec>,
    /// Why its probes cannot be sent; `None`: the latest was sent.
    pub not_sent: Option<Arc<str>>,
    /// When an operator or its agent brought it back into service; `None`: never.
    pub returned: Option<Nanos>,
    /// When it was removed from the configuration.
    pub removed: Option<Nanos>,
}

/// What an operator has decided about a backend, whatever its health is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Administration {
    /// In service if it is healthy.
    #[default]
    Enabled,
    /// No new flows; those that exist go on until they end, and then it is in maintenance.
    Draining {
        /// When it is in maintenance even if flows are left; `None`: never.
        deadline: Option<Nanos>,
    },
    /// Out of service.
    Maintenance,
}

impl Backend {
    /// Whether new flows may be placed on it, if its tier serves.
    #[must_use]
    pub fn in_service(&self) -> bool {
        self.removed.is_none()
            && self.administration == Administration::Enabled
            && self.is_advised()
            && self.health.state() == HealthState::Up
    }

    /// Whether its probes have said how it is, or cannot be sent.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.health.state() != HealthState::Unknown || self.not_sent.is_some()
    }

    /// Whether its agent has nothing against new flows.
    #[must_use]
    pub fn is_advised(&self) -> bool {
        matches!(self.advice.state(), None | Some(AdvisedState::Up))
    }

    /// Its share of new flows by configuration and operator, 0 to 65535; 0: none.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight_override.unwrap_or(self.configured_weight)
    }

    /// The part of [`weight`](Self::weight) that its agent advises, rounded up.
    #[must_use]
    pub fn advised_weight(&self) -> u32 {
        let percent = self.advice.weight_percent.map_or(100, u32::from);
        (self.weight() * percent).div_ceil(100)
    }
}

impl Census {
    pub(super) fn count(&mut self, backend: &Backend) {
        let (up, silent) = Self::part(backend);
        self.up += up;
        self.silent += silent;
    }

    pub(super) fn uncount(&mut self, backend: &Backend) {
        let (up, silent) = Self::part(backend);
        self.up -= up;
        self.silent -= silent;
    }

    fn part(backend: &Backend) -> (usize, usize) {
        let counts = backend.removed.is_none()
            && backend.probe.is_some()
            && backend.administration == Administration::Enabled
            && backend.health.state() == HealthState::Up;
        (usize::from(counts), usize::from(counts && backend.health.is_up_and_silent()))
    }
}
