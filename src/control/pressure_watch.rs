//! Notices floods of SYNs, and that flow tables or local ports run out, and the end of both.

use std::collections::HashMap;

use super::change::Change;
use super::ledger::Ledger;
use super::pressure::Gauge;
use super::pressure::Resource;
use super::pressure::Usage;
use super::registry::Backend;
use super::registry::Registry;
use super::syn_watch::SynWatch;
use crate::model::BackendId;
use crate::model::LOCAL_PORTS;
use crate::model::Nanos;
use crate::model::WorkerId;
use crate::shared::DropReason;

/// Backends read at a look: about 0.2 ms. With more of them a look goes on where the last one ended.
const BACKENDS: usize = 2_048;

/// The gauges. Those of backends are kept only while there is something to be kept.
#[derive(Debug)]
pub(super) struct PressureWatch {
    syns: SynWatch,
    tables: Vec<Gauge>,
    backends: HashMap<BackendId, Gauge>,
    /// The first backend of the next look.
    next: BackendId,
}

impl Default for PressureWatch {
    fn default() -> Self {
        Self { syns: SynWatch::default(), tables: Vec::new(), backends: HashMap::new(), next: BackendId(0) }
    }
}

impl PressureWatch {
    /// What has changed since the last look; flow tables have room for `capacity` flows.
    pub(super) fn look(
        &mut self,
        now: Nanos,
        registry: &Registry,
        ledger: &Ledger,
        capacity: usize,
    ) -> Vec<Change> {
        let mut changes = self.syns.look(now, registry, ledger);
        changes.extend(self.look_at_tables(now, ledger, capacity as u64));
        let first = std::mem::replace(&mut self.next, BackendId(0));
        for (place, backend) in registry.backends_from(first).enumerate() {
            if place == BACKENDS {
                self.next = backend.id;
                break;
            }
            let Some((resource, usage)) = local_ports(backend, registry, ledger) else { continue };
            changes.extend(self.look_at_backend(now, backend.id, resource, usage));
        }
        if first == BackendId(0) {
            self.backends.retain(|id, _| registry.backend(*id).is_some());
        }
        changes
    }

    fn look_at_tables(&mut self, now: Nanos, ledger: &Ledger, capacity: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for ((_, tally), worker) in ledger.workers().zip(0..) {
            let place = usize::from(worker);
            if self.tables.len() <= place {
                self.tables.push(Gauge::default());
            }
            let refused =
                [DropReason::FlowTableFull, DropReason::ServiceShare].map(|why| tally.drops[why as usize]);
            let usage = Usage { used: tally.fullest_table, capacity, refused: refused.iter().sum() };
            let resource = Resource::FlowTable { worker: WorkerId(worker) };
            changes.extend(changed(&mut self.tables[place], now, resource, usage));
        }
        changes
    }

    fn look_at_backend(
        &mut self,
        now: Nanos,
        id: BackendId,
        resource: Resource,
        usage: Usage,
    ) -> Option<Change> {
        let mut gauge = self.backends.get(&id).copied().unwrap_or_default();
        let change = changed(&mut gauge, now, resource, usage);
        if gauge.is_idle() {
            self.backends.remove(&id);
        } else {
            self.backends.insert(id, gauge);
        }
        change
    }
}

fn changed(gauge: &mut Gauge, now: Nanos, resource: Resource, usage: Usage) -> Option<Change> {
    let (pressure, refused) = gauge.read(usage, now)?;
    Some(Change::Pressure { resource, pressure, usage: Usage { refused, ..usage } })
}

/// The local ports of a backend; `None` if it needs none. Flows of other services on the same server count for these alone,
/// so that a backend that is shared may refuse before it is nearly full. Where backends listen on the port that the client
/// used, each of these has ports of its own, and only refusals count.
fn local_ports(backend: &Backend, registry: &Registry, ledger: &Ledger) -> Option<(Resource, Usage)> {
    let service = &registry.service(backend.service)?.config;
    if service.mode.is_stateless() {
        return None;
    }
    let flows: Vec<u64> = ledger.flows_on(backend.id).collect();
    let workers = flows.len() as u64;
    let protocols = service.protocol.protocols().len() as u64;
    let all = service.local_addresses.len() as u64 * u64::from(LOCAL_PORTS) * protocols;
    let usage = Usage {
        // Each worker has its part of the ports: the fullest one counts for all.
        used: flows.into_iter().max().unwrap_or(0) * workers,
        capacity: if backend.endpoint.port == 0 { 0 } else { all },
        refused: ledger.backend(backend.id).no_lease,
    };
    let resource = Resource::LocalPorts { service: service.name.as_str().into(), backend: backend.endpoint };
    Some((resource, usage))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hash::IndexKey;
    use crate::shared::{Capacities, Limits, Persistence, SynProxies, Tally, WorkerCounters};

    #[test]
    fn worker_whose_table_fills_and_refuses_is_told_of_by_number() {
        let capacities = Capacities { services: 1, backends: 1 };
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(capacities))).collect();
        let key = IndexKey::new([1, 2, 3, 4]);
        let ledger = Ledger::new(
            workers.clone(),
            Arc::new(Limits::new(capacities, 1, &key)),
            Arc::new(Persistence::new(1, &key)),
            Arc::new(SynProxies::new(1)),
        );
        let registry = Registry::new(capacities);
        let mut watch = PressureWatch::default();
        let mut tally = Tally { fullest_table: 95, ..Tally::default() };
        let mut look = |tally: &Tally, second| {
            workers[1].publish(tally);
            let changes = watch.look(Nanos::from_secs(second), &registry, &ledger, 100);
            changes.iter().map(|change| change.json().to_string()).collect::<Vec<_>>()
        };
        let text = |event: &str, used, refused| {
            format!(r#"{{"capacity":100,"event":"{event}","refused":{refused},"used":{used},"worker":1}}"#)
        };
        assert_eq!(look(&tally, 1), [text("flow_table_nearly_full", 95, 0)]);
        tally.drops[DropReason::ServiceShare as usize] = 3;
        tally.drops[DropReason::FlowTableFull as usize] = 4;
        assert_eq!(look(&tally, 2), [text("flow_table_refuses", 95, 7)]);
        tally.fullest_table = 10;
        assert_eq!(look(&tally, 3), Vec::<String>::new());
        assert_eq!(look(&tally, 12), [text("flow_table_recovered", 10, 0)]);
    }
}
