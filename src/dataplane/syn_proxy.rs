//! SYNs answered in the backends' place (RFC 4987, 3.6), and the switch that decides when.
//!
//! ```text
//!   client  SYN s            ->                                no flow
//!           <- SYN c, ACK s+1, window 0                        c is a cookie
//!           ACK c+1          ->        SYN s            ->     the flow begins
//!           <- ACK, window             <- SYN b, ACK s+1
//!                                      ACK b+1          ->
//! ```
//!
//! The client's numbers are its own all the way, the backend's are moved by c - b. A window of zero keeps the client from
//! saying anything that would have to be kept. What follows the flow's beginning is in [`connecting`](super::connecting).

use std::sync::Arc;

use super::flow::{FlowFamily, FlowId, Handshake, Tasks};
use super::pipeline::{Arrival, Pipeline, View};
use super::syn_cookie::{Brought, Cookie, LIFETIME, SynCookies};
use super::verdict::Verdict;
use crate::hash::IndexKey;
use crate::io::Frame;
use crate::model::{ClientAddress, Direction, FiveTuple, Nanos, ServiceId, SynProxy};
use crate::shared::{DropReason, FlowState, ServiceTable, SynProxies};
use crate::wire::ethernet::{self, Link};
use crate::wire::handshake::{Bare, Offer};
use crate::wire::tcp_flags::{RST, SYN};
use crate::wire::{Segment, mss, toa};

/// When this worker answers SYNs itself, and with what.
pub(super) struct SynGuard {
    pub(super) cookies: SynCookies,
    shared: Arc<SynProxies>,
    /// By service.
    watches: Box<[Watch]>,
    workers: u64,
    /// Half-open flows of one service that this worker has room for.
    room: u64,
    /// What crosses every port, in octets of IP packet.
    mtu: u16,
}

/// What became of a service's cookies lately.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    since: Nanos,
    sent: u64,
    accepted: u64,
    /// When the last one was made, however long ago.
    gave: Option<Nanos>,
}

/// Half-open flows that hold more than a quarter of a service's leases are a flood, however few they are: a service with one
/// backend and one local address has 61,440, and a flood of 2,048 SYNs a second takes them all within `tcp_syn`. Honest
/// clients that are half-open for 0.1 s hold a quarter at 150,000 connections a second, more than a backend has leases for.
const SHARE_OF_LEASES: u64 = 4;

/// How long cookies are counted before they are judged.
const WINDOW: Nanos = Nanos::from_secs(1);

/// The scale of windows that clients are told: 8 MiB at most, as servers with Linux's defaults have, in units of 128 octets,
/// so that little is lost where a backend counts in others.
pub(super) const SCALE: u8 = 7;

/// A client's SYN as its acknowledgement brings it back.
pub(super) struct Accepted {
    cookie: Cookie,
    /// The client's first sequence number.
    isn: u32,
    /// The client's clock now.
    clock: u32,
    window: u16,
}

impl SynGuard {
    /// For a worker with these settings, whose ports carry packets of up to `mtu` octets.
    pub(super) fn new(
        key: &IndexKey,
        shared: &Arc<SynProxies>,
        (services, workers, flows): (usize, u16, usize),
        mtu: u16,
    ) -> Self {
        Self {
            cookies: SynCookies::new(key),
            shared: Arc::clone(shared),
            watches: vec![Watch::default(); services].into_boxed_slice(),
            workers: workers.into(),
            room: flows as u64,
            mtu,
        }
    }

    /// Whether `service`, which has so many half-open flows on this worker, answers SYNs itself: hashing spreads SYNs
    /// evenly, so that each worker knows from its own how many there are. Once on it is so until there have been less
    /// than half as many for a while; cookies that nobody brings back count as the flows that they would have become.
    fn answers(&mut self, service: &ServiceTable, half_open: u64, view: View<'_>) -> bool {
        let most = match service.syn_proxy {
            SynProxy::Off => return false,
            SynProxy::On => return true,
            SynProxy::Above(most) => {
                let leases = service.leases / SHARE_OF_LEASES;
                u64::from(most).min(self.room.saturating_mul(self.workers)).min(leases)
            }
        };
        let half_open = half_open * self.workers;
        if !self.shared.is_on(service.id, view.now) {
            if half_open > most {
                self.shared.keep_on(service.id, view.now);
            }
            return half_open > most;
        }
        let Some(watch) = self.watches.get_mut(service.id.index()) else { return true };
        let span = view.now.since(watch.since);
        if span >= WINDOW {
            let unanswered = watch.sent.saturating_sub(watch.accepted) * self.workers;
            // They would have lasted so long.
            let would_be = unanswered.saturating_mul(view.tables.timeouts.tcp_syn.0) / span.0.max(1);
            *watch = Watch { since: view.now, gave: watch.gave, ..Watch::default() };
            if half_open > most / 2 || would_be > most / 2 {
                self.shared.keep_on(service.id, view.now);
            }
        }
        true
    }

    /// Whether an acknowledgement may bring back a cookie of `service`: also of one that has been told to make no more.
    fn expects(&self, service: &ServiceTable, now: Nanos) -> bool {
        match service.syn_proxy {
            SynProxy::On => true,
            SynProxy::Off | SynProxy::Above(_) => {
                let gave = self.watches.get(service.id.index()).and_then(|watch| watch.gave);
                gave.is_some_and(|at| now.since(at) < LIFETIME)
                    || self.shared.was_on(service.id, now, LIFETIME)
            }
        }
    }

    /// A half-open flow of this service was evicted from a full table, or for its lease: that is a flood, however few they
    /// are.
    pub(super) fn overflows(&self, service: ServiceId, now: Nanos) {
        self.shared.keep_on(service, now);
    }

    fn watch(&mut self, service: ServiceId) -> Option<&mut Watch> {
        self.watches.get_mut(service.index())
    }
}

impl Pipeline {
    /// Whether a SYN to `service` is to be answered here.
    #[inline]
    pub(super) fn answers_syns(&mut self, service: &ServiceTable, view: View<'_>) -> bool {
        // Without a backend the truth is told at once.
        if service.syn_proxy == SynProxy::Off || service.choice.is_empty() {
            return false;
        }
        let half_open = self.counters.service(service.id).map_or(0, |counters| counters.half_open());
        self.guard.answers(service, half_open, view)
    }

    /// Makes of a SYN its own answer, which carries a cookie and keeps nothing here.
    pub(super) fn challenge<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        service: &ServiceTable,
        tuple: &FiveTuple<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let head = frame.head();
        let (Some(syn), Some(link)) = (Segment::read(&arrival.packet, head), Link::read(head)) else {
            return Verdict::Drop(DropReason::TransportHeaderInvalid);
        };
        let offer = Offer::read(&arrival.packet, head);
        let Cookie { sequence, clock, kept } = self.guard.cookies.make(tuple, syn.sequence, &offer, view.now);
        // As in SYN-ACKs of backends: see `toa`.
        let growth = match service.client_address {
            ClientAddress::Toa { .. } => toa::octets(F::NETWORK),
            ClientAddress::None | ClientAddress::ProxyV2 { .. } => 0,
        };
        let theirs = offer.timestamps.map_or(0, |(clock, _)| clock);
        let answer = Bare {
            tuple: tuple.reversed(),
            sequence,
            acknowledgement: Some(syn.sequence.wrapping_add(1)),
            flags: SYN,
            window: 0,
            offer: Offer {
                mss: Some(mss::largest_for(self.guard.mtu, F::NETWORK).saturating_sub(growth)),
                scale: kept.scale.map(|_| SCALE),
                sack: kept.sack,
                timestamps: clock.map(|clock| (clock, theirs)),
            },
        };
        if !replace(frame, arrival.packet.layout.l3, &answer.packet()) {
            return Verdict::Drop(DropReason::MtuExceeded);
        }
        let our_mac = self.ports[arrival.port.index()].egress.mac;
        ethernet::set_ends(frame.head_mut(), our_mac, link.source);
        if let Some(counters) = self.counters.service(service.id) {
            counters.count_cookie_sent();
        }
        if let Some(watch) = self.guard.watch(service.id) {
            watch.sent += 1;
            watch.gave = Some(view.now);
        }
        Verdict::Forward(arrival.port)
    }

    /// What a segment without a flow brings back, if it is the acknowledgement of a cookie.
    pub(super) fn brought_back<F: FlowFamily>(
        &mut self,
        service: &ServiceTable,
        tuple: &FiveTuple<F>,
        (head, arrival): (&[u8], Arrival),
        view: View<'_>,
    ) -> Option<Accepted> {
        if !self.guard.expects(service, view.now) {
            return None;
        }
        let segment =
            Segment::read(&arrival.packet, head).filter(|segment| segment.flags & (SYN | RST) == 0)?;
        let timestamps = Offer::read(&arrival.packet, head).timestamps;
        let echo = timestamps.map(|(_, echo)| echo);
        let brought = self.guard.cookies.check(tuple, &segment, echo, view.now);
        let counters = self.counters.service(service.id)?;
        match brought {
            Brought::Right(cookie, isn) => {
                counters.count_cookie_accepted();
                if let Some(watch) = self.guard.watch(service.id) {
                    watch.accepted += 1;
                }
                let clock = timestamps.map_or(0, |(clock, _)| clock);
                Some(Accepted { cookie, isn, clock, window: segment.window })
            }
            Brought::Late => {
                counters.count_cookie_late();
                None
            }
            Brought::Wrong => {
                counters.count_cookie_wrong();
                None
            }
        }
    }

    /// The cookie that a segment of a flow brings back all the same, and the client's first sequence number; counts nothing.
    pub(super) fn cookie_in<F: FlowFamily>(
        &self,
        service: &ServiceTable,
        tuple: &FiveTuple<F>,
        (head, arrival): (&[u8], Arrival),
        view: View<'_>,
    ) -> Option<(u32, u32)> {
        if !self.guard.expects(service, view.now) {
            return None;
        }
        let segment =
            Segment::read(&arrival.packet, head).filter(|segment| segment.flags & (SYN | RST) == 0)?;
        let echo = Offer::read(&arrival.packet, head).timestamps.map(|(_, echo)| echo);
        match self.guard.cookies.check(tuple, &segment, echo, view.now) {
            Brought::Right(cookie, isn) => Some((cookie.sequence, isn)),
            Brought::Late | Brought::Wrong => None,
        }
    }

    /// Makes of a flow that was just created one whose client has completed its handshake.
    pub(super) fn begin_connecting<F: FlowFamily>(
        &mut self,
        id: FlowId,
        accepted: &Accepted,
        view: View<'_>,
    ) {
        let Accepted { cookie, isn, clock, window } = *accepted;
        let flows = F::table_mut(&mut self.flows);
        let mut stream = flows.stream(id).copied().unwrap_or_default();
        // Until the backend has answered, its numbers are taken to begin with all ones, and its clock with zero: a reset
        // without an acknowledgement, which has the number zero (RFC 9293, 3.10.7.1), then fits without further ado.
        let back = Direction::Return as usize;
        stream.shift[back] = cookie.sequence.wrapping_add(1);
        stream.clock[back] = cookie.clock.unwrap_or(0);
        stream.isn = isn;
        stream.tasks = stream.tasks.and(Tasks::ACKNOWLEDGE_SYN);
        stream.handshake = Handshake {
            sequence: cookie.sequence,
            clock,
            echo: cookie.clock.unwrap_or(0),
            window,
            mss: cookie.kept.mss,
            options: cookie.kept.options(),
            tries: 0,
        };
        flows.set_stream(id, Some(stream));
        // It has acknowledged our SYN, which nobody sent on.
        flows.entry_mut(id).expect(Direction::Return, cookie.sequence.wrapping_add(1));
        self.advance::<F>(id, FlowState::Connecting, view.tick());
    }
}

/// Puts `packet` in the place of the IP packet of a frame, which starts at `l3`; false if there is no room for it.
pub(super) fn replace<T: Frame>(frame: &mut T, l3: u16, packet: &[u8]) -> bool {
    frame.truncate(usize::from(l3));
    frame.append(packet)
}
