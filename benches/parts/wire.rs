//! Packets as bytes: read, inspected as a burst, rewritten. Every time is that of one packet in a burst of them, whose
//! frames are in the first-level cache.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header,
    Ipv6RawExtHeader, PacketBuilder, VlanId,
};
use evenkeel::dataplane::Settings;
use evenkeel::dataplane::inspect::Lookahead;
use evenkeel::dataplane::pipeline::{Pipeline, PipelinePort};
use evenkeel::hash::IndexKey;
use evenkeel::io::BURST;
use evenkeel::io::mem::{MemFrame, Pool};
use evenkeel::model::{Mac, PortId, TablePages, V4, V6, WorkerId};
use evenkeel::shared::{Capacities, Egress, Limits, PathMtus, Persistence, SynProxies, WorkerCounters};
use evenkeel::wire::ethernet::{self, Link};
use evenkeel::wire::{Common, Layout, Parsed, Rewrite, parse, rewrite};

use super::numbered::{Numbered, flow, tuple};
use super::timing::per_item;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEERS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PER_BURST: u64 = BURST as u64;

/// What is in a frame besides addresses and ports.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    tcp: bool,
    tagged: bool,
    /// IPv4 options or an IPv6 extension header, of eight octets.
    extended: bool,
}

impl Shape {
    const UDP: Self = Self { name: "udp", tcp: false, tagged: false, extended: false };
    const TCP: Self = Self { name: "tcp", tcp: true, ..Self::UDP };
    const VLAN: Self = Self { name: "vlan-udp", tagged: true, ..Self::UDP };
    const EXTENDED: Self = Self { name: "options-udp", extended: true, ..Self::UDP };
    const ALL: [Self; 4] = [Self::UDP, Self::TCP, Self::VLAN, Self::EXTENDED];
    /// Of the shape that nearly all packets have.
    const COMMON: [Self; 2] = [Self::UDP, Self::TCP];
}

/// The general way, the shortcut for the common shape, and whole bursts as a worker inspects them.
pub(crate) fn measure(criterion: &mut Criterion) {
    of_family::<V4>(criterion, "ipv4");
    of_family::<V6>(criterion, "ipv6");
    inspect(criterion);
}

fn of_family<F: Framed>(criterion: &mut Criterion, family: &str) {
    for shape in Shape::ALL {
        let mut frames = frames::<F>(shape);
        let mut group = criterion.benchmark_group(format!("wire/{family}/{}", shape.name));
        group.bench_function("parse", |bencher| {
            per_item(bencher, PER_BURST, || {
                for frame in black_box(&frames) {
                    black_box(read::<F>(frame));
                }
            });
        });
        let layout = read::<F>(&frames[0]);
        group.bench_function("rewrite", |bencher| {
            let change = change::<F>();
            per_item(bencher, PER_BURST, || {
                for frame in black_box(&mut frames) {
                    rewrite(frame, layout, &change);
                }
            });
        });
        group.finish();
    }
    for shape in Shape::COMMON {
        let mut frames = frames::<F>(shape);
        let mut group = criterion.benchmark_group(format!("wire/{family}/{}", shape.name));
        group.bench_function("parse-common", |bencher| {
            per_item(bencher, PER_BURST, || {
                for frame in black_box(&frames) {
                    assert!(ethernet::is_for(frame, OURS), "the frames are for us");
                    black_box(F::read(frame, frame.len()).expect("the frames are of the common shape"));
                }
            });
        });
        group.bench_function("rewrite-common", |bencher| {
            let change = change::<F>();
            per_item(bencher, PER_BURST, || {
                for frame in black_box(&mut frames) {
                    F::rewrite(frame, &change);
                }
            });
        });
        group.finish();
    }
}

/// Where everything stands in a frame, its tuple read.
#[inline(always)]
fn read<F: Framed>(frame: &[u8]) -> Layout {
    let link = Link::read(frame).expect("the frames have their headers");
    let Ok(Parsed::Ip(packet)) = parse(&link, frame, frame.len()) else {
        panic!("the frames are well-formed")
    };
    black_box(packet.tuple::<F>(frame).expect("the frames carry TCP or UDP"));
    packet.layout
}

/// Whole bursts: read, eight together where the processor can and the frames are of the common shape of IPv4, their tuples
/// hashed and their index lines asked for.
fn inspect(criterion: &mut Criterion) {
    let pool = Pool::new(5 * BURST, 128);
    let hold = |frames: Vec<Vec<u8>>| -> Vec<MemFrame> {
        frames.iter().map(|frame| pool.frame(frame).expect("the pool has room for all bursts")).collect()
    };
    // One in eight is not of the common shape.
    let mut mixed = frames::<V4>(Shape::UDP);
    mixed.iter_mut().zip(frames::<V4>(Shape::VLAN)).step_by(8).for_each(|(frame, other)| *frame = other);
    let bursts = [
        ("ipv4-udp", frames::<V4>(Shape::UDP)),
        ("ipv4-tcp", frames::<V4>(Shape::TCP)),
        ("ipv4-one-vlan-in-8", mixed),
        ("ipv4-vlan-udp", frames::<V4>(Shape::VLAN)),
        ("ipv6-udp", frames::<V6>(Shape::UDP)),
    ];
    let pipeline = pipeline();
    let mut group = criterion.benchmark_group("wire/inspect-burst");
    for (name, frames) in bursts {
        let (frames, mut ahead) = (hold(frames), Lookahead::NOTHING);
        group.bench_function(name, |bencher| {
            per_item(bencher, PER_BURST, || {
                black_box(pipeline.inspect_all(black_box(&frames), OURS, &mut ahead));
            });
        });
    }
    group.finish();
}

/// A pipeline without services or flows.
fn pipeline() -> Pipeline {
    let capacities = Capacities { services: 1, backends: 1 };
    let key = IndexKey::new([1, 2, 3, 4]);
    let settings = Settings {
        worker: WorkerId(0),
        workers: 1,
        flows: 1_000,
        pages: TablePages::Ordinary,
        capacities,
        key,
        limits: Arc::new(Limits::new(capacities, 1, &key)),
        persistence: Arc::new(Persistence::new(1, &key)),
        syn_proxies: Arc::new(SynProxies::new(1)),
        path_mtus: Arc::new(PathMtus::new(1)),
    };
    let egress = Egress { port: PortId(0), mac: OURS, mtu: 1500 };
    let ports = Box::new([PipelinePort { egress, kernel: false }]);
    Pipeline::new(&settings, ports, Arc::new(WorkerCounters::new(capacities)))
}

fn change<F: Framed>() -> Rewrite<F> {
    let flow = flow::<F>(0);
    Rewrite::between(&flow.tuple, flow.translated)
}

/// A burst of clients' packets of one shape, with 18 octets of data.
fn frames<F: Framed>(shape: Shape) -> Vec<Vec<u8>> {
    (0..u32::try_from(BURST).expect("a burst is small")).map(|n| frame::<F>(n, shape)).collect()
}

fn frame<F: Framed>(n: u32, Shape { tcp, tagged, extended, .. }: Shape) -> Vec<u8> {
    let tuple = tuple::<F>(n);
    let (from, to) = (tuple.source_port(), tuple.destination_port());
    let headers = F::headers((tuple.source(), tuple.destination()), extended);
    let builder = PacketBuilder::ethernet2(PEERS, OURS.0);
    let builder = if tagged { builder.single_vlan(VlanId::ZERO).ip(headers) } else { builder.ip(headers) };
    let mut frame = Vec::new();
    let written = if tcp {
        builder.tcp(from, to, 1, 1024).ack(1).write(&mut frame, &[0; 18])
    } else {
        builder.udp(from, to).write(&mut frame, &[0; 18])
    };
    written.expect("a vector takes every octet");
    frame
}

/// A family that frames can be made of.
trait Framed: Numbered + Common {
    fn headers(addresses: (Self::Address, Self::Address), extended: bool) -> IpHeaders;
}

impl Framed for V4 {
    fn headers((source, destination): (u32, u32), extended: bool) -> IpHeaders {
        // No operation (RFC 791, 3.1).
        let options = if extended { [1; 8].into() } else { Ipv4Options::new() };
        let header = Ipv4Header {
            time_to_live: 64,
            source: source.to_be_bytes(),
            destination: destination.to_be_bytes(),
            fragment_offset: IpFragOffset::ZERO,
            options,
            ..Ipv4Header::default()
        };
        IpHeaders::Ipv4(header, Ipv4Extensions::default())
    }
}

impl Framed for V6 {
    fn headers((source, destination): (u128, u128), extended: bool) -> IpHeaders {
        // Destination options: six octets of padding (RFC 8200, 4.2).
        let padding = || {
            Ipv6RawExtHeader::new_raw(IpNumber::UDP, &[1, 4, 0, 0, 0, 0]).expect("six octets fill the header")
        };
        let extensions =
            Ipv6Extensions { destination_options: extended.then(padding), ..Ipv6Extensions::default() };
        let header = Ipv6Header {
            hop_limit: 64,
            source: source.to_be_bytes(),
            destination: destination.to_be_bytes(),
            ..Ipv6Header::default()
        };
        IpHeaders::Ipv6(header, extensions)
    }
}
