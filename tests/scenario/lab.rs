//! A balancer of memory ports in virtual time: workers, tables, and both ends of the wire.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use evenkeel::dataplane::worker::Connections;
use evenkeel::dataplane::{Settings, Worker, WorkerPort};
use evenkeel::hash::{ChoiceSeed, IndexKey, maglev};
use evenkeel::io::Frame;
use evenkeel::io::fault::{FaultPort, Faults, Rates};
use evenkeel::io::mem::{MemFrame, MemPort, Pool, Wire};
use evenkeel::model::{
    BackendId, BackendState, ClientAddress, Endpoint, ForwardingMode, HashFeature, LOCAL_PORTS, MIN_PATH_MTU,
    Mac, Nanos, NextHopId, OnNoBackend, OnUnknownFlow, PersistenceRules, PortId, PortRange, Protocol,
    ServiceId, ServiceLimits, ServiceProtocol, SynProxy, TablePages, Timeouts, VlanTag, WorkerId,
};
use evenkeel::shared::rings::{CommandRings, FrameRings};
use evenkeel::shared::{
    Access, AddressRole, AddressRoles, Capacities, Choice, DropReason, Egress, Fib, Limits, NextHop,
    PathMtus, Persistence, PersistentBackends, Positions, Publisher, Route, ServiceBackend, ServiceTable,
    Snapshot, SynProxies, Tally, TunnelPath, VipServices, WorkerCounters, channel,
};

use crate::packet::{Decoded, decode};

/// The balancer's MAC address on its only port.
pub const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// Everything behind the static routes.
pub const BACKEND_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
/// Where clients' frames come from.
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc]);

pub const VIP4: &str = "203.0.113.80";
pub const VIP6: &str = "2001:db8::80";
pub const LOCAL4: &str = "10.0.8.10";
pub const LOCAL6: &str = "fd00:8::10";
/// Addresses of the ports.
pub const FRONT4: &str = "192.0.2.10";
pub const BACK4: &str = "10.0.9.254";
pub const FRONT6: &str = "2001:db8:2::10";
pub const BACK6: &str = "fd00:9::254";

/// What a scenario's balancer is like.
#[derive(Clone, Debug)]
pub struct Plan {
    pub workers: u16,
    /// 1; or 2: backends are on the link of port 1.
    pub ports: u16,
    /// Whether port 0 leads to the backends, too.
    pub alternative: bool,
    /// Whether a default route leads to clients, by port 0 and to [`CLIENT_MAC`].
    pub clients_routed: bool,
    pub flows: usize,
    /// Frames that can be on their way.
    pub buffers: usize,
    /// Backends per family, numbered from 1.
    pub backends: u8,
    pub on_no_backend: OnNoBackend,
    pub on_unknown_flow: OnUnknownFlow,
    pub timeouts: Timeouts,
    pub min_path_mtu: u16,
    pub next_hop_vlan: VlanTag,
    /// The largest IP packet to clients, and to backends.
    pub mtus: (u16, u16),
    pub mode: ForwardingMode,
    pub client_address: ClientAddress,
    /// Of the UDP services.
    pub one_packet: bool,
    /// Backends of the other family than the VIP, for tunnels.
    pub crossed: bool,
    /// The first targets before they were others, in today's positions.
    pub previous: Option<Positions>,
    /// `None`: Maglev.
    pub choice: Option<Choice>,
    /// What happens to frames that ports receive, and to those that they send, with a seed.
    pub faults: (Rates, Rates, u64),
    /// Of each service.
    pub persistence: Option<PersistenceRules>,
    /// Of each service.
    pub access: Option<Arc<Access>>,
    /// Of each service on TCP.
    pub syn_proxy: SynProxy,
    /// Per cent of a worker's table that each service may hold when it is nearly full.
    pub flow_share: u8,
    /// Of each service.
    pub limits: ServiceLimits,
    /// Of each backend of each service.
    pub max_connections: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 1,
            ports: 1,
            alternative: false,
            clients_routed: false,
            flows: 1024,
            buffers: 4096,
            backends: 3,
            on_no_backend: OnNoBackend::Reject,
            on_unknown_flow: OnUnknownFlow::Reset,
            timeouts: Timeouts::default(),
            min_path_mtu: MIN_PATH_MTU,
            next_hop_vlan: VlanTag::Untagged,
            mtus: (1500, 1500),
            mode: ForwardingMode::FullNat,
            client_address: ClientAddress::None,
            one_packet: false,
            crossed: false,
            previous: None,
            choice: None,
            faults: (Rates::default(), Rates::default(), 0),
            persistence: None,
            access: None,
            syn_proxy: SynProxy::Off,
            flow_share: 100,
            limits: ServiceLimits::default(),
            max_connections: 0,
        }
    }
}

pub struct Lab {
    pub plan: Plan,
    pub workers: Vec<Worker<FaultPort<MemPort>>>,
    /// By worker.
    pub faults: Vec<Faults>,
    pub wires: Vec<Wire>,
    /// By worker, of port 1.
    pub back_wires: Vec<Wire>,
    pub pool: Pool,
    pub rings: FrameRings<MemFrame>,
    pub commands: CommandRings,
    pub snapshots: Publisher<Snapshot>,
    fibs: Publisher<Fib>,
    pub counters: Vec<Arc<WorkerCounters>>,
    pub limits: Arc<Limits>,
    pub persistence: Arc<Persistence>,
    pub syn_proxies: Arc<SynProxies>,
    pub now: Nanos,
    reloads: u64,
    /// Backends that are not up.
    out: Vec<(BackendId, BackendState)>,
}

/// TCP 80 and UDP 53 on both VIPs: service ids 0 to 3 in this order: tcp4, udp4, tcp6, udp6.
const SERVICES: [(Protocol, u16, &str, &str); 4] = [
    (Protocol::Tcp, 80, VIP4, LOCAL4),
    (Protocol::Udp, 53, VIP4, LOCAL4),
    (Protocol::Tcp, 80, VIP6, LOCAL6),
    (Protocol::Udp, 53, VIP6, LOCAL6),
];

impl Lab {
    pub fn new(plan: Plan) -> Self {
        let count = usize::from(plan.workers);
        let capacities = Capacities { services: 8, backends: 256 };
        let (snapshots, snapshot_readers) = channel(Snapshot::empty(), count);
        let (fibs, fib_readers) = channel(fib(&plan, Some(BACKEND_MAC)), count);
        let pool = Pool::new(plan.buffers, 2048);
        let wires: Vec<Wire> = (0..count).map(|_| Wire::new(2048)).collect();
        let back_wires: Vec<Wire> = (0..count).map(|_| Wire::new(2048)).collect();
        let rings = FrameRings::new(count, plan.ports.into());
        let commands = CommandRings::new(count);
        let counters: Vec<_> = (0..count).map(|_| Arc::new(WorkerCounters::new(capacities))).collect();
        let mut faults = Vec::new();
        let key = IndexKey::new([0x11, 0x22, 0x33, 0x44]);
        let limits = Arc::new(Limits::new(capacities, 1024, &key));
        let persistence = Arc::new(Persistence::new(1024, &key));
        let syn_proxies = Arc::new(SynProxies::new(capacities.services));
        let path_mtus = Arc::new(PathMtus::new(capacities.backends));
        let workers = snapshot_readers
            .into_iter()
            .zip(fib_readers)
            .enumerate()
            .map(|(n, (snapshots, fibs))| {
                let id = WorkerId(u16::try_from(n).unwrap());
                let settings = Settings {
                    worker: id,
                    workers: plan.workers,
                    flows: plan.flows,
                    pages: TablePages::Ordinary,
                    capacities,
                    key,
                    limits: Arc::clone(&limits),
                    persistence: Arc::clone(&persistence),
                    syn_proxies: Arc::clone(&syn_proxies),
                    path_mtus: Arc::clone(&path_mtus),
                };
                let (inward, outward, seed) = plan.faults;
                let queue = MemPort::new(wires[n].clone(), pool.clone());
                let queue = FaultPort::new(queue, inward, outward, seed + n as u64);
                faults.push(queue.faults());
                let port =
                    WorkerPort { queue, egress: egress(0, plan.mtus.0), kernel: true, transmitter: id };
                let back = MemPort::new(back_wires[n].clone(), pool.clone());
                let back = FaultPort::new(back, Rates::default(), Rates::default(), 0);
                let back =
                    WorkerPort { queue: back, egress: egress(1, plan.mtus.1), kernel: true, transmitter: id };
                let ports = [port, back].into_iter().take(plan.ports.into()).collect();
                let connections = Connections {
                    snapshots,
                    fibs,
                    frames: rings.clone(),
                    commands: commands.clone(),
                    counters: Arc::clone(&counters[n]),
                };
                Worker::new(&settings, ports, connections)
            })
            .collect();
        let mut lab = Self {
            plan,
            workers,
            faults,
            wires,
            back_wires,
            pool,
            rings,
            commands,
            snapshots,
            fibs,
            counters,
            limits,
            persistence,
            syn_proxies,
            now: Nanos::from_secs(1_000),
            reloads: 0,
            out: Vec::new(),
        };
        lab.publish();
        lab
    }

    /// Takes a backend (numbered as in its address) of all services out of service, or brings it back.
    pub fn set_backend(&mut self, number: u8, up: bool) {
        self.set_backend_state(number, if up { BackendState::Up } else { BackendState::Down });
    }

    /// Gives a backend (numbered as in its address) of all services a state.
    pub fn set_backend_state(&mut self, number: u8, state: BackendState) {
        for service in 0..4 {
            let id = backend_id(service, number);
            self.out.retain(|(out, _)| *out != id);
            if state != BackendState::Up {
                self.out.push((id, state));
            }
        }
        self.publish();
    }

    /// Says where frames to backends go; `None`: nobody answers for them.
    pub fn set_backend_mac(&mut self, mac: Option<Mac>) {
        self.fibs.publish(fib(&self.plan, mac));
    }

    /// Takes over a changed plan, as a reload does.
    pub fn reload(&mut self) {
        self.reloads += 1;
        self.publish();
    }

    fn publish(&mut self) {
        let mut roles = AddressRoles::default();
        for vip in [VIP4, VIP6] {
            let ranges = SERVICES.iter().zip(0..).filter(|((_, _, on, _), _)| *on == vip).map(
                |((protocol, port, ..), id)| {
                    (*protocol, PortRange { first: *port, last: *port }, ServiceId(id))
                },
            );
            roles.insert(vip.parse().unwrap(), AddressRole::Vip(VipServices::new(ranges.collect())));
        }
        for port in [FRONT4, BACK4, FRONT6, BACK6] {
            roles.insert(port.parse().unwrap(), AddressRole::Port);
        }
        for local in [LOCAL4, LOCAL6] {
            roles.insert(local.parse().unwrap(), AddressRole::Local);
        }
        let services: Vec<_> = (0..4).map(|id| Some(Arc::new(self.service(id)))).collect();
        let backends = services.iter().flatten().flat_map(|service| &service.backends);
        roles.set_backends(backends.map(|backend| backend.endpoint.address));
        for service in services.iter().flatten() {
            let ForwardingMode::Tunnel(encapsulation) = service.mode else { continue };
            for end in service.backends.iter().map(|backend| backend.endpoint.address) {
                let sources = &service.local_addresses;
                let source = *sources.iter().find(|source| source.is_ipv4() == end.is_ipv4()).unwrap();
                roles.insert_tunnel(end, TunnelPath { source, encapsulation });
            }
        }
        let mut backend_states = vec![BackendState::Up; 64];
        for (id, state) in &self.out {
            backend_states[id.index()] = *state;
        }
        self.snapshots.publish(Snapshot {
            version: 1,
            services,
            backend_states,
            roles,
            timeouts: self.plan.timeouts,
            min_path_mtu: self.plan.min_path_mtu,
            choice_seed: ChoiceSeed::new(1),
            flow_rules: self.reloads,
        });
    }

    fn service(&self, id: u16) -> ServiceTable {
        let (protocol, port, vip, local) = SERVICES[usize::from(id)];
        let backends: Vec<ServiceBackend> = (1..=self.plan.backends)
            .map(|number| ServiceBackend {
                id: backend_id(id, number),
                weight: 100,
                max_connections: self.plan.max_connections,
                endpoint: backend(
                    if self.plan.crossed && vip == VIP4 {
                        VIP6
                    } else if self.plan.crossed {
                        VIP4
                    } else {
                        vip
                    },
                    number,
                ),
            })
            .collect();
        let build = |only_up: bool| -> Positions {
            let weight = |id| if only_up && self.out.iter().any(|(out, _)| *out == id) { 0 } else { 100 };
            let weighted: Vec<_> = backends.iter().map(|b| (b.endpoint, weight(b.id))).collect();
            maglev::build(ChoiceSeed::new(1), &weighted, 1009).into()
        };
        ServiceTable {
            id: ServiceId(id),
            name: format!("{protocol}-{port}").into(),
            protocol: if protocol == Protocol::Tcp { ServiceProtocol::Tcp } else { ServiceProtocol::Udp },
            mode: self.plan.mode,
            one_packet: self.plan.one_packet && protocol == Protocol::Udp,
            hash: HashFeature::FiveTuple,
            client_address: self.plan.client_address,
            on_no_backend: self.plan.on_no_backend,
            on_unknown_flow: self.plan.on_unknown_flow,
            choice: self.plan.choice.clone().unwrap_or_else(|| Choice::Hash {
                all: build(false),
                in_service: build(true),
                previous: self.plan.previous.clone(),
            }),
            persistence: self.plan.persistence.map(|rules| PersistentBackends::new(rules, &backends, None)),
            backends,
            access: self.plan.access.clone(),
            limits: self.plan.limits,
            syn_proxy: if protocol == Protocol::Tcp { self.plan.syn_proxy } else { SynProxy::Off },
            leases: u64::from(self.plan.backends) * u64::from(LOCAL_PORTS),
            flow_share: self.plan.flow_share,
            local_addresses: match self.plan.mode {
                ForwardingMode::Tunnel(_) => [LOCAL4, LOCAL6].map(|local| local.parse().unwrap()).into(),
                ForwardingMode::FullNat => [local.parse().unwrap()].into(),
                ForwardingMode::DirectRouting => [].into(),
            },
        }
    }

    /// Lets `worker` receive a frame, without a turn.
    pub fn deliver_to(&self, worker: usize, bytes: &[u8]) {
        let frame = self.pool.frame(bytes).expect("the scenario leaks frames, or a frame is too large");
        self.wires[worker].inbound.push(frame).expect("the scenario sends more than a wire holds");
    }

    /// Lets the first worker receive a frame by port 1 and returns what was sent because of it, by either port.
    pub fn exchange_by_back(&mut self, bytes: &[u8]) -> Vec<Decoded> {
        self.exchange_raw_by_back(bytes).iter().map(|frame| decode(frame)).collect()
    }

    /// As [`exchange_by_back`](Self::exchange_by_back); the frames as bytes.
    pub fn exchange_raw_by_back(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let frame = self.pool.frame(bytes).expect("the scenario leaks frames, or a frame is too large");
        self.back_wires[0].inbound.push(frame).expect("the scenario sends more than a wire holds");
        self.settle();
        self.sent()
    }

    /// Lets the first worker receive a frame in parts, each in a buffer of its own, without a turn.
    pub fn deliver_parts(&self, parts: &[&[u8]]) {
        let frame =
            self.pool.frame_in_parts(parts).expect("the scenario leaks frames, or a part is too large");
        self.wires[0].inbound.push(frame).expect("the scenario sends more than a wire holds");
    }

    /// Turns of all workers until nobody has anything to do.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for worker in &mut self.workers {
                busy |= worker.turn(self.now);
            }
            if !busy {
                return;
            }
        }
        panic!("the workers do not come to rest");
    }

    /// Lets time pass, tick by tick.
    pub fn wait(&mut self, span: Nanos) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + Nanos::from_millis(50)).min(end);
            self.settle();
        }
    }

    /// All frames sent since the last call, as bytes.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for wire in self.wires.iter().chain(&self.back_wires) {
            while let Some(frame) = wire.outbound.pop() {
                let mut bytes = Vec::new();
                frame.copy_to(&mut bytes);
                frames.push(bytes);
            }
        }
        frames
    }

    /// Delivers one frame to the first worker and returns what was sent because of it.
    pub fn exchange(&mut self, bytes: &[u8]) -> Vec<Decoded> {
        self.exchange_at(0, bytes)
    }

    /// Delivers one frame to a worker and returns what was sent because of it.
    pub fn exchange_at(&mut self, worker: usize, bytes: &[u8]) -> Vec<Decoded> {
        self.deliver_to(worker, bytes);
        self.settle();
        self.sent().iter().map(|frame| decode(frame)).collect()
    }

    /// Delivers one frame to the first worker and returns the frames that were sent because of it.
    pub fn exchange_raw(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.deliver_to(0, bytes);
        self.settle();
        self.sent()
    }

    /// Delivers one frame and returns the only one that was sent because of it.
    #[track_caller]
    pub fn forward(&mut self, bytes: &[u8]) -> Decoded {
        let mut sent = self.exchange(bytes);
        assert_eq!(sent.len(), 1, "frames sent; drops: {:?}", self.drops());
        sent.remove(0)
    }

    /// Delivers a frame that must vanish for `reason`, without an answer.
    #[track_caller]
    pub fn lose(&mut self, bytes: &[u8], reason: DropReason) {
        let before = self.dropped(reason);
        let sent = self.exchange(bytes);
        assert_eq!(sent, [], "an answer to what should be dropped as {reason}");
        assert_eq!(self.dropped(reason), before + 1, "drops: {:?}", self.drops());
    }

    pub fn tally(&self) -> Tally {
        let mut total = Tally::default();
        self.workers.iter().for_each(|worker| total.add(worker.tally()));
        total
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.tally().drops[reason as usize]
    }

    /// Drops by reason, those that are not zero.
    pub fn drops(&self) -> BTreeMap<&'static str, u64> {
        let tally = self.tally();
        let all = DropReason::ALL.into_iter().map(|reason| (reason.name(), tally.drops[reason as usize]));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Frames that the kernel was given since the last call.
    pub fn punted(&self) -> usize {
        self.rings.punts.drain().count()
    }

    /// The conservation law, for all workers together and each alone.
    #[track_caller]
    pub fn assert_conserved(&self) {
        for worker in &self.workers {
            let t = worker.tally();
            let came = t.rx_packets + t.handed_in + t.injected + t.originated;
            let went = t.tx_packets + t.punted + t.handed_off + t.dropped() + t.held;
            assert_eq!(came, went, "worker {}: {t:?}", worker.id());
        }
    }
}

/// The id of a backend of a service.
pub fn backend_id(service: u16, number: u8) -> BackendId {
    BackendId(u32::from(service) * 16 + u32::from(number))
}

/// Backend `number` of the VIP's family, on port 8080.
pub fn backend(vip: &str, number: u8) -> Endpoint {
    let address: IpAddr = if vip.contains(':') {
        format!("fd00:9::{number}").parse().unwrap()
    } else {
        format!("10.0.9.{number}").parse().unwrap()
    };
    Endpoint::new(address, 8080)
}

const fn egress(port: u16, mtu: u16) -> Egress {
    Egress { port: PortId(port), mac: OUR_MAC, mtu }
}

fn fib(plan: &Plan, backend_mac: Option<Mac>) -> Fib {
    let mut fib = Fib::default();
    let prefixes = ["10.0.9.0/24", "fd00:9::/64"].map(|prefix| prefix.parse().unwrap());
    if plan.ports == 1 {
        fib.next_hops.push(NextHop::new(egress(0, plan.mtus.1), plan.next_hop_vlan, backend_mac));
        for prefix in prefixes {
            fib.add_static(prefix, NextHopId(0));
        }
        if plan.clients_routed {
            fib.next_hops.push(NextHop::new(egress(0, plan.mtus.0), VlanTag::AsReceived, Some(CLIENT_MAC)));
            for prefix in ["0.0.0.0/0", "::/0"] {
                fib.add_static(prefix.parse().unwrap(), NextHopId(1));
            }
        }
        return fib;
    }
    fib.next_hops.push(NextHop::new(egress(1, plan.mtus.1), plan.next_hop_vlan, backend_mac));
    for prefix in prefixes {
        fib.add_route(prefix, Route { port: PortId(1), vlan: plan.next_hop_vlan, gateway: None });
        if plan.alternative {
            fib.add_alternative(prefix, PortId(0));
        }
    }
    for (vip, number) in [VIP4, VIP6].into_iter().flat_map(|vip| (1..=plan.backends).map(move |n| (vip, n))) {
        fib.add_neighbour(PortId(1), plan.next_hop_vlan, backend(vip, number).address, NextHopId(0));
    }
    fib
}
