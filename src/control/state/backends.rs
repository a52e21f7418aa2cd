//! What becomes of backends: by their probes, and by what an operator says.

use std::sync::Arc;

use super::State;
use crate::config::ProbeKind;
use crate::control::change::Change;
use crate::control::event::Decision;
use crate::control::event::Effect;
use crate::control::event::Order;
use crate::control::health::Advice;
use crate::control::health::AdvisedState;
use crate::control::health::Asked;
use crate::control::health::HealthState;
use crate::control::health::NotSent;
use crate::control::health::ProbeFailure;
use crate::control::health::ProbeReport;
use crate::control::health::ProbeSpec;
use crate::control::health::Transition;
use crate::control::publication::Urgency;
use crate::control::registry::Administration;
use crate::control::registry::probe_spec;
use crate::model::BackendId;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::ServiceId;

use super::FirstProbes;

impl State {
    /// Starts and stops probes as the registry now has it; none is started before it is time.
    pub(super) fn follow_with_probes(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let ids: Vec<BackendId> = self.registry.backends().map(|backend| backend.id).collect();
        self.follow_with_probes_of(&ids, now, effects);
    }

    /// As [`follow_with_probes`](Self::follow_with_probes), of these backends alone.
    pub(super) fn follow_with_probes_of(&mut self, ids: &[BackendId], now: Nanos, effects: &mut Vec<Effect>) {
        for id in ids.iter().copied() {
            let Some(backend) = self.registry.backend(id) else { continue };
            let Some(service) = self.registry.service(backend.service) else { continue };
            let spec = probe_spec(backend, service);
            // Only what is new or was probed until now: on others a decision may stand.
            let news = backend.probe.is_some() || backend.health.state() == HealthState::Unknown;
            let unprobed = backend.removed.is_none() && service.config.health.kind == ProbeKind::None;
            let trusted = news && unprobed;
            let same = match (&backend.probe, &spec) {
                (Some(old), Some(new)) => *old == ProbeSpec { generation: old.generation, ..new.clone() },
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            let may_change = matches!(self.first_probes, FirstProbes::Run(_));
            if !same && may_change {
                self.probe_generation += 1;
                let spec = spec.map(|spec| ProbeSpec { generation: self.probe_generation, ..spec });
                effects.push(spec.clone().map_or(Effect::StopProbe(id), Effect::StartProbe));
                self.registry.change(id, |backend| {
                    if !spec.as_ref().is_some_and(ProbeSpec::has_agent) {
                        // Nobody is left who could take it back.
                        backend.advice = Advice::default();
                    }
                    backend.probe = spec;
                    backend.not_sent = None;
                });
            }
            if trusted {
                let transition = self.registry.change(id, |backend| backend.health.trust(now)).flatten();
                self.transition(id, transition, effects);
            }
        }
    }

    pub(super) fn probe_result(&mut self, now: Nanos, report: ProbeReport, effects: &mut Vec<Effect>) {
        let Some(backend) = self.registry.backend(report.backend) else { return };
        // A result of a probe that was stopped or replaced while it was under way.
        if backend.probe.as_ref().is_none_or(|spec| spec.generation != report.generation) {
            return;
        }
        let before = backend.advice;
        let mut advice = before;
        if let Some(news) = report.outcome.advice {
            advice.update(news);
        }
        if advice != before {
            self.registry.change(report.backend, |backend| {
                let was_advised = backend.is_advised();
                backend.advice = advice;
                if !was_advised && backend.is_advised() {
                    backend.returned = Some(now);
                }
            });
            self.publication.request(Urgency::AtOnce);
        }
        // An agent that begins with "up" says what goes without saying.
        let said = advice.state().filter(|after| *after != before.state().unwrap_or(AdvisedState::Up));
        if let Some(state) = said {
            let change = |service, backend| Change::BackendAdvised { service, backend, state };
            self.log_of(report.backend, effects, change);
        }
        if report.asked == Asked::Agent {
            return;
        }
        self.note_sent(now, report.backend, effects);
        let result = report.outcome.result;
        let is_silent = result.is_err_and(ProbeFailure::is_silence);
        let applied = self.registry.change(report.backend, |backend| {
            let silent = backend.health.silent_since();
            let health = &mut backend.health;
            let transition =
                if is_silent { health.apply_unless_down(now, result) } else { health.apply(now, result) };
            let is_down = backend.health.state() == HealthState::Down;
            (transition, is_down && backend.health.silent_since() != silent)
        });
        let Some((transition, silence_differs)) = applied else { return };
        if silence_differs {
            // It may be dead in a while, or no longer.
            self.publication.request(Urgency::CanWait);
        }
        self.transition(report.backend, transition, effects);
        if is_silent {
            self.take_down_unless_doubted(now, report.backend, effects);
        }
    }

    fn take_down_unless_doubted(&mut self, now: Nanos, id: BackendId, effects: &mut Vec<Effect>) {
        let falling = self.registry.backend(id).filter(|backend| backend.health.is_falling());
        let Some(backend) = falling else { return };
        let interval = backend.probe.as_ref().map(|spec| spec.check.interval);
        if self.is_doubted(now, effects) {
            return;
        }
        self.suspicion.fell(now, id, interval.unwrap_or_default());
        let transition = self.registry.change(id, |backend| backend.health.settle(now)).flatten();
        self.transition(id, transition, effects);
    }

    /// A probe could not be sent: the backend stays as it is, and an operator is told.
    pub(super) fn not_sent(&mut self, now: Nanos, news: NotSent, effects: &mut Vec<Effect>) {
        let NotSent { backend: id, generation, asked, reason } = news;
        let Some(backend) = self.registry.backend(id) else { return };
        if backend.probe.as_ref().is_none_or(|spec| spec.generation != generation) {
            return;
        }
        self.probe_counts.not_sent += 1;
        // An agent beside the check advises nothing new.
        if asked == Asked::Agent || backend.not_sent.as_ref() == Some(&reason) {
            return;
        }
        let was_known = backend.is_known();
        let service = backend.service;
        let first = !self.any_not_sent(service);
        self.registry.change(id, |backend| backend.not_sent = Some(Arc::clone(&reason)));
        if !was_known {
            self.publication.request(Urgency::CanWait);
        }
        if first && self.probe_counts.may_tell(now) {
            self.log_of(id, effects, |service, backend| Change::ProbeNotSent { service, backend, reason });
        }
    }

    /// A probe was sent: the first one of its service after all that were not ends what was told.
    fn note_sent(&mut self, now: Nanos, id: BackendId, effects: &mut Vec<Effect>) {
        let Some(backend) = self.registry.backend(id).filter(|backend| backend.not_sent.is_some()) else {
            return;
        };
        let service = backend.service;
        self.registry.change(id, |backend| backend.not_sent = None);
        if !self.any_not_sent(service) && self.probe_counts.may_tell(now) {
            self.log_of(id, effects, |service, _| Change::ProbesSent { service });
        }
    }

    fn any_not_sent(&self, service: ServiceId) -> bool {
        let Some(service) = self.registry.service(service) else { return false };
        self.registry.backends_of(service).any(|backend| backend.not_sent.is_some())
    }

    pub(super) fn observed(
        &mut self,
        now: Nanos,
        anomalies: Vec<(BackendId, u64)>,
        effects: &mut Vec<Effect>,
    ) {
        for (id, total) in anomalies {
            let Some(backend) = self.registry.backend(id) else { continue };
            let service = self.registry.service(backend.service);
            let Some(window) = service.and_then(|service| service.config.health.passive) else { continue };
            let transition = self.registry.change(id, |backend| {
                let fails =
                    backend.observed.look(now, total, window) && backend.health.state() == HealthState::Up;
                fails.then(|| backend.health.condemn(now, ProbeFailure::Handshakes)).flatten()
            });
            self.transition(id, transition.flatten(), effects);
        }
    }

    pub(super) fn decided(
        &mut self,
        now: Nanos,
        id: BackendId,
        decision: Decision,
        effects: &mut Vec<Effect>,
    ) {
        let transition = self.registry.change(id, |backend| match decision {
            Decision::Up => backend.health.trust(now),
            Decision::Down => backend.health.condemn(now, ProbeFailure::Closed),
            Decision::Dead => backend.health.give_up(now),
        });
        self.transition(id, transition.flatten(), effects);
    }

    pub(super) fn transition(
        &mut self,
        id: BackendId,
        transition: Option<Transition>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Transition { from, to, reason, after }) = transition else { return };
        let leaves_service = from == HealthState::Up && to == HealthState::Down;
        self.publication.request(if leaves_service { Urgency::AtOnce } else { Urgency::CanWait });
        let Some(backend) = self.registry.backend(id) else { return };
        let Some(owner) = self.registry.service(backend.service) else { return };
        let service: Arc<str> = owner.config.name.as_str().into();
        let endpoint = backend.endpoint;
        if let Some(reason) = reason {
            let change = Change::BackendDown { service, backend: endpoint, reason, after };
            effects.push(Effect::Log(change));
        } else {
            effects.push(Effect::Log(Change::BackendUp { service, backend: endpoint, after }));
        }
    }

    pub(super) fn administer(&mut self, now: Nanos, id: BackendId, order: Order, effects: &mut Vec<Effect>) {
        if self.registry.backend(id).is_none_or(|backend| backend.removed.is_some()) {
            return;
        }
        self.registry.change(id, |backend| match order {
            Order::Drain(within) => {
                let deadline = within.map(|within| now + within.into());
                backend.administration = Administration::Draining { deadline };
            }
            Order::Disable => backend.administration = Administration::Maintenance,
            Order::Enable => {
                if backend.administration != Administration::Enabled {
                    backend.returned = Some(now);
                }
                backend.administration = Administration::Enabled;
            }
            Order::Weight(weight) => backend.weight_override = Some(weight),
        });
        self.publication.request(match order {
            Order::Drain(_) | Order::Disable => Urgency::AtOnce,
            Order::Enable | Order::Weight(_) => Urgency::CanWait,
        });
        self.log_of(id, effects, |service, backend| Change::BackendOrdered { service, backend, order });
    }

    /// Frees the ids of removed backends without flows; those that kept sessions until now are not asked any more.
    pub(super) fn release(&mut self, now: Nanos, flowless: &[BackendId], effects: &mut Vec<Effect>) {
        // A worker that stands still may use the snapshot in which an id was another backend's.
        // So may they all before the last table is built.
        if !self.pulse.stalled.is_empty() || self.is_building() {
            return;
        }
        for backend in self.registry.release(now, flowless) {
            if backend.probe.is_some() {
                effects.push(Effect::StopProbe(backend.id));
            }
            self.publication.request(Urgency::CanWait);
        }
    }

    /// Drains that are over: no flow is left, or the time is up.
    pub(super) fn end_drains(&mut self, now: Nanos, flowless: &[BackendId], effects: &mut Vec<Effect>) {
        let draining: Vec<_> = self.registry.draining().collect();
        for (id, deadline) in draining {
            let timed_out = deadline.is_some_and(|deadline| deadline <= now);
            let service =
                self.registry.backend(id).and_then(|backend| self.registry.service(backend.service));
            // Sessions without a record are there, though no worker counts a flow.
            let unseen = service.is_some_and(|service| {
                let settles = self.snapshot_pending() || self.tables.in_transition(service.id);
                service.config.mode.is_stateless() && settles
            });
            if !timed_out && (unseen || !flowless.contains(&id)) {
                continue;
            }
            self.registry.change(id, |backend| backend.administration = Administration::Maintenance);
            self.publication.request(Urgency::CanWait);
            let log = |service, backend| Change::BackendDrained { service, backend, timed_out };
            self.log_of(id, effects, log);
        }
    }

    fn log_of(
        &self,
        id: BackendId,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(Arc<str>, Endpoint) -> Change,
    ) {
        let Some(backend) = self.registry.backend(id) else { return };
        let Some(service) = self.registry.service(backend.service) else { return };
        effects.push(Effect::Log(change(service.config.name.as_str().into(), backend.endpoint)));
    }
}
