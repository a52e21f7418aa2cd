//! `[service.health]`: keys that a kind of probe needs, and those that it has no use for.

use super::Case;
use super::append;
use super::change;

const KIND: &str = r#"kind = "tcp""#;

pub(super) const CASES: &[Case] = &[
    change(
        "keys of other kinds in a TCP probe",
        KIND,
        r#"kind = "tcp"
path = "/"
host = "a"
status = 200
body = "a"
verify = true
ca = "/a.pem"
server_name = "a"
send = "a"
expect = "a"
query = "a"
record = "A"
rcode = "NOERROR"
command = ["/a"]"#,
        &[
            r#"lb.toml:19:8: path has no use with kind = "tcp"; remove it or write kind = "http" or "https""#,
            r#"lb.toml:20:8: host has no use with kind = "tcp"; remove it or write kind = "http" or "https""#,
            r#"lb.toml:21:10: status has no use with kind = "tcp"; remove it or write kind = "http" or "https""#,
            r#"lb.toml:22:8: body has no use with kind = "tcp"; remove it or write kind = "http" or "https""#,
            r#"lb.toml:23:10: verify has no use with kind = "tcp"; remove it or write kind = "https""#,
            r#"lb.toml:24:6: ca has no use with kind = "tcp"; remove it or write kind = "https""#,
            r#"lb.toml:25:15: server_name has no use with kind = "tcp"; remove it or write kind = "https""#,
            r#"lb.toml:26:8: send has no use with kind = "tcp"; remove it or write kind = "udp""#,
            r#"lb.toml:27:10: expect has no use with kind = "tcp"; remove it or write kind = "udp""#,
            r#"lb.toml:28:9: query has no use with kind = "tcp"; remove it or write kind = "dns""#,
            r#"lb.toml:29:10: record has no use with kind = "tcp"; remove it or write kind = "dns""#,
            r#"lb.toml:30:9: rcode has no use with kind = "tcp"; remove it or write kind = "dns""#,
            r#"lb.toml:31:11: command has no use with kind = "tcp"; remove it or write kind = "script""#,
        ],
    ),
    change(
        "a port that echo requests do not go to",
        KIND,
        r#"kind = "icmp"
port = 80"#,
        &[
            r#"lb.toml:19:8: port has no use with kind = "icmp"; remove it or write kind = "tcp", "http", "https", "udp", "dns", "script" or "agent""#,
        ],
    ),
    change(
        "an address that a script does not leave from",
        KIND,
        r#"kind = "script"
command = ["/usr/lib/check"]
from = "10.0.8.10""#,
        &[
            r#"lb.toml:20:8: from has no use with kind = "script"; remove it or write kind = "tcp", "http", "https", "udp", "dns", "icmp" or "agent""#,
        ],
    ),
    change(
        "an HTTPS probe that both has authorities and needs none",
        KIND,
        r#"kind = "https"
verify = false
ca = "/etc/ssl/ca.pem""#,
        &["lb.toml:20:6: ca has no use with verify = false; remove one of them"],
    ),
    change(
        "values of an HTTPS probe that are wrong",
        KIND,
        r#"kind = "https"
verify = "yes"
ca = "ca.pem"
server_name = "https://www.example""#,
        &[
            r#"lb.toml:19:10: verify is the string "yes"; write true or false, without quotes"#,
            r#"lb.toml:20:6: ca "ca.pem" is not an absolute path; write one that starts with a slash, as "/etc/evenkeel/ca.pem""#,
            r#"lb.toml:21:15: server_name "https://www.example" is not a domain name; write labels of letters, digits, "-" or "_" with dots between, as "www.example.net""#,
        ],
    ),
    change(
        "a UDP probe that says nothing",
        KIND,
        r#"kind = "udp""#,
        &[r#"lb.toml:18:8: kind = "udp" needs send; add it, as send = "ping""#],
    ),
    change(
        "a UDP probe that expects an empty text",
        KIND,
        r#"kind = "udp"
send = ""
expect = """#,
        &[
            "lb.toml:19:8: send is empty; write a text, or leave the key out",
            "lb.toml:20:10: expect is empty; write a text, or leave the key out",
        ],
    ),
    change(
        "a DNS probe that asks nothing",
        KIND,
        r#"kind = "dns""#,
        &[r#"lb.toml:18:8: kind = "dns" needs query; add it, as query = "health.example.""#],
    ),
    change(
        "a DNS probe that asks what there is not",
        KIND,
        r#"kind = "dns"
query = "a..example"
record = "a"
rcode = "OK""#,
        &[
            r#"lb.toml:19:9: query "a..example" is not a domain name; write labels of letters, digits, "-" or "_" with dots between, as "www.example.net""#,
            r#"lb.toml:20:10: record "a" is unknown; did you mean "A"? the values are "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA" or "SRV""#,
            r#"lb.toml:21:9: rcode "OK" is unknown; write "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP" or "REFUSED""#,
        ],
    ),
    change(
        "a script probe without a script",
        KIND,
        r#"kind = "script""#,
        &[r#"lb.toml:18:8: kind = "script" needs command; add it, as command = ["/usr/lib/check", "-q"]"#],
    ),
    change(
        "a script probe with an empty command",
        KIND,
        r#"kind = "script"
command = []"#,
        &[
            r#"lb.toml:19:11: command is an empty list; write a program and its arguments, as ["/usr/lib/check", "-q"]"#,
        ],
    ),
    change(
        "a script that would have to be looked for",
        KIND,
        r#"kind = "script"
command = ["check", 5]"#,
        &[
            r#"lb.toml:19:12: command "check" is not an absolute path; write one that starts with a slash, as "/usr/lib/check""#,
            r#"lb.toml:19:21: command is the number 5; put it in quotes: "5""#,
        ],
    ),
    change(
        "an agent that listens nowhere",
        KIND,
        r#"kind = "agent""#,
        &[r#"lb.toml:18:8: kind = "agent" needs port; add it, as port = 9000"#],
    ),
    change(
        "an agent beside an agent",
        KIND,
        r#"kind = "agent"
port = 9000
agent = { port = 9000 }"#,
        &[
            r#"lb.toml:20:9: [service.health.agent] has no use with kind = "agent", which asks the agent; remove it or write another kind"#,
        ],
    ),
    change(
        "an agent that is described wrongly",
        KIND,
        r#"kind = "tcp"
agent = { prt = 9000, interval = "1s", timeout = "2s" }"#,
        &[
            r#"lb.toml:19:9: missing key "port" in [service.health.agent]; add it, as port = 9000"#,
            r#"lb.toml:19:11: unknown key "prt" in [service.health.agent]; did you mean "port"? the keys are interval, port, timeout"#,
            r#"lb.toml:19:50: timeout 2s is longer than interval 1s; write at most "1s""#,
        ],
    ),
    change(
        "probes from an address of the other family",
        KIND,
        r#"kind = "tcp"
from = "2001:db8::1""#,
        &["lb.toml:19:8: from 2001:db8::1 is not of the family of the backends; write an IPv4 address"],
    ),
    change(
        "probes from a VIP",
        KIND,
        r#"kind = "tcp"
from = "203.0.113.80""#,
        &[
            r#"lb.toml:19:8: from 203.0.113.80 is a VIP, which takes no answers; write a local address, a port's address or "any""#,
        ],
    ),
    change(
        "probes from a backend",
        KIND,
        r#"kind = "tcp"
from = "10.0.9.1""#,
        &[r#"lb.toml:19:8: from 10.0.9.1 is a backend's address; write one of this balancer or "any""#],
    ),
    append(
        "probes from no address",
        r#"
[[service]]
name = "second"
vip = "203.0.113.81"
port = 80
health = { kind = "tcp", from = "eth0" }
backend = [{ address = "10.0.9.1" }]
"#,
        &[r#"lb.toml:27:33: from "eth0" is not an IP address; write one, as "192.0.2.1" or "2001:db8::1""#],
    ),
];
