//! What limits of services, backends and client prefixes have let in: shared by all workers, so that a limit is one
//! number and not one for each worker.
//!
//! Touched only when a flow begins or ends whose service or backend has a limit, or whose service goes to the least
//! loaded backend, which must be the least loaded of all workers. A count goes up by compare-and-swap and
//! never above its limit. A flow remembers what it was counted in ([`Holds`]) and gives just that back, whatever the
//! configuration is by then; so counts outlast every reload.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::prefix_table::{Claim, Owner, Place, PrefixTable};
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
        let name = self.clients.name::<F>(Owner::Service(who.service), limits.client_prefix, who.client);
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
mod tests;
