//! Services without flows: what leaves is what came, with other MAC addresses or inside other packets.

use crate::bench::{Bench, CONFIGURATION, configuration};
use crate::files::in_turn;
use crate::packet::{ACK, Build};

fn bench(mode: &str) -> Bench {
    let services = configuration(CONFIGURATION)
        .replace("[service.health]", &format!("mode = {mode}\n[service.health]"))
        .replace("port = 8080\n", "");
    Bench::with(&services)
}

fn frames() -> Vec<Vec<u8>> {
    let ends = [("198.51.100.7:40000", "203.0.113.80"), ("[2001:db8:7::7]:40000", "[2001:db8::80]")];
    let of = |(from, vip): (&str, &str)| {
        let tcp = Build::new(from, &format!("{vip}:80")).flags(ACK).payload(b"odd").tcp();
        let udp = Build::new(from, &format!("{vip}:53")).payload(b"query").udp();
        [tcp, udp]
    };
    ends.into_iter().flat_map(of).collect()
}

#[test]
fn direct_routing_changes_mac_addresses_alone() {
    let frames = frames();
    let bench = bench("\"direct-routing\"");
    let outcome = bench.replay(&in_turn(frames.clone()));
    outcome.report();
    assert_eq!(outcome.sent.len(), frames.len());
    for (sent, came) in outcome.sent.iter().zip(&frames) {
        assert_eq!(sent.bytes[12..], came[12..]);
        assert_eq!(sent.bytes[6..12], [2, 0, 0, 0, 0, 2], "by the port of the backends' network");
    }
}

#[test]
fn tunnels_put_outer_headers_in_front_and_every_checksum_is_right() {
    for (mode, overheads, unchecked) in [
        ("\"tunnel\"", [20, 20, 40, 40], 0),
        ("\"tunnel\"\nencapsulation = \"gue\"\nencapsulation_port = 5555", [32, 32, 52, 52], 2),
    ] {
        let frames = frames();
        let bench = bench(mode);
        let outcome = bench.replay(&in_turn(frames.clone()));
        outcome.report();
        let grown: Vec<_> = outcome.sent.iter().zip(&frames).map(|(s, f)| s.bytes.len() - f.len()).collect();
        assert_eq!(grown, overheads, "{mode}");
        for (sent, came) in outcome.sent.iter().zip(&frames) {
            assert_eq!(sent.bytes[sent.bytes.len() - 3..], came[came.len() - 3..], "{mode}");
        }
        bench.assert_sound(unchecked);
    }
}
