//! Counters of all workers put together, by the services and backends that have the ids now.
//!
//! Workers never reset a counter, and ids are given out again: when an id gets a new owner, what its counters show by
//! then is noted and subtracted from all later readings.

use std::collections::HashMap;
use std::sync::Arc;

use super::registry::Assigned;
use super::registry::Registry;
use super::registry::Service;
use super::workers::Beat;
use crate::model::BackendId;
use crate::model::Nanos;
use crate::model::ServiceId;
use crate::model::SynProxy;
use crate::shared::BackendTotals;
use crate::shared::Limits;
use crate::shared::Persistence;
use crate::shared::ServiceTotals;
use crate::shared::SynProxies;
use crate::shared::Tally;
use crate::shared::WorkerCounters;

/// Reads the counters of every worker.
#[derive(Debug)]
pub struct Ledger {
    workers: Vec<Arc<WorkerCounters>>,
    limits: Arc<Limits>,
    persistence: Arc<Persistence>,
    syn_proxies: Arc<SynProxies>,
    services: HashMap<ServiceId, ServiceTotals>,
    backends: HashMap<BackendId, BackendTotals>,
}

impl Ledger {
    /// Of these workers, in order, and what they share.
    #[must_use]
    pub fn new(
        workers: Vec<Arc<WorkerCounters>>,
        limits: Arc<Limits>,
        persistence: Arc<Persistence>,
        syn_proxies: Arc<SynProxies>,
    ) -> Self {
        let (services, backends) = (HashMap::new(), HashMap::new());
        Self { workers, limits, persistence, syn_proxies, services, backends }
    }

    /// What limits have let in.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where clients were sent to.
    #[must_use]
    pub fn persistence(&self) -> &Persistence {
        &self.persistence
    }

    /// Whether a service answers SYNs in its backends' place at `now`, on control's clock, which the workers' follows.
    #[must_use]
    pub fn answers_syns(&self, service: &Service, now: Nanos) -> bool {
        match service.config.syn_proxy {
            SynProxy::Off => false,
            SynProxy::On => true,
            SynProxy::Above(_) => self.syn_proxies.is_on(service.id, now),
        }
    }

    /// An id has a new owner, whose counters start at zero.
    pub fn assign(&mut self, assigned: Assigned) {
        match assigned {
            Assigned::Service(id) => {
                self.services.insert(id, self.service_sum(id));
            }
            Assigned::Backend(id) => {
                self.backends.insert(id, self.backend_sum(id));
            }
        }
    }

    /// The totals of a service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> ServiceTotals {
        let sum = self.service_sum(id);
        let before = self.services.get(&id).copied().unwrap_or_default();
        ServiceTotals {
            connections: sum.connections.saturating_sub(before.connections),
            refused: sum.refused.saturating_sub(before.refused),
            limited: sum.limited.saturating_sub(before.limited),
            denied: sum.denied.saturating_sub(before.denied),
            half_open: sum.half_open,
            cookies_sent: sum.cookies_sent.saturating_sub(before.cookies_sent),
            cookies_accepted: sum.cookies_accepted.saturating_sub(before.cookies_accepted),
            cookies_wrong: sum.cookies_wrong.saturating_sub(before.cookies_wrong),
            cookies_late: sum.cookies_late.saturating_sub(before.cookies_late),
            toa_skipped: sum.toa_skipped.saturating_sub(before.toa_skipped),
            toa_forged: sum.toa_forged.saturating_sub(before.toa_forged),
        }
    }

    /// The totals of a backend.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> BackendTotals {
        let sum = self.backend_sum(id);
        let before = self.backends.get(&id).copied().unwrap_or_default();
        BackendTotals {
            in_packets: sum.in_packets.saturating_sub(before.in_packets),
            in_octets: sum.in_octets.saturating_sub(before.in_octets),
            out_packets: sum.out_packets.saturating_sub(before.out_packets),
            out_octets: sum.out_octets.saturating_sub(before.out_octets),
            connections: sum.connections.saturating_sub(before.connections),
            flows: sum.flows,
            open_flows: sum.open_flows,
            unanswered: sum.unanswered.saturating_sub(before.unanswered),
            reset: sum.reset.saturating_sub(before.reset),
            no_lease: sum.no_lease.saturating_sub(before.no_lease),
        }
    }

    /// Of the backends that wait for their flows, those that have none left: drained ones none that anything may still
    /// come of, removed ones none at all, as a flow that is there holds the id. What [`Event::Tick`] wants to know.
    ///
    /// [`Event::Tick`]: super::event::Event::Tick
    #[must_use]
    pub fn flowless(&self, registry: &Registry, now: Nanos) -> Vec<BackendId> {
        let removed = registry.waiting(now).filter(|id| self.backend_sum(*id).flows == 0);
        let drained =
            registry.draining().map(|(id, _)| id).filter(|id| self.backend_sum(*id).open_flows == 0);
        removed.chain(drained).collect()
    }

    /// Flows that exist now on a backend, worker by worker.
    pub fn flows_on(&self, id: BackendId) -> impl Iterator<Item = u64> + '_ {
        self.workers
            .iter()
            .map(move |worker| worker.backend(id).map_or(0, |counters| counters.totals().flows))
    }

    fn service_sum(&self, id: ServiceId) -> ServiceTotals {
        let mut sum = ServiceTotals::default();
        for totals in self.workers.iter().filter_map(|worker| worker.service(id)).map(|c| c.totals()) {
            sum.connections += totals.connections;
            sum.refused += totals.refused;
            sum.limited += totals.limited;
            sum.denied += totals.denied;
            sum.half_open += totals.half_open;
            sum.cookies_sent += totals.cookies_sent;
            sum.cookies_accepted += totals.cookies_accepted;
            sum.cookies_wrong += totals.cookies_wrong;
            sum.cookies_late += totals.cookies_late;
            sum.toa_skipped += totals.toa_skipped;
            sum.toa_forged += totals.toa_forged;
        }
        sum
    }

    fn backend_sum(&self, id: BackendId) -> BackendTotals {
        let mut sum = BackendTotals::default();
        for totals in self.workers.iter().filter_map(|worker| worker.backend(id)).map(|c| c.totals()) {
            sum.add(&totals);
        }
        sum
    }

    /// Per worker, its turns and its totals.
    pub fn workers(&self) -> impl Iterator<Item = (u64, Tally)> + '_ {
        self.workers.iter().map(|worker| (worker.turns(), worker.tally()))
    }

    /// Per worker, its heartbeat.
    pub fn beats(&self) -> impl Iterator<Item = Beat> + '_ {
        self.workers().map(|(turns, tally)| Beat { turns, busy_turns: tally.busy_turns })
    }

    /// Flows that exist now, on all workers.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.workers().map(|(_, tally)| flows(&tally)).sum()
    }
}

/// Flows that exist now. Both counters are read one after the other: the difference must not go below zero.
#[must_use]
pub const fn flows(tally: &Tally) -> u64 {
    tally.flows_created.saturating_sub(tally.flows_ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::IndexKey;
    use crate::shared::Capacities;

    #[test]
    fn a_new_owner_of_an_id_starts_at_zero_and_sums_all_workers() {
        let capacities = Capacities { services: 1, backends: 1 };
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(capacities))).collect();
        let key = IndexKey::new([1, 2, 3, 4]);
        let (limits, persistence) = (Limits::new(capacities, 1, &key), Persistence::new(1, &key));
        let mut ledger = Ledger::new(
            workers.clone(),
            Arc::new(limits),
            Arc::new(persistence),
            Arc::new(SynProxies::new(1)),
        );
        let count = || {
            for worker in &workers {
                worker.backend(BackendId(0)).unwrap().count_connection();
                worker.service(ServiceId(0)).unwrap().count_refused();
            }
        };
        count();
        workers[0].backend(BackendId(0)).unwrap().count_end(false);
        assert_eq!(ledger.backend(BackendId(0)).connections, 2);
        ledger.assign(Assigned::Backend(BackendId(0)));
        ledger.assign(Assigned::Service(ServiceId(0)));
        assert_eq!(ledger.backend(BackendId(0)).connections, 0);
        assert_eq!(ledger.backend(BackendId(0)).flows, 1, "a gauge has no start");
        count();
        assert_eq!(ledger.backend(BackendId(0)).connections, 2);
        assert_eq!(ledger.service(ServiceId(0)).refused, 2);
    }
}
