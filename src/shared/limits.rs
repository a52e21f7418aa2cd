//! What limits of services, backends and client prefixes have let in: shared by all workers, so that a limit is one
//! number and not one for each worker.
//!
//! Touched only when a flow begins or ends whose service or backend has a limit, or whose service goes to the least
//! loaded backend, which must be the least loaded of all workers. A count goes up by compare-and-swap and
//! never above its limit. A flow remembers what it was counted in ([`Holds`]) and gives just that back, whatever the
//! configuration is by then; so counts outlast every reload.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::prefix_table::{Claim, Place, PrefixTable};
use super::{Capacities, DropReason, rate};
use crate::hash::IndexKey;
use crate::model::{BackendId, Family, Nanos, ServiceId, ServiceLimits, WorkerId};

/// See the module.
pub struct Limits {
    services: Box<[Usage]>,
    backends: Box<[Usage]>,
    /// By value the connections of a client prefix, by time its rate.
    clients: PrefixTable,
    clients_unlimited: AtomicU64,
}

/// A cache line each: workers that change one must not slow down those that change its neighbour.
#[derive(Default)]
#[repr(align(64))]
struct Usage {
    connections: AtomicU32,
    full_at: AtomicU64,
}

/// What a flow is counted in, to be given back once when it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Its service's connections.
    pub service: bool,
    /// Its backend's connections.
    pub backend: bool,
    /// Its client prefix's connections: where these are counted.
    pub client: Option<ClientSlot>,
}

/// Where the connections of a client prefix are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSlot(pub u32);

/// Who asks for a place.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<F: Family> {
    /// At which service.
    pub service: ServiceId,
    /// Its address.
    pub client: F::Address,
    /// The worker that asks for it; each from one thread.
    pub worker: WorkerId,
}

/// Claims that other workers may spoil: there are fewer than a thousand of them.
const TRIES: u32 = 1024;

impl Limits {
    /// Nothing counted, with room for `clients` client prefixes at a time.
    #[must_use]
    pub fn new(capacities: Capacities, clients: usize, key: &IndexKey) -> Self {
        let usages = |count| (0..count).map(|_| Usage::default()).collect();
        Self {
            services: usages(capacities.services),
            backends: usages(capacities.backends),
            clients: PrefixTable::new(clients, key.derive(u64::from_be_bytes(*b"clients "))),
            clients_unlimited: AtomicU64::new(0),
        }
    }

    /// Memory that it takes for so much, in octets.
    #[must_use]
    pub const fn octets(capacities: Capacities, clients: usize) -> usize {
        (capacities.services + capacities.backends) * size_of::<Usage>() + PrefixTable::octets(clients)
    }

    /// Lets a connection in, if `limits` have room for it: first the client prefix's, so that one client that asks too
    /// much takes nothing from the others. What was let in and does not become a flow is to be
    /// [`withdraw`](Self::withdraw)n; for that moment it takes a place.
    ///
    /// A client prefix for which the table has no room is not held to its own limits, and counted: to refuse it would let
    /// anybody with many addresses shut out all others.
    ///
    /// # Errors
    /// The limit that has no room.
    pub fn admit<F: Family>(
        &self,
        who: Applicant<F>,
        limits: &ServiceLimits,
        now: Nanos,
    ) -> Result<Holds, DropReason> {
        let mut holds = Holds::default();
        let Some(usage) = self.services.get(who.service.index()) else { return Ok(holds) };
        let client = if limits.concern_clients() { self.pin(who, limits, now)? } else { None };
        let give_up = |reason| {
            if let Some(client) = client {
                self.return_client_rate(client, limits);
                self.clients.decrement(client);
            }
            Err(reason)
        };
        if limits.connections_per_second > 0
            && !rate::take(&usage.full_at, limits.connections_per_second, now)
        {
            return give_up(DropReason::ServiceRateLimit);
        }
        if limits.connections > 0 {
            if !take(&usage.connections, limits.connections) {
                if limits.connections_per_second > 0 {
                    rate::give_back(&usage.full_at, limits.connections_per_second);
                }
                return give_up(DropReason::ServiceLimit);
            }
            holds.service = true;
        }
        // Kept for flows whose service limits the rate alone, too: a slot in use keeps its rate.
        holds.client = client.map(|Place(slot)| ClientSlot(slot));
        Ok(holds)
    }

    /// A place among the connections of the client prefix and a token of its rate; `None` if it is not held to them.
    fn pin<F: Family>(
        &self,
        who: Applicant<F>,
        limits: &ServiceLimits,
        now: Nanos,
    ) -> Result<Option<Place>, DropReason> {
        let most = if limits.client_connections > 0 {
            limits.client_connections
        } else {
            ServiceLimits::MOST_OF_CLIENT
        };
        let is_idle = |connections, full_at| connections == 0 && rate::is_full(full_at, now);
        let Some(place) = self.count_client(who, limits, most, is_idle)? else {
            self.clients_unlimited.fetch_add(1, Relaxed);
            return Ok(None);
        };
        let per_second = limits.client_connections_per_second;
        if per_second > 0 && !rate::take(self.clients.time(place), per_second, now) {
            self.clients.decrement(place);
            return Err(DropReason::ClientRateLimit);
        }
        Ok(Some(place))
    }

    /// Adds one to the connections of a client prefix, if that is not more than `most`; `None` if there is no room for it.
    fn count_client<F: Family>(
        &self,
        who: Applicant<F>,
        limits: &ServiceLimits,
        most: u32,
        is_idle: impl Fn(u32, u64) -> bool,
    ) -> Result<Option<Place>, DropReason> {
        let name = self.clients.name::<F>(who.service, limits.client_prefix, who.client);
        for _ in 0..TRIES {
            if let Some((place, connections)) = self.clients.find(name) {
                if connections >= most {
                    return Err(DropReason::ClientLimit);
                }
                if self.clients.exchange((place, name), connections, connections + 1) {
                    return Ok(Some(place));
                }
                continue;
            }
            match self.clients.claim(name, (1, None), who.worker, &is_idle) {
                Claim::Made(place) => return Ok(Some(place)),
                Claim::Lost => {}
                Claim::Full => break,
            }
        }
        Ok(None)
    }

    /// Counts a connection that is there already where it is not counted yet, as limits came only now; whether that is more
    /// than they allow or not. `backend` is its backend if connections to that [are counted](super::ServiceTable::counts). What it is counted in from now on.
    pub fn adopt<F: Family>(
        &self,
        who: Applicant<F>,
        backend: Option<BackendId>,
        limits: &ServiceLimits,
        mut holds: Holds,
    ) -> Holds {
        if limits.connections > 0
            && !holds.service
            && let Some(usage) = self.services.get(who.service.index())
        {
            usage.connections.fetch_add(1, Relaxed);
            holds.service = true;
        }
        if !holds.backend
            && let Some(usage) = backend.and_then(|id| self.backends.get(id.index()))
        {
            usage.connections.fetch_add(1, Relaxed);
            holds.backend = true;
        }
        if limits.concern_clients() && holds.client.is_none() {
            // Slots that were never used alone: others may still hold a rate.
            let most = ServiceLimits::MOST_OF_CLIENT;
            let place = self.count_client(who, limits, most, |_, _| false).ok().flatten();
            holds.client = place.map(|Place(slot)| ClientSlot(slot));
        }
        holds
    }

    fn return_client_rate(&self, client: Place, limits: &ServiceLimits) {
        if limits.client_connections_per_second > 0 {
            rate::give_back(self.clients.time(client), limits.client_connections_per_second);
        }
    }

    /// Takes back what was let in under these limits and did not become a flow, tokens included.
    pub fn withdraw(
        &self,
        service: ServiceId,
        backend: Option<BackendId>,
        limits: &ServiceLimits,
        holds: Holds,
    ) {
        if let Some(usage) = self.services.get(service.index()).filter(|_| limits.connections_per_second > 0)
        {
            rate::give_back(&usage.full_at, limits.connections_per_second);
        }
        if let Some(ClientSlot(slot)) = holds.client {
            self.return_client_rate(Place(slot), limits);
        }
        self.release(service, backend, holds);
    }

    /// Gives back what a flow that is over was counted in.
    pub fn release(&self, service: ServiceId, backend: Option<BackendId>, holds: Holds) {
        if let Some(usage) = self.services.get(service.index()).filter(|_| holds.service) {
            usage.connections.fetch_sub(1, Relaxed);
        }
        if let Some(usage) = backend.and_then(|id| self.backends.get(id.index())).filter(|_| holds.backend) {
            usage.connections.fetch_sub(1, Relaxed);
        }
        if let Some(ClientSlot(slot)) = holds.client {
            self.clients.decrement(Place(slot));
        }
    }

    /// Whether a backend has room for another connection; 0 is no limit.
    #[must_use]
    pub fn has_room(&self, backend: BackendId, most: u32) -> bool {
        most == 0 || self.backend_connections(backend) < most
    }

    /// Takes a place on a backend that has `most`, 0 for any number; whether there was one.
    #[must_use]
    pub fn take_backend(&self, backend: BackendId, most: u32) -> bool {
        let most = if most == 0 { u32::MAX } else { most };
        self.backends.get(backend.index()).is_some_and(|usage| take(&usage.connections, most))
    }

    /// Connections of a service that count for its limit.
    #[must_use]
    pub fn service_connections(&self, id: ServiceId) -> u32 {
        self.services.get(id.index()).map_or(0, |usage| usage.connections.load(Relaxed))
    }

    /// Connections of a backend that count for its limit, or for its scheduler.
    #[must_use]
    pub fn backend_connections(&self, id: BackendId) -> u32 {
        self.backends.get(id.index()).map_or(0, |usage| usage.connections.load(Relaxed))
    }

    /// Client prefixes that have connections which count for a limit. Looks at the whole table.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.used(|connections, _| connections > 0)
    }

    /// Connections that were not held to the limits of their client prefix, as the table had no room.
    #[must_use]
    pub fn clients_unlimited(&self) -> u64 {
        self.clients_unlimited.load(Relaxed)
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("clients_unlimited", &self.clients_unlimited).finish_non_exhaustive()
    }
}

/// Adds one, if that is not more than `most`.
fn take(connections: &AtomicU32, most: u32) -> bool {
    connections.fetch_update(Relaxed, Relaxed, |n| (n < most).then(|| n + 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{ClientPrefix, V4};

    const SERVICE: ServiceId = ServiceId(3);
    const BACKEND: BackendId = BackendId(5);

    fn limits(clients: usize) -> Limits {
        let capacities = Capacities { services: 8, backends: 8 };
        Limits::new(capacities, clients, &IndexKey::new([1, 2, 3, 4]))
    }

    const fn applicant(client: u32, worker: u16) -> Applicant<V4> {
        Applicant { service: SERVICE, client, worker: WorkerId(worker) }
    }

    const NOW: Nanos = Nanos::from_secs(100);

    #[test]
    fn each_limit_refuses_with_its_own_reason_and_has_room_again_after_an_end() {
        let none = ServiceLimits::default();
        let all = [
            (ServiceLimits { connections: 2, ..none }, DropReason::ServiceLimit),
            (ServiceLimits { client_connections: 2, ..none }, DropReason::ClientLimit),
        ];
        for (of, reason) in all {
            let shared = limits(16);
            let admit = || shared.admit(applicant(7, 0), &of, NOW);
            let first = admit().unwrap();
            admit().unwrap();
            assert_eq!(admit(), Err(reason));
            shared.release(SERVICE, None, first);
            admit().unwrap();
            assert_eq!(admit(), Err(reason));
        }
        let all = [
            (ServiceLimits { connections_per_second: 2, ..none }, DropReason::ServiceRateLimit),
            (ServiceLimits { client_connections_per_second: 2, ..none }, DropReason::ClientRateLimit),
        ];
        for (of, reason) in all {
            let shared = limits(16);
            let admit = |now| shared.admit(applicant(7, 0), &of, now);
            let first = admit(NOW).unwrap();
            admit(NOW).unwrap();
            assert_eq!(admit(NOW), Err(reason));
            shared.withdraw(SERVICE, None, &of, first);
            admit(NOW).unwrap();
            assert_eq!(admit(NOW), Err(reason), "what was withdrawn can be used again, once");
            admit(NOW + Nanos::from_millis(500)).unwrap();
        }
    }

    #[test]
    fn what_one_limit_refuses_costs_nothing_at_the_others() {
        let of = ServiceLimits {
            connections: 1,
            connections_per_second: 2,
            client_connections_per_second: 2,
            ..ServiceLimits::default()
        };
        let shared = limits(16);
        let first = shared.admit(applicant(7, 0), &of, NOW).unwrap();
        for _ in 0..10 {
            assert_eq!(shared.admit(applicant(7, 0), &of, NOW), Err(DropReason::ServiceLimit));
        }
        shared.release(SERVICE, None, first);
        shared.admit(applicant(7, 0), &of, NOW).unwrap();
    }

    #[test]
    fn clients_of_one_prefix_share_a_limit_and_others_do_not() {
        let client_prefix = ClientPrefix { v4: 24, v6: 64 };
        let of = ServiceLimits { client_connections: 1, client_prefix, ..ServiceLimits::default() };
        let shared = limits(16);
        shared.admit(applicant(0x0a00_0001, 0), &of, NOW).unwrap();
        assert_eq!(shared.admit(applicant(0x0a00_00ff, 0), &of, NOW), Err(DropReason::ClientLimit));
        shared.admit(applicant(0x0a00_0100, 0), &of, NOW).unwrap();
        let other = Applicant { service: ServiceId(4), ..applicant(0x0a00_0001, 0) };
        shared.admit(other, &of, NOW).unwrap();
        assert_eq!(shared.clients(), 3);
    }

    #[test]
    fn a_full_table_of_clients_lets_further_ones_in_and_counts_them() {
        let of = ServiceLimits { client_connections: 1, ..ServiceLimits::default() };
        let shared = limits(1);
        let holds: Vec<_> = (0..20).map(|n| shared.admit(applicant(n, 0), &of, NOW).unwrap()).collect();
        assert_eq!((shared.clients(), shared.clients_unlimited()), (8, 12));
        holds.into_iter().for_each(|holds| shared.release(SERVICE, None, holds));
        assert_eq!(shared.clients(), 0);
        shared.admit(applicant(99, 0), &of, NOW).unwrap();
        assert_eq!(shared.clients_unlimited(), 12, "there is room again");
    }

    #[test]
    fn a_client_that_has_used_up_its_rate_keeps_its_slot_until_it_has_it_back() {
        let of = ServiceLimits { client_connections_per_second: 1, ..ServiceLimits::default() };
        let shared = limits(1);
        for n in 0..8 {
            let holds = shared.admit(applicant(n, 0), &of, NOW).unwrap();
            shared.release(SERVICE, None, holds);
        }
        shared.admit(applicant(8, 0), &of, NOW).unwrap();
        assert_eq!(shared.clients_unlimited(), 1);
        assert_eq!(shared.admit(applicant(0, 0), &of, NOW), Err(DropReason::ClientRateLimit));
        shared.admit(applicant(9, 0), &of, NOW + Nanos::from_secs(1)).unwrap();
        assert_eq!(shared.clients_unlimited(), 1);
    }

    #[test]
    fn threads_together_are_never_above_a_limit_and_end_at_zero() {
        const WORKERS: u16 = 4;
        let of = ServiceLimits { connections: 7, client_connections: 3, ..ServiceLimits::default() };
        let shared = limits(2);
        let (over, let_in) = (AtomicBool::new(false), AtomicU32::new(0));
        let by_client: [AtomicU32; 6] = Default::default();
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (shared, over, let_in, by_client) = (&shared, &over, &let_in, &by_client);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for n in 0..40_000_u32 {
                        let client = (n.wrapping_mul(2_654_435_761) >> 8) % 6;
                        if n % 3 != 2 {
                            let Ok(mut holds) = shared.admit(applicant(client, worker), &of, NOW) else {
                                continue;
                            };
                            holds.backend = shared.take_backend(BACKEND, 5);
                            // The test's own counts are taken after and given back before the real ones.
                            let now = let_in.fetch_add(1, Relaxed) + 1;
                            let of_client = by_client[client as usize].fetch_add(1, Relaxed) + 1;
                            let wrong = now > 7
                                || of_client > 3 && holds.client.is_some()
                                || shared.service_connections(SERVICE) > 7
                                || shared.backend_connections(BACKEND) > 5;
                            over.fetch_or(wrong, Relaxed);
                            held.push((client, holds));
                        } else if let Some((client, holds)) = held.pop() {
                            let_in.fetch_sub(1, Relaxed);
                            by_client[client as usize].fetch_sub(1, Relaxed);
                            shared.release(SERVICE, Some(BACKEND), holds);
                        }
                    }
                    for (client, holds) in held {
                        let_in.fetch_sub(1, Relaxed);
                        by_client[client as usize].fetch_sub(1, Relaxed);
                        shared.release(SERVICE, Some(BACKEND), holds);
                    }
                });
            }
        });
        assert!(!over.into_inner(), "a limit was exceeded");
        assert_eq!(shared.service_connections(SERVICE), 0);
        assert_eq!(shared.backend_connections(BACKEND), 0);
        assert_eq!(shared.clients(), 0);
        assert_eq!(shared.clients_unlimited(), 0, "six clients have room");
    }

    #[test]
    fn threads_together_get_no_more_than_the_rate() {
        let of = ServiceLimits { connections_per_second: 1_000, ..ServiceLimits::default() };
        let (shared, got) = (limits(2), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (shared, got) = (&shared, &got);
                scope.spawn(move || {
                    for step in 0..10_000 {
                        let now = NOW + Nanos(step * 100_000);
                        let admitted = shared.admit(applicant(1, worker), &of, now).is_ok();
                        got.fetch_add(u32::from(admitted), Relaxed);
                    }
                });
            }
        });
        let got = got.into_inner();
        assert!((1_000..=2_000).contains(&got), "{got} in a second, a bucket of 1000 before it");
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_connections_that_are_let_in(
            steps in prop::collection::vec((0..5_u32, any::<bool>()), 1..200),
            of_service in 0..6_u32, of_client in 0..4_u32,
        ) {
            let of = ServiceLimits { connections: of_service, client_connections: of_client, ..ServiceLimits::default() };
            let shared = limits(64);
            let mut held: Vec<(u32, Holds)> = Vec::new();
            for (client, begins) in steps {
                if begins {
                    let of_this = held.iter().filter(|(other, _)| *other == client).count();
                    let full = |limit: u32, n: usize| limit > 0 && n >= limit as usize;
                    let expected = if full(of_client, of_this) {
                        Err(DropReason::ClientLimit)
                    } else if full(of_service, held.len()) {
                        Err(DropReason::ServiceLimit)
                    } else {
                        Ok(())
                    };
                    let admitted = shared.admit(applicant(client, 0), &of, NOW);
                    prop_assert_eq!(admitted.map(|_| ()), expected);
                    held.extend(admitted.ok().map(|holds| (client, holds)));
                } else if let Some(place) = held.iter().position(|(other, _)| *other == client) {
                    let (_, holds) = held.swap_remove(place);
                    shared.release(SERVICE, None, holds);
                }
                let counted = if of_service > 0 { held.len() } else { 0 };
                prop_assert_eq!(shared.service_connections(SERVICE) as usize, counted);
            }
        }
    }
}
