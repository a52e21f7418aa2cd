//! SYNs that the balancer answers itself, and floods of them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::balancer::Balancer;
use crate::client;
use crate::client::Stream;
use crate::configuration::Configuration;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::lab::print_of;

#[test]
fn connections_behind_cookies_carry_requests_downloads_and_uploads_intact_over_both_families() {
    let Some(lab) = Lab::lay("cookies", Arms::Two, 100) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    configuration.tcp_keys = "syn_proxy = \"on\"";
    let balancer = Balancer::start(&lab, &configuration);
    let digest = client::digest_of_file(&lab);
    for (url, name) in [(WEB4, "over4"), (WEB6, "over6")] {
        client::requests(&lab, url, 60).assert_complete(60);
        let began = std::time::Instant::now();
        let downloaded = client::digest_of_download(&lab, &format!("{url}file"));
        assert_eq!(downloaded, digest, "{url}\n{}", balancer.circumstances());
        eprintln!("{url}file: 100 MB down in {:.2?}", began.elapsed());
        let began = std::time::Instant::now();
        let server = client::upload(&lab, url, name);
        assert_eq!(client::digest_of_upload(&lab, &server, name), digest, "{url}");
        eprintln!("{url}upload: 100 MB up in {:.2?}", began.elapsed());
    }
    for name in ["web", "web6"] {
        let service = service(&balancer, name);
        let proxy = &service["syn_proxy"];
        assert_eq!((&proxy["mode"], &proxy["active"]), (&Value::from("on"), &Value::from(true)));
        assert_eq!(proxy["cookies_accepted"], service["connections"], "{service}");
        assert!(proxy["cookies_sent"].as_u64() >= service["connections"].as_u64(), "{service}");
        assert_eq!(service["connections"], 62, "{service}");
    }
}

#[test]
fn a_flood_of_syns_at_twenty_times_the_flow_tables_size_disturbs_nobody() {
    const FLOWS: u32 = 1024;
    let Some(lab) = Lab::lay("flood", Arms::Two, 60) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    configuration.flows = FLOWS;
    configuration.tcp_keys = "syn_proxy_above = 100";
    configuration.extra = "[timeouts]\ntcp_syn = \"3s\"\ntcp_fin = \"1s\"\n";
    let balancer = Balancer::start(&lab, &configuration);
    let digest = client::digest_of_file(&lab);
    // Established before the flood begins, and slow enough to last longer.
    let line = format!("curl -sS --fail -m 60 --limit-rate 8M '{WEB4}file' | sha256sum");
    let mut download = lab.command("client", &["bash", "-o", "pipefail", "-c", &line]);
    let download = download.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = || service(&balancer, "web")["connections"].as_u64() > Some(0);
    balancer.wait("the download begins", Duration::from_secs(5), begun);
    let stream = Stream::start(&lab, &[WEB4, WEB6]);

    // Packet sockets lose some of what comes at once, so in several waves, for as long as the downloads take at most.
    let enough = u64::from(20 * FLOWS);
    for wave in 0..20 {
        lab.must(
            "client",
            &["python3", "-c", FLOOD, VIP4, VIP6, &(10 * FLOWS).to_string(), &wave.to_string()],
        );
        if ["web", "web6"].iter().all(|name| cookies_sent(&service(&balancer, name)) >= enough) {
            break;
        }
    }
    let downloaded = print_of(download.wait_with_output().unwrap());
    assert!(downloaded.success, "{}\n{}", downloaded.err, balancer.circumstances());
    assert_eq!(downloaded.out.split_whitespace().next(), Some(digest.as_str()));
    let answers = stream.stop();
    assert!(answers.errors.is_empty() && answers.count() > 100, "{answers:?}\n{}", balancer.circumstances());

    for name in ["web", "web6"] {
        let service = service(&balancer, name);
        eprintln!("{name}: {}", service["syn_proxy"]);
        assert!(cookies_sent(&service) >= enough, "{service}\n{}", balancer.circumstances());
    }
    let log = balancer.log();
    for service in ["web", "web6"] {
        let begins = |line: &str| {
            line.contains("syn_proxy_begins")
                && line.split_whitespace().any(|word| word == format!("service={service}"))
        };
        assert!(log.lines().any(begins), "{log}");
    }
    let over = || balancer.log().matches("syn_proxy_ends").count() >= 2;
    balancer.wait("the flood is over", Duration::from_secs(30), over);
    let empty = || balancer.ask("status")["total"]["flows"].as_u64() < Some(10);
    balancer.wait("the flows have ended", Duration::from_secs(10), empty);
    client::requests(&lab, WEB4, 20).assert_complete(20);
}

fn cookies_sent(service: &Value) -> u64 {
    service["syn_proxy"]["cookies_sent"].as_u64().unwrap()
}

fn service(balancer: &Balancer, name: &str) -> Value {
    let answer = balancer.ask("services");
    let mut services = answer["services"].as_array().unwrap().iter();
    services.find(|service| service["name"] == name).unwrap().clone()
}

/// So many SYNs to port 80 of both addresses in turn, each from another address and port.
const FLOOD: &str = r#"
import socket, struct, sys
v4, v6, count, wave = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def folded(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def tcp(source, target, n):
    header = struct.pack("!HHIIBBHHH", 1024 + n % 60000, 80, n * 7919 & 0xffffffff, 0, 0x60, 2, 64240, 0, 0)
    header += bytes([2, 4, 5, 180])
    pseudo = source + target + struct.pack("!IHH", len(header), 0, 6)
    return header[:16] + struct.pack("!H", folded(pseudo + header)) + header[18:]
to4, to6 = socket.inet_pton(socket.AF_INET, v4), socket.inet_pton(socket.AF_INET6, v6)
raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for n in range(count * wave, count * (wave + 1)):
    source = bytes([198, 18 + (n >> 16 & 1), n >> 8 & 255, n & 255])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 44, n & 0xffff, 0x4000, 64, 6, 0) + source + to4
    raw4.sendto(header + tcp(source, to4, n), (v4, 0))
    source = socket.inet_pton(socket.AF_INET6, f"2001:db8:f::{n:x}")
    raw6.sendto(struct.pack("!IHBB", 0x60000000, 24, 6, 64) + source + to6 + tcp(source, to6, n), (v6, 0))
"#;
