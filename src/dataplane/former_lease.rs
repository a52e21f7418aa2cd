//! A client that uses its port again: what begins its next connection, and, while its backend is in TIME_WAIT, that it keeps
//! its lease.
//!
//! The backend takes a SYN on the addresses and ports it is in TIME_WAIT on only if the sequence number is higher than those
//! before (RFC 9293, 3.6.1; RFC 6191). The same client's is; another's would be by chance, so that the lease must not
//! become another's.

use super::flow::{FlowFamily, FlowId};
use super::pipeline::{Arrival, Pipeline, View};
use crate::model::{BackendId, Direction, Endpoint, FiveTuple};
use crate::shared::{FlowState, ServiceBackend, ServiceTable};

/// What a packet of a closing flow's client is to the connection after it, where we answer SYNs.
pub(super) enum Successor<'a> {
    /// Nothing; or nobody has to bring back a cookie.
    None,
    /// Its SYN, to be answered with a cookie of this service. Anybody may have sent it: the flow stays as it is.
    Asked(&'a ServiceTable),
    /// The cookie.
    Begins,
}

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct FormerLease {
    backend: BackendId,
    local: Endpoint,
}

impl Pipeline {
    /// What a packet that a client, perhaps, sends on a closing flow is to the connection after it.
    #[cold]
    pub(super) fn succeeds<'a, F: FlowFamily>(
        &mut self,
        id: FlowId,
        head: &[u8],
        arrival: Arrival,
        view: View<'a>,
    ) -> Successor<'a> {
        let flows = F::table(&self.flows);
        let entry = flows.entry(id);
        let own = flows.stream(id).filter(|stream| stream.acknowledges_syn());
        let own = own.map(|stream| (stream.handshake.sequence, stream.isn));
        let (tuple, service) = (entry.incoming(Direction::Forward), entry.service);
        let Some(service) = view.tables.service(service).filter(|service| !service.mode.is_stateless())
        else {
            return Successor::None;
        };
        if arrival.packet.is_bare_syn() {
            return if self.answers_syns(service, view) {
                Successor::Asked(service)
            } else {
                Successor::None
            };
        }
        match self.cookie_in(service, &tuple, (head, arrival), view) {
            // A flow's own comes again with a FIN that is repeated before there were data.
            cookie if cookie.is_none() || cookie == own => Successor::None,
            _ => Successor::Begins,
        }
    }

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
