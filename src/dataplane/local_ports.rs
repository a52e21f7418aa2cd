//! Leases: which local address and port a new flow's packets to its backend carry.
//!
//! There are no lists of free ports. A lease is taken if its return tuple (from the backend's endpoint to the local
//! address and port) is in the flow table, so one local address serves [`PortClass::SPAN`] flows per backend, not in
//! all. A cursor per backend steps through the pairs of address and port: what was used last is tried last, which keeps
//! a port away from a backend's TIME_WAIT for as long as there are others (RFC 6056, 3.3.4 has the same shape, with
//! the cursor's start drawn from a secret). A run of leases that live long is left behind in strides that double, so that
//! it refuses nobody while there are free ports behind it.

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
    cursors: Box<[u32]>,
}

/// How many pairs are tried before a flow is refused: at 95 % use a failure is one in a thousand.
const TRIES: u32 = 128;

/// Pairs tried one after the other before strides grow.
const STEADY_TRIES: u32 = 8;

impl LocalPorts {
    /// Cursors for `backends` backends, started where `key` says.
    #[must_use]
    pub fn new(class: PortClass, backends: usize, key: &IndexKey) -> Self {
        let start = |backend: usize| {
            let backend = u32::try_from(backend).unwrap_or(0);
            let tuple = FiveTuple::<V4>::new((backend, class.worker), (0, 0), Protocol::Tcp);
            u32::try_from(key.hash(&tuple) >> 32).unwrap_or(0)
        };
        Self { class, cursors: (0..backends).map(start).collect() }
    }

    /// Which worker leased a local port.
    #[must_use]
    pub const fn class(&self) -> PortClass {
        self.class
    }

    /// A tuple from one of `addresses` and a free port to the destination of `to`, by `is_free`, and the one that the next
    /// call with the same arguments will try first; `None` if all that were tried are in use.
    #[inline]
    pub fn lease<F: Family>(
        &mut self,
        backend: BackendId,
        addresses: &[std::net::IpAddr],
        to: FiveTuple<F>,
        is_free: impl Fn(&FiveTuple<F>) -> bool,
    ) -> Option<(FiveTuple<F>, FiveTuple<F>)> {
        let cursor = self.cursors.get_mut(backend.index())?;
        let (class, pairs) = (self.class, self.class.pairs(addresses)?);
        let tuple = |n: u32| Some(to.with_source(class.pair::<F>(n, addresses)?));
        let first = within(*cursor, pairs);
        // Wraps together with the pairs, so that no pair is skipped but those in a run.
        *cursor = within(first + 1, pairs);
        let mut leased = tuple(first)?;
        if !is_free(&leased) {
            leased = lease_behind(cursor, pairs, |n| tuple(n).filter(&is_free))?;
        }
        Some((leased, tuple(*cursor)?))
    }
}

/// What `lease` finds from `cursor` on, where one try has failed already.
#[cold]
fn lease_behind<T>(cursor: &mut u32, pairs: u32, lease: impl Fn(u32) -> Option<T>) -> Option<T> {
    let golden = u32::try_from(u64::from(pairs) * 618 / 1000).unwrap_or(0) | 1;
    let mut stride = 1;
    (1..TRIES.min(pairs)).find_map(|tried| {
        let n = *cursor;
        if tried >= STEADY_TRIES {
            // Behind a run of `n` leases after `log n` tries; and if there is no end, evenly over all pairs: the golden
            // ratio's multiples leave no large gap (Knuth, TAOCP 3, 6.4, theorem S).
            stride = if stride < pairs / 4 { stride * 2 + 1 } else { golden };
        }
        *cursor = within(n + stride, pairs);
        lease(n)
    })
}

/// The number of a pair, below `pairs`: most are, and a division costs as much as all else here.
#[inline(always)]
const fn within(n: u32, pairs: u32) -> u32 {
    if n < pairs { n } else { n % pairs }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn to() -> FiveTuple<V4> {
        FiveTuple::new((0, 0), (0x0a00_0901, 80), Protocol::Tcp)
    }

    fn ports(workers: u16, worker: u16) -> LocalPorts {
        let class = PortClass::new(WorkerId(worker), workers);
        LocalPorts::new(class, 1, &IndexKey::new([1, 2, 3, 4]))
    }

    #[test]
    fn every_pair_is_leased_before_any_comes_again() {
        let mut ports = ports(1, 0);
        let addresses = ["10.0.8.1".parse().unwrap(), "10.0.8.2".parse().unwrap()];
        let mut used = HashSet::new();
        for _ in 0..2 * u32::from(PortClass::SPAN) {
            let lease = ports.lease(BackendId(0), &addresses, to(), |lease| !used.contains(lease)).unwrap().0;
            assert!(lease.source_port() >= PortClass::FIRST);
            assert!(used.insert(lease));
        }
        assert!(ports.lease(BackendId(0), &addresses, to(), |lease| !used.contains(lease)).is_none());
    }

    #[test]
    fn a_port_that_was_freed_is_leased_again_after_all_others() {
        let mut ports = ports(1, 0);
        let address = ["10.0.8.1".parse().unwrap()];
        let mut lease = || ports.lease(BackendId(0), &address, to(), |_| true).unwrap().0.source_port();
        let first = lease();
        let others: HashSet<u16> = (1..PortClass::SPAN).map(|_| lease()).collect();
        assert_eq!(others.len(), usize::from(PortClass::SPAN) - 1);
        assert!(!others.contains(&first));
        assert_eq!(lease(), first);
    }

    #[test]
    fn a_full_local_address_leaves_the_others() {
        let mut ports = ports(1, 0);
        let addresses: Vec<_> = (1..=4).map(|n| std::net::IpAddr::from([10, 0, 8, n])).collect();
        let full = |lease: &FiveTuple<V4>| lease.source() != 0x0a00_0803;
        for _ in 0..1000 {
            let lease = ports.lease(BackendId(0), &addresses, to(), |lease| !full(lease)).unwrap().0;
            assert_eq!(lease.source(), 0x0a00_0803);
        }
    }

    #[test]
    fn a_run_of_leases_that_live_long_refuses_nobody() {
        for run in [100, 1_000, 10_000, 40_000] {
            let mut ports = ports(1, 0);
            let address = ["10.0.8.1".parse().unwrap()];
            let mut used = HashSet::new();
            for _ in 0..run {
                used.insert(ports.lease(BackendId(0), &address, to(), |_| true).unwrap().0);
            }
            // Short ones, all free again when the cursor comes back, three times over.
            for n in 0..3 * u32::from(PortClass::SPAN) {
                let lease = ports.lease(BackendId(0), &address, to(), |lease| !used.contains(lease));
                assert!(lease.is_some(), "lease {n} behind a run of {run}");
            }
        }
    }

    #[test]
    fn workers_lease_from_classes_that_do_not_meet_and_know_the_owner() {
        for workers in [2, 3, 7] {
            for worker in 0..workers {
                let mut ports = ports(workers, worker);
                let class = ports.class();
                for _ in 0..1000 {
                    let lease =
                        ports.lease(BackendId(0), &["10.0.8.1".parse().unwrap()], to(), |_| true).unwrap().0;
                    assert_eq!(class.owner(lease.source_port()), Some(WorkerId(worker)));
                }
            }
        }
        assert_eq!(PortClass::new(WorkerId(0), 3).owner(4095), None);
    }
}
