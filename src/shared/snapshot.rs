//! What workers decide by: services, backends, VIPs and local addresses at one moment. Immutable once published.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::access::Access;
use super::choice::Choice;
use super::persistence::PersistentBackends;
use crate::hash::AddressHash;
use crate::hash::ChoiceSeed;
use crate::model::BackendId;
use crate::model::BackendState;
use crate::model::ClientAddress;
use crate::model::Encapsulation;
use crate::model::Endpoint;
use crate::model::Family;
use crate::model::ForwardingMode;
use crate::model::HashFeature;
use crate::model::MIN_PATH_MTU;
use crate::model::OnNoBackend;
use crate::model::OnUnknownFlow;
use crate::model::PortRange;
use crate::model::Protocol;
use crate::model::ServiceId;
use crate::model::ServiceLimits;
use crate::model::ServiceProtocol;
use crate::model::SynProxy;
use crate::model::Timeouts;
use crate::model::V4;
use crate::model::V6;

/// Everything a worker reads per packet but the next hops, which change more often and are published on their own.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts publications, from 0 for the empty one.
    pub version: u64,
    /// By [`ServiceId`]; `None` where an id is not in use.
    pub services: Vec<Option<Arc<ServiceTable>>>,
    /// By [`BackendId`].
    pub backend_states: Vec<BackendState>,
    /// Which addresses are ours, and as what.
    pub roles: AddressRoles,
    /// How long flows are kept.
    pub timeouts: Timeouts,
    /// The least path MTU that an ICMP error may report to a backend, in octets of IP packet.
    pub min_path_mtu: u16,
    /// The seed of the choice hash.
    pub choice_seed: ChoiceSeed,
    /// Another number whenever flows must be looked at anew: a service lets in others than before or has other limits, a
    /// backend has died.
    pub flow_rules: u64,
}

impl Snapshot {
    /// No services and no addresses: what workers start with.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            version: 0,
            services: Vec::new(),
            backend_states: Vec::new(),
            roles: AddressRoles::default(),
            timeouts: Timeouts::default(),
            min_path_mtu: MIN_PATH_MTU,
            choice_seed: ChoiceSeed::default(),
            flow_rules: 0,
        }
    }

    /// The service with this id.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&ServiceTable> {
        self.services.get(id.index())?.as_deref()
    }

    /// The state of a backend; one that is not in the snapshot is [`BackendState::Removed`].
    #[must_use]
    pub fn backend_state(&self, id: BackendId) -> BackendState {
        self.backend_states.get(id.index()).copied().unwrap_or(BackendState::Removed)
    }
}

/// A virtual service as workers see it. Rebuilt by control only when something in it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTable {
    /// Index of this table in [`Snapshot::services`].
    pub id: ServiceId,
    /// The name in the configuration.
    pub name: Arc<str>,
    /// TCP, UDP or both.
    pub protocol: ServiceProtocol,
    /// How packets get to the backends.
    pub mode: ForwardingMode,
    /// Whether each datagram is a flow of its own, which ends with its answer. Of UDP in full NAT alone.
    pub one_packet: bool,
    /// What the choice of a backend hashes.
    pub hash: HashFeature,
    /// What backends are told of the client's address.
    pub client_address: ClientAddress,
    /// What a client gets when there is no backend to choose.
    pub on_no_backend: OnNoBackend,
    /// What a TCP packet without SYN and without flow gets.
    pub on_unknown_flow: OnUnknownFlow,
    /// The configured backends and those that leave, of the VIP's family but in a tunnel, in the order of their
    /// endpoints: what `choice` counts.
    pub backends: Vec<ServiceBackend>,
    /// How a backend is chosen.
    pub choice: Choice,
    /// Whether clients go to the backend that they were sent to before.
    pub persistence: Option<PersistentBackends>,
    /// Which clients it lets in; `None`: all.
    pub access: Option<Arc<Access>>,
    /// How much it lets in.
    pub limits: ServiceLimits,
    /// When SYNs are answered in the backends' place; full NAT alone.
    pub syn_proxy: SynProxy,
    /// Leases of one protocol that new flows can have: backends that get new flows, times local addresses, times 61,440.
    pub leases: u64,
    /// Per cent of a worker's flow table, of the VIP's family, that the service may hold when hardly any of it is free; 1 to
    /// 100.
    pub flow_share: u8,
    /// The addresses that packets to backends carry as their source: in full NAT of the VIP's family, in a tunnel one at
    /// least of each backend's; for direct routing there is none.
    pub local_addresses: Arc<[IpAddr]>,
}

impl ServiceTable {
    /// Whether connections to `backend` are counted over all workers: for its limit, or for the scheduler.
    #[must_use]
    pub const fn counts(&self, backend: &ServiceBackend) -> bool {
        backend.max_connections > 0 || self.choice.counts_connections()
    }

    /// Whether a limit may refuse what a backend in service would take.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limits.any() || self.backends.iter().any(|backend| backend.max_connections > 0)
    }
}

/// A backend as new flows see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBackend {
    /// Stable over reloads.
    pub id: BackendId,
    /// Its share of new flows now, 0 to 65535.
    pub weight: u32,
    /// Connections that it takes at a time; 0: any number.
    pub max_connections: u32,
    /// Where it listens. Port 0: the port the client used (a service on a range of ports).
    pub endpoint: Endpoint,
}

/// What an address of ours is for.
#[derive(Clone, Debug)]
pub enum AddressRole {
    /// Clients connect to it.
    Vip(VipServices),
    /// Packets to backends carry it as their source.
    Local,
    /// A port has it: the kernel's.
    Port,
}

/// The services on one VIP.
#[derive(Clone, Debug, Default)]
pub struct VipServices {
    /// Disjoint per protocol, sorted by protocol and first port.
    ranges: Vec<(Protocol, PortRange, ServiceId)>,
}

impl VipServices {
    /// The services of a VIP. A port that several of one protocol have is the one's that means it most closely: a single
    /// port goes before a range, a range before all ports. Those that are equally close must not overlap (the
    /// configuration check sees to it). `n log n` in their number.
    #[must_use]
    pub fn new(mut ranges: Vec<(Protocol, PortRange, ServiceId)>) -> Self {
        ranges.sort_unstable_by_key(|(protocol, range, _)| (range.closeness(), *protocol, *range));
        let mut this = Self::default();
        for closer in ranges.chunk_by(|(_, one, _), (_, other, _)| one.closeness() == other.closeness()) {
            // What is closer is there already, and leaves gaps.
            let gaps = closer.iter().flat_map(|service| this.gaps_in(*service)).collect::<Vec<_>>();
            this.ranges.extend(gaps);
            this.ranges.sort_unstable();
        }
        this
    }

    /// The parts of a service's range that no other service has.
    fn gaps_in(
        &self,
        (protocol, range, id): (Protocol, PortRange, ServiceId),
    ) -> Vec<(Protocol, PortRange, ServiceId)> {
        let from = self.ranges.partition_point(|(p, taken, _)| (*p, taken.last) < (protocol, range.first));
        let taken =
            self.ranges[from..].iter().take_while(|(p, taken, _)| *p == protocol && taken.overlaps(range));
        let mut gaps = Vec::new();
        let mut next = Some(range.first);
        for (_, taken, _) in taken {
            if let Some(first) = next.filter(|first| *first < taken.first) {
                gaps.push((protocol, PortRange { first, last: taken.first - 1 }, id));
            }
            next = taken.last.checked_add(1);
        }
        if let Some(first) = next.filter(|first| *first <= range.last) {
            gaps.push((protocol, PortRange { first, last: range.last }, id));
        }
        gaps
    }

    /// The service on `protocol` and `port`. Logarithmic in the number of services on the VIP.
    #[must_use]
    pub fn service(&self, protocol: Protocol, port: u16) -> Option<ServiceId> {
        let after = self.ranges.partition_point(|(p, range, _)| (*p, range.first) <= (protocol, port));
        let (p, range, id) = self.ranges.get(after.checked_sub(1)?)?;
        (*p == protocol && range.contains(port)).then_some(*id)
    }
}

/// The addresses that packets to balance carry, by family.
#[derive(Clone, Debug, Default)]
pub struct AddressRoles {
    v4: HashMap<u32, AddressRole, AddressHash>,
    v6: HashMap<u128, AddressRole, AddressHash>,
    /// Shared by snapshots: there are far more of these.
    backends: Arc<HashSet<IpAddr, AddressHash>>,
    /// By the address of the tunnel's end.
    tunnels: HashMap<IpAddr, Vec<TunnelPath>, AddressHash>,
}

/// The start of a tunnel, and its outer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelPath {
    /// The outer source, a local address.
    pub source: IpAddr,
    /// The outer headers.
    pub encapsulation: Encapsulation,
}

impl AddressRoles {
    /// Gives `address` a role, in place of any it had.
    pub fn insert(&mut self, address: IpAddr, role: AddressRole) {
        match address {
            IpAddr::V4(v4) => self.v4.insert(v4.to_bits(), role),
            IpAddr::V6(v6) => self.v6.insert(v6.to_bits(), role),
        };
    }

    /// Sets the addresses of all backends, in place of earlier ones.
    pub fn set_backends(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        self.backends = Arc::new(addresses.collect());
    }

    /// Whether a backend has `address`.
    #[must_use]
    pub fn is_backend(&self, address: IpAddr) -> bool {
        self.backends.contains(&address)
    }

    /// Notes that packets travel from `path` to a backend at `end`.
    pub fn insert_tunnel(&mut self, end: IpAddr, path: TunnelPath) {
        let paths = self.tunnels.entry(end).or_default();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }

    /// The paths of tunnels to a backend at `end`: one for each outer source and encapsulation.
    #[must_use]
    pub fn tunnels_to(&self, end: IpAddr) -> &[TunnelPath] {
        self.tunnels.get(&end).map_or(&[], Vec::as_slice)
    }

    /// The role of `address`; `None` if it is not one of ours.
    #[must_use]
    pub fn of<F: RoleFamily>(&self, address: F::Address) -> Option<&AddressRole> {
        F::role(self, address)
    }
}

/// A family whose addresses can have roles.
pub trait RoleFamily: Family {
    /// The role of `address` in `roles`.
    fn role(roles: &AddressRoles, address: Self::Address) -> Option<&AddressRole>;
}

impl RoleFamily for V4 {
    fn role(roles: &AddressRoles, address: u32) -> Option<&AddressRole> {
        roles.v4.get(&address)
    }
}

impl RoleFamily for V6 {
    fn role(roles: &AddressRoles, address: u128) -> Option<&AddressRole> {
        roles.v6.get(&address)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vip_finds_the_service_of_a_port_in_a_range_and_none_beside_it() {
        let range = |first, last| PortRange { first, last };
        let vip = VipServices::new(vec![
            (Protocol::Tcp, range(8000, 8009), ServiceId(2)),
            (Protocol::Tcp, range(80, 80), ServiceId(1)),
            (Protocol::Udp, range(53, 53), ServiceId(3)),
        ]);
        for (description, protocol, port, expected) in [
            ("exact", Protocol::Tcp, 80, Some(ServiceId(1))),
            ("first of a range", Protocol::Tcp, 8000, Some(ServiceId(2))),
            ("last of a range", Protocol::Tcp, 8009, Some(ServiceId(2))),
            ("above a range", Protocol::Tcp, 8010, None),
            ("between", Protocol::Tcp, 81, None),
            ("below all", Protocol::Tcp, 1, None),
            ("other protocol", Protocol::Udp, 80, None),
            ("udp", Protocol::Udp, 53, Some(ServiceId(3))),
        ] {
            assert_eq!(vip.service(protocol, port), expected, "{description}");
        }
    }

    #[test]
    fn a_port_goes_before_a_range_and_a_range_before_all_ports() {
        let range = |first, last| PortRange { first, last };
        let vip = VipServices::new(vec![
            (Protocol::Tcp, PortRange::ALL, ServiceId(1)),
            (Protocol::Tcp, range(8000, 8009), ServiceId(2)),
            (Protocol::Tcp, range(8005, 8005), ServiceId(3)),
            (Protocol::Tcp, range(u16::MAX, u16::MAX), ServiceId(4)),
            (Protocol::Udp, range(1, 1), ServiceId(5)),
        ]);
        for (protocol, port, expected) in [
            (Protocol::Tcp, 1, Some(1)),
            (Protocol::Tcp, 7999, Some(1)),
            (Protocol::Tcp, 8000, Some(2)),
            (Protocol::Tcp, 8005, Some(3)),
            (Protocol::Tcp, 8006, Some(2)),
            (Protocol::Tcp, 8010, Some(1)),
            (Protocol::Tcp, 65_534, Some(1)),
            (Protocol::Tcp, 65_535, Some(4)),
            (Protocol::Udp, 1, Some(5)),
            (Protocol::Udp, 2, None),
        ] {
            assert_eq!(vip.service(protocol, port), expected.map(ServiceId), "{protocol} {port}");
        }
    }

    proptest! {
        #[test]
        fn the_closest_of_any_services_gets_a_port(
            exact in prop::collection::btree_set(1..100_u16, 0..10),
            borders in prop::collection::btree_set(1..100_u16, 0..10),
            wildcard: bool,
        ) {
            let borders: Vec<u16> = borders.into_iter().collect();
            let ranges = borders.chunks_exact(2).map(|pair| PortRange { first: pair[0], last: pair[1] });
            let exact = exact.into_iter().map(|port| PortRange { first: port, last: port });
            let all = wildcard.then_some(PortRange::ALL);
            let services: Vec<_> = ranges.chain(exact).chain(all).zip(0..).collect();
            let list = services.iter().map(|(range, id)| (Protocol::Udp, *range, ServiceId(*id)));
            let vip = VipServices::new(list.collect());
            for port in 1..110 {
                let expected = services.iter().filter(|(range, _)| range.contains(port));
                let expected = expected.min_by_key(|(range, _)| range.closeness()).map(|(_, id)| ServiceId(*id));
                prop_assert_eq!(vip.service(Protocol::Udp, port), expected, "port {}", port);
            }
        }
    }
}
