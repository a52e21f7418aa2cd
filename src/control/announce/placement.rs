//! Which interface carries which address.
//!
//! An address whose subnet is a port's own goes to that port: that is where neighbours ask for it, and NDP answers
//! only for addresses of the interface that was asked (Linux, `ndisc_recv_ns`). Everything else is reached over
//! routers and goes to the first port with a kernel side.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::AddressFailure;
use super::Announced;
use crate::control::kernel_port::KernelSide;
use crate::model::Cidr;

/// A side with its interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) side: KernelSide,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Position among the interfaces.
    pub(super) interface: usize,
    /// The kernel's number of that interface.
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) length: u8,
    /// The port's own, as opposed to a VIP or a local address.
    pub(super) own: bool,
}

impl Placed {
    /// A VIP or local address on the interface of a key; `None` if there is no such interface.
    pub(super) fn host(interfaces: &[Interface], (index, address): (u32, IpAddr)) -> Option<Self> {
        let interface = interfaces.iter().position(|interface| interface.index == index)?;
        Some(Self { interface, index, address, length: Cidr::host(address).length(), own: false })
    }

    pub(super) fn key(&self) -> (u32, IpAddr) {
        (self.index, self.address)
    }

    pub(super) fn describe(&self, interfaces: &[Interface]) -> String {
        let interface = &interfaces[self.interface].side.interface;
        format!("address={}/{} interface={interface}", self.address, self.length)
    }

    pub(super) fn failure(
        &self,
        interfaces: &[Interface],
        action: &'static str,
        reason: String,
    ) -> AddressFailure {
        let interface = interfaces[self.interface].side.interface.clone();
        AddressFailure { interface, address: self.address, action, reason }
    }
}

/// Every address to carry, the ports' own first and each address once. `interfaces` is not empty.
pub(super) fn place(interfaces: &[Interface], wanted: &Announced) -> Vec<Placed> {
    let mut placed = Vec::new();
    for (interface, Interface { index, side }) in interfaces.iter().enumerate() {
        for (address, length) in &side.addresses {
            placed.push(Placed { interface, index: *index, address: *address, length: *length, own: true });
        }
    }
    let own: BTreeSet<IpAddr> = placed.iter().map(|placed| placed.address).collect();
    let hosts: BTreeSet<IpAddr> = wanted.vips.union(&wanted.local_addresses).copied().collect();
    for address in hosts.difference(&own) {
        let on_link = |interface: &Interface| {
            let subnets = interface.side.addresses.iter();
            subnets
                .filter_map(|(own, length)| Cidr::new(*own, *length))
                .any(|subnet| subnet.contains(*address))
        };
        let interface = interfaces.iter().find(|i| on_link(i)).unwrap_or(&interfaces[0]);
        placed.extend(Placed::host(interfaces, (interface.index, *address)));
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mac;
    use crate::model::PortId;

    fn interface(index: u32, addresses: &[(&str, u8)]) -> Interface {
        let addresses = addresses.iter().map(|(text, length)| (text.parse().unwrap(), *length)).collect();
        let side = KernelSide {
            port: PortId(u16::try_from(index).unwrap()),
            interface: format!("ek{index}"),
            mac: Mac::default(),
            mtu: 1500,
            addresses,
        };
        Interface { index, side }
    }

    #[test]
    fn an_address_goes_where_its_subnet_is_and_otherwise_to_the_first_interface() {
        let interfaces = [
            interface(7, &[("192.0.2.10", 24), ("2001:db8::10", 64)]),
            interface(9, &[("10.0.8.1", 22), ("fd00:8::1", 64)]),
        ];
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let wanted = Announced {
            vips: addresses(&["203.0.113.80", "192.0.2.80", "192.0.2.10"]),
            local_addresses: addresses(&["10.0.9.10", "fd00:8::10", "fd00:9::10"]),
        };
        let placed = place(&interfaces, &wanted);
        let shown: Vec<String> =
            placed.iter().map(|p| format!("{} {}/{} {}", p.index, p.address, p.length, p.own)).collect();
        assert_eq!(
            shown,
            [
                "7 192.0.2.10/24 true",
                "7 2001:db8::10/64 true",
                "9 10.0.8.1/22 true",
                "9 fd00:8::1/64 true",
                "9 10.0.9.10/32 false",
                "7 192.0.2.80/32 false",
                "7 203.0.113.80/32 false",
                "9 fd00:8::10/128 false",
                "7 fd00:9::10/128 false",
            ],
        );
    }
}
