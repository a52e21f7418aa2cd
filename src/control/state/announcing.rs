//! Which VIPs are announced, and whether the process is ready.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Phase;
use super::State;
use crate::control::change::Change;
use crate::control::event::Effect;
use crate::control::health::HealthState;
use crate::control::network::Wanted;
use crate::control::port_watch::FaultKind;
use crate::control::registry::Service;
use crate::control::selection::Selection;
use crate::control::tables::local_addresses;
use crate::model::Nanos;
use crate::model::ServiceId;

impl State {
    /// After a publication: what these services want of their VIPs now. With `members`, services come and go: then
    /// [`count_wishes`](Self::count_wishes) follows.
    pub(super) fn judge_announcements(
        &mut self,
        now: Nanos,
        services: &[ServiceId],
        members: bool,
        effects: &mut Vec<Effect>,
    ) {
        for id in services {
            let Some(service) = self.registry.service(*id).filter(|service| service.removed.is_none()) else {
                continue;
            };
            let rules = service.config.announce;
            let eligible = self.tables.selection(*id).map_or(0, Selection::eligible);
            if self.announcements.judge(now, *id, &rules, eligible) && !members {
                self.wish_changed(*id, effects);
            }
        }
    }

    /// Changes that have lasted for `announce_hold` take effect.
    pub(super) fn end_announce_holds(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        while let Some(id) = self.announcements.next_due(now) {
            self.wish_changed(id, effects);
        }
    }

    /// Counts anew which services want which VIPs.
    pub(super) fn count_wishes(&mut self) {
        let registry = &self.registry;
        let configured = |id| registry.service(id).is_some_and(|service| service.removed.is_none());
        self.announcements.retain(configured);
        self.wanting.clear();
        for service in registry.services().filter(|service| self.announcements.wants(service.id)) {
            *self.wanting.entry(service.config.vip).or_default() += 1;
        }
        self.wanted_stale = true;
    }

    fn wish_changed(&mut self, id: ServiceId, effects: &mut Vec<Effect>) {
        let Some(service) = self.registry.service(id) else { return };
        let vip = service.config.vip;
        let before = self.wanting.get(&vip).copied().unwrap_or(0);
        let after = if self.announcements.wants(id) { before + 1 } else { before.saturating_sub(1) };
        if after == 0 {
            self.wanting.remove(&vip);
        } else {
            self.wanting.insert(vip, after);
        }
        if (before == 0) == (after == 0) {
            return;
        }
        self.wanted_stale = true;
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let reason = self.announcements.reason(id, &service.config.announce);
        let service: Arc<str> = service.config.name.as_str().into();
        effects.push(Effect::Log(match reason {
            None => Change::VipAnnounced { vip, service },
            Some(reason) => Change::VipWithdrawn { vip, service, reason },
        }));
    }

    /// Whether the network leads this VIP here.
    #[must_use]
    pub fn is_announced(&self, vip: IpAddr) -> bool {
        self.held.as_ref().is_some_and(|held| held.vips.binary_search(&vip).is_ok())
    }

    /// Why the VIP of a service is not announced; `None`: it is.
    #[must_use]
    pub fn not_announced(&self, service: &Service) -> Option<String> {
        let vip = service.config.vip;
        if self.is_announced(vip) {
            return None;
        }
        if let Some(reason) = self.not_ready().into_iter().next() {
            return Some(reason);
        }
        let reason = self.announcements.reason(service.id, &service.config.announce);
        Some(reason.unwrap_or_else(|| "the network does not hold it yet".to_owned()))
    }

    /// Why the balancer is not ready, most important first; empty: it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let phase = match self.phase {
            Phase::Draining(_) => Some("draining".to_owned()),
            Phase::Starting => Some("starting".to_owned()),
            Phase::Running => None,
        };
        let stalled = self.pulse.stalled.iter().map(|worker| format!("worker {worker} stalled"));
        let faults = self.faults.iter().map(ToString::to_string);
        phase.into_iter().chain(stalled).chain(faults).collect()
    }

    /// Whether a service without a backend in service has one whose latest probe was good, and readiness waits for it.
    pub(super) fn services_are_coming(&self) -> bool {
        let is_coming = |service: &Service| {
            let backends = || self.registry.backends_of(service);
            let rises = |state, ok: bool| state == HealthState::Down && ok;
            !backends().any(|backend| backend.health.state() == HealthState::Up)
                && backends().any(|b| rises(b.health.state(), b.health.last() == Some(Ok(()))))
        };
        self.ready_by.is_some() && self.registry.services().any(is_coming)
    }

    pub(super) fn wanted(&self) -> Wanted {
        let configured: BTreeSet<IpAddr> = self.config.services.iter().map(|service| service.vip).collect();
        // Not before workers know the VIP: the kernel would answer in their place.
        let vips = configured.intersection(&self.published.vips);
        let vips = vips.filter(|vip| self.may_announce() && self.wanting.contains_key(vip));
        let local: BTreeSet<IpAddr> = local_addresses(&self.config).collect();
        let backends = self
            .registry
            .services()
            .flat_map(|service| self.registry.backends_of(service).chain(self.registry.leaving(service)));
        let backends: BTreeSet<IpAddr> = backends.map(|backend| backend.endpoint.address).collect();
        Wanted {
            vips: vips.copied().collect(),
            local: local.into_iter().collect(),
            backends: backends.into_iter().collect(),
            next_hops: self.config.next_hops.clone(),
        }
    }

    pub(super) fn may_announce(&self) -> bool {
        let leaving = matches!(self.phase, Phase::Draining(_));
        // Without its kernel side a port has no neighbours, and the kernel no way to answer for addresses there.
        let lost = self.faults.iter().any(|fault| fault.kind == FaultKind::KernelSideLost);
        !leaving && !lost && self.published.settled && self.pulse.started && self.pulse.stalled.is_empty()
    }

    /// VIPs that the network leads here.
    #[must_use]
    pub fn announced(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.vips.len())
    }

    /// For `systemctl status`.
    #[must_use]
    pub fn summary(&self) -> String {
        let registry = &self.registry;
        let services = registry.services().count();
        let (mut up, mut total) = (0, 0);
        for backend in registry.services().flat_map(|service| registry.backends_of(service)) {
            total += 1;
            up += usize::from(backend.in_service());
        }
        let reasons = self.not_ready();
        let not_ready =
            if reasons.is_empty() { String::new() } else { format!("not ready: {}; ", reasons.join(", ")) };
        format!("{not_ready}{services} services, {up} of {total} backends in service")
    }
}
