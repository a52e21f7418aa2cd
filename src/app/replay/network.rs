//! The network around a replay: every next hop is resolved, to an address that is made up unless it is configured.

use crate::config::{Config, PortConfig, StaticNextHop};
use crate::control::neighbours::Mirror;
use crate::model::{Cidr, Mac, PortId};
use crate::shared::{Egress, Fib, Publisher, Reader, channel};

/// Gives the worker its next hops.
pub(super) struct ResolvedNetwork {
    /// Next hops for every address: in the ports' own networks, and for the rest behind the first port. Packets from the
    /// rest may come by any port, as a capture does not say where a router would have sent them. A reload cannot change
    /// ports.
    made_up: Vec<StaticNextHop>,
    mirror: Mirror,
    fibs: Publisher<Fib>,
}

impl ResolvedNetwork {
    /// Of the ports of `config`; nothing leads anywhere before the first [`ResolvedNetwork::hold`].
    pub(super) fn new(config: &Config, egresses: &[Egress]) -> (Self, Vec<Reader<Fib>>) {
        let networks = |(port, n): (&PortConfig, u8)| {
            let everywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|all| all.parse().ok());
            let own = port.addresses.iter().filter_map(|(address, length)| Cidr::new(*address, *length));
            let prefixes: Vec<Cidr> = everywhere.chain(own).collect();
            let (port, mac) = (PortId(u16::from(n)), next_hop_mac(n));
            prefixes.into_iter().map(move |prefix| StaticNextHop { prefix, port, mac, vlan: None })
        };
        // Of next hops for the same prefix the last one counts: that of the first port.
        let made_up =
            config.ports.iter().zip(0..).collect::<Vec<_>>().into_iter().rev().flat_map(networks).collect();
        let (fibs, readers) = channel(Fib::default(), 1);
        (Self { made_up, mirror: Mirror::new(egresses.to_vec()), fibs }, readers)
    }

    /// Makes `next_hops` the configured ones; flows look theirs up again if that changes anything.
    pub(super) fn hold(&mut self, next_hops: &[StaticNextHop]) {
        // The configured ones last: of two for the same prefix the last counts.
        self.mirror.set_statics(self.made_up.iter().chain(next_hops).cloned().collect());
        if let Some(fib) = self.mirror.changed_fib() {
            self.fibs.publish(fib);
        }
    }
}

/// The ports as frames leave by them.
pub(super) fn egresses(config: &Config) -> Vec<Egress> {
    let egress = |(port, n): (&PortConfig, u8)| Egress {
        port: PortId(u16::from(n)),
        mac: port.mac.unwrap_or_else(|| our_mac(n)),
        mtu: port.mtu,
    };
    config.ports.iter().zip(0..).map(egress).collect()
}

/// The address of a port whose own is not known offline.
const fn our_mac(port: u8) -> Mac {
    Mac([0x02, 0x65, 0x6b, 0, 0, port])
}

/// The address of whatever is behind a port.
const fn next_hop_mac(port: u8) -> Mac {
    Mac([0x02, 0x65, 0x6b, 0, 1, port])
}
