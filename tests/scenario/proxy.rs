//! The PROXY protocol: backends learn who the client is from a header in front of what it says, and clients notice nothing.

use std::net::SocketAddr;

use evenkeel::io::fault::Rates;
use evenkeel::model::{ClientAddress, Nanos, ProxyDatagrams};
use evenkeel::shared::DropReason;
use proptest::prelude::*;

use crate::allocations;
use crate::icmp_message::{error, too_big};
use crate::lab::{Lab, Plan, backend_id};
use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN, decode};
use crate::pieces::split;
use crate::tcp_peer::{Peer, sack_blocks};

const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:80")];
const DNS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80:53"), ("[2001:db8:7::7]:40000", "[2001:db8::80]:53")];

const ISN: u32 = u32::MAX - 10;
const FIRST: u32 = ISN + 1;
const SERVER_ISN: u32 = 5000;

fn plan(datagrams: ProxyDatagrams) -> Plan {
    Plan { client_address: ClientAddress::ProxyV2 { datagrams }, ..Plan::default() }
}

fn lab() -> Lab {
    Lab::new(plan(ProxyDatagrams::UntilAnswered))
}

/// The header as the specification has it: for a connection (1) or a datagram (2).
fn header((client, vip): (&str, &str), transport: u8) -> Vec<u8> {
    let (client, vip): (SocketAddr, SocketAddr) = (client.parse().unwrap(), vip.parse().unwrap());
    let (family, addresses) = match (client, vip) {
        (SocketAddr::V4(c), SocketAddr::V4(v)) => (0x10, [c.ip().octets(), v.ip().octets()].concat()),
        (SocketAddr::V6(c), SocketAddr::V6(v)) => (0x20, [c.ip().octets(), v.ip().octets()].concat()),
        _ => panic!("one family"),
    };
    let length = u8::try_from(addresses.len() + 4).unwrap();
    let ports = [client.port().to_be_bytes(), vip.port().to_be_bytes()].concat();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x21, family | transport, 0, length], &addresses, &ports].concat()
}

/// A client whose SYN has been answered.
struct Session {
    ends: (&'static str, &'static str),
    lab: Lab,
    at_backend: Decoded,
    header: Vec<u8>,
}

impl Session {
    fn new(ends: (&'static str, &'static str)) -> Self {
        Self::on(lab(), ends)
    }

    fn on(mut lab: Lab, ends: (&'static str, &'static str)) -> Self {
        let at_backend = lab.forward(&Build::new(ends.0, ends.1).numbers(ISN, 0).tcp());
        assert_eq!((at_backend.sequence, at_backend.payload.len()), (ISN, 0), "a SYN is as it was");
        let mut session = Self { ends, lab, at_backend, header: header(ends, 1) };
        let answer = session.answers(session.backend().flags(SYN | ACK).numbers(SERVER_ISN, FIRST));
        assert_eq!(answer.acknowledgement, FIRST);
        session
    }

    fn octets(&self) -> u32 {
        u32::try_from(self.header.len()).unwrap()
    }

    /// Behind the header, as the backend counts.
    fn moved(&self, number: u32) -> u32 {
        number.wrapping_add(self.octets())
    }

    fn client(&self) -> Build {
        Build::new(self.ends.0, self.ends.1).flags(ACK).numbers(FIRST, SERVER_ISN + 1)
    }

    fn backend(&self) -> Build {
        Build::answer(&self.at_backend).flags(ACK).numbers(SERVER_ISN + 1, FIRST)
    }

    #[track_caller]
    fn sends(&mut self, segment: Build) -> Decoded {
        self.lab.forward(&segment.tcp())
    }

    #[track_caller]
    fn answers(&mut self, segment: Build) -> Decoded {
        self.lab.forward(&segment.tcp())
    }

    /// The header arrives and is acknowledged.
    fn introduced(mut self) -> Self {
        let sent = self.sends(self.client());
        assert_eq!(sent.payload, self.header);
        let answer = self.answers(self.backend().numbers(SERVER_ISN + 1, self.moved(FIRST)));
        assert_eq!(answer.acknowledgement, FIRST);
        self
    }
}

fn sessions() -> [Session; 2] {
    ENDS.map(Session::new)
}

#[test]
fn the_header_travels_with_the_clients_part_of_the_handshake_so_that_a_server_may_speak_first() {
    for mut session in sessions() {
        let sent = session.sends(session.client());
        assert_eq!((sent.sequence, sent.flags), (FIRST, ACK));
        assert_eq!(sent.payload, session.header);
        let greeting = session.backend().numbers(SERVER_ISN + 1, session.moved(FIRST)).payload(b"220 hello");
        let heard = session.answers(greeting);
        assert_eq!((heard.acknowledgement, heard.payload.as_slice()), (FIRST, &b"220 hello"[..]));
        let reply = session.client().numbers(FIRST, SERVER_ISN + 10).payload(b"EHLO");
        let sent = session.sends(reply);
        assert_eq!((sent.sequence, sent.payload.as_slice()), (session.moved(FIRST), &b"EHLO"[..]));
    }
}

#[test]
fn whatever_begins_with_the_clients_first_octet_carries_the_header_until_the_backend_has_acknowledged_it() {
    for mut session in sessions() {
        for data in [&b""[..], b"", b"GET /", b"GET / HTTP/1.1"] {
            let sent = session.sends(session.client().payload(data));
            assert_eq!((sent.sequence, sent.payload), (FIRST, [&session.header, data].concat()));
        }
        session.answers(session.backend().numbers(SERVER_ISN + 1, session.moved(FIRST)));
        let sent = session.sends(session.client().payload(b"GET /"));
        assert_eq!((sent.sequence, sent.payload.as_slice()), (session.moved(FIRST), &b"GET /"[..]));
    }
}

#[test]
fn a_later_segment_before_the_first_goes_behind_where_the_header_will_be() {
    for mut session in sessions() {
        let later = session.client().numbers(FIRST.wrapping_add(5), SERVER_ISN + 1).payload(b"later");
        let sent = session.sends(later);
        assert_eq!((sent.sequence, sent.payload.as_slice()), (session.moved(FIRST) + 5, &b"later"[..]));
        let mut gap = session.backend();
        let edges = [session.moved(FIRST) + 5, session.moved(FIRST) + 10].map(u32::to_be_bytes).concat();
        gap.tcp_options = [&[1, 1, 5, 10][..], &edges].concat();
        let frames = session.lab.exchange_raw(&gap.tcp());
        assert_eq!(decode(&frames[0]).acknowledgement, FIRST);
        assert_eq!(sack_blocks(&frames[0]), [[FIRST.wrapping_add(5), FIRST.wrapping_add(10)]]);
        let sent = session.sends(session.client().payload(b"first"));
        assert_eq!((sent.sequence, sent.payload), (FIRST, [&session.header, &b"first"[..]].concat()));
    }
}

#[test]
fn of_an_acknowledgement_within_the_header_the_client_hears_nothing() {
    for session in sessions() {
        let mut session = session;
        session.sends(session.client());
        for part in [0, 1, session.octets() - 1] {
            let mut partial = session.backend().numbers(SERVER_ISN + 1, FIRST.wrapping_add(part));
            // That the header came twice is not for the client, either (RFC 2883).
            let edges = [FIRST, session.moved(FIRST)].map(u32::to_be_bytes).concat();
            partial.tcp_options = [&[1, 1, 5, 10][..], &edges].concat();
            let frames = session.lab.exchange_raw(&partial.tcp());
            assert_eq!(decode(&frames[0]).acknowledgement, FIRST, "{part}");
            assert_eq!(sack_blocks(&frames[0]), [[FIRST, FIRST]]);
        }
        let sent = session.sends(session.client());
        assert_eq!(sent.payload, session.header, "and the backend needs the rest of it");
    }
}

#[test]
fn blocks_that_the_client_has_received_are_the_backends_own_numbers() {
    for session in sessions() {
        let mut session = session.introduced();
        let mut segment = session.client().numbers(FIRST, SERVER_ISN + 1);
        segment.tcp_options = [&[1, 1, 5, 10][..], &[0, 0, 0x20, 0, 0, 0, 0x21, 0]].concat();
        let frames = session.lab.exchange_raw(&segment.tcp());
        assert_eq!(sack_blocks(&frames[0]), [[0x2000, 0x2100]]);
    }
}

#[test]
fn a_first_segment_without_room_for_the_header_leaves_behind_one_with_the_header_alone() {
    for (ends, most) in ENDS.into_iter().zip([1460, 1440]) {
        let mut session = Session::new(ends);
        let data = vec![7; most];
        let mut first = session.client().payload(&data).flags(ACK | FIN);
        first.dont_fragment = true;
        let sent = session.lab.exchange(&first.tcp());
        assert_eq!(sent.len(), 2, "{:?}", session.lab.drops());
        assert_eq!((sent[0].sequence, &sent[0].payload, sent[0].flags), (FIRST, &session.header, ACK));
        assert_eq!((sent[1].sequence, &sent[1].payload), (session.moved(FIRST), &data));
        assert_eq!(sent[1].flags, ACK | FIN);
        assert_eq!((sent[0].from, sent[0].to, sent[0].ttl), (sent[1].from, sent[1].to, sent[1].ttl));
        session.lab.assert_conserved();

        session.lab.faults[0].set_pool_empty(true);
        session.lab.lose(&first.tcp(), DropReason::ProxyHeaderUnsent);
        session.lab.faults[0].set_pool_empty(false);
        assert_eq!(session.lab.exchange(&first.tcp()).len(), 2, "when it comes again, it goes");
        session.lab.assert_conserved();
    }
}

#[test]
fn a_first_segment_in_fragments_follows_the_header() {
    let mut session = Session::new(ENDS[0]);
    let whole = session.client().payload(&[7; 1000]).tcp();
    let sent: Vec<_> =
        split(&whole, 7, &[512]).iter().flat_map(|piece| session.lab.exchange_raw(piece)).collect();
    assert_eq!(sent.len(), 3, "{:?}", session.lab.drops());
    let ahead = decode(&sent[0]);
    assert_eq!((ahead.sequence, ahead.payload), (FIRST, session.header.clone()));
    let mut together = sent[1].clone();
    together.extend(&sent[2][34..]);
    together[16..18].copy_from_slice(&1040_u16.to_be_bytes());
    together[20..22].fill(0);
    let header = etherparse::Ipv4HeaderSlice::from_slice(&together[14..34]).unwrap().to_header();
    together[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    assert_eq!(decode(&together).sequence, session.moved(FIRST));
}

#[test]
fn an_error_about_a_segment_with_the_header_has_it_leave_alone_and_is_about_the_clients_own() {
    for mut session in sessions() {
        let v6 = session.ends.0.starts_with('[');
        let data = vec![7; 1390 - if v6 { 60 } else { 40 }];
        let first = session.client().payload(&data).tcp();
        let grown = session.lab.exchange_raw(&first).remove(0);
        assert_eq!(decode(&grown).sequence, FIRST);
        let told = session.lab.exchange_raw(&error(&grown, too_big(v6), 500)).remove(0);
        let quote = &told[if v6 { 62 } else { 42 }..];
        let numbers = if v6 { 44 } else { 24 };
        assert_eq!(quote[numbers..numbers + 4], FIRST.to_be_bytes());
        let sent = session.lab.exchange(&first);
        assert_eq!((sent.len(), sent[0].payload.clone()), (2, session.header.clone()));
        assert_eq!((sent[1].sequence, &sent[1].payload), (session.moved(FIRST), &data));
    }
}

#[test]
fn errors_quote_each_side_its_own_numbers() {
    for session in sessions() {
        let mut session = session.introduced();
        let v6 = session.ends.0.starts_with('[');
        let (quote, numbers) = if v6 { (62, 44) } else { (42, 24) };
        let asks = session.client().numbers(FIRST.wrapping_add(100), SERVER_ISN + 1).payload(b"request");
        let sent = session.lab.exchange_raw(&asks.tcp()).remove(0);
        assert_eq!(decode(&sent).sequence, session.moved(FIRST) + 100);
        let told = session.lab.exchange_raw(&error(&sent, too_big(v6), 500)).remove(0);
        let quoted = |told: &[u8]| told[quote + numbers..quote + numbers + 8].to_vec();
        let expected = [FIRST.wrapping_add(100), SERVER_ISN + 1].map(u32::to_be_bytes).concat();
        assert_eq!(quoted(&told), expected);

        let answers =
            session.backend().numbers(SERVER_ISN + 1, session.moved(FIRST) + 107).payload(b"answer");
        let sent = session.lab.exchange_raw(&answers.tcp()).remove(0);
        assert_eq!(decode(&sent).acknowledgement, FIRST.wrapping_add(107));
        let told = session.lab.exchange_raw(&error(&sent, too_big(v6), 500)).remove(0);
        let expected = [SERVER_ISN + 1, session.moved(FIRST) + 107].map(u32::to_be_bytes).concat();
        assert_eq!(quoted(&told), expected);
    }
}

#[test]
fn ends_of_either_side_resets_and_keep_alives_keep_their_place_in_the_stream() {
    for session in sessions() {
        let mut session = session.introduced();
        let alive = session.sends(session.client().numbers(ISN, SERVER_ISN + 1));
        assert_eq!((alive.sequence, alive.payload.len()), (session.moved(ISN), 0));
        let half = session.sends(session.client().flags(FIN | ACK));
        assert_eq!((half.sequence, half.flags), (session.moved(FIRST), FIN | ACK));
        let goes_on = session.backend().numbers(SERVER_ISN + 1, session.moved(FIRST) + 1).payload(b"still");
        assert_eq!(session.answers(goes_on).acknowledgement, FIRST.wrapping_add(1));
        let reset = session.sends(session.client().flags(RST).numbers(FIRST.wrapping_add(1), 0));
        assert_eq!((reset.sequence, reset.flags), (session.moved(FIRST) + 1, RST));
    }
    for mut session in sessions() {
        let all = session.sends(session.client().flags(FIN | ACK).payload(b"all"));
        assert_eq!(all.flags, FIN | ACK, "an end in the first segment");
        assert_eq!(all.payload, [&session.header, &b"all"[..]].concat());
        let answer = session.answers(session.backend().flags(RST | ACK).numbers(SERVER_ISN + 1, FIRST));
        assert_eq!((answer.flags, answer.acknowledgement), (RST | ACK, FIRST));
    }
    for mut session in sessions() {
        let gone = session.sends(session.client().flags(RST).numbers(FIRST, 0));
        assert_eq!((gone.sequence, gone.payload.len()), (FIRST, 0), "before there was a header");
    }
}

#[test]
fn a_connection_that_the_first_segment_ends_closes_when_the_backend_has_the_header_and_all_of_it() {
    for mut session in sessions() {
        let open_flows = |session: &Session| -> u64 {
            let counters = &session.lab.counters[0];
            let of = |id| counters.backend(id).unwrap().totals().open_flows;
            (0..4).flat_map(|service| (1..=3).map(move |number| of(backend_id(service, number)))).sum()
        };
        session.answers(session.backend().flags(FIN | ACK));
        let all =
            session.sends(session.client().flags(FIN | ACK).numbers(FIRST, SERVER_ISN + 2).payload(b"all"));
        assert_eq!(all.payload, [&session.header, &b"all"[..]].concat());
        for without in [FIRST, session.moved(FIRST), FIRST.wrapping_add(4), session.moved(FIRST) + 3] {
            session.answers(session.backend().numbers(SERVER_ISN + 2, without));
            assert_eq!(open_flows(&session), 1, "{without}");
        }
        session.answers(session.backend().numbers(SERVER_ISN + 2, session.moved(FIRST) + 4));
        assert_eq!(open_flows(&session), 0);
    }
}

#[test]
fn data_in_a_syn_wait_for_the_header_and_no_backend_is_asked_to_take_them() {
    for (client, vip) in ENDS {
        let mut lab = lab();
        let mut syn = Build::new(client, vip).numbers(ISN, 0).payload(b"early");
        syn.tcp_options = vec![2, 4, 5, 180, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
        let sent = lab.exchange_raw(&syn.tcp()).remove(0);
        let at_backend = decode(&sent);
        assert_eq!((at_backend.flags, at_backend.sequence, at_backend.payload.len()), (SYN, ISN, 0));
        assert_eq!(sent[sent.len() - 12..], [1; 12]);
        let answer = Build::answer(&at_backend).flags(SYN | ACK).numbers(SERVER_ISN, FIRST);
        assert_eq!(lab.forward(&answer.tcp()).acknowledgement, FIRST, "so that the client says it again");
        let again = Build::new(client, vip).flags(ACK).numbers(FIRST, SERVER_ISN + 1).payload(b"early");
        let sent = lab.forward(&again.tcp());
        assert_eq!(sent.payload, [&header((client, vip), 1), &b"early"[..]].concat());
    }
}

#[test]
fn a_client_that_begins_anew_before_anybody_answered_gets_a_connection_of_its_own() {
    for (client, vip) in ENDS {
        let mut lab = lab();
        let first = lab.forward(&Build::new(client, vip).numbers(7, 0).tcp());
        let second = lab.forward(&Build::new(client, vip).numbers(ISN, 0).tcp());
        assert_ne!(first.from, second.from, "or a backend with SYN cookies would take either beginning");
        let late = lab.exchange(&Build::answer(&first).flags(SYN | ACK).numbers(SERVER_ISN, 8).tcp());
        assert_eq!((late.len(), late[0].flags, late[0].to), (1, RST, first.to));
        lab.forward(&Build::answer(&second).flags(SYN | ACK).numbers(SERVER_ISN, FIRST).tcp());
        let opened = lab.forward(&Build::new(client, vip).flags(ACK).numbers(FIRST, SERVER_ISN + 1).tcp());
        assert_eq!((opened.sequence, opened.payload), (FIRST, header((client, vip), 1)));
    }
}

#[test]
fn no_data_of_a_client_stand_where_the_backend_reads_the_header() {
    for n in 0..2 {
        let forged =
            header([("192.0.2.66:1", "203.0.113.80:80"), ("[2001:db8:66::]:1", "[2001:db8::80]:80")][n], 1);
        let mut session = Session::new(ENDS[n]);
        for before in [session.octets(), session.octets() + 5, 1] {
            let early = session.client().numbers(FIRST.wrapping_sub(before), SERVER_ISN + 1);
            let speaks = early.clone().payload(&forged).tcp();
            session.lab.lose(&speaks, DropReason::ProxyHeaderForged);
            session.lab.lose(&early.flags(FIN | ACK).tcp(), DropReason::ProxyHeaderForged);
        }
        if n == 0 {
            let early = session.client().numbers(FIRST.wrapping_sub(session.octets()), SERVER_ISN + 1);
            let pieces = split(&early.payload(&[&[0; 4], &forged[..]].concat()).tcp(), 7, &[24]);
            session.lab.lose(&pieces[0], DropReason::ProxyHeaderForged);
            session.lab.lose(&pieces[1], DropReason::ProxyHeaderForged);
        }
        let opened = session.sends(session.client());
        assert_eq!((opened.sequence, &opened.payload), (FIRST, &session.header));
        let mut syn = Build::new(ENDS[n].0, ENDS[n].1).numbers(ISN, 0).payload(&forged);
        syn.tcp_options = vec![34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
        let again = session.lab.exchange_raw(&syn.tcp()).remove(0);
        assert_eq!(
            (decode(&again).flags, decode(&again).payload.len()),
            (SYN, 0),
            "for a backend that forgot"
        );
        assert_eq!(again[again.len() - 12..], [1; 12]);
    }
}

#[test]
fn a_client_begins_anew_on_another_lease_until_the_backend_has_acknowledged_the_header() {
    let other = ISN.wrapping_add(1_000_000);
    for ends in ENDS {
        let mut session = Session::new(ends);
        // Perhaps with a wrong checksum, so that the backend never gets it.
        session.sends(session.client());
        let anew = session.lab.forward(&Build::new(ends.0, ends.1).numbers(other, 0).tcp());
        assert_ne!(anew.from, session.at_backend.from);

        let mut session = Session::new(ends).introduced();
        let late = session.lab.forward(&Build::new(ends.0, ends.1).numbers(other, 0).tcp());
        assert_eq!(late.from, session.at_backend.from, "the backend's to answer");
    }
}

#[test]
fn the_first_window_leaves_room_for_the_header() {
    let window = |frame: &[u8]| {
        let packet = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
        let Some(etherparse::TransportSlice::Tcp(tcp)) = packet.transport else { panic!() };
        tcp.window_size()
    };
    for (client, vip) in ENDS {
        let mut lab = lab();
        let syn = lab.forward(&Build::new(client, vip).numbers(ISN, 0).tcp());
        let accepts = Build::answer(&syn).flags(SYN | ACK).numbers(SERVER_ISN, FIRST).tcp();
        let sent = lab.exchange_raw(&accepts).remove(0);
        assert_eq!(usize::from(window(&sent)), 4096 - header((client, vip), 1).len());
    }
}

#[test]
fn a_reload_leaves_connections_as_they_are() {
    let mut session = Session::new(ENDS[0]).introduced();
    session.lab.plan.client_address = ClientAddress::None;
    session.lab.reload();
    let sent = session.sends(session.client().payload(b"more"));
    assert_eq!(sent.sequence, session.moved(FIRST));
    let new = session.lab.forward(&Build::new("198.51.100.7:40001", ENDS[0].1).numbers(9, 0).tcp());
    session.lab.forward(&Build::answer(&new).flags(SYN | ACK).numbers(SERVER_ISN, 10).tcp());
    let opens = Build::new("198.51.100.7:40001", ENDS[0].1).flags(ACK).numbers(10, SERVER_ISN + 1);
    assert_eq!(session.lab.forward(&opens.tcp()).payload, b"");
}

#[test]
fn datagrams_begin_with_the_header_until_the_backend_answers() {
    for (client, vip) in DNS {
        let mut lab = lab();
        let ask = |data: &[u8]| Build::new(client, vip).payload(data).udp();
        let mut sent = Vec::new();
        for data in [&b"first"[..], b"", b"third"] {
            sent.push(lab.forward(&ask(data)));
            assert_eq!(sent.last().unwrap().payload, [&header((client, vip), 2), data].concat());
        }
        let answer = lab.forward(&Build::answer(&sent[0]).payload(b"answer").udp());
        assert_eq!(answer.payload, b"answer");
        assert_eq!(lab.forward(&ask(b"next")).payload, b"next");
        // In the fast path, as the flow is like any other now.
        assert_eq!(lab.forward(&ask(b"next")).payload, b"next");
    }
}

#[test]
fn every_datagram_begins_with_the_header_where_servers_know_no_flows() {
    for (client, vip) in DNS {
        let mut lab = Lab::new(plan(ProxyDatagrams::Every));
        let ask = |data: &[u8]| Build::new(client, vip).payload(data).udp();
        let first = lab.forward(&ask(b"first"));
        lab.forward(&Build::answer(&first).payload(b"answer").udp());
        for _ in 0..3 {
            let next = lab.forward(&ask(b"next"));
            assert_eq!(next.payload, [&header((client, vip), 2), &b"next"[..]].concat());
        }
    }
}

#[test]
fn a_datagram_that_does_not_fit_with_the_header_is_refused_with_the_size_that_does() {
    for ((client, vip), most) in DNS.into_iter().zip([1500 - 28 - 28, 1500 - 48 - 52]) {
        let mut lab = lab();
        let ask = |octets| Build::new(client, vip).payload(&vec![7; octets]);
        assert_eq!(lab.forward(&ask(most).udp()).payload.len(), most + header((client, vip), 2).len());
        let told = lab.exchange_raw(&ask(most + 1).udp()).remove(0);
        let mtu = if vip.starts_with('[') { &told[60..62] } else { &told[40..42] };
        let expected = 1500 - u16::try_from(header((client, vip), 2).len()).unwrap();
        assert_eq!(mtu, expected.to_be_bytes());
        assert_eq!(lab.dropped(DropReason::MtuExceeded), 1);
    }
    let mut lab = lab();
    let mut ask = Build::new(DNS[0].0, DNS[0].1).payload(&[7; 1472]);
    ask.dont_fragment = false;
    assert_eq!(lab.exchange_raw(&ask.udp()).len(), 2, "in pieces, if it may");
}

#[test]
fn an_error_about_a_datagrams_size_tells_the_client_what_fits_without_the_header() {
    for (client, vip) in DNS {
        let mut lab = lab();
        let v6 = vip.starts_with('[');
        let ask = Build::new(client, vip).payload(&[7; 1390 - 48]).udp();
        let grown = lab.exchange_raw(&ask).remove(0);
        let told = lab.exchange_raw(&error(&grown, too_big(v6), 500)).remove(0);
        let mtu = if v6 { &told[60..62] } else { &told[40..42] };
        let expected = 1400 - u16::try_from(header((client, vip), 2).len()).unwrap();
        assert_eq!(mtu, expected.to_be_bytes());
    }
}

#[test]
fn a_datagram_in_fragments_has_no_place_for_the_header() {
    for (client, vip) in DNS {
        let mut lab = lab();
        let whole = Build::new(client, vip).payload(&[7; 1000]).udp();
        for piece in split(&whole, 7, &[512]) {
            assert_eq!(lab.exchange_raw(&piece), Vec::<Vec<u8>>::new());
        }
        assert_eq!(lab.dropped(DropReason::ProxyHeaderUnsent), 2, "{:?}", lab.drops());
    }
}

fn rates() -> impl Strategy<Value = Rates> {
    let rate = || prop_oneof![Just(0), 1_000..300_000_u32];
    (rate(), rate(), rate()).prop_map(|(lose, double, delay)| Rates {
        lose,
        double,
        delay,
        ..Rates::default()
    })
}

/// Lets both sides talk until both are done, or for so many rounds.
fn talk(
    lab: &mut Lab,
    client: &mut Peer,
    server_says: &(u32, usize, Vec<u8>),
    first: (bool, usize),
) -> Option<Peer> {
    let (server_first, header) = first;
    let mut server: Option<Peer> = None;
    for round in 0..600_u32 {
        let hears = !client.heard().is_empty() || !server_first;
        let mut frames = client.sends(if hears { usize::MAX } else { 0 });
        if let Some(server) = &mut server {
            let known = server.heard().len() >= header + usize::from(!server_first);
            frames.extend(server.sends(if known { usize::MAX } else { 0 }));
        }
        lab.faults[0].set_pool_empty(round % 7 == 3);
        frames.iter().for_each(|frame| lab.deliver_to(0, frame));
        let ((), calls) = allocations::count(|| lab.settle());
        assert_eq!(calls, 0, "a turn called the allocator");
        for frame in lab.sent() {
            if decode(&frame).to == client.at {
                client.takes(&frame);
                continue;
            }
            let (isn, segment, says) = server_says;
            let is_new = server.is_none() && decode(&frame).flags == SYN;
            if is_new {
                server = Some(Peer::server(&frame, (*isn, *segment), says.clone()));
            } else if let Some(server) = &mut server
                && decode(&frame).flags != SYN
            {
                server.takes(&frame);
            }
        }
        if client.is_done() && server.as_ref().is_some_and(Peer::is_done) {
            return server;
        }
        lab.now = lab.now + Nanos::from_millis(20);
    }
    server
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_network_does_the_backend_gets_the_header_and_both_get_each_others_streams(
        inward in rates(),
        outward in rates(),
        seed: u64,
        isns in any::<(u32, u32)>(),
        family in 0_usize..2,
        segments in (1_usize..=1400, 1_usize..=1400),
        says in (0_usize..20_000, 1_usize..20_000),
        server_first: bool,
    ) {
        let plan = Plan { faults: (inward, outward, seed >> 1), ..plan(ProxyDatagrams::UntilAnswered) };
        let mut lab = Lab::new(plan);
        let text = |octets: usize, segment: usize, salt: u8| -> Vec<u8> {
            let octets = octets.min(segment * 60);
            (0..=250).cycle().take(octets).map(|n: u8| n ^ salt).collect()
        };
        let (client_says, server_says) = (text(says.0 + 1, segments.0, 0), text(says.1, segments.1, 0x55));
        let (at, vip) = ENDS[family];
        let mut client = Peer::client(at, vip, (isns.0, segments.0), client_says.clone());
        let header = header(ENDS[family], 1);
        let server = (isns.1, segments.1, server_says.clone());
        let server = talk(&mut lab, &mut client, &server, (server_first, header.len()));
        let server = server.expect("a SYN arrives");
        prop_assert_eq!(server.heard(), &[header, client_says].concat()[..]);
        prop_assert_eq!(client.heard(), &server_says[..]);
        prop_assert!(client.is_done() && server.is_done(), "{:?} {:?} {:?}", client, server, lab.drops());
        lab.assert_conserved();
    }
}
