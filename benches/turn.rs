//! The whole worker over a port that costs next to nothing: UDP flows, client to backend, in shuffled order.
//!
//! `cargo bench --bench turn -- [FLOWS] [PACKETS]` prints nanoseconds per packet, the port included. Under
//! `valgrind --tool=callgrind` it gives instructions per packet, which no other load on the machine can move.
#![expect(clippy::cast_possible_truncation, reason = "the numbers of a benchmark are small")]

use std::sync::Arc;
use std::time::Instant;

use evenkeel::dataplane::worker::Connections;
use evenkeel::dataplane::{Settings, Worker, WorkerPort};
use evenkeel::hash::{ChoiceSeed, IndexKey, maglev};
use evenkeel::io::{Burst, Frame, Port};
use evenkeel::model::{
    BackendId, BackendState, ClientAddress, Endpoint, ForwardingMode, HashFeature, Mac, Nanos, NextHopId,
    OnNoBackend, OnUnknownFlow, PortId, PortRange, Protocol, ServiceId, ServiceLimits, ServiceProtocol,
    SynProxy, TablePages, Timeouts, VlanTag, WorkerId,
};
use evenkeel::shared::rings::{CommandRings, FrameRings};
use evenkeel::shared::{
    AddressRole, AddressRoles, Capacities, Choice, Egress, Fib, Limits, NextHop, Persistence, Positions,
    ServiceBackend, ServiceTable, Snapshot, SynProxies, VipServices, WorkerCounters, channel,
};

const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const EGRESS: Egress = Egress { port: PortId(0), mac: OUR_MAC, mtu: 1500 };
const OCTETS: usize = 60;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let mut number = |default: u32| {
        arguments.next().map_or(default, |argument| argument.parse().expect("FLOWS and PACKETS are numbers"))
    };
    let (flows, packets) = (number(1000), number(10_000_000));
    let (_tables, mut worker) = worker(flows);
    let mut now = Nanos(0);
    let mut turn = |packets: u32| {
        for _ in 0..packets.div_ceil(32) {
            now = now + Nanos(1_000);
            worker.turn(now);
        }
    };
    turn(flows * 2);
    let start = Instant::now();
    turn(packets);
    let nanos = start.elapsed().as_nanos() as f64 / f64::from(packets);
    let tally = *worker.tally();
    assert_eq!(tally.flows(), u64::from(flows), "every flow exists");
    assert_eq!(tally.dropped(), 0, "nothing is dropped");
    println!("{flows} flows: {nanos:.1} ns per packet");
}

/// A port that hands out the same frames for ever, each restored when it is sent.
#[expect(clippy::vec_box, reason = "the boxes are handed out and come back")]
struct Source {
    templates: Vec<[u8; OCTETS]>,
    order: Vec<u32>,
    next: usize,
    free: Vec<Box<[u8; 256]>>,
}

struct Owned(Option<Box<[u8; 256]>>);

impl Frame for Owned {
    fn head(&self) -> &[u8] {
        &self.0.as_ref().expect("a frame has its buffer")[128..128 + OCTETS]
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0.as_mut().expect("a frame has its buffer")[128..128 + OCTETS]
    }

    fn octets(&self) -> usize {
        OCTETS
    }

    fn truncate(&mut self, _: usize) {}

    fn prepend(&mut self, _: usize) -> bool {
        false
    }

    fn trim_front(&mut self, _: usize) {}

    fn append(&mut self, _: &[u8]) -> bool {
        false
    }

    fn prefetch(&self) {}

    fn copy_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head());
    }
}

impl Port for Source {
    type Frame = Owned;

    fn receive(&mut self, burst: &mut Burst<Owned>) {
        while !burst.is_full() {
            let Some(mut buffer) = self.free.pop() else { return };
            let flow = self.order[self.next];
            self.next = (self.next + 1) % self.order.len();
            buffer[128..128 + OCTETS].copy_from_slice(&self.templates[flow as usize]);
            burst.push(Owned(Some(buffer)));
        }
    }

    fn transmit(&mut self, burst: &mut Burst<Owned>) -> usize {
        let sent = burst.len();
        self.free.extend(burst.drain(..).filter_map(|mut frame| frame.0.take()));
        sent
    }

    fn allocate(&mut self) -> Option<Owned> {
        None
    }
}

impl Source {
    fn new(flows: u32) -> Self {
        let mut order: Vec<u32> = (0..flows).collect();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for last in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(last, state as usize % (last + 1));
        }
        Self {
            templates: (0..flows).map(template).collect(),
            order,
            next: 0,
            free: (0..64).map(|_| Box::new([0; 256])).collect(),
        }
    }
}

/// The packet of a flow: 18 octets of payload from 10.0.0.0 + flow to the VIP.
fn template(flow: u32) -> [u8; OCTETS] {
    let client = (0x0a00_0000 + flow).to_be_bytes();
    let port = (1024 + flow % 60_000) as u16;
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xc], OUR_MAC.0)
        .ipv4(client, [203, 0, 113, 80], 64)
        .udp(port, 53);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[0; 18]).expect("a vector takes every octet");
    bytes.try_into().expect("14 + 20 + 8 + 18 octets")
}

type Publishers = (evenkeel::shared::Publisher<Snapshot>, evenkeel::shared::Publisher<Fib>);

fn worker(flows: u32) -> (Publishers, Worker<Source>) {
    let capacities = Capacities { services: 1, backends: 8 };
    let backends: Vec<_> = (0..4_u8)
        .map(|n| ServiceBackend {
            id: BackendId(u32::from(n)),
            weight: 100,
            max_connections: 0,
            endpoint: Endpoint::new([10, 9, 9, n + 1].into(), 53),
        })
        .collect();
    let weighted: Vec<_> = backends.iter().map(|backend| (backend.endpoint, 100)).collect();
    let lookup: Positions = maglev::build(ChoiceSeed::new(1), &weighted, maglev::TABLE_SIZE).into();
    let service = ServiceTable {
        id: ServiceId(0),
        name: "dns".into(),
        protocol: ServiceProtocol::Udp,
        mode: ForwardingMode::FullNat,
        hash: HashFeature::FiveTuple,
        client_address: ClientAddress::None,
        on_no_backend: OnNoBackend::Drop,
        on_unknown_flow: OnUnknownFlow::Drop,
        syn_proxy: SynProxy::Off,
        choice: Choice::Hash { all: Arc::clone(&lookup), in_service: lookup, previous: None },
        backends,
        persistence: None,
        access: None,
        limits: ServiceLimits::default(),
        local_addresses: (0..32).map(|n| [172, 16, 8, n].into()).collect(),
    };
    let mut roles = AddressRoles::default();
    let range = PortRange { first: 53, last: 53 };
    let vip = VipServices::new(vec![(Protocol::Udp, range, ServiceId(0))]);
    roles.insert([203, 0, 113, 80].into(), AddressRole::Vip(vip));
    let snapshot = Snapshot {
        version: 1,
        services: vec![Some(Arc::new(service))],
        backend_states: vec![BackendState::Up; 4],
        roles,
        timeouts: Timeouts::default(),
        choice_seed: ChoiceSeed::new(1),
        flow_rules: 0,
    };
    let mut fib = Fib::default();
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    fib.next_hops.push(NextHop::new(EGRESS, VlanTag::AsReceived, Some(mac)));
    fib.add_static("0.0.0.0/0".parse().expect("a prefix"), NextHopId(0));
    let (snapshots, mut snapshot_readers) = channel(snapshot, 1);
    let (fibs, mut fib_readers) = channel(fib, 1);
    let key = IndexKey::new([
        0x1111_2222_3333_4445,
        0x5555_6666_7777_8889,
        0x9999_aaaa_bbbb_cccd,
        0xdddd_eeee_ffff_0001,
    ]);
    let settings = Settings {
        worker: WorkerId(0),
        workers: 1,
        flows: (flows as usize * 4 / 3).max(1024),
        pages: TablePages::Reserved,
        capacities,
        key,
        limits: Arc::new(Limits::new(capacities, 1, &key)),
        persistence: Arc::new(Persistence::new(1, &key)),
        syn_proxies: Arc::new(SynProxies::new(capacities.services)),
    };
    let port =
        WorkerPort { queue: Source::new(flows), egress: EGRESS, kernel: false, transmitter: WorkerId(0) };
    let connections = Connections {
        snapshots: snapshot_readers.pop().expect("one was asked for"),
        fibs: fib_readers.pop().expect("one was asked for"),
        frames: FrameRings::new(1),
        commands: CommandRings::new(1),
        counters: Arc::new(WorkerCounters::new(capacities)),
    };
    ((snapshots, fibs), Worker::new(&settings, vec![port], connections))
}
