//! A client that uses its port again while its backend is in TIME_WAIT: it keeps its lease.
//!
//! The backend takes a SYN on the addresses and ports it is in TIME_WAIT on only if the sequence number is higher than those
//! before (RFC 9293, 3.6.1; RFC 6191). The same client's is; another's would be by chance, so that the lease must not
//! become another's.

use super::flow::{FlowFamily, FlowId};
use super::pipeline::Pipeline;
use crate::model::{BackendId, Endpoint, FiveTuple};
use crate::shared::{FlowState, ServiceBackend, ServiceTable};

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct FormerLease {
    backend: BackendId,
    local: Endpoint,
}

impl Pipeline {
    /// Ends a flow that makes way for another one of its client; its lease, if the backend is in TIME_WAIT on it.
    #[cold]
    pub(super) fn end_former<F: FlowFamily>(&mut self, id: FlowId) -> Option<FormerLease> {
        let entry = F::table(&self.flows).entry(id);
        let waits = entry.state() == FlowState::TimeWait;
        let lease = FormerLease { backend: entry.backend, local: entry.local() };
        self.end::<F>(id);
        waits.then_some(lease)
    }
}

impl FormerLease {
    /// The lease as the tuple that `backend` will see, if it is of use there.
    pub(super) fn on<F: FlowFamily>(
        self,
        service: &ServiceTable,
        backend: &ServiceBackend,
        to: FiveTuple<F>,
    ) -> Option<FiveTuple<F>> {
        let Self { backend: former, local } = self;
        let is_of_use = former == backend.id && service.local_addresses.contains(&local.address);
        F::address(local.address).filter(|_| is_of_use).map(|address| to.with_source((address, local.port)))
    }
}
