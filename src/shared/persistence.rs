//! Which backend a client was sent to: shared by all workers, so that its next flow goes there wherever it arrives.
//!
//! A memory of fixed size: an entry is free for another client once its time is over, and new flows of its client start
//! that again. Where none is free, an entry of a client that has come once is replaced, the one whose time is over first:
//! a flood from invented sources replaces its own. Clients that have come again keep theirs. A client for which there is
//! no room is served as without persistence, and counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::ServiceBackend;
use super::limits::Applicant;
use super::prefix_table::{Claim, Name, Owner, PrefixTable};
use crate::hash::IndexKey;
use crate::model::{BackendId, Family, Nanos, PersistenceRules};

/// See the module.
pub struct Persistence {
    /// By value the name of the backend in the entry, by time when the entry is over; see [`CAME_AGAIN`].
    clients: PrefixTable,
    forgotten: AtomicU64,
}

/// The backend in an entry: its id; for a group, the number of its address. 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remembered(pub u32);

/// The numbers under which a service of a group knows its entries and its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceGroup {
    /// The group's number.
    pub number: u32,
    /// The numbers of the addresses of the service's backends, in the order of the backends. All services of the group know
    /// an address by the same one.
    pub addresses: Box<[Remembered]>,
}

/// The persistence of a service, with its backends by what entries call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentBackends {
    /// For whom and how long.
    pub rules: PersistenceRules,
    group: Option<u32>,
    /// With their positions, in the order of what entries call them.
    positions: Box<[(Remembered, u16)]>,
    /// What entries call them, in the order of the ids.
    names: Box<[(BackendId, Remembered)]>,
}

impl PersistentBackends {
    /// Persistence by `rules` on these backends; of a `group`, if the service is in one. No two backends of a service in a
    /// group are at one address.
    #[must_use]
    pub fn new(
        rules: PersistenceRules,
        backends: &[ServiceBackend],
        group: Option<&PersistenceGroup>,
    ) -> Self {
        let name = |(place, backend): (usize, &ServiceBackend)| match group {
            None => Some((backend.id, Remembered(backend.id.0))),
            Some(group) => group.addresses.get(place).map(|name| (backend.id, *name)),
        };
        let mut names: Box<[_]> = backends.iter().enumerate().filter_map(name).collect();
        let mut positions: Box<[_]> = names.iter().map(|(_, name)| *name).zip(0..).collect();
        positions.sort_unstable();
        names.sort_unstable();
        Self { rules, group: group.map(|group| group.number), positions, names }
    }

    /// The position of the backend that an entry names; `None` if the service does not have it, or not any more.
    #[must_use]
    pub fn position(&self, name: Remembered) -> Option<u16> {
        let place = self.positions.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        self.positions.get(place).map(|(_, position)| *position)
    }

    /// What entries call a backend of the service.
    #[must_use]
    pub fn name(&self, id: BackendId) -> Option<Remembered> {
        let place = self.names.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.names.get(place).map(|(_, name)| *name)
    }
}

/// What an entry is to say next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The backend that was found in it.
    pub found: Option<Remembered>,
    /// The backend that the client is sent to.
    pub to: Remembered,
}

/// Set in the nanoseconds at which an entry is over, once a second flow of its client has used it.
const CAME_AGAIN: u64 = 1;

/// Claims and exchanges that other workers may spoil: there are fewer than a thousand of them.
const TRIES: u32 = 1024;

impl Persistence {
    /// Nothing remembered, with room for `clients` client prefixes at a time.
    #[must_use]
    pub fn new(clients: usize, key: &IndexKey) -> Self {
        let key = key.derive(u64::from_be_bytes(*b"persist "));
        Self { clients: PrefixTable::new(clients, key), forgotten: AtomicU64::new(0) }
    }

    /// Memory that it takes for so many, in octets.
    #[must_use]
    pub const fn octets(clients: usize) -> usize {
        PrefixTable::octets(clients)
    }

    /// The backend that a client was sent to last, if its time is not over.
    #[must_use]
    pub fn find<F: Family>(
        &self,
        who: Applicant<F>,
        persistent: &PersistentBackends,
        now: Nanos,
    ) -> Option<Remembered> {
        let (place, backend) = self.clients.find(self.name(who, persistent))?;
        (end(self.clients.time(place).load(SeqCst)) > now.0).then_some(Remembered(backend))
    }

    /// Remembers that a client is sent to a backend, in place of what was found before. The backend that it must be sent
    /// to: another one if another worker has sent it there meanwhile.
    pub fn remember<F: Family>(
        &self,
        who: Applicant<F>,
        persistent: &PersistentBackends,
        Placement { found, to: backend }: Placement,
        now: Nanos,
    ) -> Remembered {
        let name = self.name(who, persistent);
        let until = (now + persistent.rules.timeout).0 & !CAME_AGAIN;
        // Entries of clients that came once, and are over by then, may be replaced, too.
        let mut replaceable = 0;
        for _ in 0..TRIES {
            let Some((place, value)) = self.clients.find(name) else {
                let entry = (backend.0, Some(until));
                let is_free = |_, until| end(until) <= now.0 || came_once(until) && until <= replaceable;
                match self.clients.claim(name, entry, who.worker, is_free) {
                    Claim::Made(_) => return backend,
                    Claim::Lost => continue,
                    Claim::Full => match self.clients.earliest(name, came_once) {
                        Some(earliest) if earliest > replaceable => replaceable = earliest,
                        _ => break,
                    },
                }
                continue;
            };
            let time = self.clients.time(place);
            if end(time.load(SeqCst)) <= now.0 {
                // Claimed anew, so that only one worker of those that come now says where to.
                self.clients.clear((place, name), value);
                continue;
            }
            if Some(Remembered(value)) != found && value != backend.0 {
                return Remembered(value);
            }
            if self.clients.exchange((place, name), value, backend.0) {
                time.store(until | CAME_AGAIN, SeqCst);
                return backend;
            }
        }
        self.forgotten.fetch_add(1, Relaxed);
        backend
    }

    fn name<F: Family>(&self, who: Applicant<F>, persistent: &PersistentBackends) -> Name {
        let owner = persistent.group.map_or(Owner::Service(who.service), Owner::Group);
        self.clients.name::<F>(owner, persistent.rules.prefix, who.client)
    }

    /// Client prefixes that are remembered at `now`, on the workers' clock. Looks at the whole table.
    #[must_use]
    pub fn clients(&self, now: Nanos) -> usize {
        self.clients.used(|_, until| end(until) > now.0)
    }

    /// Flows whose backend was not remembered, as there was no room.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }
}

/// When an entry is over, whether its client has come again or not.
const fn end(until: u64) -> u64 {
    until & !CAME_AGAIN
}

/// Whether an entry that is over at `until` was used by one flow alone.
const fn came_once(until: u64) -> bool {
    until & CAME_AGAIN == 0
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persistence").field("forgotten", &self.forgotten).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::model::{ClientPrefix, Endpoint, ServiceId, V4, WorkerId};

    const RULES: PersistenceRules =
        PersistenceRules { timeout: Nanos::from_secs(300), prefix: ClientPrefix { v4: 32, v6: 128 } };
    const NOW: Nanos = Nanos::from_secs(1_000);

    fn persistence(clients: usize) -> Persistence {
        Persistence::new(clients, &IndexKey::new([1, 2, 3, 4]))
    }

    fn persistent() -> PersistentBackends {
        PersistentBackends::new(RULES, &[], None)
    }

    const fn who(client: u32, worker: u16) -> Applicant<V4> {
        Applicant { service: ServiceId(1), client, worker: WorkerId(worker) }
    }

    #[test]
    fn a_client_is_remembered_for_its_time_from_its_last_flow() {
        let shared = persistence(16);
        assert_eq!(shared.find(who(7, 0), &persistent(), NOW), None);
        let remember = |found, backend, now| {
            shared.remember(who(7, 0), &persistent(), Placement { found, to: Remembered(backend) }, now)
        };
        assert_eq!(remember(None, 3, NOW), Remembered(3));
        let later = |secs| NOW + Nanos::from_secs(secs);
        assert_eq!(shared.find(who(7, 1), &persistent(), later(299)), Some(Remembered(3)));
        assert_eq!(shared.find(who(8, 1), &persistent(), later(299)), None);
        remember(Some(Remembered(3)), 3, later(299));
        assert_eq!(shared.find(who(7, 0), &persistent(), later(598)), Some(Remembered(3)));
        assert_eq!(shared.find(who(7, 0), &persistent(), later(599)), None);
        assert_eq!((shared.clients(later(598)), shared.clients(later(599))), (1, 0));
        assert_eq!(remember(None, 4, later(600)), Remembered(4), "what is over binds nobody");
        assert_eq!(remember(Some(Remembered(4)), 5, later(600)), Remembered(5), "chosen anew");
        assert_eq!(remember(None, 6, later(600)), Remembered(5), "another worker was first");
    }

    #[test]
    fn full_memory_replaces_clients_that_came_once_and_keeps_those_that_came_again() {
        let shared = persistence(1);
        let remember = |client, found: Option<u32>, second| {
            let found = found.map(Remembered);
            shared.remember(
                who(client, 0),
                &persistent(),
                Placement { found, to: Remembered(client) },
                NOW + Nanos::from_secs(second),
            );
        };
        let knows = |client, second| {
            shared.find(who(client, 0), &persistent(), NOW + Nanos::from_secs(second))
                == Some(Remembered(client))
        };
        for client in 0..8 {
            remember(client, None, u64::from(client));
        }
        for client in 0..3 {
            remember(client, Some(client), 8);
        }
        // A flood of clients that come once.
        for client in 100..1_100 {
            remember(client, None, 9);
        }
        assert!((0..3).all(|client| knows(client, 10)), "they came again");
        assert!((3..8).all(|client| !knows(client, 10)));
        assert!(knows(1_099, 10));
        assert_eq!((shared.clients(NOW + Nanos::from_secs(10)), shared.forgotten()), (8, 0));
    }

    #[test]
    fn memory_full_of_clients_that_came_again_forgets_new_ones_until_the_time_of_one_is_over() {
        let shared = persistence(1);
        let remember = |client, found, now| {
            shared.remember(who(client, 0), &persistent(), Placement { found, to: Remembered(client) }, now);
        };
        for client in 0..8 {
            remember(client, None, NOW);
            remember(client, Some(Remembered(client)), NOW);
        }
        for client in 8..20 {
            remember(client, None, NOW);
        }
        assert_eq!((shared.clients(NOW), shared.forgotten()), (8, 12));
        let later = NOW + Nanos::from_secs(301);
        remember(20, None, later);
        assert_eq!((shared.clients(later), shared.forgotten()), (1, 12));
    }

    #[test]
    fn services_of_a_group_share_the_entries_and_know_backends_by_their_addresses() {
        let backend = |id, address: [u8; 4]| ServiceBackend {
            id: BackendId(id),
            weight: 1,
            max_connections: 0,
            endpoint: Endpoint::new(address.into(), 80),
        };
        let group = |addresses: &[u32]| PersistenceGroup {
            number: 1,
            addresses: addresses.iter().map(|number| Remembered(*number)).collect(),
        };
        let one = [backend(10, [10, 0, 0, 1]), backend(11, [10, 0, 0, 2])];
        let one = PersistentBackends::new(RULES, &one, Some(&group(&[5, 4])));
        let other = [backend(20, [10, 0, 0, 2]), backend(21, [10, 0, 0, 3])];
        let other = PersistentBackends::new(RULES, &other, Some(&group(&[4, 6])));
        let shared = persistence(16);
        let to = one.name(BackendId(11)).unwrap();
        shared.remember(who(7, 0), &one, Placement { found: None, to }, NOW);
        let second = Applicant { service: ServiceId(2), ..who(7, 0) };
        let found = shared.find(second, &other, NOW).unwrap();
        assert_eq!((one.position(found), other.position(found)), (Some(1), Some(0)));
        assert_eq!(one.position(other.name(BackendId(21)).unwrap()), None, "the service does not have it");
        assert_eq!(shared.find(second, &persistent(), NOW), None, "a service outside the group");
    }

    #[test]
    fn threads_that_send_a_new_client_somewhere_at_once_agree() {
        const WORKERS: u16 = 4;
        let (shared, barrier) = (persistence(8192), Barrier::new(usize::from(WORKERS)));
        let chosen: Vec<Vec<Remembered>> = std::thread::scope(|scope| {
            let work = |worker: u16| {
                let (shared, barrier) = (&shared, &barrier);
                scope.spawn(move || {
                    let send = |client| {
                        barrier.wait();
                        let found = shared.find(who(client, worker), &persistent(), NOW);
                        found.unwrap_or_else(|| {
                            let mine = Remembered(worker.into());
                            shared.remember(
                                who(client, worker),
                                &persistent(),
                                Placement { found: None, to: mine },
                                NOW,
                            )
                        })
                    };
                    (0..2_000).map(send).collect()
                })
            };
            let threads: Vec<_> = (0..WORKERS).map(work).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(chosen.iter().all(|of_worker| *of_worker == chosen[0]));
        assert_eq!(shared.forgotten(), 0);
    }
}
