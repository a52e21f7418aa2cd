//! The network around a replay: every next hop is resolved, to an address that is made up unless it is configured.

use crate::config::{Config, PortConfig, StaticNextHop};
use crate::model::{Cidr, Mac, NextHopId, PortId, VlanTag};
use crate::shared::{Egress, Fib, NextHop, Publisher, Reader, channel};

/// Gives the worker its next hops.
pub(super) struct ResolvedNetwork {
    egresses: Vec<Egress>,
    /// The ports' own networks; the first port's is everywhere. A reload cannot change ports.
    networks: Vec<Vec<Cidr>>,
    next_hops: Vec<StaticNextHop>,
    epoch: u16,
    fibs: Publisher<Fib>,
}

impl ResolvedNetwork {
    /// Of the ports of `config`; nothing leads anywhere before the first [`ResolvedNetwork::hold`].
    pub(super) fn new(config: &Config, egresses: &[Egress]) -> (Self, Vec<Reader<Fib>>) {
        let networks = |(n, port): (usize, &PortConfig)| {
            let everywhere =
                ["0.0.0.0/0", "::/0"].into_iter().filter(|_| n == 0).filter_map(|all| all.parse().ok());
            let own = port.addresses.iter().filter_map(|(address, length)| Cidr::new(*address, *length));
            everywhere.chain(own).collect()
        };
        let networks = config.ports.iter().enumerate().map(networks).collect();
        let (fibs, readers) = channel(Fib::default(), 1);
        let this = Self { egresses: egresses.to_vec(), networks, next_hops: Vec::new(), epoch: 0, fibs };
        (this, readers)
    }

    /// Makes `next_hops` the configured ones; flows look theirs up again if that changes anything.
    pub(super) fn hold(&mut self, next_hops: &[StaticNextHop]) {
        if self.epoch > 0 && self.next_hops == next_hops {
            return;
        }
        self.next_hops = next_hops.to_vec();
        self.epoch = self.epoch.wrapping_add(1).max(1);
        let fib = self.fib();
        self.fibs.publish(fib);
    }

    fn fib(&self) -> Fib {
        let mut fib = Fib::default();
        fib.epoch = self.epoch;
        let mut add = |port: PortId, vlan, mac, prefixes: &[Cidr]| {
            let Ok(id) = u16::try_from(fib.next_hops.len()) else { return };
            fib.next_hops.push(NextHop::new(self.egresses[port.index()], vlan, Some(mac)));
            for prefix in prefixes {
                fib.add_static(*prefix, NextHopId(id));
            }
        };
        for (n, networks) in (0_u8..).zip(&self.networks) {
            add(PortId(u16::from(n)), VlanTag::AsReceived, next_hop_mac(n), networks);
        }
        for hop in &self.next_hops {
            let vlan = hop.vlan.map_or(VlanTag::AsReceived, VlanTag::Id);
            add(hop.port, vlan, hop.mac, &[hop.prefix]);
        }
        fib
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
