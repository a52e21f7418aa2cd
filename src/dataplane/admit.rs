//! The first packet of a flow: is it for a service, which backend, which lease, which way.

use super::PortClass;
use super::flow::{FlowFamily, FlowId, NewFlow};
use super::former_lease::FormerLease;
use super::last_hop::Holding;
use super::local_ports::{Found, Holder, LeaseRequest};
use super::pick::{NotPicked, Picked};
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::Verdict;
use crate::model::{Direction, FiveTuple, NextHopId, OnNoBackend, OnUnknownFlow, Protocol, VlanTag};
use crate::shared::{
    AddressRole, Applicant, DropReason, FlowState, Holds, Resolution, ServiceBackend, ServiceTable,
};
use crate::wire::Parsed;
use crate::wire::craft::Refusal;
use crate::wire::ethernet;

/// What a packet without a flow may go on as.
pub(super) enum Admitted<'a> {
    /// The first of this flow.
    Flow(FlowId),
    /// The end of its client's handshake with us: this flow's, whose backend knows nothing yet.
    Connecting(FlowId),
    /// A SYN to a service that answers these itself.
    Challenge(&'a ServiceTable),
    /// One of a service that keeps no flows.
    Stateless(&'a ServiceTable),
}

impl Pipeline {
    /// Finds the service of a packet and creates the flow that it begins, if the service keeps flows.
    ///
    /// # Errors
    /// The verdict on a packet that is no service's, or should belong to a flow and begins none.
    #[inline(never)]
    pub(super) fn admit<'a, F: FlowFamily>(
        &mut self,
        head: &[u8],
        (tuple, former): (FiveTuple<F>, Option<FormerLease>),
        arrival: &Arrival,
        view: View<'a>,
    ) -> Result<Admitted<'a>, Verdict> {
        let role = match view.tables.roles.of::<F>(tuple.destination()) {
            None | Some(AddressRole::Port) => {
                return Err(self.punt(&Parsed::Ip(arrival.packet), head, arrival.port, view));
            }
            Some(role) => role,
        };
        if !arrival.handed_in
            && let Some(owner) = self.steering.elsewhere(role, tuple.destination_port(), arrival.hash)
        {
            return Err(Verdict::Handoff(owner));
        }
        if tuple.source() == tuple.destination()
            || !F::may_be_client(tuple.source())
            || view.tables.roles.of::<F>(tuple.source()).is_some()
        {
            return Err(Verdict::Drop(DropReason::Martian));
        }
        let services = match role {
            AddressRole::Vip(services) => services,
            AddressRole::Local if tuple.destination_port() < PortClass::FIRST => {
                return Err(self.punt_answer(&tuple, head, arrival, view));
            }
            // The backend is told, or it would repeat itself for minutes.
            AddressRole::Local | AddressRole::Port => return Err(refuse(DropReason::UnknownReturn)),
        };
        let service = services.service(tuple.protocol(), tuple.destination_port());
        let Some(service) = service.and_then(|id| view.tables.service(id)) else {
            return Err(refuse(DropReason::NoService));
        };
        // In silence: an answer would tell whoever is banned that we are here, and carry to whom it pretends to be.
        if service.access.as_ref().is_some_and(|access| !access.allows::<F>(tuple.source())) {
            if let Some(counters) = self.counters.service(service.id) {
                counters.count_denied();
            }
            return Err(Verdict::Drop(DropReason::Denied));
        }
        if service.mode.is_stateless() {
            return Ok(Admitted::Stateless(service));
        }
        let mut accepted = None;
        if tuple.protocol() == Protocol::Tcp {
            if arrival.packet.is_bare_syn() {
                if self.answers_syns(service, view) {
                    return Ok(Admitted::Challenge(service));
                }
            } else {
                accepted = self.brought_back(service, &tuple, (head, *arrival), view);
                if accepted.is_none() {
                    return Err(self.without_flow(service, tuple, (head, *arrival), view));
                }
            }
        }
        // A packet that goes no further must not cost a flow.
        if arrival.packet.hop_limit <= 1 {
            return Err(Verdict::Refuse(DropReason::TtlExpired, Refusal::TimeExceeded));
        }
        let created = self.create(service, (tuple, former), (head, arrival), view);
        if let Some(counters) = self.counters.service(service.id) {
            match created {
                Ok(_) => counters.count_connection(),
                Err(verdict) => {
                    counters.count_refused();
                    if verdict.reason().is_some_and(DropReason::is_limit) {
                        counters.count_limited();
                    }
                }
            }
        }
        let id = created?;
        let Some(accepted) = accepted else { return Ok(Admitted::Flow(id)) };
        self.begin_connecting::<F>(id, &accepted, view);
        Ok(Admitted::Connecting(id))
    }

    /// The verdict on a TCP packet to a service that begins no flow and belongs to none.
    fn without_flow<F: FlowFamily>(
        &self,
        service: &ServiceTable,
        tuple: FiveTuple<F>,
        (head, arrival): (&[u8], Arrival),
        view: View<'_>,
    ) -> Verdict {
        if service.on_no_backend == OnNoBackend::Http503
            && (service.choice.is_empty() || service.is_limited())
            && let Some(verdict) = self.show_page(head, &tuple, arrival, view)
        {
            return verdict;
        }
        match service.on_unknown_flow {
            OnUnknownFlow::Reset => refuse(DropReason::UnknownFlow),
            OnUnknownFlow::Drop => Verdict::Drop(DropReason::UnknownFlow),
        }
    }

    /// The verdict on a packet that a service cannot serve, as it has no backend in service or no room.
    #[inline(never)]
    pub(super) fn unserved<F: FlowFamily>(
        &self,
        reason: DropReason,
        service: &ServiceTable,
        tuple: &FiveTuple<F>,
        (head, arrival): (&[u8], Arrival),
        view: View<'_>,
    ) -> Verdict {
        match service.on_no_backend {
            OnNoBackend::Reject => refuse(reason),
            OnNoBackend::Drop => Verdict::Drop(reason),
            OnNoBackend::Http503 if arrival.packet.is_bare_syn() => {
                self.accept_for_page(reason, head, tuple, arrival, view)
            }
            // A connection that was a server's until now.
            OnNoBackend::Http503 => {
                self.show_page(head, tuple, arrival, view).unwrap_or_else(|| refuse(reason))
            }
        }
    }

    /// Creates a flow, if the limits of service and client have room for it.
    #[inline(always)]
    fn create<F: FlowFamily>(
        &mut self,
        service: &ServiceTable,
        (tuple, former): (FiveTuple<F>, Option<FormerLease>),
        (head, arrival): (&[u8], &Arrival),
        view: View<'_>,
    ) -> Result<FlowId, Verdict> {
        let mut holds = Holds::default();
        if service.limits.any() {
            let who = Applicant::<F> {
                service: service.id,
                client: tuple.source(),
                worker: self.steering.worker(),
            };
            holds = match self.limits.admit(who, &service.limits, view.now) {
                Ok(holds) => holds,
                Err(reason) => return Err(self.unserved(reason, service, &tuple, (head, *arrival), view)),
            };
        }
        let created = self.create_on_backend(service, (tuple, former), holds, (head, arrival), view);
        if created.is_err() && service.limits.any() {
            self.limits.withdraw(service.id, None, &service.limits, holds);
        }
        created
    }

    /// Creates a flow that is counted in `holds`, on a backend that has room for it.
    #[inline(always)]
    fn create_on_backend<F: FlowFamily>(
        &mut self,
        service: &ServiceTable,
        (tuple, former): (FiveTuple<F>, Option<FormerLease>),
        mut holds: Holds,
        (head, arrival): (&[u8], &Arrival),
        view: View<'_>,
    ) -> Result<FlowId, Verdict> {
        let Picked { backend, displaced } = match self.pick(service, &tuple, view) {
            Ok(picked) => picked,
            Err(why) => {
                let reason = match why {
                    NotPicked::NoneInService => DropReason::NoBackend,
                    NotPicked::AllFull => DropReason::BackendsFull,
                };
                return Err(self.unserved(reason, service, &tuple, (head, *arrival), view));
            }
        };
        holds.backend = service.counts(backend);
        let on = (backend, displaced, former);
        let created = self.create_on(service, on, (tuple, holds), (head, arrival), view);
        if created.is_err() && holds.backend {
            let holds = Holds { backend: true, ..Holds::default() };
            self.limits.release(service.id, Some(backend.id), holds);
        }
        created
    }

    #[inline(always)]
    fn create_on<F: FlowFamily>(
        &mut self,
        service: &ServiceTable,
        (backend, displaced, former): (&ServiceBackend, bool, Option<FormerLease>),
        (tuple, holds): (FiveTuple<F>, Holds),
        (head, arrival): (&[u8], &Arrival),
        view: View<'_>,
    ) -> Result<FlowId, Verdict> {
        let port = if backend.endpoint.port == 0 { tuple.destination_port() } else { backend.endpoint.port };
        let address = F::address(backend.endpoint.address);
        // Control builds services of one family only.
        let Some(address) = address else { return Err(Verdict::Drop(DropReason::NoBackend)) };
        let to = tuple.with_destination((address, port));
        let translated = self
            .lease(service, (backend, former), to, view)
            .ok_or(refuse(DropReason::LocalPortsExhausted))?;
        let forward_hop = self.way_to_backend::<F>(address, view)?;
        let return_hop = self.way_to_client::<F>(tuple.source(), head, arrival, view);
        let flow = NewFlow {
            tuple,
            translated,
            service: service.id,
            backend: backend.id,
            forward_hop,
            return_hop: return_hop.ok_or(Verdict::Drop(DropReason::NextHopUnresolved))?,
            route_epoch: view.fib.epoch,
            state: if service.one_packet { FlowState::Asked } else { FlowState::first(tuple.protocol()) },
            displaced,
            one_way: false,
            holds,
        };
        let id = self.insert(arrival.hash, &flow, view)?;
        self.begin_stream::<F>(id, service.client_address, tuple.protocol(), (&arrival.packet, head));
        if service.one_packet {
            // Nothing else that later fragments have leads to it.
            self.fragments.made = Some(id);
        }
        Ok(id)
    }

    /// A local address and port for the backend, as the tuple that it will see: the client's former one, if the backend is in
    /// TIME_WAIT on that; else a free one; else that of the flow on this backend that is worth least.
    #[inline]
    fn lease<F: FlowFamily>(
        &mut self,
        service: &ServiceTable,
        (backend, former): (&ServiceBackend, Option<FormerLease>),
        to: FiveTuple<F>,
        view: View<'_>,
    ) -> Option<FiveTuple<F>> {
        let flows = F::table(&self.flows);
        let now = view.tick();
        let holder = |lease: &FiveTuple<F>| {
            let answer = lease.reversed();
            match flows.find(flows.hash(&answer), &answer) {
                None => Holder::Nobody,
                Some((id, _)) => Holder::Flow(flows.victim(id, now)),
            }
        };
        let former = former.and_then(|former| former.on(service, backend, to));
        if let Some(lease) = former.filter(|lease| holder(lease) == Holder::Nobody) {
            return Some(lease);
        }
        let request = LeaseRequest { backend: backend.id, addresses: &service.local_addresses, to, now };
        match self.local_ports.lease(&request, holder) {
            Found::Free { lease, next } => {
                // Most likely that of the next flow to this backend, of which nothing is in the cache.
                flows.prefetch_absent(&next.reversed());
                Some(lease)
            }
            Found::Held(victim) => Some(self.take_lease::<F>(victim, view)),
            Found::Nothing => {
                if let Some(counters) = self.counters.backend(backend.id) {
                    counters.count_no_lease();
                }
                None
            }
        }
    }

    /// Adds a flow and counts it; where less than a tenth of the table is free, another one may have to give way.
    ///
    /// # Errors
    /// There is no room, and no flow gives way.
    #[inline]
    pub(super) fn insert<F: FlowFamily>(
        &mut self,
        hash: u64,
        flow: &NewFlow<F>,
        view: View<'_>,
    ) -> Result<FlowId, Verdict> {
        let table = F::table_mut(&mut self.flows);
        let mut id = if table.is_crowded() { None } else { table.insert(hash, flow, view.tick()) };
        if id.is_none() {
            self.make_room::<F>(flow.service, view).map_err(refuse)?;
            id = F::table_mut(&mut self.flows).insert(hash, flow, view.tick());
        }
        let id = id.ok_or(refuse(DropReason::FlowTableFull))?;
        self.tally.flows_created += 1;
        if let Some(counters) = self.counters.service(flow.service) {
            counters.count_flow(true);
            if flow.state.is_half_open() {
                counters.count_half_open(true);
            }
        }
        self.tally.displaced += u64::from(flow.displaced);
        if let Some(counters) = self.counters.backend(flow.backend) {
            counters.count_connection();
        }
        self.last_hops.hold(flow.return_hop, Holding::new::<F>(id));
        Ok(id)
    }

    #[inline]
    fn way_to_backend<F: FlowFamily>(
        &self,
        backend: F::Address,
        view: View<'_>,
    ) -> Result<NextHopId, Verdict> {
        match view.fib.resolve(F::ip(backend)) {
            Resolution::NextHop(id) => Ok(id),
            Resolution::OnLink(_) | Resolution::Unresolved => {
                Err(Verdict::Drop(DropReason::NextHopUnresolved))
            }
            Resolution::NoRoute => Err(Verdict::Drop(DropReason::NoRoute)),
        }
    }

    /// The way back to a client: what the kernel says, or else where its packet came from.
    #[inline]
    fn way_to_client<F: FlowFamily>(
        &mut self,
        client: F::Address,
        head: &[u8],
        arrival: &Arrival,
        view: View<'_>,
    ) -> Option<NextHopId> {
        let (port, neighbour) = match view.fib.resolve(F::ip(client)) {
            Resolution::NextHop(id) => match view.fib.next_hop(id)? {
                // Answers carry the tag that requests came with, not the one that the backend's network uses.
                hop if hop.vlan == VlanTag::AsReceived => (hop.port, hop.destination()?),
                _ => return Some(id),
            },
            Resolution::OnLink(_) | Resolution::Unresolved | Resolution::NoRoute => {
                (arrival.port, ethernet::source(head)?)
            }
        };
        let (egress, vlan) = (self.ports[port.index()].egress, VlanTag::of(arrival.vlan));
        if let Some(id) = self.last_hops.learn(&egress, vlan, neighbour) {
            return Some(id);
        }
        self.free_last_hop(neighbour, view)?;
        self.last_hops.learn(&egress, vlan, neighbour)
    }

    /// Looks up a flow's next hops in changed routes; what is no longer reachable keeps its old way.
    #[cold]
    pub(super) fn route_again<F: FlowFamily>(&mut self, id: FlowId, view: View<'_>) {
        let entry = F::table(&self.flows).entry(id);
        let backend = entry.backend_endpoint().address;
        let client = entry.client().address;
        let known = |address| match view.fib.resolve(address) {
            Resolution::NextHop(id) => Some(id),
            Resolution::OnLink(_) | Resolution::Unresolved | Resolution::NoRoute => None,
        };
        let (forward, back) = (known(backend), known(client));
        let tagged =
            |id: &NextHopId| view.fib.next_hop(*id).is_some_and(|hop| hop.vlan != VlanTag::AsReceived);
        let entry = F::table_mut(&mut self.flows).entry_mut(id);
        let forward = forward.unwrap_or_else(|| entry.hop(Direction::Forward));
        let back_before = entry.hop(Direction::Return);
        let back = back.filter(tagged).unwrap_or(back_before);
        entry.set_hops([forward, back], view.fib.epoch);
        if back != back_before {
            self.last_hops.release(back_before);
        }
    }
}

const fn refuse(reason: DropReason) -> Verdict {
    Verdict::Refuse(reason, Refusal::Unreachable)
}
