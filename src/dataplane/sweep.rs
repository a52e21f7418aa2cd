//! What a reload means for flows that exist: after it each worker goes through its flows once, a few each turn, so that
//! packets need not be looked at for that. It ends those of clients that their services do not let in any more, counts
//! those that are to be counted only now, and leaves one datagram of each where a service takes them one by one from now on.

use super::flow::{FlowFamily, Flows, Tick};
use super::pipeline::Pipeline;
use crate::model::{BackendId, Direction, Endpoint, V4, V6};
use crate::shared::{Applicant, FlowState, ServiceTable, Snapshot};

/// Places of a flow table looked at per turn: about 5 us.
const BUDGET: usize = 256;

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// Of which rules.
    version: u64,
    /// The next place, of both tables.
    place: Option<usize>,
}

impl Sweep {
    /// There is nothing to do under the first rules: no flow is older.
    pub(super) const fn new() -> Self {
        Self { version: 0, place: None }
    }

    /// Whether there are places left.
    pub(super) const fn is_running(&self) -> bool {
        self.place.is_some()
    }
}

impl Pipeline {
    /// Looks at some flows, if there are any that the present rules have not seen.
    #[inline]
    pub(super) fn sweep(&mut self, tables: &Snapshot, now: Tick) {
        if tables.admission_version != self.sweep.version {
            self.sweep = Sweep { version: tables.admission_version, place: Some(0) };
        }
        if let Some(place) = self.sweep.place {
            let more = self.sweep_from::<V4>(place, tables, now) | self.sweep_from::<V6>(place, tables, now);
            self.sweep.place = more.then_some(place + BUDGET);
        }
    }

    /// Looks at the flows from `place` on; whether there are more behind them.
    #[cold]
    fn sweep_from<F: FlowFamily>(&mut self, place: usize, tables: &Snapshot, now: Tick) -> bool {
        for place in place..place + BUDGET {
            let table = |flows: &Flows| F::table(flows).at(place);
            let Some(used) = table(&self.flows) else { return false };
            let Some(id) = used else { continue };
            let entry = F::table(&self.flows).entry(id);
            let Some(service) = tables.service(entry.service) else { continue };
            let client = entry.incoming(Direction::Forward).source();
            if service.access.as_ref().is_some_and(|access| !access.allows::<F>(client)) {
                self.end::<F>(id);
                continue;
            }
            if service.one_packet && entry.state() == FlowState::Udp {
                F::table_mut(&mut self.flows).make_one_packet(id, now);
            }
            let entry = F::table(&self.flows).entry(id);
            if !entry.is_one_way() && !entry.state().is_over() {
                let backend = counted_backend(service, entry.backend_endpoint(), entry.backend);
                if backend.is_some() || service.limits.any() {
                    let who = Applicant::<F> { service: service.id, client, worker: self.steering.worker() };
                    let flows = F::table_mut(&mut self.flows);
                    let holds = flows.take_holds(id);
                    flows.set_holds(id, self.limits.adopt(who, backend, &service.limits, holds));
                }
            }
        }
        true
    }
}

/// The backend `id`, which is found by its endpoint, if connections to it are counted.
fn counted_backend(service: &ServiceTable, endpoint: Endpoint, id: BackendId) -> Option<BackendId> {
    let at = |endpoint| service.backends.binary_search_by_key(&endpoint, |backend| backend.endpoint).ok();
    // Port 0 is that of the client.
    let place = at(endpoint).or_else(|| at(Endpoint::new(endpoint.address, 0)))?;
    let backend = service.backends.get(place)?;
    (backend.id == id && service.counts(backend)).then_some(id)
}
