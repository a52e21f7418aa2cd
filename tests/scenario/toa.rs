//! Backends of services with `client_address = "toa"` learn who the client is, from us alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use evenkeel::io::fault::Rates;
use evenkeel::model::{ClientAddress, Nanos, ServiceId, VlanTag};
use evenkeel::shared::{DropReason, ServiceTotals};
use proptest::prelude::*;

use crate::icmp_message::{error, too_big};
use crate::lab::{Lab, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN, decode};
use crate::pieces::split;
use crate::toa_reader::{KIND, clients, named, options};

const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:80")];

/// Of the client's SYN, and of the backend's.
const ISN: u32 = 7000;
const THEIRS: u32 = 90_000;

const NOP: u8 = 1;
const TIMESTAMPS: [u8; 12] = [NOP, NOP, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];

fn plan() -> Plan {
    Plan { client_address: ClientAddress::Toa { kind: KIND }, ..Plan::default() }
}

/// A client and the backend that it got.
struct Session {
    lab: Lab,
    client: &'static str,
    vip: &'static str,
    /// The SYN as the backend has it.
    syn: Decoded,
}

impl Session {
    /// After the client's SYN.
    fn begin(plan: Plan, (client, vip): (&'static str, &'static str)) -> Self {
        let mut lab = Lab::new(plan);
        let syn = lab.forward(&Build::new(client, vip).numbers(ISN, 0).tcp());
        Self { lab, client, vip, syn }
    }

    /// After the handshake.
    fn established(plan: Plan, ends: (&'static str, &'static str)) -> Self {
        let mut session = Self::begin(plan, ends);
        session.back(session.reply(SYN | ACK, THEIRS, ISN + 1));
        session.there(session.segment(1, 1));
        session
    }

    /// After a request that the backend has acknowledged.
    fn acknowledged(plan: Plan, ends: (&'static str, &'static str)) -> Self {
        let mut session = Self::established(plan, ends);
        session.there(session.segment(1, 1).payload(b"request"));
        session.back(session.reply(ACK, THEIRS + 1, ISN + 8));
        session
    }

    /// A segment of the client's, by octets of the streams.
    fn segment(&self, sent: u32, received: u32) -> Build {
        Build::new(self.client, self.vip).flags(ACK).numbers(ISN + sent, THEIRS + received)
    }

    fn reply(&self, flags: u8, sequence: u32, acknowledgement: u32) -> Build {
        Build::answer(&self.syn).flags(flags).numbers(sequence, acknowledgement)
    }

    /// What the backend gets.
    #[track_caller]
    fn there(&mut self, segment: Build) -> Vec<u8> {
        self.deliver(&segment.tcp())
    }

    /// What the client gets.
    #[track_caller]
    fn back(&mut self, segment: Build) -> Vec<u8> {
        let frame = self.deliver(&segment.tcp());
        assert!(clients(&frame).is_empty(), "clients know who they are");
        frame
    }

    #[track_caller]
    fn deliver(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut sent = self.lab.exchange_raw(frame);
        assert_eq!(sent.len(), 1, "frames sent; drops: {:?}", self.lab.drops());
        sent.remove(0)
    }

    fn who(&self) -> Option<SocketAddr> {
        Some(self.client.parse().unwrap())
    }

    fn octets(&self) -> u16 {
        if self.client.starts_with('[') { 20 } else { 8 }
    }

    fn totals(&self) -> ServiceTotals {
        let service = if self.client.starts_with('[') { 2 } else { 0 };
        self.lab.counters[0].service(ServiceId(service)).unwrap().totals()
    }
}

fn with_options(mut build: Build, options: &[u8]) -> Build {
    build.tcp_options = options.to_vec();
    build
}

#[test]
fn the_backend_learns_the_client_until_it_has_acknowledged_data() {
    for ends in ENDS {
        let mut lab = Lab::new(plan());
        let (client, vip) = ends;
        let syn = Build::new(client, vip).numbers(ISN, 0).mss(1460);
        let frame = lab.exchange_raw(&syn.tcp()).remove(0);
        assert_eq!(named(&frame), Some(client.parse().unwrap()), "for who reads the SYN");
        let mut session = Session { lab, client, vip, syn: decode(&frame) };
        let who = session.who();
        assert_eq!(named(&session.there(syn)), who, "a repetition, too");
        session.back(session.reply(SYN | ACK, THEIRS, ISN + 1));
        assert_eq!(named(&session.there(session.segment(1, 1))), who, "the handshake's last");
        for _ in 0..3 {
            let data = session.there(session.segment(1, 1).payload(b"request"));
            assert_eq!(named(&data), who, "and data, as often as they are repeated");
            let data = decode(&data);
            assert_eq!((data.sequence, &data.payload[..]), (ISN + 1, &b"request"[..]), "no number moves");
            // The SYN-ACK again: nothing new.
            session.back(session.reply(SYN | ACK, THEIRS, ISN + 1));
            session.back(session.reply(ACK, THEIRS + 1, ISN + 1));
        }
        session.back(session.reply(ACK, THEIRS + 1, ISN + 2));
        for _ in 0..3 {
            let again = session.there(session.segment(1, 1).payload(b"request"));
            assert_eq!(named(&again), None, "the rest of it follows");
            assert_eq!(decode(&again).sequence, ISN + 1);
        }
        assert_eq!((session.totals().toa_skipped, session.totals().toa_forged), (0, 0));
        session.lab.assert_conserved();
    }
}

#[test]
fn a_fin_without_data_names_the_client_until_it_is_acknowledged() {
    for ends in ENDS {
        let mut session = Session::established(plan(), ends);
        for _ in 0..2 {
            assert_eq!(named(&session.there(session.segment(1, 1).flags(FIN | ACK))), session.who());
        }
        session.back(session.reply(ACK, THEIRS + 1, ISN + 2));
        assert_eq!(named(&session.there(session.segment(2, 1))), None);
    }
}

#[test]
fn a_reset_needs_no_name() {
    let mut session = Session::established(plan(), ENDS[0]);
    assert_eq!(named(&session.there(session.segment(1, 1).flags(RST))), None);
    assert_eq!(session.totals().toa_skipped, 0);
}

#[test]
fn a_client_that_only_listens_is_named_in_a_bounded_number_of_segments() {
    for ends in ENDS {
        let mut session = Session::established(plan(), ends);
        for _ in 0..100 {
            assert_eq!(
                named(&session.there(session.segment(1, 1))),
                session.who(),
                "nobody has said anything"
            );
        }
        let mut carried = 0;
        for n in 0..100_u32 {
            session.back(session.reply(ACK, THEIRS + 1 + n * 100, ISN + 1).payload(&[7; 100]));
            carried += u32::from(named(&session.there(session.segment(1, 101 + n * 100))).is_some());
        }
        assert_eq!(carried, 32);
        assert_eq!(named(&session.there(session.segment(1, 1).payload(b"late"))), None);
    }
}

#[test]
fn a_client_that_begins_anew_before_anybody_answers_gets_a_connection_of_its_own() {
    let mut session = Session::begin(plan(), ENDS[0]);
    let later = ISN + 1_000_000;
    let (client, vip) = ENDS[0];
    let anew = session.lab.forward(&Build::new(client, vip).numbers(later, 0).tcp());
    let late = session.lab.exchange(&session.reply(SYN | ACK, THEIRS, ISN + 1).tcp());
    assert_eq!(late[0].flags, RST, "or it would seem to have acknowledged data: {late:?}");
    session.syn = anew;
    session.back(session.reply(SYN | ACK, THEIRS, later + 1));
    let ack = Build::new(client, vip).flags(ACK).numbers(later + 1, THEIRS + 1);
    assert_eq!(named(&session.there(ack.clone())), session.who());
    session.back(session.reply(ACK, THEIRS + 1, later + 1));
    assert_eq!(named(&session.there(ack)), session.who());
}

#[test]
fn the_segment_size_that_clients_are_told_leaves_room() {
    for ends in ENDS {
        let mut session = Session::begin(plan(), ends);
        let headers = if ends.0.starts_with('[') { 60 } else { 40 };
        for (offered, told) in [(8960, 1500 - headers), (1300, 1300)] {
            let frame = session.back(session.reply(SYN | ACK, THEIRS, ISN + 1).mss(offered));
            assert_eq!(options(&frame), [[2, 4], (told - session.octets()).to_be_bytes()].concat());
        }
        let frame = session.there(Build::new(ends.0, ends.1).numbers(ISN, 0).mss(1400));
        let own = &options(&frame)[usize::from(session.octets())..];
        assert_eq!(own, [2, 4, 5, 120], "what backends send does not grow");
    }
}

#[test]
fn forged_names_never_arrive() {
    let forged = |port: u8| [KIND, 8, 0x13, port, 1, 2, 3, 4];
    let lists: [Vec<u8>; 5] = [
        forged(1).to_vec(),
        [forged(1), forged(2)].concat(),
        // As long as timestamps are.
        [&forged(1)[..], &[NOP; 4]].concat(),
        // Behind the end of the list, where few look.
        [&[0, 0, 0, 0][..], &forged(3)].concat(),
        [&[NOP, NOP, KIND, 20, 0, 1][..], &[9; 16], &[0, 0]].concat(),
    ];
    for ends in ENDS {
        for list in &lists {
            let forge = |build: Build| with_options(build, list);
            let mut session = Session::begin(plan(), ends);
            let who = session.who();
            assert_eq!(named(&session.there(forge(Build::new(ends.0, ends.1).numbers(ISN, 0)))), who);
            session.back(session.reply(SYN | ACK, THEIRS, ISN + 1));
            assert_eq!(named(&session.there(forge(session.segment(1, 1)))), who);
            assert_eq!(named(&session.there(forge(session.segment(1, 1).payload(b"request")))), who);
            session.back(session.reply(ACK, THEIRS + 1, ISN + 8));
            // From here on most packets take the fast path, alone and in bursts.
            for count in [1, 1, 1, 20] {
                let segment = forge(session.segment(8, 1).payload(b"more")).tcp();
                let plain = session.segment(8, 1).payload(b"more").tcp();
                for _ in 0..count {
                    session.lab.deliver_to(0, &segment);
                    session.lab.deliver_to(0, &plain);
                }
                session.lab.settle();
                let sent = session.lab.sent();
                assert_eq!(sent.len(), 2 * count);
                for frame in sent {
                    assert_eq!(named(&frame), None, "{list:x?}");
                    assert_eq!(decode(&frame).payload, b"more");
                }
            }
            assert_eq!(named(&session.there(forge(session.segment(12, 1).flags(FIN | ACK)))), None);
            assert_eq!(session.totals().toa_forged, 3 + 23 + 1);
        }
    }
}

#[test]
fn a_service_without_it_passes_options_on_as_they_are() {
    let mut session = Session::established(Plan::default(), ENDS[0]);
    let forged = [KIND, 8, 0, 1, 1, 2, 3, 4];
    for _ in 0..3 {
        let frame = session.there(with_options(session.segment(1, 1), &forged));
        assert_eq!(options(&frame), forged);
    }
}

#[test]
fn what_has_no_room_goes_without_and_is_counted() {
    for ends in ENDS {
        let mut session = Session::established(plan(), ends);
        let room = 1500 - if ends.0.starts_with('[') { 60 } else { 40 };
        let fits = usize::from(room - session.octets());
        let full = session.segment(1, 1).payload(&vec![7; fits]);
        assert_eq!(named(&session.there(full)), session.who());
        for octets in [fits + 1, room.into()] {
            let frame = session.there(session.segment(1, 1).payload(&vec![7; octets]));
            assert_eq!((named(&frame), decode(&frame).payload.len()), (None, octets));
        }
        assert_eq!(session.totals().toa_skipped, 2);
        let larger = session.segment(1, 1).payload(&vec![7; usize::from(room) + 1]).tcp();
        let refused = session.lab.forward(&larger);
        assert_eq!(session.lab.dropped(DropReason::MtuExceeded), 1);
        let quoted = &refused.payload[if room == 1440 { 40 } else { 20 }..];
        assert_eq!(quoted[4..8], (ISN + 1).to_be_bytes(), "what came is what is quoted");

        // A digest of 16 octets beside timestamps: both stay, and IPv4 has room for them.
        let digest = [&TIMESTAMPS[..], &[NOP, NOP, 19, 18], &[3; 16]].concat();
        let frame = session.there(with_options(session.segment(1, 1), &digest));
        if session.octets() == 8 {
            assert_eq!(named(&frame), session.who());
            assert_eq!(options(&frame)[8..], digest);
        } else {
            assert_eq!((named(&frame), options(&frame)), (None, digest));
        }
        // Padding makes room.
        let loose = [&TIMESTAMPS[..], &[NOP; 24]].concat();
        let frame = session.there(with_options(session.segment(1, 1), &loose));
        assert_eq!(named(&frame), session.who());
        assert_eq!(options(&frame)[usize::from(session.octets())..][..10], TIMESTAMPS[2..]);
    }
}

#[test]
fn a_client_cannot_keep_its_name_out_by_filling_every_header() {
    for ends in ENDS {
        let offer = [2, 4, 5, 100, 3, 3, 7, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
        let mut session = Session::begin(plan(), ends);
        let at = usize::from(session.octets());
        // In a SYN, behind what both sides agree upon.
        let full = [&offer[..], &[77, 21], &[9; 19]].concat();
        let syn = session.there(with_options(Build::new(session.client, session.vip).numbers(ISN, 0), &full));
        assert_eq!(named(&syn), session.who());
        assert_eq!(options(&syn)[at..][..offer.len()], offer);
        session.back(session.reply(SYN | ACK, THEIRS, ISN + 1));

        let blocks = [&TIMESTAMPS[..], &[NOP, NOP, 5, 26], &[3; 24]].concat();
        let unknown = [&TIMESTAMPS[..], &[99, 28], &[3; 26]].concat();
        let many = [&TIMESTAMPS[2..], &TIMESTAMPS[2..], &TIMESTAMPS[2..], &TIMESTAMPS[2..]].concat();
        let wrong = [&TIMESTAMPS[..], &[2, 28], &[3; 26]].concat();
        for list in [blocks, unknown, many, wrong] {
            let frame = session.there(with_options(session.segment(1, 1).payload(b"data"), &list));
            assert_eq!(named(&frame), session.who(), "{list:?}");
            assert_eq!(options(&frame)[at..][..10], TIMESTAMPS[2..]);
            assert!(options(&frame)[at + 10..].iter().all(|octet| *octet == 0), "{:?}", options(&frame));
            assert_eq!(decode(&frame).payload, b"data");
        }
        assert_eq!(session.totals().toa_skipped, 0);

        // Once the backend knows, options have their room.
        session.back(session.reply(ACK, THEIRS + 1, ISN + 5));
        let blocks = [&TIMESTAMPS[..], &[NOP, NOP, 5, 26], &[3; 24]].concat();
        let frame = session.there(with_options(session.segment(5, 1), &blocks));
        assert_eq!((named(&frame), options(&frame)), (None, blocks));
    }
}

#[test]
fn a_port_that_reads_as_a_number_of_others_is_not_put_into_a_syn() {
    // TCP Fast Open's: a Linux server would see a request for a cookie.
    let mut session = Session::begin(plan(), ("198.51.100.7:63881", ENDS[0].1));
    assert_eq!(named(&session.there(Build::new(session.client, session.vip).numbers(ISN, 0))), None);
    session.back(session.reply(SYN | ACK, THEIRS, ISN + 1));
    assert_eq!(named(&session.there(session.segment(1, 1))), session.who());
    assert_eq!(session.totals().toa_skipped, 0);
}

#[test]
fn a_syn_whose_data_are_acknowledged_at_once_has_said_it() {
    let mut session = Session::begin(plan(), ENDS[0]);
    let syn = Build::new(session.client, session.vip).numbers(ISN, 0).payload(b"early");
    assert_eq!(named(&session.there(syn)), session.who());
    session.back(session.reply(SYN | ACK, THEIRS, ISN + 6));
    assert_eq!(named(&session.there(session.segment(6, 1))), None);
}

#[test]
fn frames_of_every_shape_grow() {
    for ends in ENDS {
        for vlan in [None, Some(7)] {
            let mut session = Session::established(Plan { next_hop_vlan: VlanTag::Id(100), ..plan() }, ends);
            let mut build = session.segment(1, 1).payload(b"data");
            build.vlan = vlan;
            build.ipv4_options = vec![NOP; if ends.0.starts_with('[') { 0 } else { 8 }];
            let mut frame = with_options(build, &TIMESTAMPS).tcp();
            // Padding is not passed on, nor counted.
            frame.resize(frame.len() + 9, 0xee);
            let sent = session.deliver(&frame);
            assert_eq!(named(&sent), session.who());
            let decoded = decode(&sent);
            assert_eq!((decoded.vlan, &decoded.payload[..]), (Some(100), &b"data"[..]));
            assert_eq!(options(&sent)[usize::from(session.octets())..], TIMESTAMPS);
        }
    }
}

#[test]
fn a_frame_in_parts_grows_in_its_first() {
    for ends in ENDS {
        let mut session = Session::established(Plan { mtus: (9000, 9000), ..plan() }, ends);
        let data: Vec<u8> = (0..8000_u16).map(|n| n.to_le_bytes()[0]).collect();
        let frame = with_options(session.segment(1, 1).payload(&data), &TIMESTAMPS).tcp();
        let headers = frame.len() - data.len();
        for first in [headers, 1000] {
            let (first, rest) = frame.split_at(first);
            let parts: Vec<&[u8]> = std::iter::once(first).chain(rest.chunks(2048)).collect();
            session.lab.deliver_parts(&parts);
            session.lab.settle();
            let sent = session.lab.sent().remove(0);
            assert_eq!(named(&sent), session.who());
            assert!(decode(&sent).payload == data);
        }
        let (first, rest) = frame.split_at(headers - 4);
        session.lab.deliver_parts(&[first, &rest[..2000]]);
        session.lab.settle();
        assert!(session.lab.sent().is_empty(), "nobody knows what is in options that are elsewhere");
    }
}

#[test]
fn a_segment_in_pieces_is_cleaned_and_does_not_grow() {
    for ends in ENDS {
        let mut session = Session::established(plan(), ends);
        let forged = [KIND, 8, 0, 1, 1, 2, 3, 4];
        let segment = with_options(session.segment(1, 1).payload(&[7; 200]), &forged);
        let mut frames = Vec::new();
        for piece in split(&segment.tcp(), 77, &[64, 128]) {
            frames.extend(session.lab.exchange_raw(&piece));
        }
        let whole = crate::pieces::join(&frames).remove(0);
        assert_eq!((options(&whole), decode(&whole).payload), (vec![NOP; 8], vec![7; 200]));
        assert_eq!((session.totals().toa_skipped, session.totals().toa_forged), (1, 1));
    }
}

#[test]
fn a_client_learns_of_narrow_ways_what_is_left_for_it() {
    for ends in ENDS {
        let v6 = ends.0.starts_with('[');
        let mut session = Session::established(plan(), ends);
        let reported = |frame: &[u8]| {
            decode(frame);
            let l4 = if v6 { 54 } else { 34 };
            u16::from_be_bytes([frame[l4 + 6], frame[l4 + 7]])
        };
        let data = session.there(session.segment(1, 1).payload(&[7; 1000]));
        let told = session.deliver(&error(&data, too_big(v6), 100));
        assert_eq!(reported(&told), 1400 - session.octets());
        let least: [u8; 4] = if v6 { [0, 0, 5, 0] } else { [0, 0, 0, 70] };
        let (kind, code, _) = too_big(v6);
        let told = session.deliver(&error(&data, (kind, code, least), 100));
        assert_eq!(reported(&told), if v6 { 1280 } else { 68 }, "not below what every way takes");
        if !v6 {
            let told = session.deliver(&error(&data, (3, 4, [0; 4]), 100));
            assert_eq!(reported(&told), 0, "an old router's says nothing");
        }
        session.back(session.reply(ACK, THEIRS + 1, ISN + 1001));
        let data = session.there(session.segment(1001, 1).payload(&[7; 1000]));
        let told = session.deliver(&error(&data, too_big(v6), 100));
        assert_eq!(reported(&told), 1400, "nothing grows any more");
    }
}

#[test]
fn a_flow_keeps_what_it_began_with_when_the_configuration_changes() {
    let mut session = Session::established(plan(), ENDS[0]);
    session.lab.plan.client_address = ClientAddress::None;
    session.lab.reload();
    assert_eq!(named(&session.there(session.segment(1, 1))), session.who());
    let mut session = Session::acknowledged(Plan::default(), ENDS[1]);
    session.lab.plan.client_address = ClientAddress::Toa { kind: KIND };
    session.lab.reload();
    assert_eq!(named(&session.there(session.segment(8, 1))), None);
}

/// A client that repeats what is not acknowledged, and the backend that it has, which reads the option where Linux modules
/// do: in the segment with which the handshake is over for it.
struct Talk {
    client: SocketAddr,
    vip: &'static str,
    /// Acknowledged to the client: SYN, data octet by octet, FIN.
    acknowledged: u32,
    /// The backend's: next octet expected, and whether it has taken the connection.
    expected: u32,
    taken: bool,
}

const OCTETS: u32 = 6;

impl Talk {
    fn packet(&self) -> Vec<u8> {
        let build =
            Build::new(&self.client.to_string(), self.vip).numbers(ISN + self.acknowledged, THEIRS + 1);
        match self.acknowledged {
            0 => build.flags(SYN).mss(1460).tcp(),
            n if n <= OCTETS => build.flags(ACK).payload(&[n.to_le_bytes()[0]]).tcp(),
            _ => build.flags(FIN | ACK).tcp(),
        }
    }

    fn is_done(&self) -> bool {
        self.acknowledged == OCTETS + 2
    }

    /// The backend gets a frame; what it answers.
    fn arrive(&mut self, frame: &[u8]) -> Build {
        let came = decode(frame);
        if came.flags & SYN != 0 {
            return Build::answer(&came).flags(SYN | ACK).numbers(THEIRS, ISN + 1);
        }
        if !self.taken {
            assert_eq!(named(frame), Some(self.client), "accept() says who it is");
            self.taken = true;
            self.expected = ISN + 1;
        }
        if came.sequence == self.expected {
            let marks = u32::from(came.flags & FIN != 0);
            self.expected += u32::try_from(came.payload.len()).unwrap() + marks;
        }
        Build::answer(&came).flags(ACK).numbers(THEIRS + 1, self.expected)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_lost_the_backend_knows_the_client_when_it_takes_the_connection(
        lose in 0_u32..400_000,
        double in 0_u32..200_000,
        delay in 0_u32..200_000,
        seed: u64,
        workers in 1_u16..4,
    ) {
        let rates = Rates { lose, double, delay, damage: 0, cut: 0 };
        let mut lab = Lab::new(Plan { workers, faults: (rates, rates, seed >> 1), ..plan() });
        let mut talks: Vec<Talk> = (0..20_u16)
            .map(|n| {
                let (address, vip) = if n % 2 == 0 { ("198.51.100.7", VIP4) } else { ("2001:db8:7::7", VIP6) };
                let vip = ENDS.iter().find(|ends| ends.1.contains(vip)).unwrap().1;
                let client = SocketAddr::new(address.parse().unwrap(), 30_000 + n);
                Talk { client, vip, acknowledged: 0, expected: 0, taken: false }
            })
            .collect();
        let mut owners = BTreeMap::new();
        let mut turn = 0;
        for _ in 0..600 {
            if talks.iter().all(Talk::is_done) {
                break;
            }
            for talk in talks.iter().filter(|talk| !talk.is_done()) {
                turn += 1;
                lab.deliver_to(turn % usize::from(workers), &talk.packet());
            }
            for _ in 0..4 {
                lab.settle();
                for frame in lab.sent() {
                    turn += 1;
                    let sent = decode(&frame);
                    if let Some(talk) = talks.iter_mut().find(|talk| talk.client == sent.to) {
                        talk.acknowledged = talk.acknowledged.max(sent.acknowledgement - ISN);
                        continue;
                    }
                    // The backend knows the connection by the local address, and whose that is by the SYN.
                    let ends = (sent.from, sent.to);
                    if sent.flags & SYN != 0 {
                        let named = named(&frame);
                        owners.insert(ends, talks.iter().position(|talk| Some(talk.client) == named).unwrap());
                    }
                    let answer = talks[owners[&ends]].arrive(&frame);
                    lab.deliver_to(turn % usize::from(workers), &answer.tcp());
                }
            }
            lab.now = lab.now + Nanos::from_millis(100);
        }
        prop_assert!(talks.iter().all(Talk::is_done), "{:?}", lab.drops());
        lab.assert_conserved();
    }
}
