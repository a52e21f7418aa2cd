//! Whatever comes: every frame ends somewhere, every buffer comes back, every flow's end is counted, and no turn calls
//! the allocator.

use evenkeel::model::{
    BackendId, BackendState, ClientAddress, ClientPrefix, Encapsulation, ForwardingMode, Nanos, OnNoBackend,
    ProxyDatagrams, ServiceId, ServiceLimits,
};
use proptest::prelude::*;

use crate::allocations;
use crate::icmp_message;
use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, FIN, RST, SYN, decode};
use crate::pieces::{is_piece, split};

/// Something that happens to a balancer.
#[derive(Clone, Debug)]
enum Step {
    /// A packet of one of a few clients, to a service or beside one.
    Client {
        client: u8,
        service: u8,
        flags: u8,
        payload: u8,
    },
    /// Some pieces of a datagram of one of a few clients, in some order; bits say which, and which come first.
    Pieces {
        client: u8,
        service: u8,
        octets: u16,
        which: u8,
        early: u8,
    },
    /// An answer to one of the packets that were sent so far.
    Backend {
        which: prop::sample::Index,
        flags: u8,
    },
    /// One of the packets sent so far comes back with some bytes changed.
    Mutant {
        which: prop::sample::Index,
        changes: Vec<(prop::sample::Index, u8)>,
        length: prop::sample::Index,
    },
    /// A router complains of one of the packets sent so far, or somebody pings its sender.
    Icmp {
        which: prop::sample::Index,
        icmp_type: u8,
        octets: usize,
    },
    Noise(Vec<u8>),
    Wait(u16),
    Backends {
        number: u8,
        state: BackendState,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u8, 0..6_u8, 0..8_u8, any::<u8>())
            .prop_map(|(client, service, flags, payload)| Step::Client { client, service, flags, payload }),
        4 => (0..6_u8, 0..6_u8, 0..900_u16, any::<u8>(), any::<u8>())
            .prop_map(|(client, service, octets, which, early)| Step::Pieces { client, service, octets, which, early }),
        4 => (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(which, flags)| Step::Backend { which, flags }),
        3 => (any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<prop::sample::Index>())
            .prop_map(|(which, changes, length)| Step::Mutant { which, changes, length }),
        2 => (any::<prop::sample::Index>(), prop::sample::select(&[1_u8, 2, 3, 4, 8, 11, 12, 128]), 0..100_usize)
            .prop_map(|(which, icmp_type, octets)| Step::Icmp { which, icmp_type, octets }),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Step::Noise),
        1 => (0..2000_u16).prop_map(Step::Wait),
        1 => (1..4_u8, prop::sample::select(&STATES))
            .prop_map(|(number, state)| Step::Backends { number, state }),
    ]
}

const STATES: [BackendState; 4] =
    [BackendState::Up, BackendState::Up, BackendState::Down, BackendState::Dead];

const FLAGS: [u8; 8] = [SYN, ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, SYN, ACK];

fn frame(client: u8, service: u8, flags: u8, payload: u8) -> Vec<u8> {
    sized_frame(client, service, flags, vec![payload; usize::from(payload)])
}

fn sized_frame(client: u8, service: u8, flags: u8, payload: Vec<u8>) -> Vec<u8> {
    let v4 = format!("198.51.100.{}:4000{client}", client + 1);
    let v6 = format!("[2001:db8:7::{}]:4000{client}", client + 1);
    let build = |from: &str, to| Build::new(from, to).flags(FLAGS[usize::from(flags)]).payload(&payload);
    match service {
        0 => build(&v4, "203.0.113.80:80").tcp(),
        1 => build(&v4, "203.0.113.80:53").udp(),
        2 => build(&v6, "[2001:db8::80]:80").tcp(),
        3 => build(&v6, "[2001:db8::80]:53").vlan(7).udp(),
        4 => build(&v4, "203.0.113.80:9999").tcp(),
        _ => build(&v6, "[2001:db8::99]:80").tcp(),
    }
}

/// Runs the steps; every turn is watched for allocations.
fn run(lab: &mut Lab, steps: &[Step]) {
    let mut seen: Vec<Vec<u8>> = vec![frame(0, 0, 0, 0)];
    for (n, step) in steps.iter().enumerate() {
        let mut before = Vec::new();
        let bytes = match step {
            Step::Client { client, service, flags, payload } => frame(*client, *service, *flags, *payload),
            Step::Pieces { client, service, octets, which, early } => {
                let whole = sized_frame(*client, *service, 0, vec![*client; usize::from(*octets)]);
                // Few identifications, so that packets of one client share some.
                let pieces = split(&whole, u32::from(*which) % 4, &[96, 200, 400, 600]);
                let chosen = |bits: u8, n: usize| bits >> n & 1 == 1;
                let (first, then): (Vec<_>, Vec<_>) =
                    pieces.into_iter().enumerate().partition(|(n, _)| chosen(*early, *n));
                before.extend(
                    first.into_iter().chain(then).filter(|(n, _)| chosen(*which, *n)).map(|(_, piece)| piece),
                );
                before.pop().unwrap_or_default()
            }
            Step::Backend { which, flags } => {
                let sent = which.get(&seen);
                let answer = Build::answer(&decode(sent)).flags(FLAGS[usize::from(*flags)]);
                if decode(sent).udp_checksum.is_some() { answer.udp() } else { answer.tcp() }
            }
            Step::Mutant { which, changes, length } => {
                let mut bytes = which.get(&seen).clone();
                for (place, value) in changes {
                    let place = place.index(bytes.len());
                    bytes[place] = *value;
                }
                bytes.truncate(length.index(bytes.len() * 2) + 1);
                bytes
            }
            Step::Icmp { which, icmp_type, octets } => {
                let about: &Vec<u8> = which.get(&seen);
                icmp_message::error(about, (*icmp_type, 0, [0, 0, 5, 120]), *octets)
            }
            Step::Noise(bytes) => bytes.clone(),
            Step::Wait(seconds) => {
                lab.now = lab.now + Nanos::from_secs(u64::from(*seconds));
                Vec::new()
            }
            Step::Backends { number, state } => {
                lab.set_backend_state(*number, *state);
                Vec::new()
            }
        };
        for (m, bytes) in before.iter().enumerate() {
            lab.deliver_to(m % lab.workers.len(), bytes);
        }
        lab.deliver_to(n % lab.workers.len(), &bytes);
        let (_, calls) = allocations::count(|| lab.settle());
        assert_eq!(calls, 0, "a turn called the allocator at step {n}: {step:?}");
        // What was sent is well-formed unless a mutant went through, whose checksums are not ours to mend.
        for sent in lab.sent() {
            let inside_others = matches!(lab.plan.mode, ForwardingMode::Tunnel(_));
            if !inside_others && !is_piece(&sent) && !matches!(step, Step::Mutant { .. } | Step::Noise(_)) {
                decode(&sent);
                seen.push(sent);
            }
        }
    }
}

fn assert_balanced(lab: &mut Lab) {
    lab.assert_conserved();
    lab.punted();
    let held = usize::try_from(lab.tally().held).unwrap();
    assert_eq!(lab.pool.available(), 4096 - held, "every buffer came back that no fragment waits in");
    lab.wait(Nanos::from_secs(2));
    lab.assert_conserved();
    assert_eq!((lab.pool.available(), lab.tally().held), (4096, 0), "no fragment waits for ever");
    lab.wait(Nanos::from_secs(1200));
    assert_eq!((lab.tally().flows(), lab.tally().displaced), (0, 0), "every flow ends");
    let on_backends: u64 = lab
        .counters
        .iter()
        .flat_map(|counters| (0..64).filter_map(|id| counters.backend(BackendId(id))))
        .map(|counters| counters.totals().flows + counters.totals().open_flows)
        .sum();
    assert_eq!(on_backends, 0, "the backends' gauges agree");
    let limited = (0..4).map(|id| lab.limits.service_connections(ServiceId(id))).sum::<u32>();
    let on_limited = (0..64).map(|id| lab.limits.backend_connections(BackendId(id))).sum::<u32>();
    assert_eq!((limited, on_limited, lab.limits.clients()), (0, 0, 0), "limits get back what they gave");
}

fn client_address() -> impl Strategy<Value = ClientAddress> {
    prop::sample::select(vec![
        ClientAddress::Toa { kind: 254 },
        ClientAddress::ProxyV2 { datagrams: ProxyDatagrams::UntilAnswered },
        ClientAddress::ProxyV2 { datagrams: ProxyDatagrams::Every },
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_buffers_and_flows_are_conserved_with_one_worker(steps in prop::collection::vec(step(), 1..120)) {
        let mut lab = Lab::new(Plan { flows: 16, ..Plan::default() });
        run(&mut lab, &steps);
        assert_balanced(&mut lab);
    }

    #[test]
    fn frames_buffers_and_flows_are_conserved_with_three_workers(steps in prop::collection::vec(step(), 1..120)) {
        let on_no_backend = OnNoBackend::Http503;
        let mut lab = Lab::new(Plan { workers: 3, flows: 16, on_no_backend, ..Plan::default() });
        run(&mut lab, &steps);
        assert_balanced(&mut lab);
    }

    #[test]
    fn frames_buffers_and_flows_are_conserved_where_backends_learn_of_clients(
        three: bool,
        client_address in client_address(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let workers = if three { 3 } else { 1 };
        let mut lab = Lab::new(Plan { workers, flows: 16, client_address, ..Plan::default() });
        run(&mut lab, &steps);
        assert_balanced(&mut lab);
    }

    #[test]
    fn frames_buffers_flows_and_places_are_conserved_with_limits(
        three: bool,
        page: bool,
        (connections, connections_per_second, max_connections) in (0..6_u32, 0..4_u32, 0..4_u32),
        (client_connections, client_connections_per_second) in (0..4_u32, 0..4_u32),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let limits = ServiceLimits {
            connections,
            connections_per_second,
            client_connections,
            client_connections_per_second,
            client_prefix: ClientPrefix { v4: 31, v6: 127 },
        };
        let on_no_backend = if page { OnNoBackend::Http503 } else { OnNoBackend::Reject };
        let workers = if three { 3 } else { 1 };
        let mut lab =
            Lab::new(Plan { workers, flows: 16, limits, max_connections, on_no_backend, ..Plan::default() });
        run(&mut lab, &steps);
        assert_balanced(&mut lab);
    }

    #[test]
    fn frames_buffers_and_records_are_conserved_without_flows(
        mode in prop_oneof![
            Just(ForwardingMode::DirectRouting),
            Just(ForwardingMode::Tunnel(Encapsulation::Ip)),
            Just(ForwardingMode::Tunnel(Encapsulation::Gue { port: 6080 })),
        ],
        three: bool,
        crossed: bool,
        changed: bool,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let crossed = crossed && mode != ForwardingMode::DirectRouting;
        let previous = changed.then(|| vec![2; 1009].into());
        let workers = if three { 3 } else { 1 };
        let mut lab = Lab::new(Plan { workers, flows: 16, mode, crossed, previous, ..Plan::default() });
        run(&mut lab, &steps);
        assert_balanced(&mut lab);
    }
}
