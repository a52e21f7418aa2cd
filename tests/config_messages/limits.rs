//! Limits that cannot be.

use super::{Case, append, change};

pub(super) const CASES: &[Case] = &[
    append(
        "a limit below zero",
        "
[service.limits]
connections = -1
",
        &["lb.toml:24:15: connections -1 is out of range; write a number from 0 to 1000000000"],
    ),
    append(
        "a rate in words",
        r#"
[service.limits]
connections_per_second = "100/s"
"#,
        &[
            r#"lb.toml:24:26: connections_per_second is the string "100/s"; write a whole number from 0 to 10000000, without quotes"#,
        ],
    ),
    append(
        "a prefix of clients longer than their addresses",
        "
[service.limits]
client_connections = 10
client_prefix_v6 = 129
",
        &["lb.toml:25:20: client_prefix_v6 129 is out of range; write a number from 0 to 128"],
    ),
    append(
        "a prefix of clients without a limit of clients",
        "
[service.limits]
connections = 10
client_prefix_v4 = 24
",
        &[
            "lb.toml:25:20: client_prefix_v4 is for limits of clients, and there is none; add client_connections or client_connections_per_second, or remove it",
        ],
    ),
    append(
        "a limit that there is not",
        "
[service.limits]
connection = 10
",
        &[
            r#"lb.toml:24:1: unknown key "connection" in [service.limits]; did you mean "connections"? the keys are client_connections, client_connections_per_second, client_prefix_v4, client_prefix_v6, connections, connections_per_second"#,
        ],
    ),
    change(
        "limits without flows",
        r#"
[service.health]
kind = "tcp"

[[service.backend]]
address = "10.0.9.1"
"#,
        r#"mode = "direct-routing"

[service.limits]
connections = 10

[[service.backend]]
address = "10.0.9.1"
max_connections = 5
"#,
        &[
            "lb.toml:18:1: limits count flows, which mode \"direct-routing\" does not keep; remove [service.limits]",
            "lb.toml:23:19: max_connections counts flows, which mode \"direct-routing\" does not keep; remove it",
        ],
    ),
    append(
        "a persistence that is no time at all",
        r#"
[service.persistence]
timeout = "0s"
prefix_v4 = 33
"#,
        &[
            r#"lb.toml:24:11: timeout "0s" is out of range; write a duration from 1s to 168h"#,
            "lb.toml:25:13: prefix_v4 33 is out of range; write a number from 0 to 32",
        ],
    ),
    append(
        "services of a persistence group with different time-outs",
        r#"
[service.persistence]
group = "shop"

[[service]]
name = "other"
vip = "203.0.113.80"
port = 81

[service.persistence]
group = "shop"
timeout = "1m"

[[service.backend]]
address = "10.0.9.1"
"#,
        &[
            r#"lb.toml:32:9: persistence group "shop" has another timeout in service "web" (line 24); write the same timeout in both"#,
        ],
    ),
    append(
        "a persistence group with two backends at one address",
        r#"port = 8081

[[service.backend]]
address = "10.0.9.1"
port = 8082

[service.persistence]
group = "shop"
"#,
        &[
            r#"lb.toml:29:9: service "web" has two backends at 10.0.9.1, and persistence group "shop" tells backends apart by address; remove one backend, or group"#,
        ],
    ),
    change(
        "persistence without flows",
        "port = 80\n\n[service.health]",
        "port = 80\nmode = \"direct-routing\"\n\n[service.persistence]\n\n[service.health]",
        &[
            r#"lb.toml:18:1: persistence needs flows, which mode "direct-routing" does not keep; remove [service.persistence], and write hash = "source-address""#,
        ],
    ),
];
