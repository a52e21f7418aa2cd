//! The balancer of all scenarios: full NAT of TCP and UDP, IPv4, on one port, with the tables that control would publish.
//!
//! What a configuration that says nothing of it has is here, too: SYN cookies against floods, counters, time-outs, limits
//! that are not set.

use std::sync::Arc;

use evenkeel::dataplane::worker::Connections;
use evenkeel::dataplane::{Settings, Worker, WorkerPort};
use evenkeel::hash::{ChoiceSeed, IndexKey, maglev};
use evenkeel::io::BURST;
use evenkeel::model::{
    BackendId, BackendState, ClientAddress, Endpoint, ForwardingMode, HashFeature, LOCAL_PORTS, MIN_PATH_MTU,
    Mac, Nanos, NextHopId, OnNoBackend, OnUnknownFlow, PortId, PortRange, Protocol, ServiceId, ServiceLimits,
    ServiceProtocol, SynProxy, TablePages, Timeouts, VlanTag, WorkerId,
};
use evenkeel::shared::rings::{CommandRings, FrameRings};
use evenkeel::shared::{
    AddressRole, AddressRoles, Capacities, Choice, Egress, Fib, Limits, NextHop, PathMtus, Persistence,
    Positions, Publisher, ServiceBackend, ServiceTable, Snapshot, SynProxies, Tally, VipServices,
    WorkerCounters, channel,
};

use super::packet::Address;
use super::port::{MemoryFrame, MemoryPort, Traffic};
use super::replay::{Desk, Replay};

/// The port's address, as frames to it carry it.
pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const EGRESS: Egress = Egress { port: PortId(0), mac: OUR_MAC, mtu: 1500 };

/// 203.0.112.0: the VIP of the first service; the others follow.
const FIRST_VIP: u32 = 0xcb00_7000;
const SERVICE_PORT: u16 = 80;
/// 172.24.0.0: the first backend of the first service.
const FIRST_BACKEND: u32 = 0xac18_0000;
const BACKEND_PORT: u16 = 8080;
/// 172.16.8.0: each local address has 61,440 ports for each backend.
const FIRST_LOCAL: u32 = 0xac10_0800;
const LOCALS: u32 = 32;

/// How large a balancer is.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) services: u32,
    /// Of each service.
    pub(crate) backends: u32,
    /// Local addresses, 1 to 32.
    pub(crate) locals: u32,
    /// That each worker has room for.
    pub(crate) flows: usize,
    pub(crate) pages: TablePages,
    pub(crate) timeouts: Timeouts,
}

impl Plan {
    /// One service of 16 backends with tables for `flows` flows, three quarters full.
    pub(crate) fn of(flows: u32, pages: TablePages) -> Self {
        let room = (flows as usize * 4 / 3).max(1024);
        Self { services: 1, backends: 16, locals: LOCALS, flows: room, pages, timeouts: Timeouts::default() }
    }

    pub(crate) fn vip(&self, flow: u32) -> Address {
        (FIRST_VIP + flow % self.services, SERVICE_PORT)
    }

    /// Whether `address` is of a backend of the service that `flow` is for.
    pub(crate) fn is_backend(&self, address: Address, flow: u32) -> bool {
        let first = FIRST_BACKEND + flow % self.services * self.backends;
        (first..first + self.backends).contains(&address.0) && address.1 == BACKEND_PORT
    }

    /// Whether `address` can be leased.
    pub(crate) fn is_local((address, port): Address) -> bool {
        (FIRST_LOCAL..FIRST_LOCAL + LOCALS).contains(&address) && port >= evenkeel::model::FIRST_LOCAL_PORT
    }

    /// The snapshot with everything in service.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let services = (0..self.services).map(|number| Some(Arc::new(self.service(number, None))));
        let mut roles = AddressRoles::default();
        for number in 0..self.services {
            let id = ServiceId(u16::try_from(number).expect("there are few services"));
            let range = PortRange { first: SERVICE_PORT, last: SERVICE_PORT };
            let both = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, range, id));
            let vip = std::net::Ipv4Addr::from(FIRST_VIP + number);
            roles.insert(vip.into(), AddressRole::Vip(VipServices::new(both.to_vec())));
        }
        for address in self.locals() {
            roles.insert(address, AddressRole::Local);
        }
        Snapshot {
            version: 1,
            services: services.collect(),
            backend_states: vec![BackendState::Up; (self.services * self.backends) as usize],
            roles,
            min_path_mtu: MIN_PATH_MTU,
            timeouts: self.timeouts,
            choice_seed: ChoiceSeed::new(1),
            flow_rules: 0,
        }
    }

    /// The table of a service, with all backends in service but perhaps one, by its place.
    pub(crate) fn service(&self, number: u32, out: Option<u32>) -> ServiceTable {
        let backends = (0..self.backends).map(|place| {
            let id = number * self.backends + place;
            let address = std::net::Ipv4Addr::from(FIRST_BACKEND + id);
            let weight = if out == Some(place) { 0 } else { 100 };
            let endpoint = Endpoint::new(address.into(), BACKEND_PORT);
            ServiceBackend { id: BackendId(id), weight, max_connections: 0, endpoint }
        });
        let backends: Vec<_> = backends.collect();
        let lookup = |weight: &dyn Fn(&ServiceBackend) -> u32| -> Positions {
            let shares: Vec<_> = backends.iter().map(|backend| (backend.endpoint, weight(backend))).collect();
            maglev::build(ChoiceSeed::new(1), &shares, maglev::TABLE_SIZE).into()
        };
        let all = lookup(&|_| 100);
        let in_service = if out.is_none() { Arc::clone(&all) } else { lookup(&|backend| backend.weight) };
        ServiceTable {
            id: ServiceId(u16::try_from(number).expect("there are few services")),
            name: format!("service-{number}").as_str().into(),
            protocol: ServiceProtocol::Any,
            mode: ForwardingMode::FullNat,
            one_packet: false,
            hash: HashFeature::FiveTuple,
            client_address: ClientAddress::None,
            on_no_backend: OnNoBackend::Drop,
            on_unknown_flow: OnUnknownFlow::Drop,
            syn_proxy: SynProxy::Above(SynProxy::DEFAULT_ABOVE),
            leases: u64::from(self.backends) * u64::from(self.locals) * u64::from(LOCAL_PORTS),
            flow_share: 100,
            choice: Choice::Hash { all, in_service, previous: None },
            backends,
            persistence: None,
            access: None,
            limits: ServiceLimits::default(),
            local_addresses: self.locals().collect(),
        }
    }

    fn locals(&self) -> impl Iterator<Item = std::net::IpAddr> + use<> {
        (FIRST_LOCAL..FIRST_LOCAL + self.locals).map(|address| std::net::Ipv4Addr::from(address).into())
    }
}

/// Workers with what they are connected to, and the time.
pub(crate) struct Balancer<T: Traffic + 'static> {
    pub(crate) workers: Vec<Worker<MemoryPort<T>>>,
    pub(crate) snapshots: Publisher<Snapshot>,
    _fibs: Publisher<Fib>,
    pub(crate) clock: Clock,
}

/// The time that turns are told, which goes on with them alone: nothing depends on how fast the machine is.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: Nanos,
    /// From one turn to the next.
    pub(crate) step: Nanos,
}

impl Clock {
    /// The time of the next turn.
    #[inline]
    pub(crate) fn next(&mut self) -> Nanos {
        self.now = self.now + self.step;
        self.now
    }
}

impl Balancer<Replay> {
    /// `workers` workers with a port each that replays what its desk is told.
    pub(crate) fn replaying(plan: &Plan, workers: usize, burst: usize) -> (Self, Vec<Arc<Desk>>) {
        let desks: Vec<Arc<Desk>> = (0..workers).map(|_| Arc::default()).collect();
        let ports = desks.iter().map(|desk| MemoryPort::new(Replay::new(Arc::clone(desk)), burst));
        (Self::new(plan, ports.collect()), desks)
    }
}

impl<T: Traffic> Balancer<T> {
    /// A worker for each of `ports`.
    pub(crate) fn new(plan: &Plan, ports: Vec<MemoryPort<T>>) -> Self {
        let count = u16::try_from(ports.len()).expect("there are few workers");
        let backends = (plan.services * plan.backends) as usize;
        let capacities = Capacities { services: plan.services as usize, backends };
        let (snapshots, snapshot_readers) = channel(plan.snapshot(), ports.len());
        let (fibs, fib_readers) = channel(fib(), ports.len());
        // Any, but the same in every run.
        let key = IndexKey::new([
            0x1111_2222_3333_4445,
            0x5555_6666_7777_8889,
            0x9999_aaaa_bbbb_cccd,
            0xdddd_eeee_ffff_0001,
        ]);
        let settings = Settings {
            worker: WorkerId(0),
            workers: count,
            flows: plan.flows,
            pages: plan.pages,
            capacities,
            key,
            limits: Arc::new(Limits::new(capacities, 1, &key)),
            persistence: Arc::new(Persistence::new(1, &key)),
            syn_proxies: Arc::new(SynProxies::new(capacities.services)),
            path_mtus: Arc::new(PathMtus::new(capacities.backends)),
        };
        let frames: FrameRings<MemoryFrame> = FrameRings::new(ports.len(), 1);
        let commands = CommandRings::new(ports.len());
        let readers = snapshot_readers.into_iter().zip(fib_readers);
        let parts = (0..count).zip(ports).zip(readers).map(|((number, queue), (snapshots, fibs))| {
            let worker = WorkerId(number);
            let port = WorkerPort { queue, egress: EGRESS, kernel: false, transmitter: worker };
            let connections = Connections {
                snapshots,
                fibs,
                frames: frames.clone(),
                commands: commands.clone(),
                counters: Arc::new(WorkerCounters::new(capacities)),
            };
            Worker::new(&Settings { worker, ..settings.clone() }, vec![port], connections)
        });
        // What 32 packets take at 32 million a second.
        let clock = Clock { now: Nanos(0), step: Nanos(1_000) };
        Self { workers: parts.collect(), snapshots, _fibs: fibs, clock }
    }

    /// The sums over all workers.
    pub(crate) fn tally(&self) -> Tally {
        let mut total = Tally::default();
        self.workers.iter().for_each(|worker| total.add(worker.tally()));
        total
    }

    /// One turn of every worker.
    #[inline]
    pub(crate) fn turn(&mut self) {
        let now = self.clock.next();
        for worker in &mut self.workers {
            worker.turn(now);
        }
    }

    /// As many turns as it takes to receive `packets` packets.
    #[inline(never)]
    pub(crate) fn turn_for(&mut self, packets: u64) {
        let until = self.tally().rx_packets + packets;
        loop {
            let received: u64 = self.workers.iter().map(|worker| worker.tally().rx_packets).sum();
            if received >= until {
                return;
            }
            // As many as are needed at least, without a look at the count in each.
            for _ in 0..(until - received).div_ceil((self.workers.len() * BURST) as u64) {
                self.turn();
            }
        }
    }

    /// That what was received has left, all of it, and that there are `flows` flows.
    pub(crate) fn assert_lossless(&self, flows: u64) {
        let tally = self.tally();
        let drops: Vec<_> = evenkeel::shared::DropReason::ALL
            .iter()
            .map(|reason| (*reason, tally.drops[*reason as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert!(drops.is_empty(), "dropped: {drops:?}");
        assert_eq!(tally.rx_packets, tally.tx_packets, "what comes in goes out, and nothing else");
        assert_eq!(tally.flows(), flows, "every flow is there, and no other");
    }
}

/// Everything is behind one router.
fn fib() -> Fib {
    let mut fib = Fib::default();
    fib.next_hops.push(NextHop::new(EGRESS, VlanTag::AsReceived, Some(Mac([2, 0, 0, 0, 0, 9]))));
    fib.add_static("0.0.0.0/0".parse().expect("a prefix"), NextHopId(0));
    fib
}
