//! Numbers for next hops. Flows keep them, so a number keeps its meaning.
//!
//! A number belongs to its key for as long as there is room: a next hop that disappears keeps its number and its last
//! MAC address, because flows that hold it go on. Only when every number is in use are those without a next hop given
//! to new ones, the longest gone first.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::model::Mac;
use crate::model::NextHopId;
use crate::model::PortId;
use crate::model::VlanTag;
use crate::shared::NextHop;

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A neighbour of the kernel's.
    Neighbour(PortId, VlanTag, IpAddr),
    /// A next hop of the configuration, shared by all prefixes that use it.
    Static(PortId, VlanTag, Mac),
}

#[derive(Debug)]
struct Entry {
    key: Key,
    next_hop: NextHop,
    /// The last round in which it existed.
    seen: u64,
}

/// All numbers given out.
#[derive(Debug)]
pub(super) struct NextHopIds {
    entries: Vec<Entry>,
    by_key: HashMap<Key, NextHopId>,
    round: u64,
    capacity: u16,
}

impl NextHopIds {
    /// Numbers from 0 to `capacity` - 1.
    pub(super) fn new(capacity: u16) -> Self {
        Self { entries: Vec::new(), by_key: HashMap::new(), round: 0, capacity }
    }

    /// The last MAC address of a next hop that exists or existed.
    pub(super) fn last_mac(&self, key: Key) -> Option<Mac> {
        self.by_key.get(&key).and_then(|id| self.entries[id.index()].next_hop.destination())
    }

    /// Declares which next hops exist now; the number of each, `None` for those that found no room. Linear.
    pub(super) fn assign(&mut self, wanted: &[(Key, NextHop)]) -> Vec<Option<NextHopId>> {
        self.round += 1;
        // Known ones first, so that none of them counts as gone when room is sought for the others.
        for (key, next_hop) in wanted {
            if let Some(id) = self.by_key.get(key) {
                self.entries[id.index()] = Entry { key: *key, next_hop: *next_hop, seen: self.round };
            }
        }
        let mut gone: Option<Vec<NextHopId>> = None;
        let mut number = |(key, next_hop): &(Key, NextHop)| {
            if let Some(id) = self.by_key.get(key) {
                return Some(*id);
            }
            let entry = Entry { key: *key, next_hop: *next_hop, seen: self.round };
            let id = match u16::try_from(self.entries.len()) {
                Ok(next) if next < self.capacity => {
                    self.entries.push(entry);
                    NextHopId(next)
                }
                _ => {
                    let gone = gone.get_or_insert_with(|| longest_gone_last(&self.entries, self.round));
                    let id = gone.pop()?;
                    let before = std::mem::replace(&mut self.entries[id.index()], entry);
                    self.by_key.remove(&before.key);
                    id
                }
            };
            self.by_key.insert(*key, id);
            Some(id)
        };
        wanted.iter().map(&mut number).collect()
    }

    /// Every next hop by number, those that are gone with what they were last.
    pub(super) fn table(&self) -> Vec<NextHop> {
        self.entries.iter().map(|entry| entry.next_hop).collect()
    }
}

fn longest_gone_last(entries: &[Entry], round: u64) -> Vec<NextHopId> {
    let ids = (0..=u16::MAX).map(NextHopId);
    let mut gone: Vec<(u64, NextHopId)> = std::iter::zip(entries, ids)
        .filter(|(entry, _)| entry.seen < round)
        .map(|(entry, id)| (entry.seen, id))
        .collect();
    gone.sort_unstable_by(|a, b| b.cmp(a));
    gone.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Egress;

    fn hop(n: u8) -> (Key, NextHop) {
        let (port, vlan) = (PortId(0), VlanTag::Untagged);
        let destination = Some(Mac([2, 0, 0, 0, 0, n]));
        let next_hop = NextHop::new(Egress { port, mac: Mac::default(), mtu: 1500 }, vlan, destination);
        (Key::Neighbour(port, vlan, [10, 0, 0, n].into()), next_hop)
    }

    fn ids(numbers: &[u16]) -> Vec<Option<NextHopId>> {
        numbers.iter().map(|n| Some(NextHopId(*n))).collect()
    }

    #[test]
    fn a_neighbour_keeps_its_number_while_it_is_gone_and_gets_it_back() {
        let mut table = NextHopIds::new(10);
        assert_eq!(table.assign(&[hop(1), hop(2)]), ids(&[0, 1]));
        assert_eq!(table.assign(&[hop(2), hop(3)]), ids(&[1, 2]));
        assert_eq!(table.table()[0].destination(), hop(1).1.destination(), "flows that hold it go on");
        assert_eq!(table.assign(&[hop(3), hop(1), hop(2)]), ids(&[2, 0, 1]));
    }

    #[test]
    fn a_full_table_reuses_the_longest_gone_and_never_one_in_use() {
        let mut table = NextHopIds::new(3);
        table.assign(&[hop(1), hop(2), hop(3)]);
        table.assign(&[hop(1), hop(3)]);
        table.assign(&[hop(1)]);
        assert_eq!(table.assign(&[hop(4), hop(1)]), ids(&[1, 0]), "2 has been gone for longer than 3");
        let full = table.assign(&[hop(5), hop(1), hop(4), hop(6)]);
        assert_eq!(full, [Some(NextHopId(2)), Some(NextHopId(0)), Some(NextHopId(1)), None]);
        assert_eq!(table.last_mac(hop(2).0), None);
        assert_eq!(table.last_mac(hop(5).0), hop(5).1.destination());
    }
}
