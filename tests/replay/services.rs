//! Which service a packet is for, and what a service lets in: from the file as an operator writes it to the frame.

use crate::bench::{Bench, CONFIGURATION, configuration};
use crate::files::in_turn;
use crate::packet::{ACK, Build, Kind, SYN};

/// A service on 203.0.113.90 with a backend of its own, 10.0.9.`number`.
fn service(name: &str, port: &str, protocol: &str, number: u8, more: &str) -> String {
    format!(
        "\n[[service]]\nname = \"{name}\"\nvip = \"203.0.113.90\"\nport = {port}\nprotocol = \"{protocol}\"\n{more}\n\
         [service.health]\nkind = \"none\"\n[[service.backend]]\naddress = \"10.0.9.{number}\"\n"
    )
}

#[test]
fn one_port_goes_before_a_range_and_a_range_before_all_ports_of_any_protocol() {
    let services = [
        service("all", "\"*\"", "any", 1, ""),
        service("range", "\"8000-8009\"", "tcp", 2, ""),
        service("one", "8005", "tcp", 3, ""),
        service("dns", "53", "udp", 4, ""),
    ];
    let bench = Bench::with(&format!("{CONFIGURATION}{}", services.concat()));
    let to = |port: u16| Build::new("198.51.100.7:40000", &format!("203.0.113.90:{port}"));
    let cases = [
        (to(22).tcp(), "10.0.9.1:22"),
        (to(8000).tcp(), "10.0.9.2:8000"),
        (to(8005).tcp(), "10.0.9.3:8005"),
        (to(8006).tcp(), "10.0.9.2:8006"),
        (to(8010).tcp(), "10.0.9.1:8010"),
        (to(8005).udp(), "10.0.9.1:8005"),
        (to(53).udp(), "10.0.9.4:53"),
        (to(53).tcp(), "10.0.9.1:53"),
        (to(65_535).udp(), "10.0.9.1:65535"),
        (to(1).tcp(), "10.0.9.1:1"),
    ];
    let outcome = bench.replay(&in_turn(cases.iter().map(|(frame, _)| frame.clone())));
    let reached: Vec<String> = outcome.decoded().iter().map(|sent| sent.to.to_string()).collect();
    assert_eq!(reached, cases.map(|(_, backend)| backend));
}

#[test]
fn a_backend_may_be_a_client_of_its_own_vip() {
    for (client, vip, local) in [
        ("10.0.9.1:40000", "203.0.113.80", "10.0.8.10"),
        ("[fd00:9::1]:40000", "[2001:db8::80]", "fd00:8::10"),
    ] {
        // Each backend is another client of a service that it alone serves: its own packets come back to it.
        let alone = configuration(CONFIGURATION)
            .replace("address = \"10.0.9.2\"\n", "address = \"10.0.9.2\"\nweight = 0\n");
        let alone = alone.replace("address = \"10.0.9.3\"\n", "address = \"10.0.9.3\"\nweight = 0\n");
        let alone = alone.replace("address = \"fd00:9::2\"\n", "address = \"fd00:9::2\"\nweight = 0\n");
        let alone = alone.replace("address = \"fd00:9::3\"\n", "address = \"fd00:9::3\"\nweight = 0\n");
        let bench = Bench::with(&alone);
        let syn = Build::new(client, &format!("{vip}:80"));
        let first = bench.replay(&in_turn([syn.tcp()])).decoded().remove(0);
        assert_eq!(first.from.ip().to_string(), local, "or it would answer itself, past the balancer");
        let itself: std::net::SocketAddr = client.parse().unwrap();
        assert_eq!((first.to.ip(), first.to.port()), (itself.ip(), 8080));
        let answer = Build::answer(&first).flags(SYN | ACK).tcp();
        let outcome = bench.replay(&in_turn([syn.tcp(), answer]));
        let back = &outcome.decoded()[1];
        assert_eq!((back.from.to_string(), back.to), (format!("{vip}:80"), itself));
        bench.assert_sound(0);
    }
}

#[test]
fn a_service_of_single_datagrams_spreads_those_of_one_client() {
    let wanted = "scheduler = \"weighted-round-robin\"\none_packet = true";
    let names = service("names", "53", "udp", 1, wanted);
    let bench = Bench::with(&format!("{CONFIGURATION}{names}[[service.backend]]\naddress = \"10.0.9.2\"\n"));
    let ask = Build::new("198.51.100.7:40000", "203.0.113.90:53").payload(b"name?");
    let asked = bench.replay(&in_turn([ask.udp(), ask.udp(), ask.udp(), ask.udp()])).decoded();
    let mut to: Vec<String> = asked.iter().map(|sent| sent.to.to_string()).collect();
    assert_ne!(to[0], to[1]);
    to.sort();
    assert_eq!(to, ["10.0.9.1:53", "10.0.9.1:53", "10.0.9.2:53", "10.0.9.2:53"]);
    // The second of two is answered first.
    let [first, second] = [0, 1].map(|n: u8| Build::answer(&asked[usize::from(n)]).payload(&[n]).udp());
    let outcome = bench.replay(&in_turn([ask.udp(), ask.udp(), second, first]));
    let answers = &outcome.decoded()[2..];
    assert!(answers.iter().all(|answer| answer.to == ask.from && answer.from == ask.to));
    assert_eq!([&answers[0].payload, &answers[1].payload], [&[1], &[0]]);
    bench.assert_sound(0);
}

#[test]
fn services_of_a_persistence_group_send_a_client_to_backends_at_one_address() {
    let one = |name: &str, port: u16, group: &str| {
        let mut text = service(name, &port.to_string(), "tcp", 1, "scheduler = \"weighted-round-robin\"");
        for number in 2..=4 {
            text += &format!("[[service.backend]]\naddress = \"10.0.9.{number}\"\n");
        }
        text + &format!("[service.persistence]\n{group}\n")
    };
    let pairs = |group: &str| {
        let services = one("web", 80, group) + &one("secure", 443, group);
        let bench = Bench::with(&format!("{CONFIGURATION}{services}"));
        let frames = (1..=40_u8).flat_map(|n| {
            // Clients that use one service alone, too: turns alone do not keep the services in step.
            let ports: &[u16] = if n % 3 == 0 { &[80] } else { &[80, 443] };
            let to = |port: &u16| {
                Build::new(&format!("198.51.100.{n}:40000"), &format!("203.0.113.90:{port}")).tcp()
            };
            ports.iter().map(to).collect::<Vec<_>>()
        });
        let sent = bench.replay(&in_turn(frames)).decoded();
        let on = |port| sent.iter().filter(move |sent| sent.to.port() == port).map(|sent| sent.to.ip());
        let both = on(80).zip(1..).filter(|(_, n)| n % 3 != 0).map(|(address, _)| address);
        both.zip(on(443)).collect::<Vec<_>>()
    };
    let together = pairs("group = \"shop\"");
    assert_eq!(together.len(), 27);
    assert!(together.iter().all(|(web, secure)| web == secure), "{together:?}");
    let alone = pairs("");
    assert!(alone.iter().any(|(web, secure)| web != secure), "without a group they part");
}

#[test]
fn limits_and_lists_of_the_file_hold() {
    let more = "deny = [\"198.51.100.66\"]\n[service.limits]\nconnections = 3\nclient_connections = 2";
    let bench = Bench::with(&format!("{CONFIGURATION}{}", service("web", "80", "tcp", 1, more)));
    let syn = |client: &str, port: u16| Build::new(&format!("{client}:{port}"), "203.0.113.90:80").tcp();
    let frames = [
        syn("198.51.100.66", 1),
        syn("198.51.100.7", 1),
        syn("198.51.100.7", 2),
        syn("198.51.100.7", 3),
        syn("198.51.100.8", 1),
        syn("198.51.100.9", 1),
    ];
    let outcome = bench.replay(&in_turn(frames));
    let flags: Vec<bool> = outcome.decoded().iter().map(|sent| sent.flags == SYN).collect();
    assert_eq!(flags, [true, true, false, true, false]);
    let drops = outcome.drops();
    let counted = |reason: &str| drops[reason].as_u64();
    assert_eq!(
        [counted("denied"), counted("client_limit"), counted("service_limit")],
        [Some(1), Some(1), Some(1)],
        "{drops}"
    );
}

#[test]
fn a_client_comes_back_to_its_backend_while_it_is_remembered() {
    let mut frames = Vec::new();
    for n in 0..30_u16 {
        frames.push(Build::new(&format!("198.51.100.7:{}", 40_000 + n), "203.0.113.80:80").tcp());
    }
    let persistent = "\n[service.persistence]\ntimeout = \"1s\"\n[service.health]";
    let bench = Bench::with(&configuration(CONFIGURATION).replacen("\n[service.health]", persistent, 1));
    let backends = |outcome: &crate::bench::Outcome| -> Vec<std::net::IpAddr> {
        let sent = outcome.decoded();
        assert!(sent.iter().all(|sent| sent.kind == Kind::Tcp));
        sent.iter().map(|sent| sent.to.ip()).collect()
    };
    let reached = backends(&bench.replay(&in_turn(frames.clone())));
    assert_eq!(reached.iter().collect::<std::collections::BTreeSet<_>>().len(), 1);
    let reached = backends(&Bench::new().replay(&in_turn(frames)));
    assert_eq!(reached.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "without it they spread");
}

#[test]
fn a_header_that_names_the_client_is_in_what_would_have_been_sent() {
    let told = "client_address = \"proxy-v2\"";
    let services = service("web", "80", "tcp", 1, told) + &service("dns", "53", "udp", 1, told);
    let bench = Bench::with(&format!("{CONFIGURATION}{services}"));
    let syn = Build::new("198.51.100.7:40000", "203.0.113.90:80");
    let first = bench.replay(&in_turn([syn.tcp()])).decoded().remove(0);
    let answer = Build::answer(&first).flags(SYN | ACK).tcp();
    // The client's first octet is numbered one after its SYN.
    let data = Build { flags: ACK, sequence: syn.sequence.wrapping_add(1), ..syn.clone() }.payload(b"GET /");
    let query = Build::new("198.51.100.7:40000", "203.0.113.90:53").payload(b"query").udp();
    let sent = bench.replay(&in_turn([syn.tcp(), answer, data.tcp(), query])).decoded();
    let header = |transport: u8, port: u8| {
        let ends = [198, 51, 100, 7, 203, 0, 113, 90, 0x9c, 0x40, 0, port];
        [b"\r\n\r\n\0\r\nQUIT\n\x21".as_slice(), &[0x10 | transport, 0, 12], &ends].concat()
    };
    assert_eq!(sent[2].payload, [&header(1, 80), &b"GET /"[..]].concat());
    assert_eq!(sent[3].payload, [&header(2, 53), &b"query"[..]].concat());
}
