//! What workers count, for control to read at any time.
//!
//! Every counter has one writer, its worker: relaxed load and store, no locked instruction. Readers see each counter
//! monotonic, but not all of the same instant. A worker counts in a plain [`Tally`] and copies it up here after some
//! turns; the counters of services and backends, touched once a packet at most, are written in place.

use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Zeroable;
use crossbeam::utils::CachePadded;

use super::DropReason;
use super::service_counters::ServiceCounters;
use crate::model::{BackendId, Direction, ServiceId};

/// How many ids the arrays have room for; fixed at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Largest number of services, 1 to 65535.
    pub services: usize,
    /// Largest number of backends over all services.
    pub backends: usize,
}

impl Capacities {
    /// Ids for so many configured services and backends and for as many that were removed and still have flows: a reload
    /// may replace all of them. Services have at most 65,535 ids.
    #[must_use]
    pub const fn of_configured(services: usize, backends: usize) -> Self {
        let services = if services > MOST_SERVICES / 2 { MOST_SERVICES } else { services * 2 };
        Self { services, backends: backends * 2 }
    }
}

/// The ids that a [`ServiceId`] can be.
const MOST_SERVICES: usize = u16::MAX as usize;

/// A worker's totals since its start. The conservation law, kept by property tests over every turn:
///
/// `rx_packets + handed_in + injected + originated
///   == tx_packets + punted + handed_off + sum(drops) + held`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroable)]
pub struct Tally {
    /// Frames received from ports.
    pub rx_packets: u64,
    /// Their octets.
    pub rx_octets: u64,
    /// Frames that a port accepted.
    pub tx_packets: u64,
    /// Their octets.
    pub tx_octets: u64,
    /// Frames given to the kernel port.
    pub punted: u64,
    /// Frames taken from other workers.
    pub handed_in: u64,
    /// Frames given to other workers.
    pub handed_off: u64,
    /// Frames taken from the kernel port.
    pub injected: u64,
    /// Frames made here: TCP resets, ICMP errors, further pieces of packets that were split.
    pub originated: u64,
    /// Of the forwarded frames: ICMP errors about packets of flows.
    pub icmp_errors: u64,
    /// Of the forwarded frames: TCP resets with another number than the one expected, which do not end their flow at once.
    pub resets_doubted: u64,
    /// Frames sent back as answers of themselves: pings.
    pub echoes: u64,
    /// Answers due but not sent: the rate limit, no buffer, or no way.
    pub unanswered: u64,
    /// Frames waiting inside the worker (a gauge).
    pub held: u64,
    /// Flows created.
    pub flows_created: u64,
    /// Flows ended.
    pub flows_ended: u64,
    /// Of the flows ended: those that gave way to a new one before their time was over.
    pub evicted: u64,
    /// Flows in the table of the family that has more (a gauge).
    pub fullest_table: u64,
    /// Flows that are displaced (a gauge).
    pub displaced: u64,
    /// Turns in which something arrived.
    pub busy_turns: u64,
    /// Frames dropped, by [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
}

impl Default for Tally {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl Tally {
    /// Counts a frame that goes no further.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Flows that exist now.
    #[must_use]
    pub const fn flows(&self) -> u64 {
        self.flows_created - self.flows_ended
    }

    /// Adds another worker's totals.
    pub fn add(&mut self, other: &Self) {
        let mut theirs = other.values();
        self.each_mut(|value| *value += theirs.next().expect("both have the same fields"));
    }

    /// Fields in declaration order, drops last.
    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        [
            self.rx_packets,
            self.rx_octets,
            self.tx_packets,
            self.tx_octets,
            self.punted,
            self.handed_in,
            self.handed_off,
            self.injected,
            self.originated,
            self.icmp_errors,
            self.resets_doubted,
            self.echoes,
            self.unanswered,
            self.held,
            self.flows_created,
            self.flows_ended,
            self.evicted,
            self.fullest_table,
            self.displaced,
            self.busy_turns,
        ]
        .into_iter()
        .chain(self.drops)
    }

    /// The same fields in the same order.
    fn each_mut(&mut self, mut f: impl FnMut(&mut u64)) {
        f(&mut self.rx_packets);
        f(&mut self.rx_octets);
        f(&mut self.tx_packets);
        f(&mut self.tx_octets);
        f(&mut self.punted);
        f(&mut self.handed_in);
        f(&mut self.handed_off);
        f(&mut self.injected);
        f(&mut self.originated);
        f(&mut self.icmp_errors);
        f(&mut self.resets_doubted);
        f(&mut self.echoes);
        f(&mut self.unanswered);
        f(&mut self.held);
        f(&mut self.flows_created);
        f(&mut self.flows_ended);
        f(&mut self.evicted);
        f(&mut self.fullest_table);
        f(&mut self.displaced);
        f(&mut self.busy_turns);
        self.drops.iter_mut().for_each(f);
    }
}

/// All of its fields are numbers of 64 bits.
const TALLY_FIELDS: usize = size_of::<Tally>() / size_of::<u64>();

/// One worker's counters.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Turns so far: the worker's heartbeat.
    turns: CachePadded<AtomicU64>,
    tally: CachePadded<[AtomicU64; TALLY_FIELDS]>,
    services: Box<[ServiceCounters]>,
    backends: Box<[BackendCounters]>,
}

impl WorkerCounters {
    /// All zero.
    #[must_use]
    pub fn new(capacities: Capacities) -> Self {
        Self {
            turns: CachePadded::default(),
            tally: CachePadded::new([const { AtomicU64::new(0) }; TALLY_FIELDS]),
            services: (0..capacities.services).map(|_| ServiceCounters::default()).collect(),
            backends: (0..capacities.backends).map(|_| BackendCounters::default()).collect(),
        }
    }

    /// Memory that the counters of a worker take, in octets.
    #[must_use]
    pub const fn octets(capacities: Capacities) -> usize {
        size_of::<Self>()
            + capacities.services * size_of::<ServiceCounters>()
            + capacities.backends * size_of::<BackendCounters>()
    }

    /// Counts a turn. Worker only.
    pub fn count_turn(&self) {
        add(&self.turns, 1);
    }

    /// Turns so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Copies `tally` up. Worker only.
    pub fn publish(&self, tally: &Tally) {
        for (counter, value) in self.tally.iter().zip(tally.values()) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// The totals as last published.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let mut counters = self.tally.iter();
        tally.each_mut(|value| {
            let counter = counters.next().expect("there is a counter for every field");
            *value = counter.load(Ordering::Relaxed);
        });
        tally
    }

    /// The counters of a service; `None` beyond the capacity.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&ServiceCounters> {
        self.services.get(id.index())
    }

    /// The counters of a backend; `None` beyond the capacity.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&BackendCounters> {
        self.backends.get(id.index())
    }
}

/// What one worker counted for one backend: a cache line that packets touch, and one for what is rare. Aligned to both, as
/// processors fetch lines by twos.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct BackendCounters {
    /// By direction.
    ways: [Traffic; 2],
    connections: AtomicU64,
    over: AtomicU64,
    ended: AtomicU64,
    unanswered: AtomicU64,
    reset: AtomicU64,
    no_lease: AtomicU64,
}

#[derive(Debug, Default)]
struct Traffic {
    packets: AtomicU64,
    octets: AtomicU64,
}

/// A reading of [`BackendCounters`], or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// Packets from clients to the backend.
    pub in_packets: u64,
    /// Their octets, link layer included.
    pub in_octets: u64,
    /// Packets from the backend to clients.
    pub out_packets: u64,
    /// Their octets, link layer included.
    pub out_octets: u64,
    /// Flows created on it.
    pub connections: u64,
    /// Flows on it that exist now.
    pub flows: u64,
    /// Those of them that are not over ([`FlowState::is_over`](super::FlowState::is_over)): something may still come.
    pub open_flows: u64,
    /// TCP: SYNs sent again, as the backend had not answered.
    pub unanswered: u64,
    /// TCP: SYNs answered with a RST.
    pub reset: u64,
    /// Flows refused because no local port was left for the backend.
    pub no_lease: u64,
}

impl BackendTotals {
    /// Adds another worker's reading.
    pub const fn add(&mut self, other: &Self) {
        self.in_packets += other.in_packets;
        self.in_octets += other.in_octets;
        self.out_packets += other.out_packets;
        self.out_octets += other.out_octets;
        self.connections += other.connections;
        self.flows += other.flows;
        self.open_flows += other.open_flows;
        self.unanswered += other.unanswered;
        self.reset += other.reset;
        self.no_lease += other.no_lease;
    }
}

impl BackendCounters {
    /// Counts a packet of so many octets. Worker only.
    #[inline(always)]
    pub fn count(&self, direction: Direction, octets: u64) {
        let way = &self.ways[direction as usize];
        add(&way.packets, 1);
        add(&way.octets, octets);
    }

    /// Counts a new flow. Worker only.
    pub fn count_connection(&self) {
        add(&self.connections, 1);
    }

    /// Counts a flow that is over, and rests. Worker only.
    pub fn count_over(&self) {
        add(&self.over, 1);
    }

    /// Counts the end of a flow, that `was_over` or was not. Worker only.
    pub fn count_end(&self, was_over: bool) {
        if !was_over {
            self.count_over();
        }
        add(&self.ended, 1);
    }

    /// Counts a SYN that the client sends again. Worker only.
    pub fn count_unanswered(&self) {
        add(&self.unanswered, 1);
    }

    /// Counts a SYN that the backend answers with a RST. Worker only.
    pub fn count_reset(&self) {
        add(&self.reset, 1);
    }

    /// Counts a flow that is refused because no local port is left. Worker only.
    pub fn count_no_lease(&self) {
        add(&self.no_lease, 1);
    }

    /// The totals now.
    #[must_use]
    pub fn totals(&self) -> BackendTotals {
        // The end counts first: read later they could run ahead of the connections.
        let ended = self.ended.load(Ordering::Acquire);
        let over = self.over.load(Ordering::Acquire);
        let connections = self.connections.load(Ordering::Relaxed);
        let [inward, outward] = &self.ways;
        BackendTotals {
            in_packets: inward.packets.load(Ordering::Relaxed),
            in_octets: inward.octets.load(Ordering::Relaxed),
            out_packets: outward.packets.load(Ordering::Relaxed),
            out_octets: outward.octets.load(Ordering::Relaxed),
            connections,
            flows: connections.saturating_sub(ended),
            open_flows: connections.saturating_sub(over),
            unanswered: self.unanswered.load(Ordering::Relaxed),
            reset: self.reset.load(Ordering::Relaxed),
            no_lease: self.no_lease.load(Ordering::Relaxed),
        }
    }
}

/// One writer: no read-modify-write instruction is needed.
#[inline(always)]
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_tally_reads_back_field_by_field() {
        let counters = WorkerCounters::new(Capacities { services: 1, backends: 1 });
        let mut tally = Tally::default();
        let mut n = 0;
        tally.each_mut(|value| {
            n += 1;
            *value = n;
        });
        assert_eq!(n, TALLY_FIELDS as u64);
        counters.publish(&tally);
        assert_eq!(counters.tally(), tally);
        assert_eq!(tally.values().collect::<Vec<_>>(), (1..=n).collect::<Vec<_>>());
    }
}
