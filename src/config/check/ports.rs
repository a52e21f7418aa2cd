//! `[[port]]` and `[[next_hop]]`: names, devices and interfaces that are unique, references that lead somewhere.

use crate::config::PortConfig;
use crate::config::StaticNextHop;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::config::value::List;
use crate::model::PortId;

use super::Unique;
use super::addresses::Addresses;

/// As many ports as DPDK is commonly built for (`RTE_MAX_ETHPORTS`).
const MAX_PORTS: usize = 32;

/// The ports, with their addresses added to `addresses`.
pub(super) fn check(raw: Entry<Vec<raw::Port>>, addresses: &mut Addresses<'_>) -> Option<Vec<PortConfig>> {
    let report = addresses.report;
    let raw = raw.or(Vec::new())?;
    if raw.is_empty() {
        report.wrong(0, "no port; add a [[port]] with a name and a device");
    }
    if let Some(port) = raw.get(MAX_PORTS) {
        report.wrong(port.at, format!("more than {MAX_PORTS} ports; remove some"));
    }
    let mut names = Unique::new();
    let mut devices = Unique::new();
    let mut interfaces = Unique::new();
    check_interfaces(&raw, report);
    let mut ports = Vec::with_capacity(raw.len());
    for (position, port) in raw.into_iter().enumerate() {
        let name = port.name.given();
        if let Some(At { at, value: name }) = &name
            && let Some(earlier) = names.earlier(name.clone(), *at)
        {
            let line = report.line(earlier);
            report.wrong(*at, format!("port name {name:?} is taken (line {line}); choose another"));
        }
        let device = port.device.given();
        if let Some(At { at, value: device }) = &device {
            // DPDK tells devices apart by what stands before their arguments.
            let id = device.split(',').next().unwrap_or(device).to_owned();
            if let Some(earlier) = devices.earlier(id.clone(), *at) {
                let line = report.line(earlier);
                let message =
                    format!("device {id:?} is another port's (line {line}); give each port its own");
                report.wrong(*at, message);
            }
        }
        let interface = port.kernel_interface.or_at(Some(format!("ek{position}")), port.at);
        if let Some(At { at, value: Some(interface) }) = &interface
            && let Some(earlier) = interfaces.earlier(interface.clone(), *at)
        {
            let line = report.line(earlier);
            let message =
                format!("kernel_interface {interface:?} is another port's (line {line}); choose another");
            report.wrong(*at, message);
        }
        let own = port.addresses.or_at(List::default(), port.at);
        if let Some(own) = &own {
            check_addresses(own, interface.as_ref(), addresses);
        }
        let port = (|| {
            Some(PortConfig {
                name: name?.value,
                device: device?.value,
                mac: port.mac.or(None)?,
                kernel_interface: interface?.value,
                addresses: own?.value.into_values(),
                mtu: port.mtu.or(1500)?,
            })
        })();
        ports.push(port);
    }
    ports.into_iter().collect()
}

/// An interface of the kernel serves one port, and is no TAP of ours: two ports on it would receive every frame twice.
fn check_interfaces(raw: &[raw::Port], report: &Report<'_>) {
    let mut taken: Unique<&str> = Unique::new();
    for device in raw.iter().filter_map(|port| port.device.as_ref().given()) {
        let mut own: Vec<&str> = interfaces_of(device.value).collect();
        own.dedup();
        for interface in own {
            if let Some(earlier) = taken.earlier(interface, device.at) {
                let line = report.line(earlier);
                let message = format!(
                    "interface {interface:?} is another port's (line {line}); give each port an interface of its own"
                );
                report.wrong(device.at, message);
            }
        }
    }
    for (position, port) in raw.iter().enumerate() {
        let default = Some(format!("ek{position}"));
        let Some(At { at, value: Some(tap) }) = port.kernel_interface.clone().or_at(default, port.at) else {
            continue;
        };
        if let Some(earlier) = taken.0.get(tap.as_str()) {
            let line = report.line(*earlier);
            report.wrong(
                at,
                format!(
                    "kernel_interface {tap:?} is the interface of a device (line {line}); choose another name, as \"ek{position}\""
                ),
            );
        }
    }
}

/// The kernel's interfaces that a DPDK device names in its arguments.
fn interfaces_of(device: &str) -> impl Iterator<Item = &str> {
    let arguments = device.split(',').skip(1).filter_map(|argument| argument.split_once('='));
    let named = arguments.filter(|(key, _)| ["iface", "rx_iface", "rx_iface_in", "tx_iface"].contains(key));
    named.map(|(_, interface)| interface)
}

fn check_addresses(
    own: &At<List<(std::net::IpAddr, u8)>>,
    interface: Option<&At<Option<String>>>,
    addresses: &mut Addresses<'_>,
) {
    for At { at, value: (address, _) } in &own.value.items {
        addresses.add_port(*address, *at);
    }
    if let Some(At { value: None, .. }) = interface
        && !own.value.items.is_empty()
    {
        let message = "addresses need a kernel side, and kernel_interface is \"none\"; remove them or name an interface";
        addresses.report.wrong(own.at, message);
    }
}

/// The static next hops, their ports found in `ports`.
pub(super) fn next_hops(
    raw: Entry<Vec<raw::NextHop>>,
    ports: &Entry<Vec<raw::Port>>,
    report: &Report<'_>,
) -> Option<Vec<StaticNextHop>> {
    let names = names(ports);
    let mut prefixes = Unique::new();
    let mut next_hops = Vec::new();
    for next_hop in raw.or(Vec::new())? {
        let prefix = next_hop.prefix.given();
        if let Some(At { at, value: prefix }) = prefix
            && let Some(earlier) = prefixes.earlier(prefix, at)
        {
            let line = report.line(earlier);
            report.wrong(at, format!("prefix {prefix} has a next hop already (line {line}); remove one"));
        }
        let port = next_hop.port.given();
        let id = port.zip(names.as_ref()).and_then(|(port, names)| port_id(&port, names, report));
        let next_hop = (|| {
            Some(StaticNextHop {
                prefix: prefix?.value,
                port: id?,
                mac: next_hop.mac.given()?.value,
                vlan: next_hop.vlan.map(Some).or(None)?,
            })
        })();
        next_hops.push(next_hop);
    }
    next_hops.into_iter().collect()
}

fn port_id(port: &At<String>, names: &[&str], report: &Report<'_>) -> Option<PortId> {
    let name = &port.value;
    let position = names.iter().position(|other| other == name);
    if position.is_none() && !report.broken() {
        let names = names.join(", ");
        report.wrong(port.at, format!("port {name:?} is not the name of a [[port]]; the names are {names}"));
    }
    u16::try_from(position?).ok().map(PortId)
}

/// The names of the ports in order, if all of them could be read.
fn names(ports: &Entry<Vec<raw::Port>>) -> Option<Vec<&str>> {
    let Entry::Given(ports) = ports else {
        return None;
    };
    ports.value.iter().map(|port| port.name.as_ref().given().map(|name| name.value.as_str())).collect()
}
