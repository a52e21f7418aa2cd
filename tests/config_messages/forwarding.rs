//! Modes of forwarding and what they ask of a service.

use super::{Case, change, changes};

/// What changes replace, and with what.
const BACKEND: &str = r#"address = "10.0.9.1""#;
const DIRECT: &str = "port = 80\nmode = \"direct-routing\"";
const TUNNEL: &str = "port = 80\nmode = \"tunnel\"";

pub(super) const CASES: &[Case] = &[
    change(
        "a scheduler that needs flows without flows",
        "port = 80",
        r#"port = 80
mode = "direct-routing"
scheduler = "weighted-least-connections""#,
        &[
            r#"lb.toml:17:13: scheduler "weighted-least-connections" needs flows, which mode "direct-routing" does not keep; write "maglev" or "source-hash""#,
        ],
    ),
    change(
        "displaced tracking in full NAT",
        "port = 80",
        r#"port = 80
tracking = "displaced""#,
        &[
            r#"lb.toml:16:12: tracking "displaced" is not possible in mode "full-nat"; write "flow", or leave it out"#,
        ],
    ),
    change(
        "tracking of all flows in a tunnel",
        "port = 80",
        r#"port = 80
mode = "tunnel"
tracking = "flow""#,
        &[
            r#"lb.toml:17:12: tracking "flow" is not possible in mode "tunnel"; write "displaced", or leave it out"#,
        ],
    ),
    change(
        "single datagrams of a protocol that has connections",
        "port = 80",
        "port = 80\none_packet = true",
        &[
            r#"lb.toml:16:14: one_packet is for datagrams that need no others, and protocol is "tcp"; remove it, or write protocol = "udp""#,
        ],
    ),
    change(
        "single datagrams where no flows are kept",
        "port = 80",
        "port = 53\nprotocol = \"udp\"\nmode = \"direct-routing\"\none_packet = true",
        &[
            r#"lb.toml:18:14: one_packet ends flows with their answers, and mode "direct-routing" keeps none; remove it"#,
        ],
    ),
    change(
        "what backends are told that see it already, and datagrams without TCP options",
        "port = 80",
        r#"port = 80
mode = "direct-routing"
client_address = "proxy-v2""#,
        &[
            r#"lb.toml:17:18: client_address "proxy-v2" is not possible in mode "direct-routing", which changes no packet: backends see the client's own address; leave it out"#,
        ],
    ),
    change(
        "a TCP option of datagrams",
        "port = 80",
        r#"port = 80
protocol = "udp"
client_address = "toa""#,
        &[
            r#"lb.toml:17:18: client_address "toa" is a TCP option, and protocol is "udp"; write "proxy-v2" or leave it out"#,
        ],
    ),
    change(
        "an option of another meaning, and datagrams of no choice",
        "port = 80",
        r#"port = 80
client_address = "toa"
toa_kind = 34
proxy_datagrams = "first""#,
        &[
            r#"lb.toml:17:12: toa_kind 34 is a TCP option of another meaning (IANA); write 254, or what the module on the backends reads"#,
            r#"lb.toml:18:19: proxy_datagrams "first" is unknown; write "until-answered" or "every""#,
        ],
    ),
    change(
        "an unknown encapsulation and a port that is none",
        "port = 80",
        r#"port = 80
mode = "tunnel"
encapsulation = "gre"
encapsulation_port = 0"#,
        &[
            r#"lb.toml:17:17: encapsulation "gre" is unknown; did you mean "gue"? the values are "ipip" or "gue""#,
            "lb.toml:18:22: encapsulation_port 0 is out of range; write a number from 1 to 65535",
        ],
    ),
    changes(
        "a backend on another port that packets cannot be given",
        [("port = 80", DIRECT), (BACKEND, "address = \"10.0.9.1\"\nport = 8080")],
        &[
            r#"lb.toml:23:8: port 8080 is not the service's 80 (line 15), which mode "direct-routing" leaves in the packets; leave it out"#,
        ],
    ),
    changes(
        "a backend of another family than the VIP on the link",
        [("port = 80", DIRECT), (BACKEND, r#"address = "fd00:9::1""#)],
        &[
            r#"lb.toml:22:11: backend fd00:9::1 is not of the family of vip 203.0.113.80 (line 14), and NAT64 is not supported; write an IPv4 address"#,
        ],
    ),
    changes(
        "a tunnel to a family in which there is no local address",
        [
            ("port = 80", TUNNEL),
            (BACKEND, "address = \"10.0.9.1\"\n\n[[service.backend]]\naddress = \"fd00:9::1\""),
        ],
        &[
            r#"lb.toml:12:1: pool "default" of local addresses has no IPv6 address for backend fd00:9::1; add one, as "fd00:8::10""#,
        ],
    ),
];

#[test]
fn direct_routing_needs_no_local_addresses() {
    let text = super::RIGHT
        .replacen("port = 80", "port = 80\nmode = \"direct-routing\"\ntracking = \"displaced\"", 1)
        .replacen("[local_addresses]\ndefault = [\"10.0.8.10\"]", "", 1);
    let config = super::parse("lb.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.services[0].local_addresses, [] as [std::net::IpAddr; 0]);
}
