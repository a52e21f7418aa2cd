//! ICMP that comes in: errors about packets of flows, and pings.

use std::net::SocketAddr;

use etherparse::Ipv4HeaderSlice;
use evenkeel::model::{Encapsulation, ForwardingMode, Nanos};
use evenkeel::shared::DropReason;

use crate::icmp_message::{Says, error, message, router, too_big};
use crate::lab::{BACKEND_MAC, CLIENT_MAC, LOCAL4, LOCAL6, Lab, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Decoded, Kind, SYN, decode};

pub const ENDS: [(&str, &str); 2] =
    [("198.51.100.7:40000", "203.0.113.80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]")];

fn port_unreachable(v6: bool) -> Says {
    if v6 { (1, 4, [0; 4]) } else { (3, 3, [0; 4]) }
}

/// An established flow: the client's last packet and the backend's, each as it reached us and as it left.
struct Session {
    from_client: Vec<u8>,
    to_backend: Vec<u8>,
    from_backend: Vec<u8>,
    to_client: Vec<u8>,
}

fn only(lab: &mut Lab, worker: usize, frame: &[u8]) -> Vec<u8> {
    lab.deliver_to(worker, frame);
    lab.settle();
    let mut sent = lab.sent();
    assert_eq!(sent.len(), 1, "frames sent; drops: {:?}", lab.drops());
    sent.remove(0)
}

fn session(lab: &mut Lab, client: &str, vip: &str, udp: bool) -> Session {
    let to = format!("{vip}:{}", if udp { 53 } else { 80 });
    let build = |build: &Build| if udp { build.udp() } else { build.tcp() };
    let opening = only(lab, 0, &build(&Build::new(client, &to)));
    let answer = Build::answer(&decode(&opening)).flags(SYN | ACK);
    only(lab, 0, &build(&answer));
    let from_client = build(&Build::new(client, &to).flags(ACK).payload(b"a request"));
    let to_backend = only(lab, 0, &from_client);
    let from_backend = build(&Build::answer(&decode(&opening)).flags(ACK).payload(&[7; 900]));
    let to_client = only(lab, 0, &from_backend);
    Session { from_client, to_backend, from_backend, to_client }
}

/// Whether `quote` is the start of the IP packet in `frame`, but for its hop count, of which one is spent.
#[track_caller]
fn assert_quotes(quote: &[u8], frame: &[u8]) {
    let mut packet = frame[14..][..quote.len()].to_vec();
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        packet[10..12].copy_from_slice(&quote[10..12]);
        let header = Ipv4HeaderSlice::from_slice(quote).unwrap().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "the quoted header's checksum");
    } else {
        packet[7] -= 1;
    }
    assert_eq!(quote, packet);
}

/// Every family and protocol, and quotes of the least and the most octets.
fn cases() -> impl Iterator<Item = (&'static str, &'static str, bool, bool, usize)> {
    ENDS.into_iter().flat_map(|(client, vip)| {
        let v6 = vip.contains(':');
        let header = if v6 { 40 } else { 20 };
        [false, true]
            .into_iter()
            .flat_map(move |udp| [header + 8, header + 20, 500].map(|octets| (client, vip, v6, udp, octets)))
    })
}

#[test]
fn an_error_from_the_clients_side_reaches_the_backend_as_one_about_its_own_packet() {
    for (client, vip, v6, udp, octets) in cases() {
        let mut lab = Lab::new(Plan::default());
        let session = session(&mut lab, client, vip, udp);
        for says in [too_big(v6), port_unreachable(v6), if v6 { (3, 0, [0; 4]) } else { (11, 0, [0; 4]) }] {
            let sent = lab.forward(&error(&session.to_client, says, octets));
            assert_eq!(sent.kind, Kind::Icmp(says.0, says.1));
            let to_backend = decode(&session.to_backend);
            assert_eq!((sent.from.ip(), sent.to.ip()), (to_backend.from.ip(), to_backend.to.ip()));
            assert_eq!((sent.destination_mac, sent.ttl), (BACKEND_MAC, 63));
            assert_quotes(&sent.payload, &session.from_backend);
        }
        assert_eq!((lab.tally().icmp_errors, lab.tally().dropped()), (3, 0));
        lab.assert_conserved();
    }
}

#[test]
fn an_error_from_the_backends_side_reaches_the_client_as_one_about_its_own_packet() {
    for (client, vip, v6, udp, octets) in cases() {
        let mut lab = Lab::new(Plan::default());
        let session = session(&mut lab, client, vip, udp);
        for says in [too_big(v6), if v6 { (4, 1, [0; 4]) } else { (12, 0, [9, 0, 0, 0]) }] {
            let sent = lab.forward(&error(&session.to_backend, says, octets));
            assert_eq!(sent.kind, Kind::Icmp(says.0, says.1));
            let to_client = decode(&session.to_client);
            assert_eq!((sent.from.ip(), sent.to.ip()), (to_client.from.ip(), to_client.to.ip()));
            assert_eq!((sent.destination_mac, sent.ttl), (CLIENT_MAC, 63));
            assert_quotes(&sent.payload, &session.from_client);
        }
    }
}

#[test]
fn errors_pass_between_a_backend_and_itself_as_its_own_client() {
    for (client, vip) in [("10.0.9.1:40000", "203.0.113.80"), ("[fd00:9::1]:40000", "[2001:db8::80]")] {
        let v6 = vip.contains(':');
        for udp in [false, true] {
            let mut lab = Lab::new(Plan { backends: 1, ..Plan::default() });
            let session = session(&mut lab, client, vip, udp);
            let (to_backend, to_client) = (decode(&session.to_backend), decode(&session.to_client));
            assert_eq!(to_backend.to.ip(), to_client.to.ip(), "one host");

            // About what it sent as a backend: heard by the client, told to the backend.
            let sent = lab.forward(&error(&session.to_client, too_big(v6), 500));
            assert_eq!((sent.from.ip(), sent.to.ip()), (to_backend.from.ip(), to_backend.to.ip()));
            assert_eq!(sent.destination_mac, BACKEND_MAC);
            assert_quotes(&sent.payload, &session.from_backend);

            // And about what it sent as a client.
            let sent = lab.forward(&error(&session.to_backend, too_big(v6), 500));
            assert_eq!((sent.from.ip(), sent.to.ip()), (to_client.from.ip(), to_client.to.ip()));
            assert_eq!(sent.destination_mac, BACKEND_MAC);
            assert_quotes(&sent.payload, &session.from_client);
            assert_eq!((lab.tally().icmp_errors, lab.tally().dropped()), (2, 0));
        }
    }
}

#[test]
fn the_mtu_that_an_error_reports_arrives() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        let mut lab = Lab::new(Plan::default());
        let session = session(&mut lab, client, vip, false);
        let sent = only(&mut lab, 0, &error(&session.to_client, too_big(v6), 500));
        let l4 = if v6 { 54 } else { 34 };
        assert_eq!(sent[l4 + 4..l4 + 8], [0, 0, 5, 120]);
    }
}

#[test]
fn reported_path_mtu_below_the_floor_reaches_no_backend() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        let reports = |mtu: u16| {
            let [high, low] = mtu.to_be_bytes();
            if v6 { (2, 0, [0, 0, high, low]) } else { (3, 4, [0, 0, high, low]) }
        };
        for (floor, mtu, is_forwarded) in [
            (1280, 1280, true),
            (1280, 1279, false),
            (1280, 68, false),
            (1280, 0, false),
            (1400, 1399, false),
            (1400, 1400, true),
            (68, 552, !v6),
            (68, 0, false),
        ] {
            let mut lab = Lab::new(Plan { min_path_mtu: floor, ..Plan::default() });
            let session = session(&mut lab, client, vip, false);
            let to_backend = error(&session.to_client, reports(mtu), 500);
            if is_forwarded {
                assert_eq!(lab.exchange(&to_backend).len(), 1, "{mtu} of {floor}");
            } else {
                assert_eq!(lab.exchange(&to_backend), [], "{mtu} of {floor}");
                let reasons = [DropReason::PathMtuTooSmall, DropReason::IcmpMtuImpossible];
                assert_eq!(reasons.map(|reason| lab.dropped(reason)).iter().sum::<u64>(), 1);
            }
            // A client shares its way with nobody.
            if !v6 {
                assert_eq!(lab.exchange(&error(&session.to_backend, reports(mtu), 500)).len(), 1);
            }
        }
    }
}

#[test]
fn an_error_finds_its_flow_on_whichever_worker_it_arrives() {
    let mut lab = Lab::new(Plan { workers: 3, ..Plan::default() });
    for n in 0..30_u16 {
        for (client, vip) in ENDS {
            let v6 = vip.contains(':');
            let client = client.replace("40000", &(41_000 + n).to_string());
            let session = session(&mut lab, &client, vip, n % 2 == 0);
            for worker in 0..3 {
                let sent = only(&mut lab, worker, &error(&session.to_client, too_big(v6), 100));
                assert_quotes(&decode(&sent).payload, &session.from_backend);
                let sent = only(&mut lab, worker, &error(&session.to_backend, too_big(v6), 100));
                assert_quotes(&decode(&sent).payload, &session.from_client);
            }
        }
    }
    assert_eq!((lab.tally().icmp_errors, lab.tally().dropped()), (30 * 2 * 6, 0), "{:?}", lab.drops());
    lab.assert_conserved();
}

#[test]
fn an_error_neither_ends_a_flow_nor_keeps_it() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        let mut lab = Lab::new(Plan::default());
        let tcp = session(&mut lab, client, vip, false);
        let udp = session(&mut lab, client, vip, true);
        let before = lab.now;
        let nearly = |timeout: Nanos| Nanos(timeout.0 * 9 / 10);
        lab.now = before + nearly(lab.plan.timeouts.udp);
        for about in [&tcp.to_client, &tcp.to_backend, &udp.to_client, &udp.to_backend] {
            lab.forward(&error(about, port_unreachable(v6), 100));
        }
        assert_eq!(lab.tally().flows(), 2, "hard errors about both flows, both sides");
        lab.now = before + lab.plan.timeouts.udp;
        lab.wait(Nanos::from_secs(2));
        assert_eq!(lab.tally().flows(), 1, "the UDP flow's time was over");
        assert_eq!(only(&mut lab, 0, &tcp.from_client), tcp.to_backend, "the TCP flow goes on");
    }
}

#[test]
fn options_and_extension_headers_of_the_quoted_packet_are_walked() {
    let mut lab = Lab::new(Plan::default());
    let mut build = Build::new(ENDS[0].0, "203.0.113.80:53").payload(b"query");
    build.ipv4_options = vec![0x94, 4, 0, 0, 1, 1, 1, 0];
    let from_client = build.udp();
    let to_backend = only(&mut lab, 0, &from_client);
    let sent = lab.forward(&error(&to_backend, too_big(false), 28 + 8));
    assert_quotes(&sent.payload, &from_client);

    let plain = Build::new(ENDS[1].0, "[2001:db8::80]:53").payload(b"query").udp();
    let chain = [60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9];
    let mut from_client =
        Build::new(ENDS[1].0, "[2001:db8::80]:53").raw(59, &[&chain, &plain[54..]].concat());
    from_client[14 + 6] = 0;
    let to_backend = only(&mut lab, 0, &from_client);
    let sent = lab.forward(&error(&to_backend, too_big(true), 40 + 24 + 8));
    assert_quotes(&sent.payload, &from_client);
}

#[test]
fn extensions_behind_the_quote_stay_as_they_are() {
    // A MPLS label stack (RFC 4950) behind a quote of 128 octets, which the length field states in words of the family.
    let extension = [0x20, 0, 0x9a, 0x3c, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0xff];
    for ((client, vip), says) in ENDS.into_iter().zip([(11, 0, [0, 32, 0, 0]), (3, 0, [16, 0, 0, 0])]) {
        let mut lab = Lab::new(Plan::default());
        let session = session(&mut lab, client, vip, true);
        let quote = &session.to_client[14..14 + 128];
        let to = decode(&session.to_client).from.ip();
        let sent = lab.forward(&message(router(to.is_ipv6()), to, says, &[quote, &extension].concat()));
        assert_quotes(&sent.payload[..128], &session.from_backend);
        assert_eq!(sent.payload[128..], extension);
    }
}

#[test]
fn a_quoted_datagram_without_a_checksum_gets_none() {
    let mut lab = Lab::new(Plan::default());
    let mut from_client = Build::new(ENDS[0].0, "203.0.113.80:53").payload(b"plain").udp();
    from_client[40..42].fill(0);
    let to_backend = only(&mut lab, 0, &from_client);
    let sent = lab.forward(&error(&to_backend, too_big(false), 28));
    assert_quotes(&sent.payload, &from_client);
}

#[test]
fn an_error_that_cannot_be_used_is_a_drop_of_its_kind() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        let mut lab = Lab::new(Plan::default());
        let Session { to_client, .. } = session(&mut lab, client, vip, false);
        let (header, vip) = (if v6 { 40 } else { 20 }, decode(&to_client).from.ip());
        let good = error(&to_client, too_big(v6), 100);
        let from = |address: &str| message(address, vip, too_big(v6), &to_client[14..]);

        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        lab.lose(&damaged, DropReason::IcmpChecksumWrong);
        lab.lose(&error(&to_client, too_big(v6), header + 7), DropReason::IcmpMalformed);
        lab.lose(&error(&to_client, too_big(v6), header - 1), DropReason::IcmpMalformed);
        lab.lose(&message(router(v6), vip, too_big(v6), &[]), DropReason::IcmpMalformed);
        lab.lose(&from(if v6 { "ff02::1" } else { "224.0.0.1" }), DropReason::Martian);
        lab.lose(&from(if v6 { VIP6 } else { VIP4 }), DropReason::Martian);
        lab.lose(&from(if v6 { LOCAL6 } else { LOCAL4 }), DropReason::Martian);
        let other = message(router(v6), vip, too_big(v6), &quote_of_another(&to_client));
        lab.lose(&other, DropReason::IcmpMalformed);
        for says in
            if v6 { [(137, 0, [0; 4]), (100, 0, [0; 4])] } else { [(4, 0, [0; 4]), (5, 1, [192, 0, 2, 9])] }
        {
            lab.lose(&message(router(v6), vip, says, &to_client[14..114]), DropReason::IcmpNotAllowed);
        }
        let mut spent = good.clone();
        if v6 {
            spent[14 + 7] = 1;
        } else {
            spent = rehopped(&good, 1);
        }
        lab.lose(&spent, DropReason::TtlExpired);
        if v6 {
            let narrow = (2, 0, 1279_u32.to_be_bytes());
            lab.lose(&error(&to_client, narrow, 100), DropReason::IcmpMtuImpossible);
        } else {
            // RFC 1191, section 5: an old router. Linux takes it for 552.
            lab.lose(&error(&to_client, (3, 4, [0; 4]), 100), DropReason::PathMtuTooSmall);
        }
        assert_eq!(lab.punted(), 0);
        lab.assert_conserved();
    }
}

/// The IP packet of a frame, sent by somebody else.
fn quote_of_another(frame: &[u8]) -> Vec<u8> {
    let mut packet = frame[14..].to_vec();
    let source = if packet[0] >> 4 == 4 { 15 } else { 23 };
    packet[source] ^= 1;
    packet
}

/// The frame with another TTL.
fn rehopped(frame: &[u8], ttl: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[14 + 8] = ttl;
    let mut header = Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap().to_header();
    header.header_checksum = header.calc_header_checksum();
    frame[14..34].copy_from_slice(&header.to_bytes());
    frame
}

#[test]
fn an_error_about_no_flow_is_dropped_unless_it_may_be_the_kernels() {
    for (v6, vip, local) in [(false, VIP4, LOCAL4), (true, VIP6, LOCAL6)] {
        for workers in [1, 3] {
            let mut lab = Lab::new(Plan { workers, ..Plan::default() });
            let peer = if v6 { "[fd00:9::1]:8080" } else { "10.0.9.1:8080" };
            let at = |address: &str, port: u16| SocketAddr::new(address.parse().unwrap(), port);
            let sent_by =
                |address: &str, port| Build::between(at(address, port), peer.parse().unwrap()).tcp();
            let port_of_ours = sent_by(local, 4096 + 9);
            lab.lose(&error(&port_of_ours, too_big(v6), 100), DropReason::IcmpUnknownFlow);
            lab.lose(&error(&sent_by(vip, 80), too_big(v6), 100), DropReason::IcmpUnknownFlow);
            lab.lose(&error(&sent_by(vip, 9999), too_big(v6), 100), DropReason::IcmpUnknownFlow);
            assert_eq!(lab.punted(), 0);
            // A probe, and a ping.
            assert_eq!(lab.exchange(&error(&sent_by(local, 4095), too_big(v6), 100)), []);
            let ping = message(local, peer.parse::<SocketAddr>().unwrap().ip(), echo(v6), b"ping");
            assert_eq!(lab.exchange(&error(&ping, too_big(v6), 100)), []);
            assert_eq!(lab.punted(), 2);
            lab.assert_conserved();
        }
    }
}

fn echo(v6: bool) -> Says {
    (if v6 { 128 } else { 8 }, 0, [0x12, 0x34, 0, 7])
}

fn ping(v6: bool, to: &str) -> Vec<u8> {
    let from = if v6 { "2001:db8:7::7" } else { "198.51.100.7" };
    message(from, to.parse().unwrap(), echo(v6), b"0123456789")
}

#[test]
fn a_ping_is_answered_from_the_address_it_was_sent_to() {
    for (v6, address) in [(false, VIP4), (true, VIP6), (false, LOCAL4), (true, LOCAL6)] {
        let mut lab = Lab::new(Plan { workers: 3, ..Plan::default() });
        for worker in 0..3 {
            let mut request = ping(v6, address);
            // Padding of the link, and few hops left: it goes no further.
            request.extend([0xee; 3]);
            if !v6 {
                request = [rehopped(&request[..request.len() - 3], 1), vec![0xee; 3]].concat();
            }
            let sent = only(&mut lab, worker, &request);
            let (asked, answer) = (decode(&request[..request.len() - 3]), decode(&sent));
            assert_eq!((answer.from, answer.to), (asked.to, asked.from));
            assert_eq!((answer.source_mac, answer.destination_mac), (asked.destination_mac, CLIENT_MAC));
            assert_eq!((answer.ttl, answer.kind), (64, Kind::Icmp(if v6 { 129 } else { 0 }, 0)));
            let l4 = if v6 { 54 } else { 34 };
            assert_eq!(sent[l4 + 4..], request[l4 + 4..request.len() - 3], "identifier, number and data");
        }
        assert_eq!((lab.tally().echoes, lab.punted()), (3, 0));
        lab.assert_conserved();
    }
}

#[test]
fn pings_are_answered_within_a_rate_and_the_rest_is_counted() {
    let mut lab = Lab::new(Plan::default());
    let mut answers = 0;
    for _ in 0..3000 {
        answers += lab.exchange(&ping(false, VIP4)).len() as u64;
    }
    assert!((1000..1100).contains(&answers), "{answers} answers in no time");
    assert_eq!((lab.dropped(DropReason::EchoPoliced), lab.tally().echoes), (3000 - answers, answers));
    let syn = lab.forward(&Build::new(ENDS[0].0, "203.0.113.80:80").tcp());
    assert_eq!(syn.kind, Kind::Tcp, "nobody else suffers");
    lab.assert_conserved();
}

#[test]
fn what_else_icmp_can_ask_is_dropped_and_what_the_kernel_waits_for_reaches_it() {
    for (v6, vip, local) in [(false, VIP4, LOCAL4), (true, VIP6, LOCAL6)] {
        let mut lab = Lab::new(Plan::default());
        let from = if v6 { "fd00:9::1" } else { "10.0.9.1" };
        let says = |icmp_type| (icmp_type, 0, [0; 4]);
        for (to, icmp_type) in [(vip, if v6 { 139 } else { 13 }), (local, if v6 { 144 } else { 17 })] {
            let request = message(from, to.parse().unwrap(), says(icmp_type), &[0; 12]);
            lab.lose(&request, DropReason::IcmpNotAllowed);
        }
        let mut damaged = ping(v6, vip);
        *damaged.last_mut().unwrap() ^= 1;
        lab.lose(&damaged, DropReason::IcmpChecksumWrong);
        lab.lose(&message(vip, vip.parse().unwrap(), echo(v6), b"land"), DropReason::Martian);
        assert_eq!(lab.punted(), 0);
        for icmp_type in if v6 { vec![129, 135, 136] } else { vec![0] } {
            let mut reply = message(from, local.parse().unwrap(), says(icmp_type), &[0; 16]);
            if icmp_type > 129 {
                lab.lose(&reply, DropReason::NeighbourOffLink);
            }
            if v6 {
                reply[14 + 7] = 255;
            }
            assert_eq!(lab.exchange(&reply), []);
            assert_eq!(lab.punted(), 1, "type {icmp_type}");
        }
        lab.assert_conserved();
    }
    let mut lab = Lab::new(Plan::default());
    let mut recorded = Build::new("198.51.100.7:0", "203.0.113.80:0");
    recorded.ipv4_options = vec![7, 7, 4, 0, 0, 0, 0, 0];
    let plain = ping(false, VIP4);
    assert_eq!(lab.exchange(&recorded.raw(1, &plain[34..])), []);
    assert_eq!(lab.punted(), 1, "a route to be recorded is the kernel's");
}

#[test]
fn without_flows_an_error_goes_to_the_backend_that_the_clients_packets_go_to() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        for workers in [1, 3] {
            let mut lab = Lab::new(Plan { workers, mode: ForwardingMode::DirectRouting, ..Plan::default() });
            let request = Build::new(client, &format!("{vip}:80"));
            let to_backend = lab.forward(&request.tcp());
            let answer = Build::between(request.to, request.from).flags(SYN | ACK).tcp();
            let complaint = error(&answer, too_big(v6), 100);
            for worker in 0..usize::from(workers) {
                let sent = only(&mut lab, worker, &complaint);
                assert_eq!(decode(&sent).destination_mac, to_backend.destination_mac);
                assert_eq!(sent[14..], complaint[14..], "as it came");
            }

            let mode = ForwardingMode::Tunnel(Encapsulation::Ip);
            let mut lab = Lab::new(Plan { workers, mode, ..Plan::default() });
            let outer = if v6 { 40 } else { 20 };
            let syn = only(&mut lab, 0, &request.tcp());
            let sent = only(&mut lab, 0, &complaint);
            assert_eq!(ends(&sent), ends(&syn), "to the same end of the tunnel");
            assert_eq!(sent[14 + outer + 20..], complaint[14 + 20..]);
            assert_eq!(lab.tally().icmp_errors, 1);
            lab.assert_conserved();
        }
    }
}

#[test]
fn without_flows_an_error_about_a_displaced_session_follows_it() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        for workers in [1, 3] {
            let mode = ForwardingMode::Tunnel(Encapsulation::Ip);
            let mut lab = Lab::new(Plan { workers, mode, ..Plan::default() });
            let request = Build::new(client, &format!("{vip}:80"));
            let first = only(&mut lab, 0, &request.tcp());
            let number = *ends(&first).last().unwrap();
            lab.set_backend(number, false);
            let displaced = only(&mut lab, 0, &request.tcp());
            assert_ne!(ends(&displaced), ends(&first));
            lab.set_backend(number, true);
            let answer = Build::between(request.to, request.from).flags(SYN | ACK).tcp();
            for worker in 0..usize::from(workers) {
                let sent = only(&mut lab, worker, &error(&answer, too_big(v6), 100));
                assert_eq!(ends(&sent), ends(&displaced));
            }
        }
    }
}

/// Both addresses of a frame's outer header.
fn ends(frame: &[u8]) -> &[u8] {
    if frame[14] >> 4 == 4 { &frame[26..34] } else { &frame[22..54] }
}

#[test]
fn an_error_leaves_with_the_tag_of_its_next_hop() {
    let mut lab = Lab::new(Plan { next_hop_vlan: evenkeel::model::VlanTag::Id(200), ..Plan::default() });
    let request = Build::new(ENDS[0].0, "203.0.113.80:53").vlan(100).payload(b"query").udp();
    let to_backend = only(&mut lab, 0, &request);
    let untagged = [&to_backend[..12], &to_backend[16..]].concat();
    let sent: Decoded = lab.forward(&error(&untagged, port_unreachable(false), 100));
    assert_eq!((sent.vlan, sent.destination_mac), (Some(100), CLIENT_MAC));
    assert_quotes(&sent.payload, &[&request[..12], &request[16..]].concat());
}
