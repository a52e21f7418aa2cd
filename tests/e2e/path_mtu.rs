//! Path MTU discovery through the balancer: hosts whose links say nothing of how narrow the way is learn it from ICMP.

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::ECHO;
use crate::configuration::SERVERS;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;

/// URL, VIP and local address of each family.
const FAMILIES: [(&str, &str, &str); 2] = [(WEB4, VIP4, "10.0.8.10"), (WEB6, VIP6, "fd00:8::10")];

#[test]
fn large_transfers_pass_routers_with_narrow_links_on_either_side() {
    let Some(lab) = Lab::lay_narrow("narrow", 20) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    for (url, vip, local) in FAMILIES {
        assert_eq!((path_mtu(&lab, "client", vip), smallest(&lab, local)), (None, None), "nobody knows yet");
        // The server learns of the client's side, from the router there,
        assert_download(&balancer, url);
        assert_eq!(smallest(&lab, local), Some(1400), "{url}\n{}", balancer.circumstances());
        // and the client of the servers'.
        assert_upload(&balancer, url);
        assert_eq!(path_mtu(&lab, "client", vip), Some(1300), "{url}\n{}", balancer.circumstances());
    }
    let total = &balancer.ask("status")["total"];
    assert!(total["icmp_errors"].as_u64().unwrap() >= 4, "{total}");
    assert_eq!(total["drops"]["mtu_exceeded"], serde_json::Value::Null, "{total}");
}

#[test]
fn a_narrow_link_of_the_balancers_own_needs_no_discovery_by_tcp() {
    for (name, narrow, mtus) in
        [("narrowfront", ["client"].as_slice(), [1300, 1500]), ("narrowback", &SERVERS, [1500, 1300])]
    {
        let Some(lab) = Lab::lay(name, Arms::Two, 20) else { return };
        for host in narrow {
            lab.must(host, &["ip", "link", "set", "eth0", "mtu", "1300"]);
            // Hosts that promise more than their link carries, or the other side would know from the start.
            let ways = match *host {
                "client" => [("203.0.113.0/24", "192.0.2.10"), ("2001:db8:80::/64", "2001:db8:2::10")],
                _ => [("10.0.8.0/24", "10.0.9.254"), ("fd00:8::/64", "fd00:9::254")],
            };
            promise(&lab, host, ways);
        }
        let balancer = Balancer::start(&lab, &Configuration { mtus, ..Configuration::new(Arms::Two) });
        for (url, ..) in FAMILIES {
            assert_download(&balancer, url);
            assert_upload(&balancer, url);
        }
        let total = &balancer.ask("status")["total"];
        assert_eq!(total["drops"]["mtu_exceeded"], serde_json::Value::Null, "{total}");
    }
}

#[test]
fn a_client_learns_from_the_balancer_how_narrow_the_servers_link_is() {
    let Some(lab) = Lab::lay("narrowudp", Arms::Two, 1) else { return };
    for server in SERVERS {
        lab.must(server, &["ip", "link", "set", "eth0", "mtu", "1300"]);
    }
    let balancer =
        Balancer::start(&lab, &Configuration { mtus: [1500, 1300], ..Configuration::new(Arms::Two) });
    for (_, vip, _) in FAMILIES {
        let learned = lab.must("client", &["python3", "-c", PROBER, vip, &ECHO.to_string()]);
        assert_eq!(learned.trim(), "1300", "{vip}\n{}", balancer.circumstances());
        assert_eq!(path_mtu(&lab, "client", vip), Some(1300));
    }
    let total = &balancer.ask("status")["total"];
    assert!(total["drops"]["mtu_exceeded"].as_u64().unwrap() >= 2, "{total}");
    assert!(total["originated"].as_u64().unwrap() >= 2, "{total}");
}

#[test]
fn client_learns_how_narrow_the_way_of_its_tunnel_is() {
    // Less the outer headers, and of IPv6 never less than every link carries.
    for (name, mode, learned) in
        [("narrowip", "ipip", ["1280", "1280"]), ("narrowgue", "gue", ["1268", "1280"])]
    {
        let Some(lab) = Lab::lay_narrow(name, 1) else { return };
        let mut configuration = Configuration::new(Arms::Two);
        let service = |(name, vip, backend): (&str, &str, &str)| {
            format!(
                "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = {ECHO}\nprotocol = \"udp\"\n\
                 mode = \"tunnel\"\nencapsulation = \"{mode}\"\n[service.health]\nkind = \"none\"\n\
                 [[service.backend]]\naddress = \"{backend}\"\n"
            )
        };
        let services = [("echo", VIP4, "10.0.9.1"), ("echo6", VIP6, "fd00:9::1")];
        configuration.services = Some(services.map(service).concat());
        let balancer = Balancer::start(&lab, &configuration);
        for ((_, vip, _), expected) in FAMILIES.into_iter().zip(learned) {
            let learned = lab.must("client", &["python3", "-c", PROBER, vip, &ECHO.to_string()]);
            assert_eq!(learned.trim(), expected, "{mode} {vip}\n{}", balancer.circumstances());
        }
        let total = &balancer.ask("status")["total"];
        // One for each family: told at once, or with the next packet if the kernel has not resolved the client.
        let later = total["drops"]["tunnel_error"].as_u64().unwrap_or(0);
        assert!(total["icmp_errors"].as_u64().unwrap() + later >= 2, "{total}");
    }
}

/// Sends datagrams that must not be fragmented until its kernel knows that they are too large, and prints what it knows.
const PROBER: &str = r#"
import errno, select, socket, sys, time
address, port = sys.argv[1], int(sys.argv[2])
v6 = ":" in address
level, discover, mtu = (socket.IPPROTO_IPV6, 23, 24) if v6 else (socket.IPPROTO_IP, 10, 14)
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(level, discover, 2)
s.connect((address, port))
end = time.monotonic() + 10
while time.monotonic() < end:
    try:
        s.send(bytes(1400))
    except OSError as e:
        if e.errno == errno.EMSGSIZE:
            break
        raise
    select.select([], [], [s], 0.05)
print(s.getsockopt(level, mtu))
"#;

#[track_caller]
fn assert_download(balancer: &Balancer<'_>, url: &str) {
    let lab = balancer.lab();
    let downloaded = client::digest_of_download(lab, &format!("{url}file"));
    assert_eq!(downloaded, client::digest_of_file(lab), "{url}\n{}", balancer.circumstances());
}

#[track_caller]
fn assert_upload(balancer: &Balancer<'_>, url: &str) {
    let lab = balancer.lab();
    let server = client::upload(lab, url, "file");
    let uploaded = client::digest_of_upload(lab, &server, "file");
    assert_eq!(uploaded, client::digest_of_file(lab), "{url} on {server}\n{}", balancer.circumstances());
}

/// Makes a host announce the segment size of a link of 1500 octets on these ways.
fn promise(lab: &Lab, host: &str, ways: [(&str, &str); 2]) {
    for ((prefix, gateway), advmss) in ways.into_iter().zip(["1460", "1440"]) {
        lab.must(host, &["ip", "route", "replace", prefix, "via", gateway, "advmss", advmss]);
    }
}

/// What a host has learned of the way to an address.
fn path_mtu(lab: &Lab, host: &str, address: &str) -> Option<u32> {
    let way = lab.must(host, &["ip", "route", "get", address]);
    way.split_once(" mtu ")?.1.split_whitespace().next()?.parse().ok()
}

/// The least that a server has learned of the way to an address.
fn smallest(lab: &Lab, address: &str) -> Option<u32> {
    SERVERS.iter().filter_map(|server| path_mtu(lab, server, address)).min()
}
