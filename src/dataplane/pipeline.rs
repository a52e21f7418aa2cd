//! The stages that a frame goes through, for one worker: inspect, look up, balance.
//!
//! A burst takes three passes, so that memory is asked for before it is needed: [`Pipeline::inspect_all`] parses and asks
//! for the index line, [`Pipeline::look_ahead`] asks for the flow that the line names, [`Pipeline::forward_common`] or
//! [`Pipeline::balance`] does the work. The first two only hint: the third compares the flow's key, as a frame before it
//! in the burst may have changed the table.

use std::sync::Arc;

use super::admit::Admitted;
use super::connecting::Shaken;
use super::farewell::Farewells;
use super::fate::{Fate, may_return_by};
use super::flow::{FlowFamily, FlowId, FlowTable, Flows, Generation, Guess, Tick, TimeoutTicks};
use super::former_lease::{FormerLease, Successor};
use super::fragments::{self, Fragments};
use super::inspect::{Addressed, Inspected};
use super::lanes::Lanes;
use super::last_hop::LastHops;
use super::local_ports::LocalPorts;
use super::pick::Turns;
use super::pieces::Pieces;
use super::punt::is_ours;
use super::steer::Steering;
use super::sweep::Sweep;
use super::syn_proxy::SynGuard;
use super::unavailable::Cookies;
use super::verdict::Verdict;
use super::ways::Ways;
use crate::hash::IndexKey;
use crate::io::Frame;
use crate::model::{Direction, FiveTuple, Nanos, PortId, TablePages, Timeouts, V4, V6, WorkerId};
use crate::shared::{
    Capacities, DropReason, Egress, Fib, Limits, PathMtus, Persistence, Snapshot, SynProxies, Tally,
    WorkerCounters,
};
use crate::wire::{Layout, Network, Packet, Parsed, Transport, tcp_flags};

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which worker it is.
    pub worker: WorkerId,
    /// One of how many, 1 to 1024.
    pub workers: u16,
    /// Flows per address family at most.
    pub flows: usize,
    /// Where their tables lie.
    pub pages: TablePages,
    /// Ids that there are counters for.
    pub capacities: Capacities,
    /// The secret of the index hash, and what others are derived from; the same for all workers of a process.
    pub key: IndexKey,
    /// What limits have let in, shared by all workers of a process.
    pub limits: Arc<Limits>,
    /// Where clients were sent to, shared likewise.
    pub persistence: Arc<Persistence>,
    /// Which services are flooded, shared likewise.
    pub syn_proxies: Arc<SynProxies>,
    /// What is known of the ways of tunnels, shared likewise.
    pub path_mtus: Arc<PathMtus>,
}

/// What the pipeline knows of a port.
#[derive(Clone, Copy, Debug)]
pub struct PipelinePort {
    /// How frames leave by it.
    pub egress: Egress,
    /// Whether the port has a kernel side.
    pub kernel: bool,
}

/// The tables and the time of one turn.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Services, backends, addresses.
    pub tables: &'a Snapshot,
    /// Next hops.
    pub fib: &'a Fib,
    /// Which tables these are.
    pub generation: Generation,
    /// The time, the same for all of a turn.
    pub now: Nanos,
}

impl View<'_> {
    /// The time in the flow tables' unit.
    #[must_use]
    #[inline]
    pub const fn tick(&self) -> Tick {
        Tick::at(self.now)
    }
}

/// One worker's stages and the tables they own.
pub struct Pipeline {
    pub(super) flows: Flows,
    pub(super) local_ports: LocalPorts,
    pub(super) last_hops: LastHops,
    pub(super) steering: Steering,
    pub(super) turns: Turns,
    pub(super) cookies: Cookies,
    pub(super) guard: SynGuard,
    pub(super) ways: Ways,
    pub(super) fragments: Fragments,
    /// What is to be done to the pieces of the last packet that is to be split.
    pub(super) pieces: Pieces,
    pub(super) limits: Arc<Limits>,
    pub(super) persistence: Arc<Persistence>,
    pub(super) path_mtus: Arc<PathMtus>,
    pub(super) sweep: Sweep,
    pub(super) farewells: Farewells,
    pub(super) ports: Box<[PipelinePort]>,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) tally: Tally,
    timeouts: Timeouts,
    /// The tick up to which every flow whose time is over has ended.
    pub(super) expired_until: Option<Tick>,
    pub(super) lanes: Option<Lanes>,
}

impl Pipeline {
    /// Empty tables for a worker that sees these ports, by [`PortId`].
    #[must_use]
    pub fn new(settings: &Settings, ports: Box<[PipelinePort]>, counters: Arc<WorkerCounters>) -> Self {
        let timeouts = Timeouts::default();
        let ticks = TimeoutTicks::new(&timeouts);
        let steering = Steering::new(settings.worker, settings.workers);
        Self {
            flows: Flows {
                v4: FlowTable::new(settings.flows, settings.key, ticks, settings.pages),
                v6: FlowTable::new(settings.flows, settings.key, ticks, settings.pages),
            },
            local_ports: LocalPorts::new(steering.class(), settings.capacities.backends, &settings.key),
            last_hops: LastHops::new(),
            steering,
            turns: Turns::new(settings.capacities.services, settings.worker.0),
            cookies: Cookies::new(&settings.key),
            guard: SynGuard::new(
                &settings.key,
                &settings.syn_proxies,
                (settings.capacities.services, settings.workers, settings.flows),
                ports.iter().map(|port| port.egress.mtu).fold(1500, u16::min),
            ),
            ways: Ways::new(settings.capacities.backends),
            fragments: Fragments::new(&settings.key),
            pieces: Pieces::Plain,
            limits: Arc::clone(&settings.limits),
            persistence: Arc::clone(&settings.persistence),
            path_mtus: Arc::clone(&settings.path_mtus),
            sweep: Sweep::new(),
            farewells: Farewells::new(),
            ports,
            counters,
            tally: Tally::default(),
            timeouts,
            expired_until: None,
            lanes: Lanes::detect(),
        }
    }

    /// Takes over what the snapshot says of time-outs and of flows that exist; to be called in each turn with new tables,
    /// and while it `is_sweeping`.
    pub fn take_over(&mut self, view: View<'_>) {
        let tables = view.tables;
        if tables.timeouts != self.timeouts {
            self.timeouts = tables.timeouts;
            self.expired_until = None;
            let ticks = TimeoutTicks::new(&tables.timeouts);
            self.flows.v4.set_timeouts(ticks);
            self.flows.v6.set_timeouts(ticks);
        }
        self.sweep(view);
    }

    /// Pass 3, for every frame: the verdict on one that came in by `port`; one to forward is rewritten. `handed_in` frames
    /// are this worker's by another's word and are not handed on.
    #[inline(never)]
    pub fn balance<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &mut Inspected,
        port: PortId,
        handed_in: bool,
        view: View<'_>,
    ) -> Verdict {
        let packet = match &seen.parsed {
            Ok(Parsed::Ip(packet)) if seen.addressed == Addressed::Us => *packet,
            Err(malformed) => return Verdict::Drop((*malformed).into()),
            Ok(_) if seen.addressed == Addressed::Other => return Verdict::Drop(DropReason::NotOurMac),
            Ok(Parsed::Ip(packet)) if is_ours(packet, frame.head(), view) => {
                // RFC 1122, 3.3.6. Nor must a daemon of the host answer it.
                return Verdict::Drop(DropReason::NotOurMac);
            }
            Ok(parsed) => return self.punt(parsed, frame.head(), port, view),
        };
        let arrival = Arrival {
            packet,
            hash: seen.hash,
            guess: seen.guess,
            vlan: seen.vlan,
            port,
            handed_in,
            in_pieces: packet.transport == Transport::Fragment,
        };
        let verdict = match (packet.network, packet.transport) {
            (Network::V4, Transport::Fragment) => self.balance_fragment::<V4, T>(frame, arrival, view),
            (Network::V6, Transport::Fragment) => self.balance_fragment::<V6, T>(frame, arrival, view),
            (Network::V4, _) => self.balance_whole::<V4, T>(frame, arrival, view),
            (Network::V6, _) => self.balance_whole::<V6, T>(frame, arrival, view),
        };
        if packet.transport == Transport::Fragment
            && matches!(verdict, Verdict::Refuse(..) | Verdict::Kill(..))
        {
            fragments::answerable(seen, frame);
        }
        verdict
    }

    /// The verdict on a whole packet, or on a first fragment, which is one as far as it goes.
    #[inline(never)]
    pub(super) fn balance_whole<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        self.balance_as::<F, T, false>(frame, arrival, view)
    }

    /// [`balance_whole`](Self::balance_whole). `SHAPED` says that the packet is of the common shape of `F`, marked or not: so
    /// the compiler knows where everything stands.
    #[inline(always)]
    pub(super) fn balance_as<F: FlowFamily, T: Frame, const SHAPED: bool>(
        &mut self,
        frame: &mut T,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let Some(tuple) = arrival.packet_of::<F, SHAPED>().tuple::<F>(frame.head()) else {
            return self.without_ports::<F, T>(frame, arrival, view);
        };
        let mut found = F::table(&self.flows).find_guessed(arrival.guess, arrival.hash, &tuple);
        if let Some((id, Direction::Return)) = found
            && !may_return_by(F::table(&self.flows).entry(id), arrival.port, view)
        {
            return Verdict::Drop(DropReason::ReturnWrongPort);
        }
        if let Some((id, direction)) = found
            && F::table(&self.flows).entry(id).is_special()
        {
            match self.look_closer::<F, T>(frame, (id, direction), arrival, view) {
                Shaken::GoesOn => {}
                Shaken::Done(verdict) => return verdict,
                Shaken::Anew => {
                    self.end::<F>(id);
                    found = None;
                }
            }
        }
        let mut former = None;
        let mut goes_on = None;
        if let Some((id, direction)) = found {
            let entry = F::table(&self.flows).entry(id);
            let mut fate = Fate::of(entry, direction, &arrival.packet, view);
            if direction == Direction::Forward && entry.has_successor() {
                match self.succeeds::<F>(id, frame.head(), arrival, view) {
                    Successor::None => {}
                    Successor::Asked(service) => {
                        return self.challenge(frame, service, &tuple, arrival, view);
                    }
                    Successor::Begins => fate = Fate::Over,
                }
            }
            match fate {
                Fate::GoesOn => {
                    if arrival.packet.tcp_flags & (tcp_flags::SYN | tcp_flags::RST) != 0 {
                        self.observe::<F>(id, direction, arrival);
                    }
                    goes_on = found;
                }
                Fate::Killed => return self.kill_at::<F, T>(frame, (id, direction), arrival, view),
                Fate::Over => former = self.end_former::<F>(id),
            }
        }
        let flow = match goes_on {
            Some(flow) => flow,
            None => match self.begin::<F, T>(frame, (tuple, former), arrival, view) {
                Ok(id) => (id, Direction::Forward),
                Err(verdict) => return verdict,
            },
        };
        if SHAPED && !F::table(&self.flows).entry(flow.0).is_altered() {
            return self.forward_as::<F, T, true>(frame, flow, arrival, view);
        }
        self.forward::<F, T>(frame, flow.0, flow.1, arrival, view)
    }

    /// What a packet is to a flow that is a record, or that is altered.
    #[inline(never)]
    fn look_closer<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        (id, direction): (FlowId, Direction),
        arrival: Arrival,
        view: View<'_>,
    ) -> Shaken {
        if !F::table(&self.flows).entry(id).is_one_way() {
            return self.shake::<F, T>(frame, (id, direction), arrival, view);
        }
        self.forward_recorded::<F, T>(frame, id, arrival, view).map_or(Shaken::Anew, Shaken::Done)
    }

    /// The verdict on a packet of a flow whose backend is dead.
    #[cold]
    fn kill_at<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        (id, direction): (FlowId, Direction),
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        if arrival.packet.tcp_flags & tcp_flags::RST == 0 {
            return Verdict::Kill(id, direction);
        }
        // A reset tells the other side itself, and no reset may be answered.
        let verdict = self.forward::<F, T>(frame, id, direction, arrival, view);
        self.end::<F>(id);
        verdict
    }

    /// The flow that a packet begins which belongs to none, but perhaps to one that made way.
    ///
    /// # Errors
    /// The verdict on a packet that begins none, or is not to go on as the first of it.
    #[inline(always)]
    fn begin<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        (tuple, former): (FiveTuple<F>, Option<FormerLease>),
        arrival: Arrival,
        view: View<'_>,
    ) -> Result<FlowId, Verdict> {
        match self.admit(frame.head(), (tuple, former), &arrival, view)? {
            Admitted::Flow(id) => Ok(id),
            Admitted::Connecting(id) => Err(self.ask::<F, T>(frame, id, arrival, view)),
            Admitted::Challenge(service) => Err(self.challenge(frame, service, &tuple, arrival, view)),
            Admitted::Stateless(service) => Err(self.forward_stateless(frame, service, tuple, arrival, view)),
        }
    }
}

/// How a packet came.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) packet: Packet,
    pub(super) hash: u64,
    pub(super) guess: Guess,
    pub(super) vlan: Option<u16>,
    pub(super) port: PortId,
    pub(super) handed_in: bool,
    /// There is more of the packet than is in this frame.
    pub(super) in_pieces: bool,
}

impl Arrival {
    /// The packet. `SHAPED` says that it is of the common shape of `F`, marked or not.
    #[inline(always)]
    pub(super) fn packet_of<F: FlowFamily, const SHAPED: bool>(&self) -> Packet {
        match SHAPED {
            true => Packet {
                network: F::NETWORK,
                layout: Layout { end: self.packet.layout.end, ..F::LAYOUT },
                ..self.packet
            },
            false => self.packet,
        }
    }
}
