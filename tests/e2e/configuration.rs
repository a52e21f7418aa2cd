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
/// Probes of the servers' health; how many it takes is left open.
pub(crate) const HTTP_PROBE: &str =
    "kind = \"http\"\npath = \"/healthz\"\nport = 8080\ninterval = \"200ms\"\ntimeout = \"150ms\"\n";
/// The hosts with servers.
pub(crate) const SERVERS: [&str; 3] = ["b1", "b2", "b3"];

/// A configuration file to be: services web and echo, over IPv4 and IPv6, on the lab's servers.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) arms: Arms,
    pub(crate) memory: &'static str,
    pub(crate) drain_timeout: &'static str,
    pub(crate) on_no_backend: &'static str,
    /// Weight of each of the lab's servers; `None`: not configured.
    pub(crate) weights: [Option<u32>; 3],
    /// Tier of each of them.
    pub(crate) tiers: [u8; 3],
    /// Further keys of every service.
    pub(crate) keys: &'static str,
    /// What stands in every `[service.health]`.
    pub(crate) probe: String,
    /// Above the sections; for mistakes.
    pub(crate) extra: &'static str,
}

impl Configuration {
    pub(crate) fn new(arms: Arms) -> Self {
        Self {
            arms,
            memory: "no-hugepages",
            drain_timeout: "20s",
            on_no_backend: "reject",
            weights: [Some(100); 3],
            tiers: [0; 3],
            keys: "",
            probe: format!("{HTTP_PROBE}fall = 2\nrise = 2\n"),
            extra: "",
        }
    }

    /// The file's text.
    pub(crate) fn text(&self, socket: &str) -> String {
        let mut text = format!(
            "{}\n[appliance]\ncontrol_core = 0\nworkers = [1]\nidle = \"adaptive\"\nmemory = \"{}\"\n\
             flows_per_worker = 65536\nhttp_listen = \"127.0.0.1:9180\"\ncontrol_socket = \"{socket}\"\n\
             drain_timeout = \"{}\"\n\n",
            self.extra, self.memory, self.drain_timeout,
        );
        text.push_str(match self.arms {
            Arms::One => ONE_ARM,
            Arms::Two => TWO_ARMS,
        });
        text.push_str("\n[local_addresses]\ndefault = [\"10.0.8.10\", \"fd00:8::10\"]\n");
        for (name, vip, port, protocol, network) in [
            ("web", VIP4, 80, "tcp", "10.0.9."),
            ("web6", VIP6, 80, "tcp", "fd00:9::"),
            ("echo", VIP4, ECHO, "udp", "10.0.9."),
            ("echo6", VIP6, ECHO, "udp", "fd00:9::"),
        ] {
            self.service(&mut text, name, vip, port, protocol, network);
        }
        text
    }

    fn service(&self, text: &mut String, name: &str, vip: &str, port: u16, protocol: &str, network: &str) {
        let refusal = match self.on_no_backend {
            "http-503" if protocol == "udp" => "reject",
            refusal => refusal,
        };
        write!(
            text,
            "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\n\
             on_no_backend = \"{refusal}\"\n{}\n[service.health]\n{}",
            self.keys, self.probe,
        )
        .unwrap();
        let backend_port = if protocol == "tcp" { 8080 } else { ECHO };
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
