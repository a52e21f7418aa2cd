//! Fragments: pieces of packets, of which only the first has ports.
//!
//! A first fragment is balanced like the packet that it is of, and what became of it is remembered: later ones share its
//! fate. One that comes before the first waits for it, in the worker (`worker::hold`), for a short time. Nothing is put
//! together here, and no port is ever read but from a first fragment.
//!
//! All fragments of a packet meet at one worker, its *home*, which addresses and identification name: later ones have
//! no ports to find the owner of their flow by. It hands them on to that owner in the order in which they came, the
//! first ahead; the owner remembers the first fragment, too.

mod records;

pub use self::records::FragmentKey;
use self::records::Records;
use super::fate::may_return_by;
use super::flow::{FlowFamily, FlowId, Tick};
use super::inspect::Inspected;
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::Verdict;
use crate::hash::{IndexKey, SipKey};
use crate::io::Frame;
use crate::model::{BackendId, Direction, FiveTuple, Nanos, PortPair, Protocol, ServiceId, WorkerId};
use crate::shared::{AddressRole, DropReason, PuntClass};
use crate::wire::{Fragment, Packet, Parsed, Transport};

/// First fragments that a worker remembers. Those behind a first fragment come within milliseconds, so that it would
/// take millions of fragmented packets a second to push one out too early.
const RECORDS: usize = 4096;

/// Memory for those that a worker remembers, in octets.
pub const RECORD_OCTETS: usize = Records::<First>::octets(RECORDS);

const _: () = assert!(RECORD_OCTETS == 192 << 10, "as docs/ARCHITECTURE.md says");

/// How long. As much as 64 KiB take over a line of 100 kbit/s; receivers wait longer (RFC 791, section 3.2: 15 s; RFC 8200,
/// section 4.5: 60 s; Linux: 30 s). But a sender of 13,000 fragmented datagrams a second begins anew with the
/// identifications of IPv4 within that time (RFC 4963, section 2), and a later fragment that then comes before its first
/// one is taken for one of the datagram before.
const LIFE: Nanos = Nanos::from_secs(5);

/// Later fragments that wait for their first one at most, per worker: those of a hundred datagrams of 4000 octets whose
/// order was changed on their way, and few enough to be looked through.
pub const HELD_FRAGMENTS: usize = 256;

/// How long such a one waits: what changes the order of packets, other queues, paths and workers, is done
/// in milliseconds; a first fragment that is lost never comes.
pub(super) const PATIENCE: Nanos = Nanos::from_secs(1);

/// What a worker knows of fragments.
pub(super) struct Fragments {
    key: SipKey,
    records: Records<First>,
    /// The packet whose first fragment was dealt with since [`Pipeline::take_settled_fragment`] was called.
    settled: Option<FragmentKey>,
    /// The last flow that was made for one datagram.
    pub(super) made: Option<FlowId>,
}

/// What is remembered of a first fragment.
#[derive(Clone, Copy, Debug)]
struct First {
    /// Where its content ends in that of the whole packet, in octets.
    end: u16,
    fate: Fate,
}

/// What becomes of the fragments behind a first one.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The flow of this protocol and these ports, beside the addresses that each fragment has.
    Flow(Protocol, PortPair),
    /// This flow, made for the datagram alone, while it is one between these ports.
    OnePacket(FlowId, PortPair),
    /// A backend of a service without flows; the index hash of the five-tuple.
    Stateless(ServiceId, BackendId, u64),
    Handoff(WorkerId),
    Punt(PuntClass),
    Drop(DropReason),
}

impl Fragments {
    /// Nothing known. `key` is that of all workers.
    pub(super) fn new(key: &IndexKey) -> Self {
        Self {
            key: key.derive(u64::from_be_bytes(*b"fragment")),
            records: Records::new(RECORDS, Tick::span(LIFE)),
            settled: None,
            made: None,
        }
    }

    /// What the fragments of one packet share (RFC 791, section 3.2; RFC 8200, section 4.5, where the protocol is no part
    /// of it).
    fn key<F: FlowFamily>(&self, addresses: F::Pair, fragment: &Fragment) -> FragmentKey {
        let protocol = if F::VERSION == 4 { u64::from(fragment.protocol) } else { 0 };
        let [w0, w1, w2, w3] = F::words(addresses);
        let last = u64::from(F::VERSION) << 40 | protocol << 32 | u64::from(fragment.identification);
        FragmentKey(self.key.hash(&[w0, w1, w2, w3, last]))
    }

    fn note(&mut self, key: FragmentKey, first: First, view: View<'_>) {
        self.records.insert(key, first, view.tick());
        self.settled = Some(key);
    }
}

impl Pipeline {
    /// The packet whose fragments need wait no longer, if the last frame was its first one.
    #[inline]
    pub(super) const fn take_settled_fragment(&mut self) -> Option<FragmentKey> {
        self.fragments.settled.take()
    }

    /// The verdict on a fragment; one to forward is rewritten.
    #[inline(never)]
    pub(super) fn balance_fragment<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let head = frame.head();
        let packet = &arrival.packet;
        let addresses = head.get(usize::from(packet.layout.l3)..).and_then(F::pair_in);
        let (Some(fragment), Some(addresses)) = (Fragment::read(packet, head), addresses) else {
            return Verdict::Drop(DropReason::FragmentInvalid);
        };
        let (source, destination) = F::addresses(addresses);
        let role = view.tables.roles.of::<F>(destination);
        if !fragment.may_have_ports(F::NETWORK) || matches!(role, None | Some(AddressRole::Port)) {
            // The kernel puts together what is its own.
            let packet = &Packet { protocol: fragment.protocol, ..*packet };
            return self.without_ports::<F, T>(frame, Arrival { packet: *packet, ..arrival }, view);
        }
        let Some(end) = fragment.last() else { return Verdict::Drop(DropReason::FragmentInvalid) };
        if source == destination || !F::may_be_client(source) || view.tables.roles.of::<F>(source).is_some() {
            return Verdict::Drop(DropReason::Martian);
        }
        let key = self.fragments.key::<F>(addresses, &fragment);
        let home = self.steering.home_elsewhere(key.0);
        let arrival = match home {
            Some(home) if !arrival.handed_in => return Verdict::Handoff(home),
            // The home says that the flow is this worker's.
            Some(_) => arrival,
            None => Arrival { handed_in: false, ..arrival },
        };
        if fragment.offset == 0 {
            let Some(whole) = fragment.first(packet, head) else {
                let reason = DropReason::FragmentInvalid;
                self.fragments.note(key, First { end, fate: Fate::Drop(reason) }, view);
                return Verdict::Drop(reason);
            };
            let (verdict, fate) =
                self.balance_first::<F, T>(frame, Arrival { packet: whole, ..arrival }, view);
            self.fragments.note(key, First { end, fate }, view);
            return verdict;
        }
        match self.fragments.records.find(key, view.tick()) {
            // It would replace a part of what the ports were read from, or of what follows (RFC 1858, section 4; RFC
            // 5722).
            Some(first) if fragment.offset < first.end => Verdict::Drop(DropReason::FragmentInvalid),
            Some(first) => self.follow::<F, T>(frame, addresses, first.fate, arrival, view),
            None if home.is_none() => Verdict::Hold(key),
            // The home sends the first one ahead: it was lost on the way.
            None => Verdict::Drop(DropReason::FragmentWithoutFirst),
        }
    }

    /// The verdict on a first fragment, which `arrival` has as the packet that it is of, and what becomes of the others.
    fn balance_first<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        mut arrival: Arrival,
        view: View<'_>,
    ) -> (Verdict, Fate) {
        let tuple = arrival.packet.tuple::<F>(frame.head());
        self.fragments.made = None;
        let verdict = match &tuple {
            Some(tuple) => {
                arrival.hash = F::table(&self.flows).hash(tuple);
                self.balance_whole::<F, T>(frame, arrival, view)
            }
            None => self.without_ports::<F, T>(frame, arrival, view),
        };
        let fate = match verdict {
            Verdict::Forward(_) | Verdict::Split(..) | Verdict::Connect(..) | Verdict::Behind(..) => tuple
                .and_then(|tuple| self.forwarded(&tuple, arrival, view))
                .unwrap_or(Fate::Drop(DropReason::FragmentWithoutFirst)),
            Verdict::Handoff(worker) => Fate::Handoff(worker),
            Verdict::Punt(class) => Fate::Punt(class),
            Verdict::Drop(reason) | Verdict::Refuse(reason, _) => Fate::Drop(reason),
            Verdict::Kill(..) => Fate::Drop(DropReason::BackendDead),
            // What has ports, or is the kernel's, never waits.
            Verdict::Hold(_) | Verdict::Reply => Fate::Drop(DropReason::FragmentWithoutFirst),
        };
        (verdict, fate)
    }

    /// Where the fragments behind one that was forwarded go; `None` if its flow ended with it.
    fn forwarded<F: FlowFamily>(
        &self,
        tuple: &FiveTuple<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Option<Fate> {
        if let Some(id) = self.fragments.made {
            return Some(Fate::OnePacket(id, tuple.ports()));
        }
        let flows = F::table(&self.flows);
        let Some((id, _)) = flows.find(arrival.hash, tuple) else {
            let (service, backend) = self.stateless_target(tuple, &arrival.packet, view)?;
            return Some(Fate::Stateless(service, backend, arrival.hash));
        };
        let entry = flows.entry(id);
        Some(if entry.is_one_way() {
            Fate::Stateless(entry.service, entry.backend, arrival.hash)
        } else {
            Fate::Flow(tuple.protocol(), tuple.ports())
        })
    }

    /// The verdict on a later fragment whose first one had this fate.
    fn follow<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        addresses: F::Pair,
        fate: Fate,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        match fate {
            Fate::Flow(protocol, ports) => {
                let tuple = FiveTuple::<F>::from_wire(addresses, ports, protocol);
                let flows = F::table(&self.flows);
                match flows.find(flows.hash(&tuple), &tuple) {
                    Some((id, Direction::Return)) if !may_return_by(flows.entry(id), arrival.port, view) => {
                        Verdict::Drop(DropReason::ReturnWrongPort)
                    }
                    Some((id, direction)) if !flows.entry(id).is_one_way() => {
                        self.forward::<F, T>(frame, id, direction, arrival, view)
                    }
                    // It ended in between.
                    _ => Verdict::Drop(DropReason::FragmentWithoutFirst),
                }
            }
            Fate::OnePacket(id, ports) => {
                let tuple = FiveTuple::<F>::from_wire(addresses, ports, Protocol::Udp);
                // It may have been answered or given up in between.
                if F::table(&self.flows).entry(id).is_one_packet_of(&tuple) {
                    self.forward::<F, T>(frame, id, Direction::Forward, arrival, view)
                } else {
                    Verdict::Drop(DropReason::FragmentWithoutFirst)
                }
            }
            Fate::Stateless(service, backend, hash) => {
                let arrival = Arrival { hash, ..arrival };
                self.follow_stateless::<F, T>(frame, service, backend, arrival, view)
            }
            Fate::Handoff(worker) => Verdict::Handoff(worker),
            // A class of its own has the first one alone, if any.
            Fate::Punt(class) => Verdict::Punt(class),
            Fate::Drop(reason) => Verdict::Drop(reason),
        }
    }
}

/// Makes what was seen of a first fragment what an answer to its sender goes by: the packet that it is of. Others are
/// not answered (RFC 1122, section 3.2.2), and stay fragments.
#[cold]
pub(super) fn answerable<T: Frame>(seen: &mut Inspected, frame: &T) {
    if let Ok(Parsed::Ip(packet)) = seen.parsed
        && packet.transport == Transport::Fragment
        && let Some(fragment) = Fragment::read(&packet, frame.head())
        && let Some(first) = fragment.first(&packet, frame.head())
    {
        seen.parsed = Ok(Parsed::Ip(first));
    }
}
