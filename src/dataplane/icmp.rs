//! ICMP to VIPs and local addresses: errors about packets of flows, and pings.
//!
//! An error is about a packet that its receiver has sent, so the flow is that of the quoted packet's answer, and the
//! worker that owns it is that flow's. It goes the way of that answer, and looks like it: both sides of a flow see
//! nothing but each other's translation, whoever on the way sends the error. RFC 5508 asks for that towards clients
//! (REQ-5 c: routers behind us have addresses that mean nothing out there). Towards backends it would keep a router's
//! address (REQ-4), but there it would be a stranger's, on a way that only the local address leads back to, and a
//! backend that checks that (RFC 3704) never saw it. An error changes nothing of its flow: neither time nor state, as
//! anybody can send one.

use super::PortClass;
use super::alter;
use super::fate::may_return_by;
use super::flow::{FlowFamily, FlowId};
use super::link;
use super::pipeline::{Arrival, Pipeline, View};
use super::proxy;
use super::verdict::Verdict;
use crate::io::Frame;
use crate::model::{Direction, Protocol};
use crate::shared::{AddressRole, DropReason};
use crate::wire::ethernet::{self, Link};
use crate::wire::icmp::{self, Flaw, Message, Quote};
use crate::wire::{Layout, Parsed, Transport};

impl Pipeline {
    /// The verdict on an ICMP message to an address of ours with this role.
    #[cold]
    pub(super) fn icmp<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        role: &AddressRole,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let head = frame.head();
        let message = match icmp::read::<F>(&arrival.packet, head) {
            Ok(message) => message,
            Err(flaw) => return Verdict::Drop(reason(flaw)),
        };
        match message {
            Message::Neighbour => self.punt_packet(head, arrival, view),
            Message::EchoReply if answers_probe::<F>(head, role, arrival, view) => {
                self.punt_packet(head, arrival, view)
            }
            Message::EchoReply => Verdict::Drop(DropReason::Unsolicited),
            Message::Other => Verdict::Drop(DropReason::IcmpNotAllowed),
            Message::EchoRequest | Message::Error(_) if is_martian::<F>(head, arrival, view) => {
                Verdict::Drop(DropReason::Martian)
            }
            Message::EchoRequest => self.answer_echo::<F, T>(frame, arrival, view),
            Message::Error(quote) => self.icmp_error(frame, role, &quote, arrival, view),
        }
    }

    fn punt_packet(&self, head: &[u8], arrival: Arrival, view: View<'_>) -> Verdict {
        self.punt(&Parsed::Ip(arrival.packet), head, arrival.port, view)
    }

    /// An error about a packet that no flow has sent. From local addresses the kernel sends, too: its probes, from its own
    /// ports and as pings.
    fn punt_error<F: FlowFamily>(&self, head: &[u8], arrival: Arrival, view: View<'_>) -> Verdict {
        let quote = usize::from(arrival.packet.layout.l4) + icmp::HEADER;
        let quoted = head.get(quote..).and_then(F::pair_in).map(|pair| F::addresses(pair).1);
        if quoted.is_some_and(|destination| view.tables.roles.is_backend(F::ip(destination))) {
            self.punt_packet(head, arrival, view)
        } else {
            Verdict::Drop(DropReason::Unsolicited)
        }
    }

    /// Makes an echo request its own answer.
    fn answer_echo<F: FlowFamily, T: Frame>(
        &self,
        frame: &mut T,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let Layout { l3, l4, end } = arrival.packet.layout;
        // Options may want to be answered, too (RFC 1122, 3.2.2.6), which the kernel does.
        if l4 - l3 > F::LAYOUT.l4 - F::LAYOUT.l3 {
            return self.punt_packet(frame.head(), arrival, view);
        }
        let Some(link) = Link::read(frame.head()) else { return Verdict::Drop(DropReason::FrameTruncated) };
        let our_mac = self.ports[arrival.port.index()].egress.mac;
        frame.truncate(usize::from(end));
        icmp::answer_echo::<F>(frame.head_mut(), &arrival.packet);
        ethernet::set_ends(frame.head_mut(), our_mac, link.source);
        Verdict::Reply
    }

    /// The verdict on an error about the packet in `quote`.
    fn icmp_error<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        role: &AddressRole,
        quote: &Quote<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let is_local = matches!(role, AddressRole::Local);
        if is_local && let Some(verdict) = self.tunnel_error::<F, T>(frame, quote, arrival, view) {
            return verdict;
        }
        let Some(sent) = quote.tuple else {
            return if is_local { self.punt_error::<F>(frame.head(), arrival, view) } else { unknown() };
        };
        if is_local && sent.source_port() < PortClass::FIRST {
            return self.punt_error::<F>(frame.head(), arrival, view);
        }
        let answer = sent.reversed();
        let hash = F::table(&self.flows).hash(&answer);
        let found = F::table(&self.flows).find(hash, &answer);
        let arrival = Arrival { hash, ..arrival };
        if let Some((id, direction)) = found
            && !F::table(&self.flows).entry(id).is_one_way()
        {
            return self.translate_error(frame, quote, (id, direction), arrival, view);
        }
        if found.is_none()
            && !arrival.handed_in
            && let Some(owner) = self.steering.elsewhere(role, answer.destination_port(), hash)
        {
            return Verdict::Handoff(owner);
        }
        let AddressRole::Vip(services) = role else { return unknown() };
        let service = services.service(answer.protocol(), answer.destination_port());
        match service.and_then(|id| view.tables.service(id)) {
            Some(service) if service.mode.is_stateless() => {
                let record = found.map(|(id, _)| id);
                self.forward_stateless_error(frame, service, (&answer, record), arrival, view)
            }
            _ => unknown(),
        }
    }

    /// Sends an error to the other side of the flow it is about; it goes the way of `direction`.
    fn translate_error<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        quote: &Quote<F>,
        (id, direction): (FlowId, Direction),
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let packet = &arrival.packet;
        // No error about an error (RFC 1122, 3.2.2), so that what is wrong from here on is silent.
        if direction == Direction::Return
            && !may_return_by(F::table(&self.flows).entry(id), arrival.port, view)
        {
            return Verdict::Drop(DropReason::ReturnWrongPort);
        }
        if packet.hop_limit <= 1 {
            return Verdict::Drop(DropReason::TtlExpired);
        }
        // A backend keeps what it learns by the local address, which many clients share.
        if direction == Direction::Forward
            && let Some(mtu) = icmp::reported_mtu::<F>(frame.head(), packet)
            && mtu < u32::from(view.tables.min_path_mtu.max(F::LEAST_MTU))
        {
            return Verdict::Drop(DropReason::PathMtuTooSmall);
        }
        if F::table(&self.flows).entry(id).route_epoch != view.fib.epoch {
            self.route_again::<F>(id, view);
        }
        let entry = F::table(&self.flows).entry(id);
        let hop = entry.hop(direction);
        let Some(hop) = view.fib.next_hop(hop).or_else(|| self.last_hops.next_hop(hop)) else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Some(addresses) = hop.addresses() else {
            return Verdict::Drop(DropReason::NextHopUnresolved);
        };
        let Layout { l3, end, .. } = packet.layout;
        if end - l3 > hop.mtu {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        let outer = entry.rewrite(direction).to.addresses();
        let quoted = entry.incoming(direction.opposite());
        // The segment that is quoted left us as its receiver counts, and perhaps longer than it came.
        let stream = F::table_mut(&mut self.flows).stream_mut(id);
        if let Some(stream) = stream
            && direction == Direction::Return
        {
            proxy::part(stream);
        }
        let stream = F::table(&self.flows).stream(id);
        let transport = match quoted.protocol() {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        let growth = alter::growth_now::<F>(stream, transport, direction.opposite());
        if growth > 0 {
            icmp::lower_mtu::<F>(frame.head_mut(), packet, growth);
        }
        let undone = stream.map(|stream| stream.undone(direction.opposite()));
        icmp::translate(frame.head_mut(), packet, quote, (outer, undone.as_ref()), &quoted);
        frame.truncate(usize::from(end));
        if !link::set(frame, F::VERSION, (l3, arrival.vlan), hop.vlan) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        ethernet::set_addresses(frame.head_mut(), addresses);
        self.tally.icmp_errors += 1;
        Verdict::Forward(hop.port)
    }
}

/// Whether an echo reply may answer a ping of ours: to a local address, from a backend.
fn answers_probe<F: FlowFamily>(head: &[u8], role: &AddressRole, arrival: Arrival, view: View<'_>) -> bool {
    let header = head.get(usize::from(arrival.packet.layout.l3)..).unwrap_or_default();
    let source = F::pair_in(header).map(|pair| F::addresses(pair).0);
    matches!(role, AddressRole::Local)
        && source.is_some_and(|source| view.tables.roles.is_backend(F::ip(source)))
}

/// Whether a message comes from where none can: from no host, or from us.
fn is_martian<F: FlowFamily>(head: &[u8], arrival: Arrival, view: View<'_>) -> bool {
    let header = head.get(usize::from(arrival.packet.layout.l3)..).unwrap_or_default();
    F::pair_in(header).is_none_or(|pair| {
        let (source, _) = F::addresses(pair);
        !F::may_be_source(source) || view.tables.roles.of::<F>(source).is_some()
    })
}

const fn unknown() -> Verdict {
    Verdict::Drop(DropReason::IcmpUnknownFlow)
}

const fn reason(flaw: Flaw) -> DropReason {
    match flaw {
        Flaw::Malformed => DropReason::IcmpMalformed,
        Flaw::Checksum => DropReason::IcmpChecksumWrong,
        Flaw::Mtu => DropReason::IcmpMtuImpossible,
    }
}
