//! `client_address = "proxy-v2"`: nginx, HAProxy and Unbound learn their clients, whoever speaks first, and clients notice
//! nothing.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::lab::Arms;
use crate::lab::Lab;

/// The VIP as it stands in a URL, and the lab's client.
const FAMILIES: [(&str, &str, &str); 2] =
    [(VIP4, "203.0.113.80", "192.0.2.100"), (VIP6, "[2001:db8:80::80]", "2001:db8:2::100")];

/// The hosts with servers that know the protocol.
const HOSTS: [&str; 2] = ["b1", "b2"];

/// Services by their port: what they are, the servers' port, their probes. Not one of the probes would be answered
/// without a header of its own.
const NGINX: (u16, &str, u16, &str) = (80, "tcp", 8090, "kind = \"http\"\npath = \"/healthz\"\n");
const HAPROXY: (u16, &str, u16, &str) = (81, "tcp", 8091, "kind = \"http\"\npath = \"/\"\n");
const GREETING: (u16, &str, u16, &str) = (82, "tcp", 8092, "kind = \"tcp\"\n");
const UNBOUND: (u16, &str, u16, &str) =
    (53, "udp", 8053, "kind = \"dns\"\nquery = \"who.lab.test.\"\nrecord = \"TXT\"\n");

fn configuration() -> Configuration {
    let mut text = String::new();
    for (port, protocol, server_port, probe) in [NGINX, HAPROXY, GREETING, UNBOUND] {
        for (vip, network) in [(VIP4, "10.0.9."), (VIP6, "fd00:9::")] {
            write!(
                text,
                "\n[[service]]\nname = \"s{port}-{}\"\nvip = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\n\
                 client_address = \"proxy-v2\"\nproxy_datagrams = \"every\"\n\
                 [service.health]\n{probe}interval = \"400ms\"\ntimeout = \"400ms\"\nrise = 1\n",
                network.len(),
            )
            .unwrap();
            for number in 1..=HOSTS.len() {
                writeln!(text, "[[service.backend]]\naddress = \"{network}{number}\"\nport = {server_port}")
                    .unwrap();
            }
        }
    }
    Configuration { services: Some(text), ..Configuration::new(Arms::Two) }
}

/// A lab with servers that know the protocol; `None` if the test cannot run here.
fn lab(name: &str, file_mb: u32) -> Option<Lab> {
    for program in ["haproxy", "unbound"] {
        let there = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if there.is_err() {
            eprintln!("{name}: skipped: there is no {program}");
            return None;
        }
    }
    let lab = Lab::lay(name, Arms::Two, file_mb)?;
    for host in HOSTS {
        start_nginx(&lab, host);
        start(&lab, host, &["python3", "-c", GREETER, host]);
        let haproxy = write(&lab, host, "haproxy.cfg", &HAPROXY_FILE.replace("HOST", host));
        start(&lab, host, &["haproxy", "-db", "-f", &haproxy]);
        let unbound = write(&lab, host, "unbound.conf", &UNBOUND_FILE.replace("HOST", host));
        start(&lab, host, &["unbound", "-d", "-c", &unbound]);
    }
    Some(lab)
}

#[test]
fn servers_learn_their_clients_from_the_header_whoever_speaks_first() {
    let Some(lab) = lab("proxy", 1) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    for (vip, host, client) in FAMILIES {
        for port in [NGINX.0, HAPROXY.0] {
            for _ in 0..10 {
                let url = format!("http://{host}:{port}/");
                let line = ["curl", "-sS", "--fail", "-m", "5", "-w", "%{local_ip} %{local_port}", &url];
                let out = lab.must("client", &line);
                let (seen, own) = out.split_once('\n').unwrap();
                assert_eq!(seen.split_once(' ').unwrap().1, own, "{url}\n{}", balancer.circumstances());
                assert!(own.starts_with(client), "{own}");
            }
        }
        let line = ["python3", "-c", LISTENER, vip, "82", "10"];
        let greetings = lab.must("client", &line);
        assert_eq!(greetings.lines().count(), 10, "{greetings}\n{}", balancer.circumstances());
        let answers = lab.must("client", &["python3", "-c", RESOLVER, vip, "10"]);
        assert_eq!(answers.lines().count(), 30, "{answers}\n{}", balancer.circumstances());
        assert!(answers.lines().all(|answer| HOSTS.contains(&answer)), "{answers}");
        let query = format!(" {client} who.lab.test. TXT IN");
        let asked = || logs(&lab, "unbound").lines().filter(|line| line.ends_with(&query)).count() == 30;
        balancer.wait("Unbound has logged its client's queries", Duration::from_secs(5), asked);
    }
    let drops = &balancer.ask("status")["total"]["drops"];
    assert_eq!(drops["proxy_header_unsent"], serde_json::Value::Null, "{drops}");
}

#[test]
fn large_transfers_arrive_intact_behind_the_header() {
    let Some(lab) = lab("proxylarge", 100) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    assert_transfers(&lab, &balancer);
}

#[test]
fn large_transfers_arrive_intact_behind_the_header_over_a_network_that_loses_packets() {
    let Some(lab) = lab("proxyloss", 5) else { return };
    for host in ["client", "b1", "b2"] {
        let line =
            ["tc", "qdisc", "add", "dev", "eth0", "root", "netem", "loss", "2%", "delay", "2ms", "1ms"];
        if !lab.on(host, &line).success {
            eprintln!("skipped: this kernel has no netem; tests/scenario/proxy.rs loses packets without it");
            return;
        }
    }
    let balancer = Balancer::start(&lab, &configuration());
    assert_transfers(&lab, &balancer);
}

#[track_caller]
fn assert_transfers(lab: &Lab, balancer: &Balancer<'_>) {
    let digest = client::digest_of_file(lab);
    for (_, host, _) in FAMILIES {
        let url = format!("http://{host}/");
        let downloaded = client::digest_of_download(lab, &format!("{url}file"));
        assert_eq!(downloaded, digest, "{url}\n{}", balancer.circumstances());
        let server = client::upload(lab, &url, "file");
        let uploaded = client::digest_of_upload(lab, &server, "file");
        assert_eq!(uploaded, digest, "{url} on {server}\n{}", balancer.circumstances());
    }
}

/// Starts a server that ends with the lab.
fn start(lab: &Lab, host: &str, line: &[&str]) {
    let log = fs::File::create(lab.directory().join(format!("{host}.{}.log", line[0]))).unwrap();
    let mut server = lab.command(host, line);
    drop(server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
}

/// What the servers of this name have logged.
fn logs(lab: &Lab, program: &str) -> String {
    let log = |host| fs::read_to_string(lab.directory().join(format!("{host}.{program}.log"))).unwrap();
    HOSTS.map(log).concat()
}

fn write(lab: &Lab, host: &str, name: &str, text: &str) -> String {
    let file = lab.directory().join(format!("{host}.{name}"));
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Beside the one that the lab has started, in the same directory.
fn start_nginx(lab: &Lab, host: &str) {
    let upload = lab.uploaded(host, "");
    let root = upload.ancestors().find(|path| path.ends_with(host)).unwrap().to_str().unwrap();
    let files = lab.file();
    let files = files.parent().unwrap().to_str().unwrap();
    let text = format!(
        "user root;\npid proxy.pid;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path ptmp;\nproxy_temp_path ptmp;\nfastcgi_temp_path ptmp;\nuwsgi_temp_path ptmp;\n\
         scgi_temp_path ptmp;\n\
         server {{\nlisten 8090 proxy_protocol;\nlisten [::]:8090 proxy_protocol;\nadd_header X-Backend {host};\n\
         location = /healthz {{ return 200; }}\nlocation = /file {{ root {files}; }}\n\
         location /upload/ {{ root {root}; dav_methods PUT; create_full_put_path on; client_max_body_size 0; }}\n\
         location / {{ return 200 \"{host} $proxy_protocol_addr $proxy_protocol_port\\n\"; }}\n}}\n}}\n"
    );
    let file = write(lab, host, "proxy.conf", &text);
    let log = format!("{root}/proxy.log");
    lab.must(host, &["nginx", "-p", root, "-e", &log, "-c", &file]);
}

/// Over HTTP it says itself who asks; what comes to the other port it hands on to the greeter, which it tells in words.
const HAPROXY_FILE: &str = r#"
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend web
    mode http
    bind :::8091 v4v6 accept-proxy
    http-request return status 200 content-type text/plain lf-string "HOST %[src] %[src_port]\n"
listen greeting
    mode tcp
    bind :::8092 v4v6 accept-proxy
    server greeter 127.0.0.1:8093 send-proxy
"#;

/// Says in its log who asks.
const UNBOUND_FILE: &str = r#"
server:
    interface: 0.0.0.0@8053
    interface: ::0@8053
    proxy-protocol-port: 8053
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    log-queries: yes
    access-control: 0.0.0.0/0 allow
    access-control: ::0/0 allow
    local-zone: "lab.test." static
    local-data: 'who.lab.test. 60 IN TXT "HOST"'
remote-control:
    control-enable: no
"#;

/// Speaks first, and says what the line in front of the connection said of its client.
const GREETER: &str = r#"
import socketserver, sys
class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline().split()
        client = words[2] + b" " + words[4] if len(words) > 4 else b"unknown"
        self.wfile.write(sys.argv[1].encode() + b" " + client + b"\n")
        for line in self.rfile: self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
Server(("127.0.0.1", 8093), Greeter).serve_forever()
"#;

/// Says nothing until it is greeted by its name.
const LISTENER: &str = r#"
import socket, sys
for _ in range(int(sys.argv[3])):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as s:
        lines = s.makefile("rw", newline="\n")
        greeting = lines.readline().split()
        own = [s.getsockname()[0], str(s.getsockname()[1])]
        assert greeting[1:] == own, (greeting, own)
        lines.write("echo\n")
        lines.flush()
        assert lines.readline() == "echo\n"
        print(*greeting)
"#;

/// Asks three times from each of its ports, and prints the answers.
const RESOLVER: &str = r#"
import socket, struct, sys
query = b"\3who\3lab\4test\0" + struct.pack("!HH", 16, 1)
for n in range(int(sys.argv[2])):
    family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((sys.argv[1], 53))
        for m in range(3):
            s.send(struct.pack("!6H", 3 * n + m, 0x0100, 1, 0, 0, 0) + query)
            answer = s.recv(512)
            assert answer[3] & 15 == 0, f"rcode {answer[3] & 15}"
            print(answer[-2:].decode())
"#;
