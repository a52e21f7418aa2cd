use rtnetlink::LinkUnspec;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::RouteNextHopBuilder;
use rtnetlink::packet_route::link::InfoKind;
use rtnetlink::packet_route::neighbour::NeighbourHeader;
use rtnetlink::packet_route::route::RouteNextHop;

use super::*;

/// The only route of a message, or the first.
fn route(message: &RouteMessage, links: &Links) -> Option<KernelRoute> {
    routes(message, links).into_iter().next()
}

fn side(port: u16, interface: &str) -> KernelSide {
    KernelSide {
        port: PortId(port),
        interface: interface.to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: Vec::new(),
    }
}

fn link(index: u32, name: &str) -> LinkMessage {
    let mut message = LinkUnspec::new_with_index(index).build();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn vlan_link(index: u32, parent: u32, id: u16, protocol: VlanProtocol) -> LinkMessage {
    let mut message = link(index, &format!("any.{id}"));
    message.attributes.push(LinkAttribute::Link(parent));
    let data = InfoData::Vlan(vec![InfoVlan::Protocol(protocol), InfoVlan::Id(id)]);
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)]));
    message
}

fn links() -> Links {
    Links::read(&[link(5, "ek0"), link(6, "ek1"), link(2, "eth0")], &[side(0, "ek0"), side(1, "ek1")])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn taps_and_the_vlans_on_them_are_ours_and_nothing_else_is() {
    let mut foreign = vlan_link(13, 5, 13, VlanProtocol::Ieee8021Q);
    foreign.attributes.push(LinkAttribute::LinkNetNsId(0));
    let messages = [
        vlan_link(10, 5, 100, VlanProtocol::Ieee8021Q),
        link(2, "eth0"),
        vlan_link(11, 2, 100, VlanProtocol::Ieee8021Q),
        link(5, "ek0"),
        vlan_link(12, 5, 100, VlanProtocol::Ieee8021Ad),
        vlan_link(14, 10, 200, VlanProtocol::Ieee8021Q),
        foreign,
    ];
    let links = Links::read(&messages, &[side(3, "ek0")]);
    let on = |vlan| Some(Link { port: PortId(3), vlan });
    for (description, index, expected) in [
        ("TAP", 5, on(VlanTag::Untagged)),
        ("VLAN, listed before its TAP", 10, on(VlanTag::Id(100))),
        ("another interface", 2, None),
        ("VLAN of another interface", 11, None),
        ("802.1ad", 12, None),
        ("VLAN in VLAN", 14, None),
        ("VLAN of an interface of another namespace", 13, None),
    ] {
        assert_eq!(links.get(index), expected, "{description}");
    }
}

fn neighbour_message(address: &str, state: NeighbourState, mac: Option<[u8; 6]>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader { ifindex: 5, state, ..NeighbourHeader::default() };
    let destination = match ip(address) {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message
}

#[test]
fn a_neighbour_is_resolved_by_its_state_and_a_usable_mac() {
    let mac = [2, 0, 0, 0, 0, 9];
    for (state, given, expected) in [
        (NeighbourState::Reachable, Some(mac), Reach::Resolved(Mac(mac))),
        (NeighbourState::Stale, Some(mac), Reach::Resolved(Mac(mac))),
        (NeighbourState::Delay, Some(mac), Reach::Resolved(Mac(mac))),
        (NeighbourState::Probe, Some(mac), Reach::Resolved(Mac(mac))),
        (NeighbourState::Permanent, Some(mac), Reach::Fixed(Mac(mac))),
        (NeighbourState::Noarp, Some([0x33, 0x33, 0, 0, 0, 1]), Reach::Unresolved),
        (NeighbourState::Incomplete, None, Reach::Unresolved),
        (NeighbourState::Failed, Some(mac), Reach::Unresolved),
        (NeighbourState::None, None, Reach::Unresolved),
        (NeighbourState::Reachable, Some([0; 6]), Reach::Unresolved),
    ] {
        let read = neighbour(&neighbour_message("fd00::1", state, given)).unwrap();
        assert_eq!((read.index, read.address, read.reach), (5, ip("fd00::1"), expected), "{state}");
        assert!(!read.managed);
    }
    assert_eq!(neighbour(&neighbour_message("ff02::1", NeighbourState::Noarp, Some(mac))), None);
    let mut managed = neighbour_message("10.0.0.1", NeighbourState::Stale, Some(mac));
    managed.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    assert!(neighbour(&managed).unwrap().managed);
}

fn v4_route(prefix: [u8; 4], length: u8) -> RouteMessageBuilder<std::net::Ipv4Addr> {
    RouteMessageBuilder::<std::net::Ipv4Addr>::new().destination_prefix(prefix.into(), length)
}

#[test]
fn a_unicast_route_of_the_main_table_over_our_interface_is_read() {
    let message =
        v4_route([10, 0, 0, 0], 8).output_interface(5).gateway([192, 0, 2, 1].into()).priority(20).build();
    let expected = KernelRoute {
        prefix: "10.0.0.0/8".parse().unwrap(),
        metric: 20,
        index: 5,
        gateway: Some(ip("192.0.2.1")),
    };
    assert_eq!(route(&message, &links()), Some(expected));

    let default = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
        .output_interface(6)
        .gateway("fe80::1".parse().unwrap())
        .build();
    let read = route(&default, &links()).unwrap();
    assert_eq!((read.prefix.to_string().as_str(), read.gateway), ("::/0", Some(ip("fe80::1"))));

    let mut mixed = v4_route([10, 0, 0, 0], 8).output_interface(5).build();
    mixed.attributes.push(RouteAttribute::Via(RouteVia::Inet6("fe80::2".parse().unwrap())));
    assert_eq!(route(&mixed, &links()).unwrap().gateway, Some(ip("fe80::2")));
}

#[test]
fn routes_that_are_not_ours_to_follow_are_left_out() {
    let on_link = || v4_route([10, 0, 0, 0], 8).output_interface(5);
    assert!(route(&on_link().build(), &links()).is_some());
    let mut dead = on_link().build();
    dead.header.flags = RouteFlags::Linkdown;
    let mut tos = on_link().build();
    tos.header.tos = 16;
    for (description, message) in [
        ("another interface", v4_route([10, 0, 0, 0], 8).output_interface(2).build()),
        ("no interface", v4_route([10, 0, 0, 0], 8).build()),
        ("table local", on_link().table_id(255).build()),
        ("table 1000, beyond the header's octet", on_link().table_id(1000).build()),
        ("local", on_link().kind(RouteType::Local).build()),
        ("black hole", on_link().kind(RouteType::BlackHole).build()),
        ("link down", dead),
        ("for one type of service", tos),
        ("link-local", v4_route([169, 254, 0, 0], 16).output_interface(5).build()),
    ] {
        assert_eq!(route(&message, &links()), None, "{description}");
    }
}

#[test]
fn of_a_multipath_route_all_live_ways_over_our_interfaces_are_read_in_their_order() {
    let hop = |index, gateway: [u8; 4]| -> RouteNextHop {
        RouteNextHopBuilder::new_ipv4().interface(index).via(ip_v4(gateway)).unwrap().build()
    };
    let mut dead = hop(5, [192, 0, 2, 2]);
    dead.flags = RouteNextHopFlags::Dead;
    let hops = vec![hop(2, [192, 0, 2, 1]), dead, hop(6, [192, 0, 2, 3]), hop(5, [192, 0, 2, 4])];
    let read = routes(&v4_route([10, 0, 0, 0], 8).multipath(hops).build(), &links());
    let read: Vec<_> = read.iter().map(|route| (route.index, route.gateway)).collect();
    assert_eq!(read, [(6, Some(ip("192.0.2.3"))), (5, Some(ip("192.0.2.4")))]);
    let none = route(&v4_route([10, 0, 0, 0], 8).multipath(vec![hop(2, [192, 0, 2, 1])]).build(), &links());
    assert_eq!(none, None);
}

fn ip_v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::from(octets)
}
