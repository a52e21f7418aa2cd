//! Services that keep no flows: direct routing and tunnels.
//!
//! A packet names its backend by itself: its number picks a slot of the first targets. Only where that is not the
//! backend that the session is on, something is remembered: a *record*, an entry of the flow table that packets of the
//! client find like any flow. So while every backend is in service there are none, and with some of them out there are
//! those of their sessions.
//!
//! A session stays where it began until it ends: on its second target, also after the first one has recovered; on its
//! former first target, when configuration or a drain gave the slot to another one. What nothing can save is a TCP
//! session whose backend has failed: it goes to another one, which resets it.

use super::flow::{FlowFamily, FlowId, NewFlow, tcp};
use super::link;
use super::pick::in_slot;
use super::pieces::{Pieces, Wrapping};
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::Verdict;
use crate::io::Frame;
use crate::model::{
    BackendId, BackendState, Direction, Encapsulation, FiveTuple, ForwardingMode, Protocol, ServiceId,
};
use crate::shared::{
    AddressRole, Choice, DropReason, FlowState, Holds, NextHop, ServiceBackend, ServiceTable,
};
use crate::wire::craft::Refusal;
use crate::wire::encapsulate::Outer;
use crate::wire::ethernet;
use crate::wire::split::may_split;
use crate::wire::{Layout, Packet, tcp_flags};

/// Where a packet without a record goes.
struct Target<'a> {
    backend: &'a ServiceBackend,
    record: Option<Record>,
}

/// What is to be remembered of it.
struct Record {
    state: FlowState,
    displaced: bool,
}

impl Pipeline {
    /// Sends on a packet that has a record; `None` if it has outlived its use, and the packet is to be looked at as
    /// one without.
    #[inline(never)]
    pub(super) fn forward_recorded<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        id: FlowId,
        arrival: Arrival,
        view: View<'_>,
    ) -> Option<Verdict> {
        let entry = F::table(&self.flows).entry(id);
        let (state, backend) = (entry.state(), entry.backend);
        let service = view.tables.service(entry.service).filter(|service| service.mode.is_stateless())?;
        let begins = arrival.packet.is_bare_syn() && tcp::syn_starts_anew(state);
        if begins || !serves(view.tables.backend_state(backend)) {
            return None;
        }
        if is_spent(service, &arrival.packet) {
            return Some(Verdict::Refuse(DropReason::TtlExpired, Refusal::TimeExceeded));
        }
        let verdict = self.send_on::<F, T>(frame, service, backend, arrival, view);
        let next = tcp::next_one_way(state, arrival.packet.tcp_flags);
        if next == state {
            F::table_mut(&mut self.flows).entry_mut(id).touch(view.tick());
        } else {
            self.advance::<F>(id, next, view.tick());
        }
        Some(verdict)
    }

    /// Sends on a packet of `service` that has no record.
    #[inline(never)]
    pub(super) fn forward_stateless<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        service: &ServiceTable,
        tuple: FiveTuple<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        if is_spent(service, &arrival.packet) {
            return Verdict::Refuse(DropReason::TtlExpired, Refusal::TimeExceeded);
        }
        // How much is new is known of TCP alone: of UDP what is recorded counts.
        let begins = arrival.packet.is_bare_syn();
        let counters = self.counters.service(service.id);
        let Some(Target { backend, record }) = target(service, &tuple, &arrival.packet, view) else {
            if let Some(counters) = counters.filter(|_| begins || tuple.protocol() == Protocol::Udp) {
                counters.count_refused();
            }
            return self.unserved(DropReason::NoBackend, service, &tuple, (frame.head(), arrival), view);
        };
        match record {
            Some(record) => {
                if let Err(verdict) = self.record(service, (backend, record), tuple, arrival, view) {
                    return verdict;
                }
            }
            None if begins => {
                if let Some(counters) = self.counters.service(service.id) {
                    counters.count_connection();
                }
                if let Some(counters) = self.counters.backend(backend.id) {
                    // It began, and is not there: the difference of the two is what is remembered.
                    counters.count_connection();
                    counters.count_end(false);
                }
            }
            None => {}
        }
        self.send_on::<F, T>(frame, service, backend.id, arrival, view)
    }

    /// Sends an ICMP error about a packet that a backend of `service` has sent to a client the way that the client's own
    /// packets go; those carry `tuple`, and `record` says where their session is. The backend, which holds the VIP,
    /// understands it as it is.
    #[cold]
    pub(super) fn forward_stateless_error<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        service: &ServiceTable,
        (tuple, record): (&FiveTuple<F>, Option<FlowId>),
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        if is_spent(service, &arrival.packet) {
            return Verdict::Drop(DropReason::TtlExpired);
        }
        let recorded = record.map(|id| F::table(&self.flows).entry(id).backend);
        let backend = recorded.filter(|backend| serves(view.tables.backend_state(*backend)));
        let backend =
            backend.or_else(|| target(service, tuple, &arrival.packet, view).map(|target| target.backend.id));
        let Some(backend) = backend else { return Verdict::Drop(DropReason::NoBackend) };
        let verdict = self.send_on::<F, T>(frame, service, backend, arrival, view);
        self.tally.icmp_errors += u64::from(matches!(verdict, Verdict::Forward(_) | Verdict::Split(..)));
        verdict
    }

    /// Where a packet that belongs to a service without flows goes, and has no record; `None` if it belongs to none.
    pub(super) fn stateless_target<F: FlowFamily>(
        &self,
        tuple: &FiveTuple<F>,
        packet: &Packet,
        view: View<'_>,
    ) -> Option<(ServiceId, BackendId)> {
        let AddressRole::Vip(services) = view.tables.roles.of::<F>(tuple.destination())? else { return None };
        let service = services.service(tuple.protocol(), tuple.destination_port())?;
        let service = view.tables.service(service).filter(|service| service.mode.is_stateless())?;
        Some((service.id, target(service, tuple, packet, view)?.backend.id))
    }

    /// Sends a later fragment after its first one, to this backend.
    pub(super) fn follow_stateless<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        service: ServiceId,
        backend: BackendId,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let service = view.tables.service(service).filter(|service| service.mode.is_stateless());
        let Some(service) = service else { return Verdict::Drop(DropReason::NoService) };
        if is_spent(service, &arrival.packet) {
            return Verdict::Drop(DropReason::TtlExpired);
        }
        self.send_on::<F, T>(frame, service, backend, arrival, view)
    }

    /// Remembers where a session is.
    #[inline(never)]
    fn record<F: FlowFamily>(
        &mut self,
        service: &ServiceTable,
        (backend, record): (&ServiceBackend, Record),
        tuple: FiveTuple<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Result<(), Verdict> {
        // What goes no further must not cost a record.
        let (_, hop) = self.ways.to(backend.id, service, view).map_err(Verdict::Drop)?;
        let translated = match F::address(backend.endpoint.address) {
            Some(address) => tuple.with_destination((address, tuple.destination_port())),
            // At the other end of a tunnel over the other family; the backend's id says which.
            None => tuple,
        };
        let flow = NewFlow {
            tuple,
            translated,
            service: service.id,
            backend: backend.id,
            forward_hop: hop,
            return_hop: hop,
            route_epoch: view.fib.epoch,
            state: record.state,
            displaced: record.displaced,
            one_way: true,
            holds: Holds::default(),
        };
        let recorded = self.insert(arrival.hash, &flow, view);
        if let Some(counters) = self.counters.service(service.id) {
            match recorded {
                Ok(_) if arrival.packet.is_bare_syn() || tuple.protocol() == Protocol::Udp => {
                    counters.count_connection();
                }
                Ok(_) => {}
                Err(_) => counters.count_refused(),
            }
        }
        recorded.map(|_| ())
    }

    /// Sends a packet to a backend, as the service's mode has it.
    #[inline]
    fn send_on<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        service: &ServiceTable,
        backend: BackendId,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let (address, hop) = match self.ways.to(backend, service, view) {
            Ok(way) => way,
            Err(reason) => return Verdict::Drop(reason),
        };
        let Some(hop) = view.fib.next_hop(hop) else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Layout { l3, end, .. } = arrival.packet.layout;
        let (mtu, wrapping) = match service.mode {
            ForwardingMode::DirectRouting => (hop.mtu, None),
            ForwardingMode::Tunnel(encapsulation) => {
                let sources = &service.local_addresses;
                let source = sources.iter().find(|source| source.is_ipv4() == address.is_ipv4());
                let udp = match encapsulation {
                    Encapsulation::Ip => None,
                    Encapsulation::Gue { port } => Some(port),
                };
                let outer = source.and_then(|source| Outer::new(*source, address, udp, arrival.hash));
                // Control gives the service a source for each family of its backends.
                let Some(outer) = outer else { return Verdict::Drop(DropReason::NoRoute) };
                let Some(wrapping) = Wrapping::new(outer, hop, arrival.vlan) else {
                    return Verdict::Drop(DropReason::NextHopUnresolved);
                };
                let learned = self.path_mtus.get(address, view.now);
                // What every link of the family carries is no smaller in a tunnel (RFC 2473, section 7.1).
                let learned = learned.map(|mtu| mtu.max(F::LEAST_MTU + outer.octets()));
                (hop.mtu.min(learned.unwrap_or(u16::MAX)) - outer.octets(), Some(wrapping))
            }
            // Such a service has flows, and none of its packets comes here.
            ForwardingMode::FullNat => return Verdict::Drop(DropReason::NoService),
        };
        let fits = end - l3 <= mtu;
        if !fits && !may_split(arrival.packet, frame.head()) {
            // Less outer headers: RFC 2003, section 5.1; RFC 2473, section 7.1.
            return Verdict::Refuse(DropReason::MtuExceeded, Refusal::TooBig { mtu });
        }
        let sent = match &wrapping {
            None => route_directly::<F, T>(frame, arrival, hop),
            Some(wrapping) if fits && !wrapping.wrap(frame, &arrival.packet) => Err(DropReason::MtuExceeded),
            Some(_) => Ok(()),
        };
        if let Err(reason) = sent {
            return Verdict::Drop(reason);
        }
        if let Some(counters) = self.counters.backend(backend) {
            counters.count(Direction::Forward, frame.octets() as u64);
        }
        if fits {
            return Verdict::Forward(hop.port);
        }
        self.pieces = wrapping.map_or(Pieces::Plain, Pieces::Wrapped);
        Verdict::Split(hop.port, mtu)
    }
}

/// Where a packet without a record goes; `None` if no backend is in service.
fn target<'a, F: FlowFamily>(
    service: &'a ServiceTable,
    tuple: &FiveTuple<F>,
    packet: &Packet,
    view: View<'_>,
) -> Option<Target<'a>> {
    // Of the other choices the configuration check has none in these modes.
    let Choice::Hash { all, in_service, previous } = &service.choice else { return None };
    let number = view.tables.choice_seed.packet(tuple, service.hash);
    let backend = |position: u16| {
        let backend = service.backends.get(usize::from(position))?;
        Some((backend, view.tables.backend_state(backend.id)))
    };
    let serving =
        |position| backend(position).filter(|(_, state)| serves(*state)).map(|(backend, _)| backend);
    let up = |position| {
        backend(position).filter(|(_, state)| *state == BackendState::Up).map(|(backend, _)| backend)
    };
    let begins = packet.is_bare_syn();
    let record = |backend, displaced, known| {
        let record = first_state(tuple.protocol(), packet, known);
        Target { backend, record: record.map(|state| Record { state, displaced }) }
    };

    let first = in_slot(all, number);
    let former = previous.as_ref().and_then(|previous| in_slot(previous, number));
    let former = former.filter(|former| Some(*former) != first).and_then(backend);
    // One that is known to be where its slot was, or may soon be taken for such a one, is remembered.
    if let Some((former, state)) = former
        && serves(state)
        && !begins
    {
        return Some(record(former, true, true));
    }
    if let Some(first) = first.and_then(up) {
        let changed = former.is_some();
        return Some(if changed {
            record(first, false, false)
        } else {
            Target { backend: first, record: None }
        });
    }
    // A first target that rests is back, but held down: what was on it before may go on.
    if tuple.protocol() == Protocol::Tcp
        && !begins
        && let Some(first) = first.and_then(serving)
    {
        return Some(Target { backend: first, record: None });
    }
    Some(record(in_slot(in_service, number).and_then(up)?, true, false))
}

/// The first state of a record; `None` if the packet leaves nothing to remember. A session that is `known` to exist is
/// established; of another one the next packet must show that it does, so that TCP packets with invented sources take
/// only what gives way first.
const fn first_state(protocol: Protocol, packet: &Packet, known: bool) -> Option<FlowState> {
    use tcp_flags::{FIN, RST};
    match protocol {
        Protocol::Udp => Some(FlowState::Udp),
        Protocol::Tcp if packet.tcp_flags & RST != 0 => None,
        Protocol::Tcp => match (known, packet.tcp_flags & FIN != 0) {
            (true, true) => Some(FlowState::FinWait),
            (true, false) => Some(FlowState::Established),
            (false, true) => None,
            (false, false) => Some(FlowState::SynSent),
        },
    }
}

/// Whether sessions that are on a backend may stay there.
const fn serves(state: BackendState) -> bool {
    matches!(state, BackendState::Up | BackendState::Resting)
}

/// Gives the frame the backend's MAC address and tag. The IP packet stays as it is to the last octet, TTL included: the
/// backend is on the link, so that this is the packet's last hop and takes nothing from it that a bridge would not.
fn route_directly<F: FlowFamily, T: Frame>(
    frame: &mut T,
    arrival: Arrival,
    hop: &NextHop,
) -> Result<(), DropReason> {
    let addresses = hop.addresses().ok_or(DropReason::NextHopUnresolved)?;
    let Layout { l3, end, .. } = arrival.packet.layout;
    // As everywhere, padding is the sender's link's.
    frame.truncate(usize::from(end));
    if !link::set(frame, F::VERSION, (l3, arrival.vlan), hop.vlan) {
        return Err(DropReason::MtuExceeded);
    }
    ethernet::set_addresses(frame.head_mut(), addresses);
    Ok(())
}

/// Whether a packet must not be sent on: a tunnel is a hop, direct routing none.
const fn is_spent(service: &ServiceTable, packet: &Packet) -> bool {
    matches!(service.mode, ForwardingMode::Tunnel(_)) && packet.hop_limit <= 1
}
