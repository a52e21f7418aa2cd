//! Flows that are established: made through a worker, with answers made of what it sent, and every packet looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::dataplane::PortClass;
use evenkeel::model::WorkerId;

use super::balancer::{Balancer, Plan};
use super::options::Transport;
use super::order::{Order, Random};
use super::packet::{Address, Packet, Template, flags};
use super::replay::{Desk, Replay};

/// Flows by number, each with what the worker chose for it.
pub(crate) struct Flows {
    transport: Transport,
    plan: Plan,
    chosen: Vec<Chosen>,
    /// The longest turn while they were made.
    pub(crate) longest_turn: Duration,
}

/// What a worker has chosen for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chosen {
    local: Address,
    backend: Address,
}

/// Packets of one flow, by kind.
struct Kinds {
    /// From the client, the first of a flow first.
    forward: Vec<Template>,
    /// From the backend.
    back: Vec<Template>,
}

/// Which way a packet goes, and the how manieth of its kind it is.
#[derive(Clone, Copy)]
enum Step {
    Forward(usize),
    Back(usize),
}

/// Flows that are made together: not so many that half-open ones look like a flood.
const AT_A_TIME: u32 = 8192;

impl Flows {
    /// Makes the flows of these numbers through the only port of `balancer`, or through the first if there are several
    /// workers, who hand over what is another's.
    pub(crate) fn establish(
        balancer: &mut Balancer<Replay>,
        desks: &[Arc<Desk>],
        plan: &Plan,
        transport: Transport,
        count: u32,
    ) -> Self {
        let mut flows = Self {
            transport,
            plan: plan.clone(),
            chosen: vec![Chosen::NOTHING; count as usize],
            longest_turn: Duration::ZERO,
        };
        let kinds = Kinds::of(transport);
        let steps: &[Step] = match transport {
            Transport::Udp => &[Step::Forward(0), Step::Back(0), Step::Forward(0)],
            Transport::Tcp => {
                &[Step::Forward(0), Step::Back(0), Step::Forward(1), Step::Forward(2), Step::Back(1)]
            }
        };
        let mut first = 0;
        while first < count {
            let last = count.min(first + AT_A_TIME);
            for step in steps {
                let packets = (first..last).map(|flow| flows.packet(&kinds, *step, flow)).collect();
                let sent = flows.exchange(balancer, desks, packets);
                assert_eq!(sent.len(), (last - first) as usize, "every packet leaves");
                sent.iter().for_each(|packet| flows.check(*step, packet));
            }
            first = last;
        }
        flows
    }

    /// Plays `packets` to the first port; what leaves by any.
    fn exchange(
        &mut self,
        balancer: &mut Balancer<Replay>,
        desks: &[Arc<Desk>],
        packets: Vec<Packet>,
    ) -> Vec<Packet> {
        let (first, others) = desks.split_first().expect("there is a port");
        let until = balancer.tally().tx_packets + packets.len() as u64;
        others.iter().for_each(|desk| desk.once(Vec::new()));
        first.once(packets);
        let mut idle = 0;
        while balancer.tally().tx_packets < until && idle < 1000 {
            let before = balancer.tally().tx_packets;
            let began = Instant::now();
            balancer.turn();
            self.longest_turn = self.longest_turn.max(began.elapsed());
            idle = if balancer.tally().tx_packets == before { idle + 1 } else { 0 };
        }
        desks.iter().flat_map(|desk| desk.take_sent()).collect()
    }

    fn packet(&self, kinds: &Kinds, step: Step, flow: u32) -> Packet {
        match step {
            Step::Forward(kind) => kinds.forward[kind].packet(client(flow), self.plan.vip(flow), flow),
            Step::Back(kind) => {
                let Chosen { local, backend } = self.chosen[flow as usize];
                kinds.back[kind].packet(backend, local, flow)
            }
        }
    }

    /// Looks at a packet that left: is it what full NAT makes of the one that came?
    fn check(&mut self, step: Step, packet: &Packet) {
        let flow = packet.mark();
        assert!(packet.is_sound(), "flow {flow}: both checksums are right");
        match step {
            Step::Forward(_) => {
                let chosen = Chosen { local: packet.source(), backend: packet.destination() };
                let known = self.chosen[flow as usize];
                if known == Chosen::NOTHING {
                    assert!(self.plan.is_backend(chosen.backend, flow), "flow {flow} goes to a backend");
                    assert!(Plan::is_local(chosen.local), "flow {flow} comes from a local address");
                    self.chosen[flow as usize] = chosen;
                } else {
                    assert_eq!(chosen, known, "flow {flow} stays where it is");
                }
            }
            Step::Back(_) => {
                assert_eq!(packet.source(), self.plan.vip(flow), "flow {flow}: the answer is the VIP's");
                assert_eq!(packet.destination(), client(flow), "flow {flow}: the answer is for its client");
            }
        }
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.chosen.len()).expect("flows are counted so")
    }

    /// Packets in the middle of the flows, both ways, in `order`.
    pub(crate) fn both_ways(&self, order: Order) -> Arc<[Packet]> {
        let kinds = Kinds::of(self.transport);
        let (forward, back) = match self.transport {
            Transport::Udp => (0, 0),
            Transport::Tcp => (2, 1),
        };
        // Even numbers are the forward packets of flows, odd ones the answers.
        let numbers = order.numbers(self.len() * 2, &mut Random::new());
        let packets = numbers.into_iter().map(|number| {
            let step = if number % 2 == 0 { Step::Forward(forward) } else { Step::Back(back) };
            self.packet(&kinds, step, number / 2)
        });
        packets.collect()
    }

    /// Clients' packets alone, in `order`.
    pub(crate) fn forward(&self, order: Order) -> Arc<[Packet]> {
        let kinds = Kinds::of(self.transport);
        let kind = match self.transport {
            Transport::Udp => 0,
            Transport::Tcp => 2,
        };
        let numbers = order.numbers(self.len(), &mut Random::new());
        numbers.into_iter().map(|flow| self.packet(&kinds, Step::Forward(kind), flow)).collect()
    }

    /// Those of `packets` whose flows are `worker`'s, one of `workers`.
    pub(crate) fn of_worker(&self, packets: &[Packet], worker: u16, workers: u16) -> Arc<[Packet]> {
        let class = PortClass::new(WorkerId(worker), workers);
        let owner = |packet: &Packet| class.owner(self.chosen[packet.mark() as usize].local.1);
        packets.iter().filter(|packet| owner(packet) == Some(WorkerId(worker))).copied().collect()
    }

    /// Whether a packet that left is for the client of its flow, or for the backend that its flow was on.
    pub(crate) fn is_in_place(&self, packet: &Packet) -> bool {
        let flow = packet.mark();
        if packet.source() == self.plan.vip(flow) {
            return packet.destination() == client(flow);
        }
        let place = Chosen { local: packet.source(), backend: packet.destination() };
        self.chosen.get(flow as usize) == Some(&place)
    }
}

impl Chosen {
    const NOTHING: Self = Self { local: (0, 0), backend: (0, 0) };
}

impl Kinds {
    fn of(transport: Transport) -> Self {
        use flags::{ACK, PSH, SYN};
        match transport {
            Transport::Udp => Self { forward: vec![Template::datagram()], back: vec![Template::datagram()] },
            Transport::Tcp => Self {
                forward: [(SYN, 0, 0), (ACK, 1, 1), (PSH | ACK, 1, 1)].map(Template::segment).into(),
                back: [(SYN | ACK, 0, 1), (PSH | ACK, 1, 1)].map(Template::segment).into(),
            },
        }
    }
}

/// The client of a flow: as many addresses as there are flows, in 10.0.0.0/8.
pub(crate) fn client(flow: u32) -> Address {
    let port = u16::try_from(1024 + flow % 60_000).expect("it is below 61024");
    (0x0a00_0000 + (flow & 0x00ff_ffff), port)
}
