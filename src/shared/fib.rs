//! Next hops: where frames leave, and with which MAC addresses.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::BitAnd;

use crate::hash::AddressHash;
use crate::model::{Cidr, Mac, NextHopId, PortId, VlanTag};

/// A port, as what leaves by it has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Egress {
    /// Which one.
    pub port: PortId,
    /// Its MAC address.
    pub mac: Mac,
    /// Largest IP packet it sends, in octets.
    pub mtu: u16,
}

/// The link-layer half of a rewritten frame. Of half a cache line, so that it lies in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(align(32))]
pub struct NextHop {
    /// The neighbour's address, zero while it is not resolved, and the port's, as a frame begins with them.
    addresses: [u8; 12],
    resolved: bool,
    /// Resolved, and untagged frames leave as they are.
    plain: bool,
    /// The port to leave by.
    pub port: PortId,
    /// The tag to leave with.
    pub vlan: VlanTag,
    /// Largest IP packet, in octets.
    pub mtu: u16,
}

impl NextHop {
    /// The neighbour with the MAC address `destination` (`None` while it is not resolved) behind `egress`.
    #[must_use]
    pub fn new(egress: Egress, vlan: VlanTag, destination: Option<Mac>) -> Self {
        let [Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5])] =
            [destination.unwrap_or_default(), egress.mac];
        Self {
            addresses: [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5],
            resolved: destination.is_some(),
            plain: destination.is_some() && !matches!(vlan, VlanTag::Id(_)),
            port: egress.port,
            vlan,
            mtu: egress.mtu,
        }
    }

    /// What a frame to it begins with; `None` while it is not resolved.
    #[must_use]
    #[inline(always)]
    pub const fn addresses(&self) -> Option<&[u8; 12]> {
        if self.resolved { Some(&self.addresses) } else { None }
    }

    /// [`addresses`](Self::addresses) for a frame without a tag that is to leave without one; `None` if it needs one, too.
    #[must_use]
    #[inline(always)]
    pub const fn plain_addresses(&self) -> Option<&[u8; 12]> {
        if self.plain { Some(&self.addresses) } else { None }
    }

    /// Its MAC address; `None` while it is not resolved.
    #[must_use]
    pub fn destination(&self) -> Option<Mac> {
        self.addresses()?.first_chunk().copied().map(Mac)
    }
}

/// A way to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The port that leads there.
    pub port: PortId,
    /// The tag of the network the route leads over.
    pub vlan: VlanTag,
    /// The router to hand packets to; `None`: destinations are on the link.
    pub gateway: Option<IpAddr>,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This entry (which may be waiting for its MAC address).
    NextHop(NextHopId),
    /// A neighbour on the link of this route that the kernel has not resolved.
    OnLink(Route),
    /// A gateway that the kernel has not resolved.
    Unresolved,
    /// Nothing leads there.
    NoRoute,
}

/// How packets from an address reach a port, if they take a route to that address backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// No route to the address uses the port.
    None,
    /// By a router, or by a static next hop.
    Routed,
    /// Over the port's link, from the neighbour with this MAC address; `None`: not known.
    OnLink(Option<Mac>),
}

/// The forwarding table: the kernel's routes and neighbours and the configuration's static next hops, as one
/// immutable value. Looked up once per flow and direction; flows keep ids, and an id means the same neighbour until
/// its last flow is gone.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    /// By [`NextHopId`]; at most [`Fib::MAX_NEXT_HOPS`].
    pub next_hops: Vec<NextHop>,
    /// Differs from the last publication's if a route or the next hop of an address changed, so that flows look theirs
    /// up again. A neighbour's new MAC address needs no new epoch.
    pub epoch: u16,
    v4: Routes<u32>,
    v6: Routes<u128>,
    neighbours: HashMap<(PortId, VlanTag, IpAddr), NextHopId, AddressHash>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Static(NextHopId, PortSet),
    Route(Route, PortSet),
}

/// The ports of all routes to a prefix. Of ports from 64 on none is a member.
#[derive(Clone, Copy, Debug)]
struct PortSet(u64);

impl PortSet {
    fn of(port: PortId) -> Self {
        Self(1_u64.checked_shl(port.0.into()).unwrap_or(0))
    }

    fn contains(self, port: PortId) -> bool {
        self.0 & Self::of(port).0 != 0
    }
}

/// The routes of a family.
#[derive(Clone, Debug, Default)]
struct Routes<A> {
    /// By falling prefix length; per length, its mask, and a map from prefix.
    lengths: Vec<(A, HashMap<A, Target, AddressHash>)>,
    /// That of the length 0, which most clients take.
    default: Option<Target>,
}

impl<A: Copy + Default + Ord + Hash + BitAnd<Output = A>> Routes<A> {
    fn insert(&mut self, (prefix, mask): (A, A), target: Target) {
        if mask == A::default() {
            self.default = Some(target);
            return;
        }
        // Falling length, and so falling masks, so that the first match is the longest.
        let place = self.lengths.binary_search_by(|(known, _)| mask.cmp(known));
        let place = place.unwrap_or_else(|place| {
            self.lengths.insert(place, (mask, HashMap::default()));
            place
        });
        self.lengths[place].1.insert(prefix & mask, target);
    }

    fn get_mut(&mut self, (prefix, mask): (A, A)) -> Option<&mut Target> {
        if mask == A::default() {
            return self.default.as_mut();
        }
        let place = self.lengths.binary_search_by(|(known, _)| mask.cmp(known)).ok()?;
        self.lengths[place].1.get_mut(&(prefix & mask))
    }

    #[inline]
    fn find(&self, destination: A) -> Option<&Target> {
        let longest = self.lengths.iter().find_map(|(mask, map)| map.get(&(destination & *mask)));
        longest.or(self.default.as_ref())
    }
}

impl Fib {
    /// Ids from here on are the workers' own, for clients that the kernel has not resolved.
    pub const MAX_NEXT_HOPS: u16 = 0x4000;

    /// The entry with this id.
    #[must_use]
    pub fn next_hop(&self, id: NextHopId) -> Option<&NextHop> {
        self.next_hops.get(id.index())
    }

    /// Adds or replaces the route to `prefix`.
    pub fn add_route(&mut self, prefix: Cidr, route: Route) {
        self.insert(prefix, Target::Route(route, PortSet::of(route.port)));
    }

    /// Notes that the route to `prefix` has an alternative by `port`: packets leave by the route's own port, but may come
    /// by either. Without a route to the prefix nothing is noted.
    pub fn add_alternative(&mut self, prefix: Cidr, port: PortId) {
        if let Some(Target::Route(_, ports)) = self.get_mut(prefix) {
            ports.0 |= PortSet::of(port).0;
        }
    }

    /// Sends everything for `prefix` to one next hop, without asking for neighbours. Of several calls for a prefix the last
    /// one counts, but packets may come by the ports of all of them.
    pub fn add_static(&mut self, prefix: Cidr, next_hop: NextHopId) {
        let port = self.next_hop(next_hop).map_or(PortSet(0), |hop| PortSet::of(hop.port));
        let others = match self.get_mut(prefix) {
            Some(Target::Static(_, ports)) => *ports,
            Some(Target::Route(..)) | None => PortSet(0),
        };
        self.insert(prefix, Target::Static(next_hop, PortSet(port.0 | others.0)));
    }

    /// Says which entry of `next_hops` a neighbour is.
    pub fn add_neighbour(&mut self, port: PortId, vlan: VlanTag, address: IpAddr, next_hop: NextHopId) {
        self.neighbours.insert((port, vlan, address), next_hop);
    }

    fn get_mut(&mut self, prefix: Cidr) -> Option<&mut Target> {
        match prefix.address() {
            IpAddr::V4(address) => self.v4.get_mut((address.to_bits(), mask_v4(prefix))),
            IpAddr::V6(address) => self.v6.get_mut((address.to_bits(), mask_v6(prefix))),
        }
    }

    fn insert(&mut self, prefix: Cidr, target: Target) {
        match prefix.address() {
            IpAddr::V4(address) => self.v4.insert((address.to_bits(), mask_v4(prefix)), target),
            IpAddr::V6(address) => self.v6.insert((address.to_bits(), mask_v6(prefix)), target),
        }
    }

    /// The way to `destination` by longest prefix. Linear in the number of distinct prefix lengths.
    #[must_use]
    #[inline]
    pub fn resolve(&self, destination: IpAddr) -> Resolution {
        match self.find(destination) {
            None => Resolution::NoRoute,
            Some(Target::Static(id, _)) => Resolution::NextHop(*id),
            Some(Target::Route(route, _)) => self.neighbour(route, destination),
        }
    }

    #[inline]
    fn find(&self, destination: IpAddr) -> Option<&Target> {
        match destination {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }

    /// How packets from `source` come to `port`, by longest prefix (RFC 3704, section 2.2). Costs as much as
    /// [`resolve`](Self::resolve).
    #[must_use]
    pub fn reverse_path(&self, source: IpAddr, port: PortId) -> ReversePath {
        match self.find(source) {
            Some(Target::Static(_, ports)) if ports.contains(port) => ReversePath::Routed,
            Some(Target::Route(Route { gateway: Some(_), .. }, ports)) if ports.contains(port) => {
                ReversePath::Routed
            }
            Some(Target::Route(route, ports)) if ports.contains(port) => {
                let id = self.neighbours.get(&(port, route.vlan, source));
                ReversePath::OnLink(id.and_then(|id| self.next_hop(*id)?.destination()))
            }
            Some(Target::Static(..) | Target::Route(..)) | None => ReversePath::None,
        }
    }

    /// Whom a packet to `destination` is given that takes this route.
    fn neighbour(&self, route: &Route, destination: IpAddr) -> Resolution {
        let neighbour = route.gateway.unwrap_or(destination);
        match self.neighbours.get(&(route.port, route.vlan, neighbour)) {
            Some(id) => Resolution::NextHop(*id),
            None if route.gateway.is_some() => Resolution::Unresolved,
            None => Resolution::OnLink(*route),
        }
    }
}

fn mask_v4(prefix: Cidr) -> u32 {
    u32::MAX.checked_shl(u32::BITS.saturating_sub(prefix.length().into())).unwrap_or(0)
}

fn mask_v6(prefix: Cidr) -> u128 {
    u128::MAX.checked_shl(u128::BITS.saturating_sub(prefix.length().into())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_families_do_not_mix() {
        let mut fib = Fib::default();
        let on = |port| Route { port: PortId(port), vlan: VlanTag::Untagged, gateway: None };
        fib.add_route("0.0.0.0/0".parse().unwrap(), on(1));
        fib.add_route("10.0.0.0/8".parse().unwrap(), on(2));
        fib.add_route("10.1.0.0/16".parse().unwrap(), on(3));
        fib.add_route("fd00::/8".parse().unwrap(), on(4));
        for (address, expected) in [
            ("192.0.2.1", Resolution::OnLink(on(1))),
            ("10.2.0.1", Resolution::OnLink(on(2))),
            ("10.1.0.1", Resolution::OnLink(on(3))),
            ("fd00::1", Resolution::OnLink(on(4))),
            ("2001:db8::1", Resolution::NoRoute),
        ] {
            assert_eq!(fib.resolve(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_route_over_a_gateway_takes_the_gateways_next_hop() {
        let mut fib = Fib::default();
        let gateway = "10.0.0.1".parse().unwrap();
        let route = Route { port: PortId(0), vlan: VlanTag::Untagged, gateway: Some(gateway) };
        fib.add_route("0.0.0.0/0".parse().unwrap(), route);
        assert_eq!(fib.resolve("192.0.2.1".parse().unwrap()), Resolution::Unresolved);
        fib.add_neighbour(PortId(0), VlanTag::Untagged, gateway, NextHopId(7));
        assert_eq!(fib.resolve("192.0.2.1".parse().unwrap()), Resolution::NextHop(NextHopId(7)));
    }

    #[test]
    fn packets_from_an_address_come_by_the_ports_of_its_routes() {
        let mut fib = Fib::default();
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let egress = |port| Egress { port: PortId(port), mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 };
        fib.next_hops = vec![
            NextHop::new(egress(1), VlanTag::Untagged, Some(mac)),
            NextHop::new(egress(2), VlanTag::AsReceived, Some(mac)),
        ];
        let route = |port, gateway| Route { port: PortId(port), vlan: VlanTag::Untagged, gateway };
        let [link, routed] = ["10.0.9.0/24", "10.1.0.0/16"].map(|prefix| prefix.parse().unwrap());
        fib.add_route(link, route(1, None));
        fib.add_route(routed, route(1, Some("10.0.9.254".parse().unwrap())));
        fib.add_alternative(routed, PortId(3));
        fib.add_alternative("10.2.0.0/16".parse().unwrap(), PortId(3));
        fib.add_neighbour(PortId(1), VlanTag::Untagged, "10.0.9.1".parse().unwrap(), NextHopId(0));
        fib.add_static("fd00::/8".parse().unwrap(), NextHopId(1));
        for (source, port, expected) in [
            ("10.0.9.1", 1, ReversePath::OnLink(Some(mac))),
            ("10.0.9.2", 1, ReversePath::OnLink(None)),
            ("10.0.9.1", 0, ReversePath::None),
            ("10.1.0.1", 1, ReversePath::Routed),
            ("10.1.0.1", 3, ReversePath::Routed),
            ("10.1.0.1", 2, ReversePath::None),
            ("10.2.0.1", 3, ReversePath::None),
            ("fd00::1", 2, ReversePath::Routed),
            ("fd00::1", 1, ReversePath::None),
            ("192.0.2.1", 1, ReversePath::None),
            ("10.1.0.1", 64, ReversePath::None),
        ] {
            let path = fib.reverse_path(source.parse().unwrap(), PortId(port));
            assert_eq!(path, expected, "{source} by port {port}");
        }
    }

    proptest! {
        #[test]
        fn of_any_routes_the_longest_that_fits_is_found(
            routes in prop::collection::vec((any::<u128>(), 0..=128_u8, any::<bool>()), 0..12),
            wanted: u128,
            shared in 0..=128_u32,
        ) {
            let mut fib = Fib::default();
            let address = |bits: u128, v4: bool| -> IpAddr {
                if v4 { std::net::Ipv4Addr::from_bits((bits >> 96) as u32).into() } else { std::net::Ipv6Addr::from_bits(bits).into() }
            };
            let mut known = std::collections::BTreeMap::new();
            for (number, (bits, length, v4)) in (0..).zip(routes) {
                // Most agree with what is looked for in their first bits.
                let kept = u128::MAX.checked_shl(128 - shared).unwrap_or(0);
                let bits = wanted & kept | bits & !kept;
                let prefix = Cidr::new(address(bits, v4), if v4 { length / 4 } else { length }).unwrap();
                fib.add_static(prefix, NextHopId(number));
                known.insert((v4, prefix.length(), prefix.address()), NextHopId(number));
            }
            for v4 in [false, true] {
                let wanted = address(wanted, v4);
                let fits = known.iter().rev().find(|((of_v4, length, prefix), _)| {
                    *of_v4 == v4 && Cidr::new(wanted, *length).unwrap().address() == *prefix
                });
                let expected = fits.map_or(Resolution::NoRoute, |(_, id)| Resolution::NextHop(*id));
                prop_assert_eq!(fib.resolve(wanted), expected);
            }
        }
    }
}
