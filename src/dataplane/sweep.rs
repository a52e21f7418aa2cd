//! What new tables mean for flows that exist: each worker goes through its flows once, a few each turn, so that packets
//! need not be looked at for that. It ends those of clients that their services do not let in any more, resets connections
//! whose backend is dead, counts flows that are to be counted only now, and leaves one datagram of each where a service
//! takes them one by one from now on.

use super::flow::{FlowFamily, FlowId, Flows};
use super::pipeline::{Pipeline, View};
use crate::model::{BackendId, BackendState, Direction, Endpoint, Protocol, V4, V6};
use crate::shared::{Applicant, FlowState, ServiceTable, Snapshot};

/// Places of a flow table looked at per turn: about 5 us.
const BUDGET: usize = 256;

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// Of which tables.
    version: u64,
    /// The next place, of both tables.
    place: Option<usize>,
    /// Whether it waits there for room.
    waits: bool,
}

impl Sweep {
    /// There is nothing to do under the first tables: no flow is older.
    pub(super) const fn new() -> Self {
        Self { version: 0, place: None, waits: false }
    }

    /// Whether there are places left that can be looked at soon.
    pub(super) const fn is_running(&self) -> bool {
        self.place.is_some() && !self.waits
    }
}

impl Pipeline {
    /// Whether there are flows that the present tables have not seen.
    #[inline(always)]
    pub(super) const fn is_sweeping(&self) -> bool {
        self.sweep.place.is_some()
    }

    /// Looks at some flows, if there are any that the present tables have not seen.
    #[inline]
    pub(super) fn sweep(&mut self, view: View<'_>) {
        let version = view.tables.flow_rules;
        if version != self.sweep.version {
            self.sweep = Sweep { version, place: Some(0), waits: false };
        }
        if let Some(place) = self.sweep.place {
            let swept = [self.sweep_from::<V4>(place, view), self.sweep_from::<V6>(place, view)];
            // Whoever must be told waits for room, and those behind with him.
            self.sweep.waits = swept.contains(&Swept::NoRoom);
            if !self.sweep.waits {
                self.sweep.place = (swept != [Swept::All; 2]).then_some(place + BUDGET);
            }
        }
    }

    /// Looks at some flows from `place` on.
    #[cold]
    fn sweep_from<F: FlowFamily>(&mut self, place: usize, view: View<'_>) -> Swept {
        let tables = view.tables;
        for place in place..place + BUDGET {
            let table = |flows: &Flows| F::table(flows).at(place);
            let Some(used) = table(&self.flows) else { return Swept::All };
            let Some(id) = used else { continue };
            if self.is_cut_off::<F>(id, tables) {
                if !self.say_farewell::<F>(id, view) {
                    return Swept::NoRoom;
                }
                self.end::<F>(id);
                continue;
            }
            let entry = F::table(&self.flows).entry(id);
            let Some(service) = tables.service(entry.service) else { continue };
            let client = entry.incoming(Direction::Forward).source();
            if service.access.as_ref().is_some_and(|access| !access.allows::<F>(client)) {
                self.end::<F>(id);
                continue;
            }
            if service.one_packet && matches!(entry.state(), FlowState::UdpNew | FlowState::Udp) {
                F::table_mut(&mut self.flows).make_one_packet(id, view.tick());
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
        Swept::Some
    }

    /// Whether it is a connection whose backend is dead. One of which the backend has not been heard yet tries again by
    /// itself, and one that has ended has nobody left to be told.
    fn is_cut_off<F: FlowFamily>(&self, id: FlowId, tables: &Snapshot) -> bool {
        let entry = F::table(&self.flows).entry(id);
        entry.protocol() == Protocol::Tcp
            && !entry.is_one_way()
            && !matches!(entry.state(), FlowState::SynSent | FlowState::TimeWait | FlowState::Closed)
            && tables.backend_state(entry.backend) == BackendState::Dead
    }
}

/// How far a look at some flows came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swept {
    /// To the last of the table.
    All,
    /// Past those that it was for.
    Some,
    /// Not past a flow whose sides must be told, for which there is no room now.
    NoRoom,
}

/// The backend `id`, which is found by its endpoint, if connections to it are counted.
fn counted_backend(service: &ServiceTable, endpoint: Endpoint, id: BackendId) -> Option<BackendId> {
    let at = |endpoint| service.backends.binary_search_by_key(&endpoint, |backend| backend.endpoint).ok();
    // Port 0 is that of the client.
    let place = at(endpoint).or_else(|| at(Endpoint::new(endpoint.address, 0)))?;
    let backend = service.backends.get(place)?;
    (backend.id == id && service.counts(backend)).then_some(id)
}
