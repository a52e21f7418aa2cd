//! The network around a replay: every next hop is resolved, to an address that is made up unless it is configured.

use crate::config::{Config, PortConfig, StaticNextHop};
use crate::control::neighbours::Mirror;
use crate::model::{Cidr, Mac, PortId};
use crate::shared::{Egress, Fib, Publisher, Reader, channel};

/// Gives the worker its next hops.
pub(super) struct ResolvedNetwork {
    /// Next hops for every address: in the ports' own networks, and for the rest behind the first port. Packets may come by
    /// any port, as one capture may hold those of several. A reload cannot change ports.
    made_up: Vec<StaticNextHop>,
    mirror: Mirror,
    fibs: Publisher<Fib>,
}

impl ResolvedNetwork {
    /// Of the ports of `config`; nothing leads anywhere before the first [`ResolvedNetwork::hold`].
    pub(super) fn new(config: &Config, egresses: &[Egress]) -> (Self, Vec<Reader<Fib>>) {
        let ports = || (0_u8..).zip(&config.ports);
        let hop = |prefix, n| StaticNextHop {
            prefix,
            port: PortId(u16::from(n)),
            mac: next_hop_mac(n),
            vlan: None,
        };
        // Of next hops for the same prefix the last one counts.
        let behind = |prefix, last: u8| {
            let others = ports().map(|(n, _)| n).filter(move |n| *n != last);
            others.chain([last]).map(move |n| hop(prefix, n)).collect::<Vec<_>>()
        };
        let everywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|all| Some((all.parse().ok()?, 0)));
        let own = ports().flat_map(|(n, port)| {
            let networks = port.addresses.iter();
            networks.filter_map(move |(address, length)| Some((Cidr::new(*address, *length)?, n)))
        });
        let made_up = everywhere.chain(own).flat_map(|(prefix, n)| behind(prefix, n)).collect();
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
