//! Keys and values that are wrong by themselves.

use super::{Case, change, file};

pub(super) const CASES: &[Case] = &[
    file(
        "an empty file lacks a port",
        "",
        &["lb.toml:1:1: no port; add a [[port]] with a name and a device"],
    ),
    change(
        "an unknown key close to a known one",
        "device = ",
        "devise = ",
        &[
            r#"lb.toml:4:1: missing key "device" in [[port]]; add it, as device = "0000:03:00.0""#,
            r#"lb.toml:6:1: unknown key "devise" in [[port]]; did you mean "device"? the keys are addresses, device, kernel_interface, mac, mtu, name"#,
        ],
    ),
    change(
        "an unknown key close to none",
        "port = 80",
        r#"port = 80
colour = "red""#,
        &[
            r#"lb.toml:16:1: unknown key "colour" in [[service]]; remove it, the keys are allow, allow_file, announce, announce_hold, backend, client_address, dead_after, deny, deny_file, encapsulation, encapsulation_port, flow_share, hash, health, hold_down, limits, local_addresses, mode, name, on_dead_backend, on_no_backend, on_unknown_flow, one_packet, panic_threshold, persistence, port, protocol, proxy_datagrams, quorum, scheduler, slow_start, syn_proxy, syn_proxy_above, toa_kind, tracking, transition, vip"#,
        ],
    ),
    change(
        "an unknown table",
        "[local_addresses]",
        "[local_adresses]",
        &[
            r#"lb.toml:9:2: unknown key "local_adresses" in the file; did you mean "local_addresses"? the keys are appliance, hooks, local_addresses, next_hop, port, service, timeouts"#,
            r#"lb.toml:12:1: no pool "default" of local addresses; add it to [local_addresses], as default = ["10.0.8.10"]"#,
        ],
    ),
    change(
        "a key in the wrong table",
        r#"[appliance]
"#,
        r#"flows_per_worker = 5000
[appliance]
"#,
        &[
            r#"lb.toml:1:1: unknown key "flows_per_worker" in the file; it is a key of [appliance]: move it below [appliance] (line 2)"#,
        ],
    ),
    change(
        "missing keys",
        r#"address = "10.0.9.1""#,
        "weight = 1",
        &[r#"lb.toml:20:1: missing key "address" in [[service.backend]]; add it, as address = "10.0.9.1""#],
    ),
    change(
        "missing keys of a port",
        r#"name = "front"
device = "net_af_packet0,iface=eth1"
"#,
        "",
        &[
            r#"lb.toml:4:1: missing key "device" in [[port]]; add it, as device = "0000:03:00.0""#,
            r#"lb.toml:4:1: missing key "name" in [[port]]; add it, as name = "front""#,
        ],
    ),
    change(
        "missing keys of a next hop",
        "[local_addresses]",
        r#"[[next_hop]]
vlan = 7

[local_addresses]"#,
        &[
            r#"lb.toml:9:1: missing key "mac" in [[next_hop]]; add it, as mac = "02:00:00:00:00:09""#,
            r#"lb.toml:9:1: missing key "port" in [[next_hop]]; add it, as port = "front""#,
            r#"lb.toml:9:1: missing key "prefix" in [[next_hop]]; add it, as prefix = "10.0.9.0/24""#,
        ],
    ),
    change(
        "a table in single brackets where there can be several",
        "[[port]]",
        "[port]",
        &["lb.toml:4:1: port is a single table; write [[port]], in double brackets"],
    ),
    change(
        "a table in double brackets where there is one",
        "[appliance]",
        "[[appliance]]",
        &["lb.toml:1:1: appliance is a list; write [appliance] once, in single brackets"],
    ),
    change(
        "a value where tables belong",
        "[appliance]",
        r#"next_hop = 1
timeouts = "30s"
port = [1]
[appliance]"#,
        &[
            "lb.toml:1:12: next_hop is the number 1; write tables [[next_hop]]",
            r#"lb.toml:2:12: timeouts is the string "30s"; write a table [timeouts]"#,
            "lb.toml:3:9: port is the number 1; write tables [[port]]",
            r#"lb.toml:7:3: "port" exists already and is no such table; rename or remove one"#,
        ],
    ),
    change(
        "a number where a string belongs",
        r#"name = "web""#,
        "name = 80",
        &[r#"lb.toml:13:8: name is the number 80; put it in quotes: "80""#],
    ),
    change(
        "a boolean where a string belongs",
        r#"kind = "tcp""#,
        "kind = true",
        &["lb.toml:18:8: kind is the boolean true; write a string in quotes"],
    ),
    change(
        "a string where a number belongs",
        "[1, 2]",
        r#"["1", "two"]"#,
        &[
            r#"lb.toml:2:12: workers is the string "1"; write a whole number from 0 to 1023, without quotes"#,
            r#"lb.toml:2:17: workers is the string "two"; write a whole number from 0 to 1023, without quotes"#,
        ],
    ),
    change(
        "a string where a list belongs",
        r#"["10.0.8.10"]"#,
        r#""10.0.8.10""#,
        &[
            r#"lb.toml:10:11: default is the string "10.0.8.10"; write a list in brackets, as default = [...]"#,
        ],
    ),
    change(
        "a number where a list belongs",
        "[1, 2]",
        "1",
        &["lb.toml:2:11: workers is the number 1; write a list in brackets, as workers = [...]"],
    ),
    change(
        "a fraction where a whole number belongs",
        r#"address = "10.0.9.1""#,
        r#"address = "10.0.9.1"
weight = 0.5"#,
        &["lb.toml:22:10: weight is the number 0.5; write a whole number from 0 to 65535"],
    ),
    change(
        "numbers out of range",
        "workers = [1, 2]",
        r#"workers = [1, 2]
mbufs = 100
hash_seed = -1
max_services = 0
max_backends = 99_999_999
flows_per_worker = 100
control_core = 2000"#,
        &[
            "lb.toml:3:9: mbufs 100 is out of range; write a number from 512 to 67108864",
            "lb.toml:4:13: hash_seed -1 is out of range; write a number from 0 to 9223372036854775807",
            "lb.toml:5:16: max_services 0 is out of range; write a number from 1 to 65535",
            "lb.toml:6:16: max_backends 99999999 is out of range; write a number from 1 to 1048576",
            "lb.toml:7:20: flows_per_worker 100 is out of range; write a number from 1024 to 67108864",
            "lb.toml:8:16: control_core 2000 is out of range; write a number from 0 to 1023",
        ],
    ),
    change(
        "a number beyond what any type holds",
        "port = 80",
        "port = 99999999999999999999999999999999999999999",
        &[
            "lb.toml:15:8: port 99999999999999999999999999999999999999999 is out of range; write a number from 1 to 65535",
        ],
    ),
    change(
        "a duration without a unit",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
interval = 2"#,
        &[r#"lb.toml:19:12: interval 2 has no unit; write "2s" or "2ms""#],
    ),
    change(
        "durations that are none",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
interval = "2 sec"
timeout = "1.5s""#,
        &[
            r#"lb.toml:19:12: interval "2 sec" is not a duration; write a number and a unit (us, ms, s, m, h), as "500ms" or "1h30m""#,
            r#"lb.toml:20:11: timeout "1.5s" is not a duration; write a number and a unit (us, ms, s, m, h), as "500ms" or "1h30m""#,
        ],
    ),
    change(
        "durations out of range",
        "[local_addresses]",
        r#"[timeouts]
udp = "1ms"
tcp_fin = "30000h"

[local_addresses]"#,
        &[
            r#"lb.toml:10:7: udp "1ms" is out of range; write a duration from 100ms to 168h"#,
            r#"lb.toml:11:11: tcp_fin "30000h" is out of range; write a duration from 100ms to 168h"#,
        ],
    ),
];
