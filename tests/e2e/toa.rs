//! `client_address = "toa"`: servers learn their clients, as tshark reads it on their own cable, and as a server reads it
//! that knows nothing but its kernel's saved SYN.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::SERVERS;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::wait::wait_until;

/// The lab's client, by family.
const CLIENTS: [(&str, &str); 2] = [(WEB4, "192.0.2.100"), (WEB6, "2001:db8:2::100")];

fn toa(arms: Arms) -> Configuration {
    Configuration { tcp_keys: "client_address = \"toa\"", ..Configuration::new(arms) }
}

#[test]
fn the_servers_cable_carries_every_clients_name_and_no_forged_one() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("toa: skipped: tshark is not installed");
        return;
    }
    let Some(lab) = Lab::lay("toa", Arms::Two, 5) else { return };
    let balancer = Balancer::start(&lab, &toa(Arms::Two));
    let captures = SERVERS.map(|server| Capture::start(&lab, server));
    let mut clients = BTreeSet::new();
    for (url, address) in CLIENTS {
        let address: IpAddr = address.parse().unwrap();
        for port in ports_of_requests(&lab, url, 20) {
            clients.insert(SocketAddr::new(address, port));
        }
        let downloaded = client::digest_of_download(&lab, &format!("{url}file"));
        assert_eq!(downloaded, client::digest_of_file(&lab), "{url}\n{}", balancer.circumstances());
        let server = client::upload(&lab, url, "file");
        assert_eq!(client::digest_of_upload(&lab, &server, "file"), downloaded, "{url} on {server}");
        let forger = SocketAddr::new(address, 45_999);
        lab.must(
            "client",
            &["python3", "-c", FORGER, url.trim_start_matches("http://"), &address.to_string()],
        );
        clients.insert(forger);
    }
    let connections: Vec<Connection> = captures.into_iter().flat_map(Capture::stop).collect();
    // A download and an upload more for each family, from ports that curl did not tell.
    assert_eq!(connections.len(), clients.len() + 4, "{}", balancer.circumstances());
    let mut named = BTreeSet::new();
    for Connection { segments } in &connections {
        let client = segments[0].named.unwrap_or_else(|| panic!("a SYN that names nobody: {segments:?}"));
        assert!(named.insert(client), "{client} is one connection's");
        let taken = segments.iter().find(|segment| !segment.is_syn && segment.named.is_some());
        if client.port() == 45_999 {
            continue;
        }
        assert_eq!(taken.and_then(|segment| segment.named), Some(client), "{segments:?}");
        assert!(segments.iter().all(|segment| segment.named.is_none_or(|named| named == client)));
        let first = segments.iter().find(|segment| !segment.is_syn).unwrap();
        assert_eq!(first.named, Some(client), "what completes the handshake: {segments:?}");
        let carrying = segments.iter().filter(|segment| segment.named.is_some()).count();
        assert!(carrying <= 40, "{carrying} of {} segments", segments.len());
    }
    assert!(named.is_superset(&clients), "named {named:?}, not all of {clients:?}");
    assert!(
        connections.iter().any(|connection| connection.segments.len() > 1000),
        "the uploads are among them"
    );
    let totals = balancer.ask("services");
    for service in totals["services"].as_array().unwrap().iter().take(2) {
        assert_eq!((&service["toa_skipped"], &service["toa_forged"]), (&0.into(), &1.into()), "{service}");
    }
}

#[test]
fn a_server_reads_its_clients_from_the_syn_that_its_kernel_saves() {
    let Some(lab) = Lab::lay("toasyn", Arms::Two, 1) else { return };
    lab.kill_servers("b1");
    let mut server = lab.command("b1", &["python3", "-c", SERVER]).spawn().unwrap();
    let balancer =
        Balancer::start(&lab, &Configuration { weights: [Some(100), None, None], ..toa(Arms::Two) });
    for (url, address) in CLIENTS {
        for _ in 0..10 {
            let told = lab.must("client", &["curl", "-sS", "--fail", "-m", "5", "-w", " %{local_port}", url]);
            let [from, port, own] = *told.split(' ').collect::<Vec<_>>() else { panic!("{told:?}") };
            assert_eq!((from, port), (address, own), "{}", balancer.circumstances());
        }
    }
    let _ = server.kill();
    let _ = server.wait();
}

#[test]
fn large_transfers_pass_narrow_links_also_while_segments_grow() {
    let Some(lab) = Lab::lay_narrow("toanarrow", 5) else { return };
    let balancer = Balancer::start(&lab, &toa(Arms::Two));
    for (url, _) in CLIENTS {
        let digest = client::digest_of_file(&lab);
        assert_eq!(client::digest_of_download(&lab, &format!("{url}file")), digest);
        let server = client::upload(&lab, url, "file");
        let uploaded = client::digest_of_upload(&lab, &server, "file");
        assert_eq!(uploaded, digest, "{url} on {server}\n{}", balancer.circumstances());
        // A request whose head alone is larger than the way: its first segments still grow.
        let head = format!("X-Long: {}", "x".repeat(6000));
        let line = ["curl", "-sS", "--fail", "-m", "20", "-H", &head, url];
        lab.must("client", &line);
    }
}

/// Sends requests, one after the other, and says from which ports.
fn ports_of_requests(lab: &Lab, url: &str, count: usize) -> Vec<u16> {
    let urls = format!("{url}[1-{count}]");
    let line = ["curl", "-sS", "--fail", "-m", "5", "-H", "Connection: close", "-o", "/dev/null"];
    let line: Vec<&str> = line.into_iter().chain(["-w", "%{local_port}\\n", &urls]).collect();
    let ports: Vec<u16> = lab.must("client", &line).lines().map(|port| port.parse().unwrap()).collect();
    assert_eq!(ports.len(), count);
    ports
}

/// What tshark reads on a server's cable of connections that come from local addresses.
struct Capture<'a> {
    lab: &'a Lab,
    server: &'a str,
    process: Child,
    out: PathBuf,
}

/// A connection's segments towards the server.
#[derive(Debug)]
struct Connection {
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    is_syn: bool,
    named: Option<SocketAddr>,
}

impl<'a> Capture<'a> {
    fn start(lab: &'a Lab, server: &'a str) -> Self {
        let at = |what: &str| lab.directory().join(format!("{server}.{what}"));
        let (out, log) = (at("segments"), at("tshark"));
        let mut line = vec!["tshark", "-l", "-n", "-i", "eth0", "-o", "tcp.check_checksum:TRUE"];
        line.extend([
            "-f",
            "tcp dst port 8080 and (src host 10.0.8.10 or src host fd00:8::10) or udp dst port 9",
        ]);
        line.extend(["-T", "fields", "-E", "separator=/s", "-E", "occurrence=f"]);
        for field in ["stream", "checksum.status", "flags.syn", "options"] {
            line.extend(["-e", ["tcp.", field].concat().leak()]);
        }
        let mut command = lab.command(server, &line);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap());
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let capturing = || fs::read_to_string(&log).is_ok_and(|text| text.contains("Capturing on"));
        let capture = Self { lab, server, process, out };
        wait_until("tshark captures", Duration::from_secs(20), capturing, || {
            fs::read_to_string(&log).unwrap_or_default()
        });
        capture
    }

    /// What it has seen up to now.
    fn stop(mut self) -> Vec<Connection> {
        // Behind everything else on the cable: a datagram, for nobody.
        self.lab.must(self.server, &["bash", "-c", "echo > /dev/udp/10.0.9.254/9"]);
        let is_last = |line: &str| line.trim().is_empty();
        let last = || fs::read_to_string(&self.out).unwrap().lines().any(is_last);
        wait_until("tshark has seen all", Duration::from_secs(20), last, String::new);
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
        self.process.wait().unwrap();
        let mut connections = BTreeMap::<String, Connection>::new();
        for line in fs::read_to_string(&self.out).unwrap().lines().filter(|line| !is_last(line)) {
            let mut fields = line.split(' ');
            let stream = fields.next().unwrap().to_owned();
            assert_eq!(fields.next(), Some("1"), "a wrong checksum: {line}");
            let is_syn = ["1", "True"].contains(&fields.next().unwrap());
            let named = named(&octets(fields.next().unwrap_or_default()));
            let connection = connections.entry(stream).or_insert(Connection { segments: Vec::new() });
            connection.segments.push(Segment { is_syn, named });
        }
        connections.into_values().collect()
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
    (0..digits.len() / 2).map(|n| u8::from_str_radix(&digits[2 * n..][..2], 16).unwrap()).collect()
}

/// The client in the first option, and in no other.
fn named(mut options: &[u8]) -> Option<SocketAddr> {
    let mut found = Vec::new();
    let first = options.first().copied();
    while let [kind, rest @ ..] = options {
        options = rest;
        if *kind > 1 {
            let (value, behind) = options[1..].split_at(usize::from(options[0]) - 2);
            found.extend((*kind == 254).then_some(value));
            options = behind;
        }
    }
    assert!(found.len() <= 1, "{found:x?}");
    let (port, address) = found.first()?.split_first_chunk::<2>()?;
    assert_eq!(first, Some(254), "the first is what modules take");
    let address = match *address {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).unwrap()),
    };
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

/// Sends a SYN from port 45999 that says it is from 9.9.9.9 port 9. The kernel, which knows nothing of it, resets what
/// comes back.
const FORGER: &str = r#"
import socket, struct, sys
vip, own = sys.argv[1].strip("/[]"), sys.argv[2]
v6 = ":" in vip
family = socket.AF_INET6 if v6 else socket.AF_INET
forged = bytes([254, 8, 0, 9, 9, 9, 9, 9])
def tcp(checksum):
    return struct.pack("!HHIIBBHHH", 45999, 80, 1, 0, 7 << 4, 2, 1024, checksum, 0) + forged
ends = socket.inet_pton(family, own) + socket.inet_pton(family, vip)
pseudo = ends + (struct.pack("!II", 28, 6) if v6 else struct.pack("!HH", 6, 28))
words = struct.unpack("!%dH" % ((len(pseudo) + 28) // 2), pseudo + tcp(0))
total = sum(words)
while total >> 16:
    total = (total & 0xffff) + (total >> 16)
s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
s.bind((own, 0))
s.sendto(tcp(~total & 0xffff), (vip, 0))
"#;

/// Tells each client who it is, by the SYN alone; without an option: nobody.
const SERVER: &str = r#"
import socket, struct
TCP_SAVE_SYN, TCP_SAVED_SYN = 27, 28
def client(syn):
    ip = (syn[0] & 15) * 4 if syn[0] >> 4 == 4 else 40
    options = syn[ip + 20:ip + (syn[ip + 12] >> 4) * 4]
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        kind, length = options[0], options[1]
        if kind == 254 and length in (8, 20):
            family = socket.AF_INET if length == 8 else socket.AF_INET6
            return socket.inet_ntop(family, options[4:length]), struct.unpack("!H", options[2:4])[0]
        options = options[length:]
    return "nobody", 0
listener = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
while True:
    connection, _ = listener.accept()
    try:
        connection.settimeout(5)
        address, port = client(connection.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 256))
        connection.recv(4096)
        body = "%s %d" % (address, port)
        head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        connection.sendall((head + body).encode())
    except OSError:
        pass
    connection.close()
"#;
