//! The kernel's routes and neighbours and the configuration's static next hops, and the [`Fib`] made of them. Pure.
//!
//! What decides: a neighbour is in the Fib once the kernel has resolved it, and stays there with its last MAC address
//! while the kernel has an entry for it at all. One that stops answering is for health checks to judge: they see
//! whether the backend serves, and a lost ARP reply must not cut its flows. Of the routes to a prefix the one with the
//! lowest metric over an interface of ours counts; a static next hop beats a route to the same prefix. The interfaces of
//! the others are noted, as packets may come by them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;

use super::messages::KernelRoute;
use super::messages::Links;
use super::messages::Neighbour;
use super::messages::Reach;
use super::next_hop_ids::Key;
use super::next_hop_ids::NextHopIds;
use crate::config::StaticNextHop;
use crate::model::Cidr;
use crate::model::Mac;
use crate::model::PortId;
use crate::model::VlanTag;
use crate::shared::Egress;
use crate::shared::Fib;
use crate::shared::NextHop;
use crate::shared::Route;

/// A neighbour to have resolved: interface index and address.
pub(super) type Asked = (u32, IpAddr);

/// All that a Fib is made of.
#[derive(Debug)]
pub struct Mirror {
    ports: Vec<Egress>,
    links: Links,
    neighbours: HashMap<Asked, Neighbour>,
    /// The best route to each prefix.
    routes: BTreeMap<Cidr, KernelRoute>,
    /// Interfaces of further routes to a prefix: of other ways, or of another metric. Packets may come by them.
    alternatives: BTreeSet<(Cidr, u32)>,
    /// Of all routes.
    gateways: BTreeSet<Asked>,
    statics: Vec<StaticNextHop>,
    ids: NextHopIds,
    /// Counts the Fibs whose routes differed from the one before.
    epoch: u16,
    /// What the last Fib was made of.
    last: Option<Content>,
}

#[derive(Debug, PartialEq, Eq)]
struct Content {
    next_hops: Vec<(Key, NextHop)>,
    routes: Vec<(Cidr, Route)>,
    alternatives: BTreeSet<(Cidr, PortId)>,
    statics: Vec<(Cidr, Key)>,
}

impl Mirror {
    /// Nothing, for these ports, by [`PortId`].
    #[must_use]
    pub fn new(ports: Vec<Egress>) -> Self {
        Self {
            ports,
            links: Links::default(),
            neighbours: HashMap::new(),
            routes: BTreeMap::new(),
            alternatives: BTreeSet::new(),
            gateways: BTreeSet::new(),
            statics: Vec::new(),
            ids: NextHopIds::new(Fib::MAX_NEXT_HOPS),
            epoch: 0,
            last: None,
        }
    }

    /// Replaces the static next hops.
    pub fn set_statics(&mut self, statics: Vec<StaticNextHop>) {
        self.statics = statics;
    }

    /// Replaces our interfaces.
    pub(super) fn set_links(&mut self, links: Links) {
        self.links = links;
    }

    /// Our interfaces.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// Replaces the kernel's neighbours.
    pub(super) fn set_neighbours(&mut self, neighbours: impl Iterator<Item = Neighbour>) {
        let links = &self.links;
        let ours = neighbours.filter(|neighbour| links.get(neighbour.index).is_some());
        self.neighbours = ours.map(|neighbour| ((neighbour.index, neighbour.address), neighbour)).collect();
    }

    /// Replaces the kernel's routes.
    pub(super) fn set_routes(&mut self, routes: impl Iterator<Item = KernelRoute>) {
        self.routes.clear();
        self.alternatives.clear();
        for route in routes {
            let best = self.routes.entry(route.prefix).or_insert(route);
            if route.index != best.index {
                self.alternatives.extend([best.index, route.index].map(|index| (route.prefix, index)));
            }
            if route.metric < best.metric {
                *best = route;
            }
        }
        self.gateways =
            self.routes.values().filter_map(|route| Some((route.index, route.gateway?))).collect();
    }

    /// The Fib, if it differs from the last one that was returned. Linear in everything.
    pub fn changed_fib(&mut self) -> Option<Fib> {
        let content = self.content();
        if self.last.as_ref() == Some(&content) {
            return None;
        }
        let ids = self.ids.assign(&content.next_hops);
        let numbered = std::iter::zip(&content.next_hops, ids).filter_map(|((key, _), id)| Some((*key, id?)));
        let numbered: HashMap<Key, _> = numbered.collect();
        if numbered.len() < content.next_hops.len() {
            tracing::warn!("next_hop_table_full next_hops={}", content.next_hops.len());
        }
        let same_ways = |last: &Content| last.routes == content.routes && last.statics == content.statics;
        if !self.last.as_ref().is_some_and(same_ways) {
            self.epoch = self.epoch.wrapping_add(1);
        }
        let mut fib = Fib::default();
        fib.epoch = self.epoch;
        fib.next_hops = self.ids.table();
        for (prefix, route) in &content.routes {
            fib.add_route(*prefix, *route);
        }
        for (prefix, port) in &content.alternatives {
            fib.add_alternative(*prefix, *port);
        }
        for (key, id) in &numbered {
            if let Key::Neighbour(port, vlan, address) = *key {
                fib.add_neighbour(port, vlan, address, *id);
            }
        }
        for (prefix, key) in &content.statics {
            if let Some(id) = numbered.get(key) {
                fib.add_static(*prefix, *id);
            }
        }
        self.last = Some(content);
        Some(fib)
    }

    fn content(&self) -> Content {
        let mut next_hops = BTreeMap::new();
        let mut statics = Vec::new();
        for hop in &self.statics {
            let vlan = hop.vlan.map_or(VlanTag::AsReceived, VlanTag::Id);
            let key = Key::Static(hop.port, vlan, hop.mac);
            next_hops.insert(order(key), (key, self.next_hop(hop.port, vlan, hop.mac)));
            statics.push((hop.prefix, key));
        }
        for neighbour in self.neighbours.values() {
            let Some(link) = self.links.get(neighbour.index) else { continue };
            let key = Key::Neighbour(link.port, link.vlan, neighbour.address);
            let mac = match neighbour.reach {
                Reach::Resolved(mac) | Reach::Fixed(mac) => Some(mac),
                Reach::Unresolved => self.ids.last_mac(key),
            };
            if let Some(mac) = mac {
                next_hops.insert(order(key), (key, self.next_hop(link.port, link.vlan, mac)));
            }
        }
        let route = |route: &KernelRoute| {
            let link = self.links.get(route.index)?;
            let route_to = Route { port: link.port, vlan: link.vlan, gateway: route.gateway };
            Some((route.prefix, route_to))
        };
        let routes = self.routes.values().filter_map(route).collect();
        let alternatives = self
            .alternatives
            .iter()
            .filter_map(|(prefix, index)| Some((*prefix, self.links.get(*index)?.port)));
        Content {
            next_hops: next_hops.into_values().collect(),
            routes,
            alternatives: alternatives.collect(),
            statics,
        }
    }

    fn next_hop(&self, port: PortId, vlan: VlanTag, destination: Mac) -> NextHop {
        NextHop::new(self.ports[port.index()], vlan, Some(destination))
    }

    /// The neighbours that packets to `addresses` go to, and every gateway, as far as the kernel does not keep them
    /// resolved by itself. At most [`MOST_ASKED`].
    pub(super) fn to_ask(&self, addresses: &[IpAddr]) -> BTreeSet<Asked> {
        let wanted = addresses.iter().filter_map(|address| self.way(*address));
        wanted
            .chain(self.gateways.iter().copied())
            .filter(|asked| self.needs_asking(asked))
            .take(MOST_ASKED)
            .collect()
    }

    fn needs_asking(&self, asked: &Asked) -> bool {
        // Asking for a permanent entry would make it an ordinary one (Linux, __neigh_update).
        self.neighbours.get(asked).is_none_or(|known| match known.reach {
            Reach::Fixed(_) => false,
            Reach::Resolved(_) | Reach::Unresolved => !known.managed,
        })
    }

    /// The neighbour that packets to `destination` go to, by longest prefix; `None` without a route, or if a static
    /// next hop says it.
    fn way(&self, destination: IpAddr) -> Option<Asked> {
        let longest = Cidr::host(destination).length();
        let prefixes = (0..=longest).rev().filter_map(|length| Cidr::new(destination, length));
        for prefix in prefixes {
            if self.statics.iter().any(|hop| hop.prefix == prefix) {
                return None;
            }
            if let Some(route) = self.routes.get(&prefix) {
                return Some((route.index, route.gateway.unwrap_or(destination)));
            }
        }
        None
    }
}

/// A fixed order of next hops, so that equal contents compare equal and numbers are given out reproducibly.
fn order(key: Key) -> (u16, u32, Option<IpAddr>, Mac) {
    let tag = |vlan| match vlan {
        VlanTag::Untagged => 0,
        VlanTag::Id(id) => u32::from(id),
        VlanTag::AsReceived => u32::MAX,
    };
    match key {
        Key::Static(port, vlan, mac) => (port.0, tag(vlan), None, mac),
        Key::Neighbour(port, vlan, address) => (port.0, tag(vlan), Some(address), Mac::default()),
    }
}

/// Neighbours kept resolved at most: twice the default of the kernel's table (gc_thresh3 is 1024), so that the
/// operator who raised that is served and a full routing table does no harm.
const MOST_ASKED: usize = 2048;

#[cfg(test)]
mod tests;
