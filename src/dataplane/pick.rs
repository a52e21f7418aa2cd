//! The choice of a backend for a new flow: the schedulers, one small function each.

use super::pipeline::{Pipeline, View};
use crate::hash::maglev;
use crate::model::{BackendId, BackendState, FiveTuple};
use crate::shared::{Choice, RoleFamily, ServiceBackend, ServiceTable};

/// The backend of a new flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked<'a> {
    pub(super) backend: &'a ServiceBackend,
    /// It is the second target: the first is out of service.
    pub(super) displaced: bool,
}

/// Where a worker stands in each service's turns.
pub(super) struct Turns {
    /// By service.
    next: Box<[u32]>,
}

impl Turns {
    /// At a place of the worker's own: those that start together must not all begin with the same backend.
    pub(super) fn new(services: usize, worker: u16) -> Self {
        Self { next: vec![u32::from(worker).wrapping_mul(0x9e37_79b1); services].into() }
    }

    fn take(&mut self, service: &ServiceTable, round: &[u16]) -> Option<u16> {
        let next = self.next.get_mut(service.id.index())?;
        let turn = *next as usize % round.len().max(1);
        *next = u32::try_from(turn).unwrap_or(0).wrapping_add(1);
        round.get(turn).copied()
    }
}

impl Pipeline {
    /// The backend that the scheduler of `service` picks for a flow that begins with `tuple`; `None` if none is in
    /// service. Constant time, but for least connections: that looks at every backend.
    pub(super) fn pick<'a, F: RoleFamily>(
        &mut self,
        service: &'a ServiceTable,
        tuple: &FiveTuple<F>,
        view: View<'_>,
    ) -> Option<Picked<'a>> {
        // A choice is never older than the states beside it; this holds even if it were.
        let at = |position: u16| {
            let backend = service.backends.get(usize::from(position))?;
            (view.tables.backend_state(backend.id) == BackendState::Up).then_some(backend)
        };
        let number = || view.tables.choice_seed.packet(tuple, service.hash);
        let backend = match &service.choice {
            Choice::Hash { all, in_service, previous: _ } => {
                let number = number();
                if let Some(backend) = in_slot(all, number).and_then(at) {
                    return Some(Picked { backend, displaced: false });
                }
                let backend = in_slot(in_service, number).and_then(at)?;
                return Some(Picked { backend, displaced: true });
            }
            Choice::Turns(round) => self.turns.take(service, round).and_then(at),
            Choice::LeastConnections(positions) => {
                // Of those that are equally loaded another one for each flow, not always the first.
                let start = scale(number(), positions.len());
                let (before, from) = positions.split_at(start);
                let backends = from.iter().chain(before).filter_map(|position| at(*position));
                backends.reduce(|best, other| self.less_loaded(best, other))
            }
            Choice::TwoChoices(slots) => {
                let number = number();
                let [one, other] =
                    [number, number.rotate_left(32)].map(|number| in_slot(slots, number).and_then(at));
                match (one, other) {
                    (Some(one), Some(other)) => Some(self.less_loaded(one, other)),
                    (one, other) => one.or(other),
                }
            }
            Choice::One(position) => position.and_then(at),
        };
        backend.map(|backend| Picked { backend, displaced: false })
    }

    /// The one of two backends with fewer flows on this worker for its weight, counting the flow to come; the first of
    /// equals.
    fn less_loaded<'a>(&self, one: &'a ServiceBackend, other: &'a ServiceBackend) -> &'a ServiceBackend {
        let load =
            |id: BackendId| 1 + self.counters.backend(id).map_or(0, |counters| counters.totals().flows);
        // Flows over weight, without a division.
        let of_one = load(one.id).saturating_mul(u64::from(other.weight));
        let of_other = load(other.id).saturating_mul(u64::from(one.weight));
        if of_other < of_one { other } else { one }
    }
}

/// The position in the slot that a packet's number names.
pub(super) fn in_slot(slots: &[u16], number: u64) -> Option<u16> {
    let size = u32::try_from(slots.len()).ok().filter(|size| *size > 0)?;
    slots.get(maglev::slot(number, size)).copied()
}

/// A place below `length` for a packet's number; 0 if there is none.
fn scale(number: u64, length: usize) -> usize {
    u32::try_from(length).map_or(0, |length| maglev::slot(number, length))
}
