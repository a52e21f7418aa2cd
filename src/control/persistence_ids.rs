//! The numbers by which workers know persistence groups and the addresses in them.
//!
//! A number stays while its group or address is configured, over all reloads, so that entries keep their meaning.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::PersistenceConfig;
use crate::config::ServiceConfig;
use crate::shared::PersistenceGroup;
use crate::shared::PersistentBackends;
use crate::shared::Remembered;
use crate::shared::ServiceBackend;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PersistenceIds {
    groups: Numbers<String>,
    addresses: Numbers<IpAddr>,
}

impl PersistenceIds {
    /// The persistence of a service with these backends.
    pub(super) fn persistent(
        &mut self,
        config: &PersistenceConfig,
        backends: &[ServiceBackend],
    ) -> PersistentBackends {
        let group = config.group.as_ref().map(|group| PersistenceGroup {
            number: self.groups.of(group),
            addresses: backends
                .iter()
                .map(|backend| Remembered(self.addresses.of(&backend.endpoint.address)))
                .collect(),
        });
        PersistentBackends::new(config.rules, backends, group.as_ref())
    }

    /// Frees the numbers of groups and addresses that none of these services has.
    pub(super) fn keep<'a>(&mut self, services: impl Iterator<Item = &'a ServiceConfig>) {
        let (mut groups, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for service in services {
            if let Some(PersistenceConfig { group: Some(group), .. }) = &service.persistence {
                groups.insert(group.clone());
                addresses.extend(service.backends.iter().map(|backend| backend.endpoint.address));
            }
        }
        self.groups.keep(&groups);
        self.addresses.keep(&addresses);
    }
}

#[derive(Debug)]
struct Numbers<K> {
    by_key: BTreeMap<K, u32>,
    used: BTreeSet<u32>,
    next: u32,
}

/// What an entry has room for: 24 bits.
const NUMBERS: u32 = 1 << 24;

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), used: BTreeSet::new(), next: 0 }
    }
}

impl<K: Ord + Clone> Numbers<K> {
    /// The number of `key`, a new one if it has none. A freed number comes last: entries may name it until they are over.
    fn of(&mut self, key: &K) -> u32 {
        if let Some(number) = self.by_key.get(key) {
            return *number;
        }
        // There are at most some thousand backends.
        while !self.used.insert(self.next) {
            self.next = (self.next + 1) % NUMBERS;
        }
        let number = self.next;
        self.next = (number + 1) % NUMBERS;
        self.by_key.insert(key.clone(), number);
        number
    }

    fn keep(&mut self, keys: &BTreeSet<K>) {
        self.by_key.retain(|key, _| keys.contains(key));
        self.used = self.by_key.values().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_stays_while_its_key_is_kept_and_is_not_given_out_again_soon() {
        let mut numbers = Numbers::default();
        assert_eq!(["a", "b", "a"].map(|key| numbers.of(&key)), [0, 1, 0]);
        numbers.keep(&BTreeSet::from(["b"]));
        assert_eq!(["b", "c", "a"].map(|key| numbers.of(&key)), [1, 2, 3]);
        numbers.next = NUMBERS - 1;
        assert_eq!(["d", "e"].map(|key| numbers.of(&key)), [NUMBERS - 1, 0], "round, past those in use");
        assert_eq!(numbers.of(&"f"), 4);
    }
}
