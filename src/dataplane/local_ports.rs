//! Leases: which local address and port a new flow's packets to its backend carry.
//!
//! There are no lists of free ports. A lease is taken if its return tuple (from the backend's endpoint to the local
//! address and port) is in the flow table, so one local address serves [`PortClass::SPAN`] flows per backend, not in
//! all. A cursor per backend steps through the pairs of address and port: what was used last is tried last, which keeps
//! a port away from a backend's TIME_WAIT for as long as there are others (RFC 6056, 3.3.4 has the same shape, with
//! the cursor's start drawn from a secret). A run of leases that live long is left behind in strides that double, so that
//! it refuses nobody while there are free ports behind it.
//!
//! Where none is free the holder that is worth least of those tried is evicted: a lease of another backend would not help.
//! As the cursor comes to the oldest leases first, that is most often the oldest flow, too. A search without a free lease
//! makes those of the next 67 ms short, so that to refuse a flow costs no more than to admit one.

use super::flow::{Tick, Victim};
use crate::hash::IndexKey;
use crate::model::{BackendId, FIRST_LOCAL_PORT, Family, FiveTuple, LOCAL_PORTS, Protocol, V4, WorkerId};

/// The local ports of one worker: those of every `workers`-th port from its own first on.
#[derive(Clone, Copy, Debug)]
pub struct PortClass {
    workers: u16,
    worker: u16,
    /// How many ports it has.
    len: u32,
}

impl PortClass {
    /// The first port that is leased. Those below are the kernel's: health probes and routing protocols that use a
    /// local address keep their answers.
    pub const FIRST: u16 = FIRST_LOCAL_PORT;

    /// Ports that are leased per local address and backend, over all workers.
    pub const SPAN: u16 = LOCAL_PORTS;

    /// The class of `worker`, one of `workers` (1 to 1024).
    #[must_use]
    pub const fn new(worker: WorkerId, workers: u16) -> Self {
        Self { workers, worker: worker.0, len: (Self::SPAN / workers) as u32 }
    }

    /// Which worker leased `port`; `None` if nobody did.
    #[must_use]
    #[inline]
    pub const fn owner(self, port: u16) -> Option<WorkerId> {
        match port.checked_sub(Self::FIRST) {
            Some(offset) => Some(WorkerId(offset % self.workers)),
            None => None,
        }
    }

    /// How many pairs of one of `addresses` and a port there are; `None` if there is none.
    fn pairs(self, addresses: &[std::net::IpAddr]) -> Option<u32> {
        let count = u32::try_from(addresses.len()).ok().filter(|count| *count > 0)?;
        Some(count * self.len)
    }

    /// The pair with this number, below [`pairs`](Self::pairs); `None` if the address is of the other family.
    #[inline]
    fn pair<F: Family>(self, n: u32, addresses: &[std::net::IpAddr]) -> Option<(F::Address, u16)> {
        let count = u32::try_from(addresses.len()).ok()?;
        Some((F::address(addresses[(n % count) as usize])?, self.nth(n / count)))
    }

    /// The port of the class with this number, below `len`.
    fn nth(self, n: u32) -> u16 {
        let offset = n * u32::from(self.workers) + u32::from(self.worker);
        Self::FIRST + u16::try_from(offset).expect("a class lies within the span of ports")
    }
}

/// The cursors of one worker.
pub struct LocalPorts {
    class: PortClass,
    /// By backend.
    cursors: Box<[Cursor]>,
    allowance: Allowance,
}

/// Where the search for a backend's next lease begins, and how it ended lately.
#[derive(Clone, Copy)]
struct Cursor {
    next: u32,
    /// Until this tick none is expected to be free, as a search found none.
    full_until: Tick,
    /// That search found no flow to evict either.
    is_barren: bool,
}

/// Tries that long searches may still make in this tick, over all backends.
struct Allowance {
    tick: Tick,
    left: u32,
}

/// How many pairs are tried at most: at 95 % use no free one is found once in a thousand searches.
const TRIES: u32 = 128;

/// Pairs tried one after the other before strides grow.
const STEADY_TRIES: u32 = 8;

/// Pairs tried where a search has just found none free: about as long as a new flow takes otherwise.
const QUICK_TRIES: u32 = 4;

/// Tries beyond these in each tick of 67 ms: at 0.1 us a try a twentieth of the time.
const TRIES_A_TICK: u32 = 32_768;

/// What a try found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The lease is free.
    Nobody,
    /// A flow has it, which may be evicted or not.
    Flow(Option<Victim>),
}

/// What a lease is wanted for.
#[derive(Clone, Copy)]
pub struct LeaseRequest<'a, F: Family> {
    /// The backend.
    pub backend: BackendId,
    /// The local addresses of the service, at least one.
    pub addresses: &'a [std::net::IpAddr],
    /// The client's packet with the backend as its destination.
    pub to: FiveTuple<F>,
    /// The time.
    pub now: Tick,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<F: Family> {
    /// A free lease, as the tuple that the backend sees, and the one that the next search tries first.
    Free {
        /// The lease.
        lease: FiveTuple<F>,
        /// The next one.
        next: FiveTuple<F>,
    },
    /// None of those tried is free; of their holders this one is worth least.
    Held(Victim),
    /// None of those tried is free, and no holder may be evicted.
    Nothing,
}

impl LocalPorts {
    /// Cursors for `backends` backends, started where `key` says.
    #[must_use]
    pub fn new(class: PortClass, backends: usize, key: &IndexKey) -> Self {
        let start = |backend: usize| {
            let backend = u32::try_from(backend).unwrap_or(0);
            let tuple = FiveTuple::<V4>::new((backend, class.worker), (0, 0), Protocol::Tcp);
            let next = u32::try_from(key.hash(&tuple) >> 32).unwrap_or(0);
            Cursor { next, full_until: Tick(0), is_barren: false }
        };
        let allowance = Allowance { tick: Tick(0), left: TRIES_A_TICK };
        Self { class, cursors: (0..backends).map(start).collect(), allowance }
    }

    /// Which worker leased a local port.
    #[must_use]
    pub const fn class(&self) -> PortClass {
        self.class
    }

    /// A free lease, or the flow that is worth least of those that hold the leases tried; `holder` says who has one. At
    /// most `TRIES` calls of it, and `QUICK_TRIES` while a backend has none free and many new flows come.
    #[inline]
    pub fn lease<F: Family>(
        &mut self,
        request: &LeaseRequest<'_, F>,
        holder: impl Fn(&FiveTuple<F>) -> Holder,
    ) -> Found<F> {
        let LeaseRequest { backend, addresses, to, now } = *request;
        let class = self.class;
        let Some((cursor, pairs)) = self.cursors.get_mut(backend.index()).zip(class.pairs(addresses)) else {
            return Found::Nothing;
        };
        let tuple = |n: u32| Some(to.with_source(class.pair::<F>(n, addresses)?));
        let first = within(cursor.next, pairs);
        // Wraps together with the pairs, so that no pair is skipped but those in a run.
        cursor.next = within(first + 1, pairs);
        let Some(mut lease) = tuple(first) else { return Found::Nothing };
        if let Holder::Flow(victim) = holder(&lease) {
            let search = Search { cursor, pairs, now, best: victim, allowance: &mut self.allowance };
            match search.go_on(|n| tuple(n).map(|lease| (lease, holder(&lease)))) {
                Ok(free) => lease = free,
                Err(None) => return Found::Nothing,
                Err(Some(victim)) => return Found::Held(victim),
            }
        }
        match tuple(self.cursors[backend.index()].next) {
            Some(next) => Found::Free { lease, next },
            None => Found::Nothing,
        }
    }
}

/// A search whose first try has failed.
struct Search<'a> {
    cursor: &'a mut Cursor,
    pairs: u32,
    now: Tick,
    /// The least of the holders seen.
    best: Option<Victim>,
    allowance: &'a mut Allowance,
}

impl Search<'_> {
    /// The first free lease from the cursor on.
    ///
    /// # Errors
    /// None was found; the least of their holders.
    #[cold]
    fn go_on<T>(mut self, look: impl Fn(u32) -> Option<(T, Holder)>) -> Result<T, Option<Victim>> {
        // Behind a run of `n` leases after `log n` tries; and if there is no end, evenly over all pairs: the golden
        // ratio's multiples leave no large gap (Knuth, TAOCP 3, 6.4, theorem S).
        let golden = u32::try_from(u64::from(self.pairs) * 618 / 1000).unwrap_or(0) | 1;
        let is_full = self.cursor.full_until.since(self.now) > 0;
        let is_barren = is_full && self.cursor.is_barren;
        let most = TRIES.min(self.pairs);
        let mut stride = 1;
        let mut tried = 1;
        while tried < most {
            let is_enough = is_barren || is_full && self.best.is_some();
            let goes_on = tried < QUICK_TRIES || !is_enough && self.allowance.take(self.now);
            if !goes_on {
                break;
            }
            let n = self.cursor.next;
            if tried >= STEADY_TRIES {
                stride = if stride < self.pairs / 4 { stride * 2 + 1 } else { golden };
            }
            self.cursor.next = within(n + stride, self.pairs);
            tried += 1;
            match look(n) {
                Some((lease, Holder::Nobody)) => return Ok(lease),
                Some((_, Holder::Flow(Some(victim)))) => {
                    self.best = Some(self.best.map_or(victim, |best| best.or_lesser(victim)));
                }
                Some((_, Holder::Flow(None))) | None => {}
            }
        }
        if tried == most {
            self.cursor.is_barren = self.best.is_none();
            self.cursor.full_until = self.now.after(1);
        }
        Err(self.best)
    }
}

impl Allowance {
    /// Whether there may be another try of a long search.
    fn take(&mut self, now: Tick) -> bool {
        if self.tick != now {
            (self.tick, self.left) = (now, TRIES_A_TICK);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The number of a pair, below `pairs`: most are, and a division costs as much as all else here.
#[inline(always)]
const fn within(n: u32, pairs: u32) -> u32 {
    if n < pairs { n } else { n % pairs }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;

    use super::*;
    use crate::dataplane::flow::{FlowId, Worth};

    fn to() -> FiveTuple<V4> {
        FiveTuple::new((0, 0), (0x0a00_0901, 80), Protocol::Tcp)
    }

    fn ports(workers: u16, worker: u16) -> LocalPorts {
        let class = PortClass::new(WorkerId(worker), workers);
        LocalPorts::new(class, 1, &IndexKey::new([1, 2, 3, 4]))
    }

    fn addresses(count: u8) -> Vec<std::net::IpAddr> {
        (1..=count).map(|n| std::net::IpAddr::from([10, 0, 8, n])).collect()
    }

    /// A search at `now`, where a flow that cannot be evicted holds what is not free.
    fn find_at(
        ports: &mut LocalPorts,
        addresses: &[std::net::IpAddr],
        now: u32,
        is_free: impl Fn(&FiveTuple<V4>) -> bool,
    ) -> Option<FiveTuple<V4>> {
        let request = LeaseRequest { backend: BackendId(0), addresses, to: to(), now: Tick(now) };
        match ports.lease(&request, |lease| if is_free(lease) { Holder::Nobody } else { Holder::Flow(None) })
        {
            Found::Free { lease, .. } => Some(lease),
            Found::Held(_) => panic!("no flow may be evicted"),
            Found::Nothing => None,
        }
    }

    fn find(
        ports: &mut LocalPorts,
        addresses: &[std::net::IpAddr],
        is_free: impl Fn(&FiveTuple<V4>) -> bool,
    ) -> Option<FiveTuple<V4>> {
        find_at(ports, addresses, 1, is_free)
    }

    #[test]
    fn every_pair_is_leased_before_any_comes_again() {
        let (mut ports, addresses) = (ports(1, 0), addresses(2));
        let mut used = HashSet::new();
        for _ in 0..2 * u32::from(PortClass::SPAN) {
            let lease = find(&mut ports, &addresses, |lease| !used.contains(lease)).unwrap();
            assert!(lease.source_port() >= PortClass::FIRST);
            assert!(used.insert(lease));
        }
        assert!(find(&mut ports, &addresses, |lease| !used.contains(lease)).is_none());
    }

    #[test]
    fn a_port_that_was_freed_is_leased_again_after_all_others() {
        let (mut ports, addresses) = (ports(1, 0), addresses(1));
        let mut lease = || find(&mut ports, &addresses, |_| true).unwrap().source_port();
        let first = lease();
        let others: HashSet<u16> = (1..PortClass::SPAN).map(|_| lease()).collect();
        assert_eq!(others.len(), usize::from(PortClass::SPAN) - 1);
        assert!(!others.contains(&first));
        assert_eq!(lease(), first);
    }

    #[test]
    fn a_full_local_address_leaves_the_others() {
        let (mut ports, addresses) = (ports(1, 0), addresses(4));
        for _ in 0..1000 {
            let lease = find(&mut ports, &addresses, |lease| lease.source() == 0x0a00_0803).unwrap();
            assert_eq!(lease.source(), 0x0a00_0803);
        }
    }

    #[test]
    fn a_run_of_leases_that_live_long_refuses_nobody() {
        for run in [100, 1_000, 10_000, 40_000] {
            let (mut ports, addresses) = (ports(1, 0), addresses(1));
            let mut used = HashSet::new();
            for _ in 0..run {
                used.insert(find(&mut ports, &addresses, |_| true).unwrap());
            }
            // Short ones, all free again when the cursor comes back, three times over.
            for n in 0..3 * u32::from(PortClass::SPAN) {
                let lease = find(&mut ports, &addresses, |lease| !used.contains(lease));
                assert!(lease.is_some(), "lease {n} behind a run of {run}");
            }
        }
    }

    #[test]
    fn workers_lease_from_classes_that_do_not_meet_and_know_the_owner() {
        for workers in [2, 3, 7] {
            for worker in 0..workers {
                let (mut ports, addresses) = (ports(workers, worker), addresses(1));
                let class = ports.class();
                for _ in 0..1000 {
                    let lease = find(&mut ports, &addresses, |_| true).unwrap();
                    assert_eq!(class.owner(lease.source_port()), Some(WorkerId(worker)));
                }
            }
        }
        assert_eq!(PortClass::new(WorkerId(0), 3).owner(4095), None);
    }

    /// Tries that a search of a full backend makes, where `holder` has each lease.
    fn tries_when_full(ports: &mut LocalPorts, now: u32, holder: impl Fn(u32) -> Option<Victim>) -> u32 {
        let tries = Cell::new(0);
        let addresses = addresses(1);
        let request = LeaseRequest { backend: BackendId(0), addresses: &addresses, to: to(), now: Tick(now) };
        let found = ports.lease(&request, |_| {
            tries.set(tries.get() + 1);
            Holder::Flow(holder(tries.get()))
        });
        assert!(!matches!(found, Found::Free { .. }));
        tries.get()
    }

    #[test]
    fn full_backend_is_searched_for_long_once_a_tick() {
        let mut ports = ports(1, 0);
        for now in [10, 11, 30] {
            assert_eq!(tries_when_full(&mut ports, now, |_| None), TRIES);
            for _ in 0..1000 {
                assert_eq!(tries_when_full(&mut ports, now, |_| None), QUICK_TRIES);
            }
        }
    }

    #[test]
    fn rare_flow_that_may_go_is_searched_for_within_the_allowance_of_a_tick() {
        let mut ports = ports(1, 0);
        let at = TRIES / 2;
        let rare = |number: u32| {
            (number == at).then_some(Victim { worth: Worth::HalfOpen, idle: 1, id: FlowId::first() })
        };
        let tries: Vec<u32> = (0..1000).map(|_| tries_when_full(&mut ports, 10, rare)).collect();
        // A free lease is looked for once, then only a flow to evict.
        assert_eq!(tries[0], TRIES);
        let long = tries[1..].iter().take_while(|tries| **tries == at).count();
        assert_eq!(long, ((TRIES_A_TICK - (TRIES - QUICK_TRIES)) / (at - QUICK_TRIES)) as usize);
        assert!(tries[long + 2..].iter().all(|tries| *tries == QUICK_TRIES));
        assert_eq!(tries_when_full(&mut ports, 11, rare), TRIES, "another tick");
    }

    #[test]
    fn eviction_takes_the_least_of_the_flows_whose_leases_were_tried() {
        let mut ports = ports(1, 0);
        let addresses = addresses(1);
        let request = LeaseRequest { backend: BackendId(0), addresses: &addresses, to: to(), now: Tick(1) };
        let number = Cell::new(0);
        let least = Victim { worth: Worth::HalfOpen, idle: 9, id: FlowId::first() };
        let found = ports.lease(&request, |_| {
            number.set(number.get() + 1);
            Holder::Flow(match number.get() {
                1 => Some(Victim { worth: Worth::OneWay, idle: 500, ..least }),
                2 => Some(Victim { idle: 8, ..least }),
                3 => Some(least),
                _ => None,
            })
        });
        assert_eq!(found, Found::Held(least));
    }
}
