//! The fast path and the general way give the same frame. A tag keeps a packet off the fast path and changes nothing
//! else where next hops keep the tag that a frame came with.

use evenkeel::model::{ClientAddress, Nanos, VlanTag};
use proptest::prelude::*;

use crate::lab::{Lab, Plan};
use crate::packet::{ACK, Build, FIN, RST, SYN, decode};

const CLIENT: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";

/// Of TCP: none, timestamps as they usually are and otherwise, somebody's address.
const OPTIONS: [&[u8]; 4] = [
    &[],
    &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1],
    &[254, 8, 0, 1, 1, 2, 3, 4, 1, 1, 1, 1],
];

/// Without its 802.1Q tag, which must be there.
fn untagged(mut frame: Vec<u8>) -> Vec<u8> {
    assert_eq!(frame[12..14], [0x81, 0x00]);
    frame.drain(12..16);
    frame
}

/// Sets what a packet builder does not: for IPv4, type of service and identification.
fn mark(frame: &mut [u8], type_of_service: u8, identification: u16) {
    frame[15] = type_of_service;
    frame[18..20].copy_from_slice(&identification.to_be_bytes());
    frame[24..26].fill(0);
    let sum = !evenkeel::wire::checksum::fold(evenkeel::wire::checksum::sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn sent_for(lab: &mut Lab, bytes: &[u8]) -> Vec<u8> {
    lab.deliver_to(0, bytes);
    lab.settle();
    let mut sent = lab.sent();
    assert_eq!(sent.len(), 1, "{:?}", lab.drops());
    sent.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_give_the_same_frame(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8),
        ttl in 2_u8..,
        v6: bool,
        tcp: bool,
        type_of_service: u8,
        identification: u16,
        padding in 0_usize..8,
        // With it the fast path looks at options.
        toa: bool,
        options in prop::sample::select(&OPTIONS[..]),
    ) {
        let client_address = if toa { ClientAddress::Toa { kind: 254 } } else { ClientAddress::None };
        let mut lab =
            Lab::new(Plan { next_hop_vlan: VlanTag::AsReceived, client_address, ..Plan::default() });
        let (client, vip) = match (v6, tcp) {
            (false, true) => (CLIENT, "203.0.113.80:80"),
            (false, false) => (CLIENT, "203.0.113.80:53"),
            (true, true) => (CLIENT6, "[2001:db8::80]:80"),
            (true, false) => (CLIENT6, "[2001:db8::80]:53"),
        };
        let bytes = |build: &Build| if tcp { build.tcp() } else { build.udp() };
        let first = lab.forward(&bytes(&Build::new(client, vip)));
        if tcp {
            lab.forward(&Build::answer(&first).flags(SYN | ACK).tcp());
            lab.forward(&Build::new(client, vip).flags(ACK).tcp());
            lab.forward(&Build::answer(&first).flags(ACK).numbers(1, 1002).tcp());
        }
        let (mut burst, mut expected) = (Vec::new(), Vec::new());
        for payload in payloads {
            let forward = Build::new(client, vip).flags(ACK).ttl(ttl).payload(&payload);
            let back = Build::answer(&first).flags(ACK).ttl(ttl).payload(&payload);
            for mut build in [forward, back] {
                build.tcp_options = options.to_vec();
                let mut plain = bytes(&build);
                if !v6 {
                    mark(&mut plain, type_of_service, identification);
                }
                plain.resize(plain.len() + padding, 0xee);
                let mut tagged = plain.clone();
                tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);

                let fast = sent_for(&mut lab, &plain);
                let general = sent_for(&mut lab, &tagged);
                // Answers carry the tag of the client's first frame, which had none.
                let general = if general[12..14] == [0x81, 0x00] { untagged(general) } else { general };
                prop_assert_eq!(&fast, &general);
                burst.push(plain);
                expected.push(general);
            }
        }
        // Whole bursts go another way yet through the first pass, eight frames at a time.
        for _ in 0..2 {
            burst.iter().for_each(|frame| lab.deliver_to(0, frame));
        }
        lab.settle();
        expected.extend_from_within(..);
        prop_assert_eq!(lab.sent(), expected);
    }
}

/// A segment of one side of a connection, whether it belongs there or not.
#[derive(Clone, Debug)]
struct Step {
    from_client: bool,
    flags: u8,
    /// Behind the sender's first number, and the other side's.
    numbers: (u32, u32),
    payload: usize,
    options: &'static [u8],
    ttl: u8,
    /// Before it.
    pause_ms: u64,
}

/// Flags of connections that begin, go on and end, and such as nobody sends.
const FLAGS: [u8; 10] = [SYN, SYN | ACK, ACK, ACK, FIN | ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, FIN];

/// Of SYNs, most of them: segment size, scale behind others, timestamps, nonsense.
const OFFERS: [&[u8]; 5] = [&[], &[2, 4, 0x23, 0x28], &[4, 2, 1, 3, 3, 7, 1, 0], OPTIONS[1], &[3, 9, 1, 1]];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // As they should come, so that most connections get somewhere.
    let usual = [
        (true, SYN, (0, 0)),
        (false, SYN | ACK, (0, 1)),
        (true, ACK, (1, 1)),
        (false, FIN | ACK, (1, 1)),
        (true, FIN | ACK, (1, 2)),
        (false, ACK, (2, 2)),
    ];
    let any = (any::<bool>(), prop::sample::select(&FLAGS[..]), (0..4_u32, 0..4_u32));
    let which = prop_oneof![3 => (0..usual.len()).prop_map(move |at| usual[at]), 1 => any];
    let rest = (0..3_usize, prop::sample::select(&OFFERS[..]), prop_oneof![20 => Just(64_u8), 1 => 0..3_u8]);
    let pause_ms = prop_oneof![8 => Just(0_u64), 1 => 100..2_000_u64];
    let step = (which, rest, pause_ms).prop_map(
        |((from_client, flags, numbers), (payload, options, ttl), pause_ms)| Step {
            from_client,
            flags,
            numbers,
            payload,
            options,
            ttl,
            pause_ms,
        },
    );
    // Either in the usual order, with others in between, or in any.
    prop::collection::vec(step, 1..30).prop_perturb(move |mut steps, mut random| {
        if random.next_u32() % 2 == 0 {
            for (at, (from_client, flags, numbers)) in usual.into_iter().enumerate() {
                let step =
                    Step { from_client, flags, numbers, payload: 0, options: &[], ttl: 64, pause_ms: 0 };
                steps.insert((at * 2).min(steps.len()), step);
            }
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tag has frames parsed, and forwarded where nothing is known beforehand of where things stand in them.
    #[test]
    fn both_ways_take_connections_from_their_beginning_to_their_end_alike(
        steps in steps(),
        v6: bool,
        toa: bool,
    ) {
        let client_address = if toa { ClientAddress::Toa { kind: 254 } } else { ClientAddress::None };
        let plan = Plan { next_hop_vlan: VlanTag::AsReceived, client_address, ..Plan::default() };
        let (mut plain, mut tagged) = (Lab::new(plan.clone()), Lab::new(plan));
        let (client, vip) =
            if v6 { (CLIENT6, "[2001:db8::80]:80") } else { (CLIENT, "203.0.113.80:80") };
        let mut begun = None;
        for step in steps {
            let pause = Nanos::from_millis(step.pause_ms);
            plain.wait(pause);
            tagged.wait(pause);
            let mut build = match (&begun, step.from_client) {
                (_, true) => Build::new(client, vip),
                (Some(begun), false) => Build::answer(begun),
                (None, false) => continue,
            };
            let (own, other) = if step.from_client { (1_000, 9_000) } else { (9_000, 1_000) };
            build.tcp_options = step.options.to_vec();
            let build = build
                .flags(step.flags)
                .numbers(own + step.numbers.0, other + step.numbers.1)
                .payload(&vec![0x5a; step.payload])
                .ttl(step.ttl);
            let sent = plain.exchange_raw(&build.tcp());
            let of_tagged = tagged.exchange_raw(&build.vlan(100).tcp());
            prop_assert_eq!(&sent, &of_tagged.into_iter().map(untagged).collect::<Vec<_>>());
            let forwarded = sent.first().map(|frame| decode(frame));
            if let Some(syn) = forwarded.filter(|sent| sent.flags == SYN && step.from_client) {
                begun = Some(syn);
            }
            prop_assert_eq!(plain.drops(), tagged.drops());
            let counted = |lab: &Lab| {
                let tally = lab.tally();
                (tally.flows_created, tally.flows_ended, tally.resets_doubted, tally.originated)
            };
            prop_assert_eq!(counted(&plain), counted(&tagged));
        }
        // Whatever state a flow is in, it ends at the same time.
        for _ in 0..4 {
            plain.wait(Nanos::from_secs(20));
            tagged.wait(Nanos::from_secs(20));
            prop_assert_eq!(plain.tally().flows(), tagged.tally().flows());
        }
    }
}
