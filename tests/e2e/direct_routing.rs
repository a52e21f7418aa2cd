//! Servers that hold the VIP and answer clients past the balancer.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::SERVERS;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::lab::print_of;

const WEB4: &str = "http://203.0.113.80:8080/";
const WEB6: &str = "http://[2001:db8:80::80]:8080/";

/// The VIPs on the loopback interface, not answered for on the link, and the way to the client not by the balancer.
fn give_vips_to_servers(lab: &Lab) {
    for server in SERVERS {
        let sysctls = ["all", "eth0"].map(|on| {
            [format!("net.ipv4.conf.{on}.arp_ignore=1"), format!("net.ipv4.conf.{on}.arp_announce=2")]
        });
        let mut line = vec!["sysctl", "-qw"];
        line.extend(sysctls.iter().flatten().map(String::as_str));
        lab.must(server, &line);
        for (vip, length) in [(VIP4, 32), (VIP6, 128)] {
            lab.must(server, &["ip", "address", "add", &format!("{vip}/{length}"), "dev", "lo"]);
        }
        for clients in ["192.0.2.0/24", "2001:db8:2::/64"] {
            lab.must(server, &["ip", "route", "add", clients, "dev", "eth0"]);
        }
    }
}

fn displaced(balancer: &Balancer<'_>) -> usize {
    let listed = balancer.run(&["flows", "--displaced", "--json", "--limit", "1000"]);
    assert!(listed.success, "{}", listed.err);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    listed["flows"].as_array().unwrap().len()
}

#[test]
fn servers_answer_clients_themselves_and_sessions_of_one_that_stops_go_to_others_and_stay_there() {
    let Some(lab) = Lab::lay("direct", Arms::One, 4) else { return };
    give_vips_to_servers(&lab);
    let mut configuration = Configuration::new(Arms::One);
    configuration.mode = "direct-routing";
    let balancer = Balancer::start(&lab, &configuration);
    for url in [WEB4, WEB6] {
        let answers = client::requests(&lab, url, 60);
        answers.assert_complete(60);
        assert_eq!(answers.by_server.len(), 3, "{answers:?}");
    }
    let backends = balancer.ask("backends");
    for backend in backends["backends"].as_array().unwrap() {
        assert_eq!(backend["packets_out"], 0, "answers come through the balancer: {backend}");
        assert_ne!(backend["packets_in"], 0, "{backend}");
    }
    assert_eq!(displaced(&balancer), 0, "every server is in service");

    lab.kill_servers("b2");
    balancer.wait_state("b2", "down", Duration::from_secs(5));
    for url in [WEB4, WEB6] {
        let answers = client::requests(&lab, url, 60);
        answers.assert_complete(60);
        assert_eq!(answers.by_server.get("b2"), None, "{answers:?}");
    }
    let downloads: Vec<_> = (0..12)
        .map(|_| {
            let url = format!("{WEB4}slow");
            let line =
                ["curl", "-sS", "--fail", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}", &url];
            let mut command = lab.command("client", &line);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let established = || {
        let listed = balancer.run(&["flows", "--displaced", "--limit", "1000"]);
        listed.out.lines().any(|line| line.contains("established, displaced"))
    };
    balancer.wait("a download is displaced", Duration::from_secs(3), established);
    lab.start_servers("b2");
    balancer.wait_state("b2", "up", Duration::from_secs(5));
    for download in downloads {
        let done = print_of(download.wait_with_output().unwrap());
        assert_eq!((done.out.as_str(), done.err.as_str()), ("4000000", ""), "{}", balancer.circumstances());
    }
    let answers = client::requests(&lab, WEB4, 60);
    answers.assert_complete(60);
    assert!(answers.by_server.contains_key("b2"), "{answers:?}");
}

/// The end of a server's tunnels; gone when dropped.
struct TunnelEnd(Child);

impl TunnelEnd {
    fn open(lab: &Lab, server: &str) -> Self {
        let mut command = lab.command(server, &["python3", "-u", "-c", END_OF_TUNNEL]);
        let mut end = Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(end.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{server}");
        lab.must(server, &["sysctl", "-qw", "net.ipv6.conf.tunnel.disable_ipv6=0"]);
        lab.must(server, &["ip", "link", "set", "tunnel", "up"]);
        end
    }
}

impl Drop for TunnelEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn servers_at_the_end_of_tunnels_answer_clients_themselves() {
    let Some(lab) = Lab::lay("tunnel", Arms::One, 1) else { return };
    give_vips_to_servers(&lab);
    let _ends = SERVERS.map(|server| TunnelEnd::open(&lab, server));
    let mut configuration = Configuration::new(Arms::One);
    for (mode, crossed) in [("tunnel", false), ("tunnel", true), ("gue", false), ("gue", true)] {
        (configuration.mode, configuration.crossed) = (mode, crossed);
        let balancer = Balancer::start(&lab, &configuration);
        for url in [WEB4, WEB6] {
            let answers = client::requests(&lab, url, 30);
            answers.assert_complete(30);
            assert_eq!(answers.by_server.len(), 3, "{mode} {crossed}: {answers:?}");
        }
        let backends = balancer.ask("backends");
        for backend in backends["backends"].as_array().unwrap() {
            assert_eq!(backend["packets_out"], 0, "answers come through the balancer: {backend}");
            assert_ne!(backend["packets_in"], 0, "{backend}");
        }
        assert_eq!(displaced(&balancer), 0);
    }
}

/// Takes packets out of IP in IP and GUE and gives them to the kernel: kernels of test machines have no tunnels.
const END_OF_TUNNEL: &str = r#"
import fcntl, os, select, socket, struct
tun = os.open("/dev/net/tun", os.O_RDWR)
# TUNSETIFF, with IFF_TUN | IFF_NO_PI
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"tunnel", 0x1001))
raw = lambda family, protocol: socket.socket(family, socket.SOCK_RAW, protocol)
udp = lambda family: socket.socket(family, socket.SOCK_DGRAM)
ends = {raw(socket.AF_INET, 4): 20, raw(socket.AF_INET, 41): 20, raw(socket.AF_INET6, 4): 0, raw(socket.AF_INET6, 41): 0}
for family, address in [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]:
    end = udp(family)
    if family == socket.AF_INET6: end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    end.bind((address, 6080))
    ends[end] = 4
print("ready", flush=True)
while True:
    for end in select.select(list(ends), [], [])[0]:
        os.write(tun, end.recv(65535)[ends[end]:])
"#;
