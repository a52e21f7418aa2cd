//! Services and backends page by page, so that no answer holds up the loop.

use super::Cursor;
use super::Overview;
use super::Page;
use super::leases::Pools;
use super::protocol::BackendStatus;
use super::report::View;
use crate::control::registry::Backend;
use crate::model::BackendId;

/// Services or backends of a [`Page`], about.
const PAGE: usize = 256;

impl View<'_> {
    /// What metrics show beside services and backends.
    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview { status: self.status(), drops: self.counters().counters, steps: *self.steps }
    }

    /// The page at `from`, of some `PAGE` services and backends.
    #[must_use]
    pub fn page(&self, from: Cursor) -> Page {
        let registry = self.state.registry();
        let (mut services, mut shown, mut next) = (Vec::new(), Vec::new(), None);
        match from {
            Cursor::Services(place) => {
                let mut coming = registry.services_from(place);
                while services.len() < PAGE && shown.len() < PAGE {
                    let Some(service) = coming.next() else { break };
                    services.push(self.service(service));
                    shown.extend(registry.backends_of(service));
                }
                let end = place + services.len();
                let more = coming.next().is_some();
                next = Some(if more { Cursor::Services(end) } else { Cursor::Removed(BackendId(0)) });
            }
            Cursor::Removed(id) => {
                let mut removed = registry.backends_from(id).filter(|backend| backend.removed.is_some());
                shown.extend(removed.by_ref().take(PAGE));
                next = removed.next().map(|backend| Cursor::Removed(backend.id)).or(next);
            }
        }
        Page { services, backends: self.rows(&shown), next, loads: registry.loads() }
    }

    pub(super) fn rows(&self, shown: &[&Backend]) -> Vec<BackendStatus> {
        let pools = Pools::new(self.state.registry(), self.ledger, shown.iter().copied());
        shown.iter().map(|backend| self.backend(backend, &pools)).collect()
    }
}
