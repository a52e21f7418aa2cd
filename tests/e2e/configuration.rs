//! The configuration of the tests' balancers.

use std::fmt::Write;

use crate::lab::Arms;

/// The VIPs; the lab's client has routes to their networks.
pub(crate) const VIP4: &str = "203.0.113.80";
pub(crate) const VIP6: &str = "2001:db8:80::80";
/// The URLs of the web services.
pub(crate) const WEB4: &str = "http://203.0.113.80/";
pub(crate) const WEB6: &str = "http://[2001:db8:80::80]/";
/// The port of the UDP services.
pub(crate) const ECHO: u16 = 5353;
/// The port of the web servers.
const WEB_PORT: u16 = 8080;
/// Where the guest's web servers are.
pub(crate) const GUEST4: &str = "10.0.9.4";
pub(crate) const GUEST6: &str = "fd00:9::4";
/// Probes of the servers' health; how many it takes is left open.
pub(crate) const HTTP_PROBE: &str =
    "kind = \"http\"\npath = \"/healthz\"\nport = 8080\ninterval = \"200ms\"\ntimeout = \"150ms\"\n";
/// The hosts with servers.
pub(crate) const SERVERS: [&str; 3] = ["b1", "b2", "b3"];

/// A driver of DPDK's for the interfaces of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    PacketSocket,
    Pcap,
}

/// A configuration file to be: services web and echo, over IPv4 and IPv6, on the lab's servers.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) arms: Arms,
    pub(crate) memory: &'static str,
    /// How the ports reach their interfaces. DPDK 22.11 has the kernel put together IPv4 fragments in front of its
    /// packet sockets (`PACKET_FANOUT_FLAG_DEFRAG`); those of libpcap see what is on the cable.
    pub(crate) driver: Driver,
    pub(crate) drain_timeout: &'static str,
    pub(crate) on_no_backend: &'static str,
    /// Weight of each of the lab's servers; `None`: not configured.
    pub(crate) weights: [Option<u32>; 3],
    /// How packets get to the servers; "gue" is a tunnel of that kind. Where they stay as they are, there is the web
    /// alone, on the servers' own port; with "guest", services of every kind of tunnel to the one guest.
    pub(crate) mode: &'static str,
    /// Servers of the other family than the VIP's.
    pub(crate) crossed: bool,
    /// Tier of each of them.
    pub(crate) tiers: [u8; 3],
    /// Further keys of every service.
    pub(crate) keys: &'static str,
    /// Further keys of those of TCP.
    pub(crate) tcp_keys: &'static str,
    /// Flows that the worker has room for.
    pub(crate) flows: u32,
    /// What stands in every `[service.health]`.
    pub(crate) probe: String,
    /// The largest IP packets of the ports "front" and "back".
    pub(crate) mtus: [u16; 2],
    /// In place of the services.
    pub(crate) services: Option<String>,
    /// Above the sections; for mistakes.
    pub(crate) extra: &'static str,
}

impl Configuration {
    pub(crate) fn new(arms: Arms) -> Self {
        Self {
            arms,
            memory: "no-hugepages",
            driver: Driver::PacketSocket,
            drain_timeout: "20s",
            on_no_backend: "reject",
            weights: [Some(100); 3],
            mode: "full-nat",
            crossed: false,
            tiers: [0; 3],
            keys: "",
            tcp_keys: "",
            flows: 65_536,
            probe: format!("{HTTP_PROBE}fall = 2\nrise = 2\n"),
            mtus: [1500; 2],
            services: None,
            extra: "",
        }
    }

    /// The file's text.
    pub(crate) fn text(&self, socket: &str) -> String {
        let mut text = format!(
            "{}\n[appliance]\ncontrol_core = 0\nworkers = [1]\nidle = \"adaptive\"\nmemory = \"{}\"\n\
             flows_per_worker = {}\nhttp_listen = \"127.0.0.1:9180\"\ncontrol_socket = \"{socket}\"\n\
             drain_timeout = \"{}\"\n\n",
            self.extra, self.memory, self.flows, self.drain_timeout,
        );
        let ports = match self.arms {
            Arms::One => ONE_ARM,
            Arms::Two => TWO_ARMS,
        };
        text.push_str(&match self.driver {
            Driver::PacketSocket => ports.to_owned(),
            Driver::Pcap => {
                let ports = ports.replace("iface=front", "rx_iface_in=front,tx_iface=front");
                let ports = ports.replace("iface=back", "rx_iface_in=back,tx_iface=back");
                ports.replace("net_af_packet", "net_pcap")
            }
        });
        for (name, mtu) in ["front", "back"].into_iter().zip(self.mtus) {
            let name = format!("name = \"{name}\"\n");
            text = text.replace(&name, &format!("{name}mtu = {mtu}\n"));
        }
        text.push_str("\n[local_addresses]\ndefault = [\"10.0.8.10\", \"fd00:8::10\"]\n");
        if let Some(services) = &self.services {
            text.push_str(services);
            return text;
        }
        if self.mode == "guest" {
            tunnels(&mut text);
            return text;
        }
        for (name, vip, port, protocol, network) in [
            ("web", VIP4, 80, "tcp", "10.0.9."),
            ("web6", VIP6, 80, "tcp", "fd00:9::"),
            ("echo", VIP4, ECHO, "udp", "10.0.9."),
            ("echo6", VIP6, ECHO, "udp", "fd00:9::"),
        ] {
            if self.mode == "full-nat" {
                self.service(&mut text, name, vip, (port, protocol), network);
            } else if protocol == "tcp" {
                self.service(&mut text, name, vip, (WEB_PORT, protocol), network);
            }
        }
        text
    }

    fn service(
        &self,
        text: &mut String,
        name: &str,
        vip: &str,
        (port, protocol): (u16, &str),
        network: &str,
    ) {
        let refusal = match self.on_no_backend {
            "http-503" if protocol == "udp" => "reject",
            refusal => refusal,
        };
        let tcp_keys = if protocol == "tcp" { self.tcp_keys } else { "" };
        let mode = if self.mode == "gue" { "tunnel\"\nencapsulation = \"gue" } else { self.mode };
        let network = match (self.crossed, network) {
            (true, "10.0.9.") => "fd00:9::",
            (true, _) => "10.0.9.",
            (false, network) => network,
        };
        write!(
            text,
            "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\n\
             mode = \"{mode}\"\non_no_backend = \"{refusal}\"\n{}\n{tcp_keys}\n[service.health]\n{}",
            self.keys, self.probe,
        )
        .unwrap();
        let backend_port = if protocol == "tcp" { WEB_PORT } else { ECHO };
        for ((number, weight), tier) in (1..).zip(&self.weights).zip(self.tiers) {
            let Some(weight) = weight else { continue };
            writeln!(
                text,
                "[[service.backend]]\naddress = \"{network}{number}\"\nport = {backend_port}\nweight = {weight}\n\
                 tier = {tier}"
            )
            .unwrap();
        }
    }
}

/// Either family in either, in either kind of tunnel, to the one guest.
fn tunnels(text: &mut String) {
    for (name, vip, port, encapsulation, backend) in [
        ("4in4", VIP4, 8080, "ipip", GUEST4),
        ("6in6", VIP6, 8080, "ipip", GUEST6),
        ("4in6", VIP4, 8082, "ipip", GUEST6),
        ("6in4", VIP6, 8082, "ipip", GUEST4),
        ("gue-4in4", VIP4, 8081, "gue", GUEST4),
        ("gue-6in6", VIP6, 8081, "gue", GUEST6),
        ("gue-4in6", VIP4, 8083, "gue", GUEST6),
        ("gue-6in4", VIP6, 8083, "gue", GUEST4),
    ] {
        write!(
            text,
            "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\nmode = \"tunnel\"\n\
             encapsulation = \"{encapsulation}\"\n[service.health]\nkind = \"http\"\npath = \"/healthz\"\n\
             [[service.backend]]\naddress = \"{backend}\"\n",
        )
        .unwrap();
    }
}

const TWO_ARMS: &str = r#"
[[port]]
name = "front"
device = "net_af_packet0,iface=front"
kernel_interface = "ek0"
addresses = ["192.0.2.10/24", "2001:db8:2::10/64"]

[[port]]
name = "back"
device = "net_af_packet1,iface=back"
kernel_interface = "ek1"
addresses = ["10.0.9.254/24", "fd00:9::254/64"]
"#;

const ONE_ARM: &str = r#"
[[port]]
name = "lan"
device = "net_af_packet0,iface=front"
kernel_interface = "ek0"
addresses = ["192.0.2.10/24", "2001:db8:2::10/64", "10.0.9.254/24", "fd00:9::254/64"]
"#;
