use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::LinkAttribute;

use super::*;
use crate::control::kernel_port::KernelSide;
use crate::model::NextHopId;
use crate::shared::{Egress, Resolution, ReversePath};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const BACKEND: Mac = Mac([2, 0, 0, 0, 0, 3]);

fn egress(port: u16, mac: Mac) -> Egress {
    Egress { port: PortId(port), mac, mtu: 1500 }
}

/// A mirror with the interface 5, of port 0.
fn mirror() -> Mirror {
    let side = KernelSide {
        port: PortId(0),
        interface: "ek0".to_owned(),
        mac: OURS,
        mtu: 1500,
        addresses: Vec::new(),
    };
    let mut link = LinkUnspec::new_with_index(5).build();
    link.attributes.push(LinkAttribute::IfName("ek0".to_owned()));
    let mut mirror = Mirror::new(vec![egress(0, OURS), egress(1, Mac([2, 0, 0, 0, 0, 0xff]))]);
    mirror.set_links(Links::read(&[link], &[side]));
    mirror
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn neighbour(address: &str, reach: Reach) -> Neighbour {
    Neighbour { index: 5, address: ip(address), reach, managed: false }
}

fn route(prefix: &str, gateway: Option<&str>, metric: u32) -> KernelRoute {
    KernelRoute { prefix: prefix.parse().unwrap(), metric, index: 5, gateway: gateway.map(ip) }
}

fn on_link() -> Route {
    Route { port: PortId(0), vlan: VlanTag::Untagged, gateway: None }
}

/// Where the Fib sends packets to `address`.
fn leads(fib: &Fib, address: &str) -> Option<Mac> {
    match fib.resolve(ip(address)) {
        Resolution::NextHop(id) => fib.next_hops[id.index()].destination(),
        Resolution::OnLink(_) | Resolution::Unresolved | Resolution::NoRoute => None,
    }
}

#[test]
fn routes_and_neighbours_become_next_hops() {
    let mut mirror = mirror();
    mirror.set_routes([route("10.0.9.0/24", None, 0), route("0.0.0.0/0", Some("10.0.9.254"), 0)].into_iter());
    mirror.set_neighbours(
        [
            neighbour("10.0.9.254", Reach::Resolved(ROUTER)),
            neighbour("10.0.9.1", Reach::Fixed(BACKEND)),
            neighbour("10.0.9.2", Reach::Unresolved),
            Neighbour { index: 77, ..neighbour("10.0.9.3", Reach::Resolved(BACKEND)) },
        ]
        .into_iter(),
    );
    let fib = mirror.changed_fib().unwrap();
    assert_eq!(leads(&fib, "192.0.2.7"), Some(ROUTER));
    assert_eq!(leads(&fib, "10.0.9.1"), Some(BACKEND));
    assert_eq!(fib.resolve(ip("10.0.9.2")), Resolution::OnLink(on_link()), "not resolved yet");
    assert_eq!(fib.resolve(ip("10.0.9.3")), Resolution::OnLink(on_link()), "of another interface");
    assert!(fib.next_hops.iter().all(|hop| hop.addresses().unwrap()[6..] == OURS.0));
    assert!(mirror.changed_fib().is_none(), "nothing changed");
}

#[test]
fn the_lowest_metric_wins_in_any_order() {
    for order in [[(10, "10.0.9.1"), (20, "10.0.9.2")], [(20, "10.0.9.2"), (10, "10.0.9.1")]] {
        let mut mirror = mirror();
        mirror.set_routes(order.map(|(metric, via)| route("0.0.0.0/0", Some(via), metric)).into_iter());
        assert_eq!(mirror.way(ip("192.0.2.1")), Some((5, ip("10.0.9.1"))));
    }
}

#[test]
fn packets_may_come_by_the_interfaces_of_all_routes_to_a_prefix() {
    let mut mirror = mirror();
    let mut links = Vec::new();
    let mut sides = Vec::new();
    for (port, index, interface) in [(0, 5, "ek0"), (1, 6, "ek1"), (2, 7, "ek2")] {
        let mut link = LinkUnspec::new_with_index(index).build();
        link.attributes.push(LinkAttribute::IfName(interface.to_owned()));
        links.push(link);
        let (interface, addresses) = (interface.to_owned(), Vec::new());
        sides.push(KernelSide { port: PortId(port), interface, mac: OURS, mtu: 1500, addresses });
    }
    mirror.set_links(Links::read(&links, &sides));
    let by = |index, metric| KernelRoute { index, ..route("10.1.0.0/16", Some("10.0.9.254"), metric) };
    for order in [[by(5, 10), by(6, 10)], [by(6, 20), by(5, 10)], [by(5, 10), by(6, 20)]] {
        mirror.set_routes(order.into_iter());
        let fib = mirror.content();
        assert_eq!(fib.routes[0].1.port, PortId(0));
        assert_eq!(fib.alternatives.iter().map(|(_, port)| port.0).collect::<Vec<_>>(), [0, 1]);
    }
    let fib = mirror.changed_fib().unwrap();
    let reaches = |port| fib.reverse_path(ip("10.1.2.3"), PortId(port)) == ReversePath::Routed;
    assert_eq!([0, 1, 2].map(reaches), [true, true, false]);
    mirror.set_routes([by(5, 10)].into_iter());
    let fib = mirror.changed_fib().unwrap();
    assert_eq!(fib.reverse_path(ip("10.1.2.3"), PortId(1)), ReversePath::None);
}

#[test]
fn a_neighbour_that_stops_answering_keeps_its_mac_until_the_kernel_forgets_it() {
    let mut mirror = mirror();
    mirror.set_routes([route("10.0.9.0/24", None, 0)].into_iter());
    mirror.set_neighbours([neighbour("10.0.9.1", Reach::Resolved(BACKEND))].into_iter());
    let id = mirror.changed_fib().unwrap().resolve(ip("10.0.9.1"));
    assert_eq!(id, Resolution::NextHop(NextHopId(0)));

    mirror.set_neighbours([neighbour("10.0.9.1", Reach::Unresolved)].into_iter());
    assert!(mirror.changed_fib().is_none());

    mirror.set_neighbours(std::iter::empty());
    let fib = mirror.changed_fib().unwrap();
    assert_eq!(fib.resolve(ip("10.0.9.1")), Resolution::OnLink(on_link()));
    assert_eq!(fib.next_hops[0].destination(), Some(BACKEND), "flows that hold the number go on");

    mirror.set_neighbours([neighbour("10.0.9.1", Reach::Resolved(ROUTER))].into_iter());
    let fib = mirror.changed_fib().unwrap();
    assert_eq!(fib.resolve(ip("10.0.9.1")), id, "the same number again");
    assert_eq!(fib.next_hops[0].destination(), Some(ROUTER));
}

#[test]
fn static_next_hops_need_no_kernel_and_beat_a_route_to_the_same_prefix() {
    let mut mirror = mirror();
    let hop = |prefix: &str, port, vlan| StaticNextHop {
        prefix: prefix.parse().unwrap(),
        port: PortId(port),
        mac: BACKEND,
        vlan,
    };
    mirror.set_statics(vec![
        hop("10.0.9.0/24", 1, None),
        hop("fd00::/8", 1, Some(7)),
        hop("10.0.8.0/24", 1, None),
    ]);
    mirror.set_routes([route("10.0.9.0/24", None, 0), route("10.0.9.64/26", None, 0)].into_iter());
    let fib = mirror.changed_fib().unwrap();
    let Resolution::NextHop(id) = fib.resolve(ip("10.0.9.1")) else { panic!("not static") };
    let hop = fib.next_hops[id.index()];
    assert_eq!((hop.port, hop.vlan, hop.destination()), (PortId(1), VlanTag::AsReceived, Some(BACKEND)));
    assert_eq!(hop.addresses().unwrap()[6..], [2, 0, 0, 0, 0, 0xff], "the port's");
    assert_eq!(fib.resolve(ip("10.0.8.1")), Resolution::NextHop(id), "the same next hop, the same number");
    let Resolution::NextHop(tagged) = fib.resolve(ip("fd00::1")) else { panic!("not static") };
    assert_eq!(fib.next_hops[tagged.index()].vlan, VlanTag::Id(7));
    assert_eq!(fib.resolve(ip("10.0.9.65")), Resolution::OnLink(on_link()), "the longer prefix wins");
    assert!(mirror.to_ask(&[ip("10.0.9.1")]).is_empty());
}

#[test]
fn what_is_asked_for_is_the_neighbour_on_the_way_and_every_gateway() {
    let mut mirror = mirror();
    mirror.set_routes(
        [
            route("10.0.9.0/24", None, 0),
            route("10.1.0.0/16", Some("10.0.9.253"), 0),
            route("0.0.0.0/0", Some("10.0.9.254"), 0),
        ]
        .into_iter(),
    );
    let wanted = ["10.0.9.1", "10.0.9.2", "10.0.9.3", "10.0.9.4", "10.1.0.1", "fd00::1"].map(ip);
    mirror.set_neighbours(
        [
            neighbour("10.0.9.2", Reach::Fixed(BACKEND)),
            Neighbour { managed: true, ..neighbour("10.0.9.3", Reach::Unresolved) },
            neighbour("10.0.9.4", Reach::Resolved(BACKEND)),
        ]
        .into_iter(),
    );
    let asked: Vec<IpAddr> = mirror.to_ask(&wanted).into_iter().map(|(_, address)| address).collect();
    assert_eq!(asked, ["10.0.9.1", "10.0.9.4", "10.0.9.253", "10.0.9.254"].map(ip));
}
