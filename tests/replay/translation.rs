//! What becomes of packets: addresses, ports, checksums, TTL, tags and payload, there and back.

use crate::bench::{Bench, CONFIGURATION, configuration};
use crate::files::{Captured, in_turn, nanoseconds};
use crate::packet::{ACK, Build, Decoded, FIN, Kind, SYN, decode};

const ENDS: [(&str, &str, &str); 2] = [
    ("198.51.100.7:40000", "203.0.113.80", "10.0.8.10"),
    ("[2001:db8:7::7]:40000", "[2001:db8::80]", "fd00:8::10"),
];

/// What a backend must see of a packet of a client.
#[track_caller]
fn assert_forwarded(sent: &Decoded, payload: &[u8], what: &str) {
    let v6 = sent.to.is_ipv6();
    let (local, backends) = if v6 { ("fd00:8::10", "fd00:9::") } else { ("10.0.8.10", "10.0.9.") };
    assert_eq!(sent.from.ip().to_string(), local, "{what}");
    assert!(sent.from.port() >= 4096, "{what}: {}", sent.from);
    assert!(sent.to.ip().to_string().starts_with(backends), "{what}: {}", sent.to);
    assert_eq!(sent.to.port(), 8080, "{what}");
    assert_eq!(sent.ttl, 63, "{what}");
    assert_eq!(sent.payload, payload, "{what}");
    assert_eq!(
        sent.source_mac.0,
        [2, 0, 0, 0, 0, 2],
        "{what}: it leaves by the port of the backends' network"
    );
}

#[test]
fn every_payload_length_of_both_families_and_protocols_arrives_with_right_checksums() {
    let lengths = [0, 1, 2, 3, 7, 8, 100, 101, 1399, 1400];
    let mut frames = Vec::new();
    let mut payloads = Vec::new();
    for (from, vip, _) in ENDS {
        for (n, length) in lengths.into_iter().enumerate() {
            let payload: Vec<u8> = (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
            let mut tcp = Build::new(from, &format!("{vip}:80")).payload(&payload);
            let mut udp = Build::new(from, &format!("{vip}:53")).payload(&payload);
            for build in [&mut tcp, &mut udp] {
                build.from.set_port(41_000 + u16::try_from(n).unwrap());
            }
            frames.extend([tcp.tcp(), udp.udp()]);
            payloads.extend([payload.clone(), payload]);
        }
    }
    let bench = Bench::new();
    let outcome = bench.replay(&in_turn(frames));
    let sent = outcome.decoded();
    assert_eq!(sent.len(), payloads.len(), "{}", outcome.stdout);
    for (n, (sent, payload)) in sent.iter().zip(&payloads).enumerate() {
        assert_forwarded(sent, payload, &format!("packet {n}, {} octets", payload.len()));
        assert_eq!(sent.kind, if n % 2 == 0 { Kind::Tcp } else { Kind::Udp });
    }
    bench.assert_sound(0);
}

#[test]
fn answers_made_from_the_output_reach_the_client_from_the_vip() {
    let mut requests = Vec::new();
    for (from, vip, _) in ENDS {
        for vlan in [None, Some(7)] {
            for (port, udp) in [(80, false), (53, true)] {
                let mut build = Build::new(from, &format!("{vip}:{port}")).payload(b"odd");
                build.vlan = vlan;
                build.from.set_port(42_000 + vlan.unwrap_or(0));
                requests.push(if udp { build.udp() } else { build.tcp() });
            }
        }
    }
    let requests = in_turn(requests);
    let bench = Bench::new();
    bench.file("clients.pcap", &nanoseconds(&requests));
    let first = bench.run(&["front=clients.pcap"]);
    let answers: Vec<Captured> = first
        .sent
        .iter()
        .map(|sent| {
            let seen = decode(&sent.bytes);
            let mut answer = Build::answer(&seen).flags(SYN | ACK).payload(b"an answer");
            answer.vlan = seen.vlan;
            let bytes = if seen.kind == Kind::Udp { answer.udp() } else { answer.tcp() };
            Captured::new(sent.time + std::time::Duration::from_micros(500), bytes)
        })
        .collect();
    bench.file("servers.pcap", &nanoseconds(&answers));
    let both = bench.run(&["front=clients.pcap", "back=servers.pcap"]);
    assert_eq!(both.report()["drops"], serde_json::json!({}));
    assert_eq!(both.sent.len(), 2 * requests.len());
    // Merged by time: each request, then its answer, each with the time of what caused it.
    for ((request, answer), pair) in requests.iter().zip(&answers).zip(both.sent.chunks(2)) {
        assert_eq!((pair[0].time, pair[1].time), (request.time, answer.time));
        let (request, sent) = (decode(&request.bytes), decode(&pair[1].bytes));
        assert_eq!((sent.from, sent.to), (request.to, request.from));
        assert_eq!((sent.ttl, sent.vlan, sent.kind), (63, request.vlan, request.kind));
        assert_eq!(sent.payload, b"an answer");
        assert_eq!(sent.source_mac.0, [2, 0, 0, 0, 0, 1], "it leaves by the front");
    }
    bench.assert_sound(0);
}

/// The frame with two tags behind its addresses.
fn in_two_tags(frame: &[u8]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x88, 0xa8, 0x00, 0x05, 0x81, 0x00, 0x20, 0x07]);
    tagged.extend(&frame[12..]);
    tagged
}

#[test]
fn tags_stay_as_they_came() {
    let mut frames = Vec::new();
    for (from, vip, _) in ENDS {
        let build = Build::new(from, &format!("{vip}:80")).payload(b"x");
        frames.extend([build.clone().vlan(100).tcp(), in_two_tags(&build.tcp())]);
    }
    let bench = Bench::new();
    // The same client, the same flow: the second of each pair is a repeated SYN.
    let outcome = bench.replay(&in_turn(frames.clone()));
    let sent = outcome.decoded();
    assert_eq!(sent.len(), frames.len(), "{}", outcome.stdout);
    for ((frame, sent), decoded) in frames.iter().zip(&outcome.sent).zip(&sent) {
        assert_forwarded(decoded, b"x", "a tagged packet");
        let tags = if frame[12] == 0x88 { 12..22 } else { 12..18 };
        assert_eq!(sent.bytes[tags.clone()], frame[tags]);
    }
    bench.assert_sound(0);
}

#[test]
fn options_of_ipv4_stay_and_count() {
    let bench = Bench::new();
    let mut frames = Vec::new();
    for options in [&[1, 1, 1, 0][..], &[0x94, 4, 0, 0], &[]] {
        let mut build = Build::new(ENDS[0].0, "203.0.113.80:80").payload(b"abc");
        build.ipv4_options = options.to_vec();
        frames.push(build.tcp());
    }
    let mut most = Build::new(ENDS[0].0, "203.0.113.80:53").payload(b"abc");
    most.ipv4_options = [&[7, 39, 4][..], &[0xee; 36], &[0]].concat();
    frames.push(most.udp());
    let outcome = bench.replay(&in_turn(frames.clone()));
    let sent = outcome.decoded();
    assert_eq!(sent.len(), frames.len(), "{}", outcome.stdout);
    for ((frame, out), decoded) in frames.iter().zip(&outcome.sent).zip(&sent) {
        assert_forwarded(decoded, b"abc", "options");
        let header = usize::from(frame[14] & 15) * 4;
        assert_eq!(out.bytes[14], frame[14]);
        assert_eq!(out.bytes[34..14 + header], frame[34..14 + header]);
    }
    bench.assert_sound(0);
}

#[test]
fn extension_headers_of_ipv6_stay_and_do_not_count() {
    let bench = Bench::new();
    let hop_by_hop = |next: u8| [next, 0, 5, 2, 0, 0, 1, 0];
    let long_options = |next: u8| [&[next, 1, 1, 12][..], &[0; 12]].concat();
    let routed = |next: u8| [next, 0, 0, 0, 0, 0, 0, 0];
    let atomic = |next: u8| [next, 0, 0, 0, 1, 2, 3, 4];
    let chains: [(u8, Vec<u8>); 5] = [
        (0, hop_by_hop(17).to_vec()),
        (60, long_options(17)),
        (43, routed(17).to_vec()),
        (44, atomic(17).to_vec()),
        (0, [&hop_by_hop(60)[..], &long_options(43), &routed(44), &atomic(17)].concat()),
    ];
    let build = Build::new(ENDS[1].0, "[2001:db8::80]:53").payload(b"extended");
    let plain = build.udp();
    // The checksum does not cover extension headers, so the datagram of the plain packet serves.
    let frames: Vec<_> = chains
        .iter()
        .map(|(first, chain)| {
            // 59, no next header, is a number that the builder takes for any.
            let mut frame = build.raw(59, &[chain, &plain[54..]].concat());
            frame[20] = *first;
            frame
        })
        .collect();
    let outcome = bench.replay(&in_turn(frames.clone()));
    let sent = outcome.decoded();
    assert_eq!(sent.len(), chains.len(), "{}", outcome.stdout);
    for ((out, decoded), (_, chain)) in outcome.sent.iter().zip(&sent).zip(&chains) {
        assert_forwarded(decoded, b"extended", "extension headers");
        assert_eq!(out.bytes[54..54 + chain.len()], chain[..]);
    }
    bench.assert_sound(0);
}

#[test]
fn a_datagram_without_a_checksum_gets_none() {
    let mut frame = Build::new(ENDS[0].0, "203.0.113.80:53").payload(b"plain").udp();
    frame[40..42].fill(0);
    let bench = Bench::new();
    let outcome = bench.replay(&in_turn([frame]));
    let sent = outcome.decoded();
    assert_forwarded(&sent[0], b"plain", "no checksum");
    assert_eq!(sent[0].udp_checksum, Some(0));
    bench.assert_sound(1);
}

#[test]
fn padding_is_not_passed_on() {
    let bench = Bench::new();
    let mut frames = Vec::new();
    for (from, vip, _) in ENDS {
        let mut frame = Build::new(from, &format!("{vip}:53")).payload(b"p").udp();
        frame.extend([0xaa; 17]);
        frames.push(frame);
    }
    let outcome = bench.replay(&in_turn(frames.clone()));
    for (sent, frame) in outcome.sent.iter().zip(&frames) {
        assert_eq!(sent.bytes.len(), frame.len() - 17);
    }
    assert_eq!(outcome.decoded().len(), 2);
    bench.assert_sound(0);
}

#[test]
fn a_wrong_transport_checksum_stays_wrong() {
    let mut frame = Build::new(ENDS[0].0, "203.0.113.80:80").payload(b"damaged").tcp();
    let last = frame.len() - 1;
    frame[last] ^= 0x40;
    let outcome = Bench::new().replay(&in_turn([frame]));
    let header = etherparse::SlicedPacket::from_ethernet(&outcome.sent[0].bytes).unwrap();
    let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
        (header.net, header.transport)
    else {
        panic!("it was forwarded as TCP over IPv4")
    };
    let right = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap();
    assert_ne!(tcp.checksum(), right, "the receiver must be able to tell");
}

#[test]
fn what_is_refused_is_told_so_with_right_checksums() {
    let bench = Bench::new();
    let mut frames = Vec::new();
    for (from, vip, _) in ENDS {
        frames.push(Build::new(from, &format!("{vip}:9999")).tcp());
        frames.push(Build::new(from, &format!("{vip}:9999")).payload(b"?").udp());
        frames.push(Build::new(from, &format!("{vip}:80")).ttl(1).tcp());
    }
    let outcome = bench.replay(&in_turn(frames));
    let kinds: Vec<Kind> = outcome.decoded().iter().map(|sent| sent.kind).collect();
    let expected =
        [Kind::Tcp, Kind::Icmp(3, 3), Kind::Icmp(11, 0), Kind::Tcp, Kind::Icmp(1, 4), Kind::Icmp(3, 0)];
    assert_eq!(kinds, expected);
    assert_eq!(outcome.drops(), serde_json::json!({ "no_service": 4, "ttl_expired": 2 }));
    bench.assert_sound(0);
}

#[test]
fn a_service_without_a_backend_shows_a_page_with_right_checksums() {
    let text = configuration(CONFIGURATION)
        .replace("protocol = \"tcp\"\n", "protocol = \"tcp\"\non_no_backend = \"http-503\"\n")
        .replace("port = 8080\n", "port = 8080\nweight = 0\n");
    let bench = Bench::with(&text);
    let syns: Vec<_> =
        ENDS.iter().map(|(from, vip, _)| Build::new(from, &format!("{vip}:80")).tcp()).collect();
    let accepted = bench.replay(&in_turn(syns.clone())).decoded();
    // The same input gives the same output, so that the requests fit.
    let request = |answer: &Decoded| {
        let numbers = (answer.acknowledgement, answer.sequence.wrapping_add(1));
        Build::answer(answer)
            .flags(ACK)
            .numbers(numbers.0, numbers.1)
            .payload(b"GET / HTTP/1.0\r\n\r\n")
            .tcp()
    };
    let requests = accepted.iter().map(request);
    let outcome = bench.replay(&in_turn(syns.into_iter().chain(requests)));
    let sent = outcome.decoded();
    assert_eq!(
        sent.iter().map(|sent| sent.flags).collect::<Vec<_>>(),
        [SYN | ACK, SYN | ACK, FIN | ACK, FIN | ACK]
    );
    assert!(sent[2..].iter().all(|page| page.payload.starts_with(b"HTTP/1.1 503 ")));
    assert_eq!(outcome.drops(), serde_json::json!({ "no_backend": 4 }));
    bench.assert_sound(0);
}
