//! Netlink messages, read into what matters here. Pure: tested with messages made by hand.

use std::collections::HashMap;
use std::net::IpAddr;

use rtnetlink::packet_route::link::InfoData;
use rtnetlink::packet_route::link::InfoVlan;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::link::LinkInfo;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::link::VlanProtocol;
use rtnetlink::packet_route::neighbour::NeighbourAddress;
use rtnetlink::packet_route::neighbour::NeighbourAttribute;
use rtnetlink::packet_route::neighbour::NeighbourExtFlags;
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::packet_route::route::RouteAddress;
use rtnetlink::packet_route::route::RouteAttribute;
use rtnetlink::packet_route::route::RouteFlags;
use rtnetlink::packet_route::route::RouteHeader;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::route::RouteNextHopFlags;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::packet_route::route::RouteVia;

use crate::control::kernel_port::KernelSide;
use crate::model::Cidr;
use crate::model::Mac;
use crate::model::PortId;
use crate::model::VlanTag;

/// An interface of ours: a TAP, or a VLAN on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) port: PortId,
    pub(super) vlan: VlanTag,
}

/// Our interfaces, by the kernel's index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    by_index: HashMap<u32, Link>,
}

impl Links {
    /// The TAPs of `sides` and the 802.1Q interfaces directly on them. VLANs in VLANs are not ours: a next hop
    /// carries one tag.
    pub(super) fn read(messages: &[LinkMessage], sides: &[KernelSide]) -> Self {
        let mut by_index = HashMap::new();
        for message in messages {
            let side = name(message).and_then(|name| sides.iter().find(|side| side.interface == name));
            if let Some(side) = side {
                by_index.insert(message.header.index, Link { port: side.port, vlan: VlanTag::Untagged });
            }
        }
        let taps = by_index.clone();
        for message in messages {
            let Some((parent, id)) = vlan(message) else { continue };
            if let Some(tap) = taps.get(&parent) {
                by_index.insert(message.header.index, Link { port: tap.port, vlan: VlanTag::Id(id) });
            }
        }
        Self { by_index }
    }

    /// The interface with this index, if it is ours.
    pub(super) fn get(&self, index: u32) -> Option<Link> {
        self.by_index.get(&index).copied()
    }
}

fn name(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// The parent's index and the VLAN id of an 802.1Q interface whose parent is in this namespace.
fn vlan(message: &LinkMessage) -> Option<(u32, u16)> {
    let (mut parent, mut id, mut protocol) = (None, None, VlanProtocol::Ieee8021Q);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => {
                let data = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
                    _ => None,
                });
                for item in data.into_iter().flatten() {
                    match item {
                        InfoVlan::Id(value) => id = Some(*value),
                        InfoVlan::Protocol(value) => protocol = *value,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (protocol == VlanProtocol::Ieee8021Q).then_some((parent?, id?))
}

/// What the kernel knows of a neighbour's MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is this (reachable, stale, delay, probe).
    Resolved(Mac),
    /// It is this because someone said so (permanent, noarp): never asked for.
    Fixed(Mac),
    /// It is not known (none, incomplete, failed).
    Unresolved,
}

/// An entry of the kernel's neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) reach: Reach,
    /// The kernel keeps it resolved (NTF_EXT_MANAGED).
    pub(super) managed: bool,
}

/// The neighbour of a message; `None` for anything but a unicast IP address.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac, mut managed) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(octets) => mac = octets.as_slice().try_into().ok().map(Mac),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            _ => {}
        }
    }
    let address = address.filter(|address: &IpAddr| !address.is_multicast())?;
    // Multicast groups and the broadcast address have entries too; no packet is forwarded to them.
    let mac = mac.filter(|mac| !mac.is_multicast() && *mac != Mac::default());
    let reach = match (message.header.state, mac) {
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => Reach::Fixed(mac),
        (
            NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe,
            Some(mac),
        ) => Reach::Resolved(mac),
        _ => Reach::Unresolved,
    };
    Some(Neighbour { index: message.header.ifindex, address, reach, managed })
}

/// A route over an interface of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) prefix: Cidr,
    /// Lower wins.
    pub(super) metric: u32,
    pub(super) index: u32,
    pub(super) gateway: Option<IpAddr>,
}

/// The routes of a message, if it has a unicast route of the main table over an interface of ours: of a multipath route
/// one for each live way over an interface of ours, in the kernel's order. Link-local prefixes are left out: every
/// interface has them, and nothing is forwarded there.
pub(super) fn routes(message: &RouteMessage, links: &Links) -> Vec<KernelRoute> {
    read_routes(message, links).unwrap_or_default()
}

fn read_routes(message: &RouteMessage, links: &Links) -> Option<Vec<KernelRoute>> {
    let header = &message.header;
    let out = RouteFlags::Cloned | RouteFlags::Dead | RouteFlags::Linkdown;
    // A cached copy, or a route that depends on more than the destination, or one that does not work now.
    if header.kind != RouteType::Unicast
        || header.flags.intersects(out)
        || header.tos != 0
        || header.source_prefix_length != 0
    {
        return None;
    }
    let mut table = u32::from(header.table);
    let (mut destination, mut metric, mut index, mut gateway, mut ways) = (None, 0, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::MultiPath(hops) => ways = Some(hops),
            _ => gateway = gateway.or_else(|| via(attribute)),
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let unspecified = match header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => IpAddr::from([0; 4]),
        rtnetlink::packet_route::AddressFamily::Inet6 => IpAddr::from([0_u16; 8]),
        _ => return None,
    };
    let prefix = Cidr::new(destination.unwrap_or(unspecified), header.destination_prefix_length)?;
    if is_link_local(prefix) {
        return None;
    }
    if let Some(ways) = ways {
        let out = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
        let usable = ways.iter().filter(|hop| live_and_ours(hop, out, links));
        let route = |hop: &rtnetlink::packet_route::route::RouteNextHop| KernelRoute {
            prefix,
            metric,
            index: hop.interface_index,
            gateway: hop.attributes.iter().find_map(via),
        };
        return Some(usable.map(route).collect());
    }
    let index = index.filter(|index| links.get(*index).is_some())?;
    Some(vec![KernelRoute { prefix, metric, index, gateway }])
}

fn live_and_ours(
    hop: &rtnetlink::packet_route::route::RouteNextHop,
    out: RouteNextHopFlags,
    links: &Links,
) -> bool {
    !hop.flags.intersects(out) && links.get(hop.interface_index).is_some()
}

/// The gateway of an attribute, which may be of the other family (RFC 5549 style `via inet6`).
fn via(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn is_link_local(prefix: Cidr) -> bool {
    match prefix.address() {
        IpAddr::V4(v4) => v4.is_link_local() && prefix.length() >= 16,
        IpAddr::V6(v6) => v6.is_unicast_link_local() && prefix.length() >= 10,
    }
}

#[cfg(test)]
mod tests;
