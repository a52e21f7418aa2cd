//! Text that is not TOML.

use super::{Case, change, file};

pub(super) const CASES: &[Case] = &[
    change(
        "a string without quotes is shown with them",
        r#"vip = "203.0.113.80""#,
        "vip = 203.0.113.80",
        &[
            r#"lb.toml:14:12: 203.0.113.80 is no value of TOML; if it is a string, put it in quotes: "203.0.113.80""#,
        ],
    ),
    change(
        "a word without quotes is shown with them",
        r#"kind = "tcp""#,
        "kind = tcp",
        &[r#"lb.toml:18:8: tcp is no value of TOML; if it is a string, put it in quotes: "tcp""#],
    ),
    change(
        "a string that is not closed",
        r#"name = "web""#,
        r#"name = "web"#,
        &["lb.toml:13:12: string is not closed; write a quote at its end"],
    ),
    change(
        "a list that is not closed is reported where it starts, and the lines below it are read",
        r#"workers = [1, 2]
"#,
        r#"workers = [1, 2
idle = "pol"
"#,
        &[
            r#"lb.toml:2:11: list is not closed; write "]" at its end"#,
            r#"lb.toml:3:8: idle "pol" is unknown; did you mean "poll"? the values are "poll" or "adaptive""#,
        ],
    ),
    change(
        "a list that is not closed before a header",
        r#"default = ["10.0.8.10"]"#,
        r#"default = ["10.0.8.10""#,
        &[r#"lb.toml:10:11: list is not closed; write "]" at its end"#],
    ),
    change(
        "a list that is not closed before the end",
        r#"address = "10.0.9.1"
"#,
        r#"address = "10.0.9.1"
weight = ["#,
        &[r#"lb.toml:22:10: list is not closed; write "]" at its end"#],
    ),
    change(
        "a list over several lines without a comma",
        r#"default = ["10.0.8.10"]"#,
        r#"default = [
  "10.0.8.10"
  "10.0.8.11",
]"#,
        &["lb.toml:12:3: comma is missing; write one between elements"],
    ),
    change(
        "a string of several lines that is not closed",
        r#"name = "front""#,
        r#"name = """front"#,
        &["lb.toml:5:8: string is not closed; write three quotes at its end"],
    ),
    change(
        "a header that is not closed takes its tables with it",
        "[[service]]",
        "[[service",
        &["lb.toml:12:10: header is not closed; write the closing bracket"],
    ),
    change(
        "a key without a value",
        "port = 80",
        "port",
        &["lb.toml:15:5: key without a value; write it as key = value"],
    ),
    change(
        "a key with an equals sign and no value",
        "port = 80",
        "port =",
        &["lb.toml:15:7: key without a value; write one after the equals sign"],
    ),
    change(
        "a value without a key",
        "port = 80",
        "= 80",
        &["lb.toml:15:1: value without a key; write it as key = value"],
    ),
    change(
        "a key with a space in it",
        "port = 80",
        "the port = 80",
        &["lb.toml:15:5: key with a space in it; remove the space"],
    ),
    change(
        "a key that is written twice",
        "port = 80",
        r#"port = 80
port = 81"#,
        &["lb.toml:16:1: key port is written twice, first on line 15; remove one"],
    ),
    change(
        "a table that is written twice",
        "[local_addresses]",
        r#"[appliance]
name = "lb1"

[local_addresses]"#,
        &["lb.toml:9:2: table [appliance] is written twice, first on line 1; merge the two"],
    ),
    change(
        "a table that is written in single and in double brackets",
        "[local_addresses]",
        r#"[port]
mtu = 1500

[local_addresses]"#,
        &["lb.toml:9:2: [port] and [[port]] exclude each other (line 4); write all of them alike"],
    ),
    change(
        "a number with a leading zero",
        "port = 80",
        "port = 080",
        &[r#"lb.toml:15:8: 080 is no value of TOML; if it is a string, put it in quotes: "080""#],
    ),
    change(
        "an escape that TOML does not know",
        r#"name = "web""#,
        r#"name = "w\eb\q""#,
        &["lb.toml:13:14: backslash without a meaning; write two for one, or use single quotes"],
    ),
    change(
        "several mistakes of syntax beside one of meaning",
        r#"port = 80

[service.health]
kind = "tcp""#,
        r#"port = http

[service.health]
kind = tcp
fall = 0"#,
        &[
            r#"lb.toml:15:8: http is no value of TOML; if it is a string, put it in quotes: "http""#,
            r#"lb.toml:18:8: tcp is no value of TOML; if it is a string, put it in quotes: "tcp""#,
            "lb.toml:19:8: fall 0 is out of range; write a number from 1 to 100",
        ],
    ),
    change(
        "what is absent from a broken file may only be unreadable",
        r#"[[port]]
"#,
        r#"[[port
"#,
        &["lb.toml:4:7: header is not closed; write the closing bracket"],
    ),
    file(
        "text that is no configuration at all",
        r#"#!/bin/sh
echo "hello"
"#,
        &["lb.toml:2:6: key without a value; write it as key = value"],
    ),
    file(
        "columns count characters: tabs and other scripts are one each, the byte order mark none",
        "\u{feff}[appliance]\r\n\t\"näme\" = \"lbö\"\r\n",
        &[
            "lb.toml:1:1: no port; add a [[port]] with a name and a device",
            r#"lb.toml:2:2: unknown key "näme" in [appliance]; did you mean "name"? the keys are control_core, control_socket, drain_timeout, eal_args, flows_per_worker, hash_seed, http_listen, idle, max_backends, max_clients, max_services, mbufs, memory, min_path_mtu, name, workers"#,
        ],
    ),
];
