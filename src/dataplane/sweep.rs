//! The end of flows whose clients their services do not let in any more: after a reload each worker goes through its
//! flows once, a few each turn, so that packets need not be looked at for that.

use super::flow::{FlowFamily, Flows};
use super::pipeline::Pipeline;
use crate::model::{Direction, V4, V6};
use crate::shared::Snapshot;

/// Places of a flow table looked at per turn: about 5 us.
const BUDGET: usize = 256;

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// Of which lists.
    version: u64,
    /// The next place, of both tables.
    place: Option<usize>,
}

impl Sweep {
    /// There is nothing to do under the first lists: no flow is older.
    pub(super) const fn new() -> Self {
        Self { version: 0, place: None }
    }

    /// Whether there are places left.
    pub(super) const fn is_running(&self) -> bool {
        self.place.is_some()
    }
}

impl Pipeline {
    /// Looks at some flows, if there are any that the present lists have not seen.
    #[inline]
    pub(super) fn sweep(&mut self, tables: &Snapshot) {
        if tables.access_version != self.sweep.version {
            self.sweep = Sweep { version: tables.access_version, place: Some(0) };
        }
        if let Some(place) = self.sweep.place {
            let more = self.sweep_from::<V4>(place, tables) | self.sweep_from::<V6>(place, tables);
            self.sweep.place = more.then_some(place + BUDGET);
        }
    }

    /// Looks at the flows from `place` on; whether there are more behind them.
    #[cold]
    fn sweep_from<F: FlowFamily>(&mut self, place: usize, tables: &Snapshot) -> bool {
        for place in place..place + BUDGET {
            let table = |flows: &Flows| F::table(flows).at(place);
            let Some(used) = table(&self.flows) else { return false };
            let Some(id) = used else { continue };
            let entry = F::table(&self.flows).entry(id);
            let access = tables.service(entry.service).and_then(|service| service.access.as_deref());
            let client = entry.incoming(Direction::Forward).source();
            if access.is_some_and(|access| !access.allows::<F>(client)) {
                self.end::<F>(id);
            }
        }
        true
    }
}
