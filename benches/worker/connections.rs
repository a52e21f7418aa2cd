//! Whole TCP connections: SYN, SYN-ACK, ACK, a request, an answer, FIN of the client, FIN of the backend, the last ACK;
//! admitted, leased, ended and expired, the table in a steady state.
//!
//! Many are under way at a time, at different steps, and some go faster than others. A closed connection's lease rests for
//! one second ([`TimeoutTicks`](evenkeel::dataplane::flow::TimeoutTicks)); the other time-outs are the defaults, which none
//! here reaches.

use evenkeel::io::{BURST, Frame};
use evenkeel::model::{Nanos, TablePages};
use serde_json::json;

use super::balancer::{Balancer, Plan};
use super::costs::Costs;
use super::figures::{Figure, Figures, Target};
use super::flows::client;
use super::options::Options;
use super::order::Random;
use super::packet::{Address, Packet, Template, flags};
use super::port::{MemoryFrame, MemoryPort, Traffic};

/// Both sides of all connections.
pub(crate) struct Peers {
    plan: Plan,
    kinds: [Template; STEPS as usize],
    connections: Box<[Connection]>,
    /// Who is next.
    next: usize,
    /// How many there have been.
    serial: u32,
    random: Random,
    /// Packets that are still looked at as they leave.
    checks: u64,
}

#[derive(Clone, Copy)]
struct Connection {
    client: Address,
    vip: Address,
    /// What the worker has chosen, once its SYN has left.
    local: Address,
    backend: Address,
    /// The next packet.
    step: u8,
}

/// Packets of a connection.
const STEPS: u8 = 8;

/// Those that the backend sends.
const BACK: [u8; 3] = [1, 4, 6];

/// Connections at a time.
const PARALLEL: u32 = 16_384;

/// Connections a second of the worker's time: more than a core does, so that more closed ones are in the table than there
/// would be.
const RATE: u64 = 2_000_000;

/// How long a closed connection is kept, by [`RATE`] and a tick more.
const CLOSED: u32 = 2_200_000;

impl Peers {
    fn new(plan: &Plan, parallel: u32, checks: u64) -> Self {
        use flags::{ACK, FIN, PSH, SYN};
        let kinds = [
            (SYN, 0, 0),
            (SYN | ACK, 0, 1),
            (ACK, 1, 1),
            (PSH | ACK, 1, 1),
            (PSH | ACK, 1, 7),
            (FIN | ACK, 7, 7),
            (FIN | ACK, 7, 8),
            (ACK, 8, 8),
        ]
        .map(Template::segment);
        let connections = (0..parallel).map(|serial| Connection::new(plan, serial)).collect();
        Self {
            plan: plan.clone(),
            kinds,
            connections,
            next: 0,
            serial: parallel,
            random: Random::new(),
            checks,
        }
    }

    #[cold]
    fn check(&mut self, packet: &Packet) {
        assert!(packet.is_sound(), "both checksums are right");
        let Connection { client, vip, local, backend, .. } = self.connections[packet.mark() as usize];
        let ends = (packet.source(), packet.destination());
        let right = if packet.is_bare_syn() {
            Plan::is_local(local) && self.plan.is_backend(backend, 0)
        } else {
            ends == (local, backend) || ends == (vip, client)
        };
        assert!(right, "a packet goes the way of its connection");
    }
}

impl Connection {
    fn new(plan: &Plan, serial: u32) -> Self {
        // The numbers of clients repeat after some seconds, and have another port then.
        let (address, port) = client(serial);
        let client = (address, port ^ u16::from(serial.to_be_bytes()[0]));
        Self { client, vip: plan.vip(0), local: (0, 0), backend: (0, 0), step: 0 }
    }
}

impl Traffic for Peers {
    #[inline]
    fn next(&mut self) -> Option<Packet> {
        // Every second one waits for its next turn.
        while self.random.next() >> 63 == 0 {
            self.next += 1;
        }
        if self.next >= self.connections.len() {
            self.next %= self.connections.len();
        }
        let place = self.next;
        let connection = &mut self.connections[place];
        if connection.step == STEPS {
            *connection = Connection::new(&self.plan, self.serial);
            self.serial = self.serial.wrapping_add(1);
        }
        let Connection { client, vip, local, backend, step } = *connection;
        let mark = u32::try_from(place).expect("there are few at a time");
        let kind = &self.kinds[usize::from(step)];
        let packet = if BACK.contains(&step) {
            kind.packet(backend, local, mark)
        } else {
            kind.packet(client, vip, mark)
        };
        connection.step += 1;
        self.next += 1;
        Some(packet)
    }

    #[inline]
    fn sent(&mut self, frames: &[MemoryFrame]) {
        for frame in frames {
            let packet = Packet::of(frame.head());
            if packet.is_bare_syn() {
                let connection = &mut self.connections[packet.mark() as usize];
                (connection.local, connection.backend) = (packet.source(), packet.destination());
            }
            if self.checks > 0 {
                self.checks -= 1;
                self.check(&packet);
            }
        }
    }
}

/// Measures connections a second.
pub(crate) fn measure(options: &Options, figures: &mut Figures) {
    let plan = Plan::of(PARALLEL + CLOSED, options.pages());
    let mut balancer = balancer(&plan, PARALLEL, 1 << 20);
    // Until as many end as begin, and once more, so that their places in memory are others than at the start.
    let warm_up = RATE * u64::from(STEPS) * 5 / 2;
    balancer.turn_for(warm_up);
    let before = balancer.tally();
    let mut twin = MemoryPort::new(Peers::new(&plan, PARALLEL, 0), BURST);
    let packets = u64::from(options.packets);
    let costs = Costs::measure(&mut balancer, &mut twin, packets, options.rounds);
    let after = balancer.tally();
    balancer.assert_lossless(after.flows());
    let (begun, ended) = (after.flows_created - before.flows_created, after.flows_ended - before.flows_ended);
    // Flows end in the ticks of the table, of which there are 15 a second.
    let tick = RATE / 14;
    assert!(begun.abs_diff(ended) < begun / 10 + tick, "as many end ({ended}) as begin ({begun})");
    assert!(begun.abs_diff(packets * u64::from(options.rounds) / 8) < begun / 100, "eight packets each");

    let parameters = json!({
        "packets_each": STEPS, "parallel": PARALLEL, "closed_s": 1, "tcp_syn_s": 30, "tcp_fin_s": 60,
        "tcp_established_s": 900, "in_table": after.flows(), "offered_per_second": RATE, "packets": packets,
    });
    let rate = |nanos: f64| 1e3 / (nanos * f64::from(STEPS));
    let figure = Figure::new("connections.rate", "M/s", costs.whole.map(rate));
    figures.add(figure.with(Target::AtLeast(1.0)), &parameters);
    figures.add(Figure::new("connections.rate_above_port", "M/s", costs.above_port().map(rate)), &parameters);
    let each = |samples: &super::figures::Samples| samples.map(|nanos| nanos * f64::from(STEPS));
    figures.add(Figure::new("connections.whole", "ns", each(&costs.whole)), &parameters);
    figures.add(Figure::new("connections.port", "ns", each(&costs.port)), &parameters);
}

/// Runs `count` connections, `parallel` at a time, in a table that has room for a second's; how many packets that was.
pub(crate) fn run(parallel: u32, count: u32, pages: TablePages) -> u64 {
    let plan = Plan::of(parallel + 16_384, pages);
    let mut balancer = balancer(&plan, parallel, 1 << 14);
    // So slow that a second's connections are few.
    balancer.clock.step = Nanos(32_000_000 / 8);
    let before = balancer.tally().rx_packets;
    balancer.turn_for(u64::from(count) * u64::from(STEPS));
    let tally = balancer.tally();
    balancer.assert_lossless(tally.flows());
    tally.rx_packets - before
}

fn balancer(plan: &Plan, parallel: u32, checks: u64) -> Balancer<Peers> {
    let port = MemoryPort::new(Peers::new(plan, parallel, checks), BURST);
    let mut balancer = Balancer::new(plan, vec![port]);
    balancer.clock.step = Nanos(BURST as u64 * 1_000_000_000 / (RATE * u64::from(STEPS)));
    balancer
}
