//! The choice of a backend for a new flow: the schedulers, one small function each.

use super::pipeline::{Pipeline, View};
use crate::hash::{fold, maglev};
use crate::model::{BackendId, BackendState, FiveTuple};
use crate::shared::{
    Applicant, Choice, Holds, PersistentBackends, Placement, RoleFamily, ServiceBackend, ServiceTable,
};

/// The backend of a new flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked<'a> {
    pub(super) backend: &'a ServiceBackend,
    /// It is not the first target, which is out of service or full.
    pub(super) displaced: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPicked {
    /// No backend is in service.
    NoneInService,
    /// Those that are take no more connections.
    AllFull,
}

/// Where a worker stands in each service's turns.
pub(super) struct Turns {
    /// By service.
    next: Box<[u32]>,
}

/// How many others are tried before all are looked at.
const FURTHER_CHOICES: u64 = 8;

/// Makes further numbers of a packet's number.
const FURTHER_NUMBERS: u64 = 0x9e37_79b9_7f4a_7c15;

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
    /// The backend for a flow that begins with `tuple`, and a place on it, if those are counted: where the client was sent to
    /// before, if the service remembers that and the backend is up, else the one that the scheduler picks. Constant time, but for least connections, and if nearly all backends are full: these look at every
    /// backend.
    ///
    /// # Errors
    /// If no backend is in service, or every one that is has as many connections as it takes.
    #[inline]
    pub(super) fn pick<'a, F: RoleFamily>(
        &mut self,
        service: &'a ServiceTable,
        tuple: &FiveTuple<F>,
        view: View<'_>,
    ) -> Result<Picked<'a>, NotPicked> {
        match &service.persistence {
            Some(persistent) => self.pick_again(service, persistent, tuple, view),
            None => self.pick_anew(service, tuple, view),
        }
    }

    /// The backend that the client was sent to before, or else another that it will be sent to from now on.
    fn pick_again<'a, F: RoleFamily>(
        &mut self,
        service: &'a ServiceTable,
        persistent: &PersistentBackends,
        tuple: &FiveTuple<F>,
        view: View<'_>,
    ) -> Result<Picked<'a>, NotPicked> {
        let who =
            Applicant::<F> { service: service.id, client: tuple.source(), worker: self.steering.worker() };
        let serving = |name| persistent.position(name).and_then(|position| at(service, position, view));
        let found = self.persistence.find(who, persistent, view.now);
        if let Some(backend) = found.and_then(serving) {
            if !self.takes(service, backend) {
                // Its place stays its own: it comes back when there is room.
                return self.pick_anew(service, tuple, view);
            }
            if let Some(to) = persistent.name(backend.id) {
                self.persistence.remember(who, persistent, Placement { found, to }, view.now);
            }
            return Ok(Picked { backend, displaced: false });
        }
        let picked = self.pick_anew(service, tuple, view)?;
        let Some(to) = persistent.name(picked.backend.id) else { return Ok(picked) };
        let agreed = self.persistence.remember(who, persistent, Placement { found, to }, view.now);
        match serving(agreed).filter(|backend| backend.id != picked.backend.id) {
            // Another worker has just sent the client there.
            Some(backend) if self.takes(service, backend) => {
                let holds = Holds { backend: service.counts(picked.backend), ..Holds::default() };
                self.limits.release(service.id, Some(picked.backend.id), holds);
                Ok(Picked { backend, displaced: false })
            }
            Some(_) | None => Ok(picked),
        }
    }

    /// The backend that the scheduler of `service` picks.
    fn pick_anew<'a, F: RoleFamily>(
        &mut self,
        service: &'a ServiceTable,
        tuple: &FiveTuple<F>,
        view: View<'_>,
    ) -> Result<Picked<'a>, NotPicked> {
        let first = self.first_choice(service, tuple, view);
        match first {
            Some(picked) if self.takes(service, picked.backend) => Ok(picked),
            Some(_) => self.pick_another(service, tuple, view),
            None => Err(NotPicked::NoneInService),
        }
    }

    /// Takes a place on a backend that counts its connections; whether there was one.
    fn takes(&self, service: &ServiceTable, backend: &ServiceBackend) -> bool {
        !service.counts(backend) || self.limits.take_backend(backend.id, backend.max_connections)
    }

    fn first_choice<'a, F: RoleFamily>(
        &mut self,
        service: &'a ServiceTable,
        tuple: &FiveTuple<F>,
        view: View<'_>,
    ) -> Option<Picked<'a>> {
        let at = |position| at(service, position, view);
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

    /// The backend for a flow whose first choice is full, by the scheduler's own rule: further numbers of the packet,
    /// the next turns, the least loaded of those that have room, the one of the next greatest weight. Only flows that
    /// find their backend full go elsewhere, and none that is on it.
    #[cold]
    fn pick_another<'a, F: RoleFamily>(
        &mut self,
        service: &'a ServiceTable,
        tuple: &FiveTuple<F>,
        view: View<'_>,
    ) -> Result<Picked<'a>, NotPicked> {
        let number = view.tables.choice_seed.packet(tuple, service.hash);
        let displaced = matches!(service.choice, Choice::Hash { .. });
        for further in 1..=FURTHER_CHOICES {
            let number = fold(number ^ further, FURTHER_NUMBERS);
            let position = match &service.choice {
                Choice::Hash { in_service: slots, .. } | Choice::TwoChoices(slots) => in_slot(slots, number),
                Choice::Turns(round) => self.turns.take(service, round),
                Choice::LeastConnections(_) | Choice::One(_) => None,
            };
            let backend = position.and_then(|position| at(service, position, view));
            if let Some(backend) = backend.filter(|backend| self.takes(service, backend)) {
                return Ok(Picked { backend, displaced });
            }
        }
        // Another worker may be faster: what had room a moment ago has none any more.
        for _ in 0..=FURTHER_CHOICES {
            let Some(backend) = self.with_room(service, number, view) else { break };
            if self.takes(service, backend) {
                return Ok(Picked { backend, displaced });
            }
        }
        Err(NotPicked::AllFull)
    }

    /// Of all backends in service that have room the one that the scheduler likes best.
    fn with_room<'a>(
        &self,
        service: &'a ServiceTable,
        number: u64,
        view: View<'_>,
    ) -> Option<&'a ServiceBackend> {
        let (before, from) = service.backends.split_at(scale(number, service.backends.len()));
        let mut with_room = from.iter().chain(before).filter(|backend| {
            view.tables.backend_state(backend.id) == BackendState::Up
                && backend.weight > 0
                && self.limits.has_room(backend.id, backend.max_connections)
        });
        match &service.choice {
            Choice::Hash { .. } | Choice::Turns(_) => with_room.next(),
            Choice::LeastConnections(_) | Choice::TwoChoices(_) => {
                with_room.reduce(|best, other| self.less_loaded(best, other))
            }
            Choice::One(_) => with_room.max_by_key(|backend| backend.weight),
        }
    }

    /// The one of two backends with fewer connections for its weight, on all workers and with the one to come; the first
    /// of equals. Workers that ask at the same moment may find the same one.
    fn less_loaded<'a>(&self, one: &'a ServiceBackend, other: &'a ServiceBackend) -> &'a ServiceBackend {
        let load = |id: BackendId| 1 + u64::from(self.limits.backend_connections(id));
        // Connections over weight, without a division.
        let of_one = load(one.id).saturating_mul(u64::from(other.weight));
        let of_other = load(other.id).saturating_mul(u64::from(one.weight));
        if of_other < of_one { other } else { one }
    }
}

/// The backend at a position, if it is up. A choice is never older than the states beside it; this holds even if it were.
fn at<'a>(service: &'a ServiceTable, position: u16, view: View<'_>) -> Option<&'a ServiceBackend> {
    let backend = service.backends.get(usize::from(position))?;
    (view.tables.backend_state(backend.id) == BackendState::Up).then_some(backend)
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
