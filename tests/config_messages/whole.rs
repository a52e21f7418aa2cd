//! Values that do not go together.

use super::{Case, append, change, file};

pub(super) const CASES: &[Case] = &[
    change(
        "no worker",
        "[1, 2]",
        "[]",
        &["lb.toml:2:11: workers is an empty list; write at least one core, as workers = [1]"],
    ),
    change(
        "a worker core listed twice",
        "[1, 2]",
        "[1, 2, 1]",
        &["lb.toml:2:18: worker core 1 is listed twice; remove one"],
    ),
    change(
        "a worker on the core of control",
        "[1, 2]",
        "[0, 1]",
        &["lb.toml:2:12: core 0 is both control_core and a worker's; give control another core"],
    ),
    change(
        "control on the core of a worker that is there by default",
        "workers = [1, 2]",
        "control_core = 1",
        &["lb.toml:2:16: core 1 is both control_core and a worker's; give control another core"],
    ),
    append(
        "two ports with a name",
        r#"
[[port]]
name = "front"
device = "net_af_packet1,iface=eth2"
"#,
        &[r#"lb.toml:24:8: port name "front" is taken (line 5); choose another"#],
    ),
    append(
        "two ports with a device",
        r#"
[[port]]
name = "back"
device = "net_af_packet0,iface=eth2"
"#,
        &[r#"lb.toml:25:10: device "net_af_packet0" is another port's (line 6); give each port its own"#],
    ),
    append(
        "two ports with a PCI address, written in two ways",
        r#"
[[port]]
name = "a"
device = "0000:03:00.0"

[[port]]
name = "b"
device = "03:00.0"
"#,
        &[r#"lb.toml:29:10: device "0000:03:00.0" is another port's (line 25); give each port its own"#],
    ),
    append(
        "two ports with a kernel interface, one by default",
        r#"
[[port]]
name = "back"
device = "net_af_packet1,iface=eth2"
kernel_interface = "ek0"
"#,
        &[r#"lb.toml:26:20: kernel_interface "ek0" is another port's (line 4); choose another"#],
    ),
    append(
        "two ports with an address",
        r#"
[[port]]
name = "back"
device = "net_af_packet1,iface=eth2"
addresses = ["192.0.2.10/24"]
"#,
        &["lb.toml:26:14: address 192.0.2.10 is already a port's (line 7); remove one"],
    ),
    append(
        "addresses on a port without a kernel side",
        r#"
[[port]]
name = "back"
device = "net_af_packet1,iface=eth2"
kernel_interface = "none"
addresses = ["10.0.9.254/24"]
"#,
        &[
            r#"lb.toml:27:13: addresses need a kernel side, and kernel_interface is "none"; remove them or name an interface"#,
        ],
    ),
    append(
        "a next hop over a port that does not exist",
        r#"
[[next_hop]]
prefix = "10.0.9.0/24"
port = "fornt"
mac = "02:00:00:00:00:09"
"#,
        &[r#"lb.toml:25:8: port "fornt" is not the name of a [[port]]; the names are front"#],
    ),
    append(
        "two next hops for a prefix",
        r#"
[[next_hop]]
prefix = "10.0.9.0/24"
port = "front"
mac = "02:00:00:00:00:09"

[[next_hop]]
prefix = "10.0.9.0/24"
port = "front"
mac = "02:00:00:00:00:09"
"#,
        &["lb.toml:29:10: prefix 10.0.9.0/24 has a next hop already (line 24); remove one"],
    ),
    change(
        "a VIP that is a local address",
        r#"vip = "203.0.113.80""#,
        r#"vip = "10.0.8.10""#,
        &[
            "lb.toml:14:7: vip 10.0.8.10 is a local address too (line 10); use an address that is for services alone",
        ],
    ),
    change(
        "a VIP that is a port's address",
        r#"vip = "203.0.113.80""#,
        r#"vip = "192.0.2.10""#,
        &[
            "lb.toml:14:7: vip 192.0.2.10 is a port's address too (line 7); use an address that is for services alone",
        ],
    ),
    change(
        "a local address that is a port's",
        r#"["10.0.8.10"]"#,
        r#"["192.0.2.10"]"#,
        &[
            "lb.toml:10:12: local address 192.0.2.10 is a port's address too (line 7); use one that is for flows alone",
        ],
    ),
    change(
        "a local address listed twice",
        r#"["10.0.8.10"]"#,
        r#"["10.0.8.10", "10.0.8.10"]"#,
        &[r#"lb.toml:10:25: local address 10.0.8.10 is already in pool "default" (line 10); remove one"#],
    ),
    append(
        "two services with a name",
        r#"
[[service]]
name = "web"
vip = "203.0.113.80"
port = 81

[[service.backend]]
address = "10.0.9.9"
"#,
        &[r#"lb.toml:24:8: service name "web" is taken (line 13); choose another"#],
    ),
    append(
        "two services on a port of a VIP",
        r#"
[[service]]
name = "web2"
vip = "203.0.113.80"
port = 80

[[service.backend]]
address = "10.0.9.9"
"#,
        &["lb.toml:26:8: tcp port 80 of vip 203.0.113.80 is another service's (line 15); change one"],
    ),
    append(
        "two services on all ports of a VIP",
        r#"
[[service]]
name = "web2"
vip = "203.0.113.90"
port = "*"
protocol = "udp"

[[service.backend]]
address = "10.0.9.9"

[[service]]
name = "web3"
vip = "203.0.113.90"
port = "1-65535"
protocol = "any"

[service.health]
kind = "none"

[[service.backend]]
address = "10.0.9.9"
"#,
        &["lb.toml:35:8: udp port * of vip 203.0.113.90 is another service's (line 26); change one"],
    ),
    append(
        "ranges of two services that overlap",
        r#"
[[service]]
name = "web2"
vip = "203.0.113.90"
port = "79-81"

[service.health]
kind = "none"

[[service.backend]]
address = "10.0.9.9"

[[service]]
name = "web3"
vip = "203.0.113.90"
port = "80-82"
protocol = "any"

[service.health]
kind = "none"

[[service.backend]]
address = "10.0.9.9"
"#,
        &[
            "lb.toml:37:8: tcp port 80-82 of vip 203.0.113.90 overlaps another service's 79-81 (line 26); change one",
        ],
    ),
    change(
        "a service without local addresses",
        r#"[local_addresses]
default = ["10.0.8.10"]
"#,
        "",
        &[
            r#"lb.toml:10:1: no pool "default" of local addresses; add it to [local_addresses], as default = ["10.0.8.10"]"#,
        ],
    ),
    change(
        "a service whose pool does not exist",
        "port = 80",
        r#"port = 80
local_addresses = "web""#,
        &[
            r#"lb.toml:16:19: no pool "web" of local addresses; add it to [local_addresses], as web = ["10.0.8.10"]"#,
        ],
    ),
    change(
        "a service whose pool has nothing of its family",
        r#"vip = "203.0.113.80""#,
        r#"vip = "2001:db8:80::80""#,
        &[
            r#"lb.toml:12:1: pool "default" of local addresses has no IPv6 address for vip 2001:db8:80::80; add one, as "fd00:8::10""#,
            "lb.toml:21:11: backend 10.0.9.1 is not of the family of vip 2001:db8:80::80 (line 14), and NAT64 is not supported; write an IPv6 address",
        ],
    ),
    append(
        "a key of the service below its tables",
        "scheduler = \"maglev\"\npath = \"/x\"\nname = \"x\"\nworkers = [3]\ncolour = 1\n",
        &[
            r#"lb.toml:22:1: unknown key "scheduler" in [[service.backend]]; it is a key of [[service]]: move it above [service.health] (line 17)"#,
            r#"lb.toml:23:1: unknown key "path" in [[service.backend]]; it is a key of [service.health]: move it below [service.health] (line 17)"#,
            r#"lb.toml:24:1: unknown key "name" in [[service.backend]]; it is a key of [[service]]: move it above [service.health] (line 17)"#,
            r#"lb.toml:25:1: unknown key "workers" in [[service.backend]]; it is a key of [appliance]: move it below [appliance] (line 1)"#,
            r#"lb.toml:26:1: unknown key "colour" in [[service.backend]]; remove it, the keys are address, max_connections, port, tier, weight"#,
        ],
    ),
    change(
        "a key of a table that is not there",
        "port = 80",
        "port = 80\nconnections = 5\nkind = \"tcp\"",
        &[
            r#"lb.toml:16:1: unknown key "connections" in [[service]]; it is a key of [service.limits]: write it below a line [service.limits]"#,
            r#"lb.toml:17:1: unknown key "kind" in [[service]]; it is a key of [service.health]: move it below [service.health] (line 19)"#,
        ],
    ),
    append(
        "two ports on an interface, and a TAP with its name",
        r#"
[[port]]
name = "back"
device = "net_af_packet1,iface=eth1"
kernel_interface = "eth1"
"#,
        &[
            r#"lb.toml:25:10: interface "eth1" is another port's (line 6); give each port an interface of its own"#,
            r#"lb.toml:26:20: kernel_interface "eth1" is the interface of a device (line 6); choose another name, as "ek1""#,
        ],
    ),
    append(
        "a backend listed twice, its port once by default",
        r#"
[[service.backend]]
address = "10.0.9.1"
port = 80
"#,
        &["lb.toml:24:11: backend 10.0.9.1:80 is listed twice (line 21); remove one"],
    ),
    change(
        "backends that are this balancer",
        r#"address = "10.0.9.1""#,
        r#"address = "10.0.8.10"
[[service.backend]]
address = "203.0.113.80"
[[service.backend]]
address = "192.0.2.10""#,
        &[
            "lb.toml:21:11: backend 10.0.8.10 is a local address of this balancer (line 10); write a server's address",
            "lb.toml:23:11: backend 203.0.113.80 is a VIP of this balancer (line 14); write a server's address",
            "lb.toml:25:11: backend 192.0.2.10 is a port's address of this balancer (line 7); write a server's address",
        ],
    ),
    change(
        "a timeout longer than the interval",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
interval = "1s"
timeout = "1s500ms""#,
        &[r#"lb.toml:20:11: timeout 1s500ms is longer than interval 1s; write at most "1s""#],
    ),
    change(
        "a timeout longer than the interval by default",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
timeout = "1m""#,
        &[r#"lb.toml:19:11: timeout 1m is longer than interval 2s; write at most "2s""#],
    ),
    change(
        "a wrong interval says nothing about the timeout",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
interval = "20"
timeout = "1m""#,
        &[
            r#"lb.toml:19:12: interval "20" is not a duration; write a number and a unit (us, ms, s, m, h), as "500ms" or "1h30m""#,
        ],
    ),
    change(
        "probes without a port that they could go to",
        "port = 80",
        r#"port = "8000-8009""#,
        &[
            "lb.toml:18:8: backends use the port that the client used, so that probes have none; write port in [service.health]",
        ],
    ),
    change(
        "probes that cannot be answered",
        r#"addresses = ["192.0.2.10/24"]"#,
        r#"kernel_interface = "none""#,
        &[
            r#"lb.toml:18:8: no port has a kernel side, so that probes cannot be answered; write kind = "none" in [service.health]"#,
        ],
    ),
    file(
        "probes that are there by default and cannot be answered",
        r#"[[port]]
name = "rig"
device = "net_pcap0"
kernel_interface = "none"
[local_addresses]
default = ["10.0.8.10"]
[[service]]
name = "web"
vip = "203.0.113.80"
port = 80
[[service.backend]]
address = "10.0.9.1"
"#,
        &[
            r#"lb.toml:7:1: no port has a kernel side, so that probes cannot be answered; write kind = "none" in [service.health]"#,
        ],
    ),
    file(
        "more services and backends than there is room for",
        r#"[appliance]
max_services = 1
max_backends = 1

[[port]]
name = "front"
device = "net_af_packet0,iface=eth1"
addresses = ["192.0.2.10/24"]

[local_addresses]
default = ["10.0.8.10"]

[[service]]
name = "web"
vip = "203.0.113.80"
port = 80

[service.health]
kind = "tcp"

[[service.backend]]
address = "10.0.9.1"

[[service]]
name = "web2"
vip = "203.0.113.80"
port = 81

[[service.backend]]
address = "10.0.9.9"
"#,
        &[
            "lb.toml:24:1: max_services is 1 (line 2), and this is one more; raise max_services",
            "lb.toml:29:1: max_backends is 1 (line 3), and this is one more; raise max_backends",
        ],
    ),
    file(
        "ten mistakes in ten lines",
        r#"[appliance]
workers = [0]
memory = "huge"
mbufs = 5

[[port]]
name = "front"
device = "eth0"
adresses = ["192.0.2.10/24"]

[[service]]
vip = "203.0.113.80"
port = 0
protocol = udp

[service.health]
kind = "ping"
interval = 2

[[service.backend]]
address = "10.0.9.300"
"#,
        &[
            "lb.toml:2:12: core 0 is both control_core and a worker's; give control another core",
            r#"lb.toml:3:10: memory "huge" is unknown; write "auto", "hugepages" or "no-hugepages""#,
            "lb.toml:4:9: mbufs 5 is out of range; write a number from 512 to 67108864",
            r#"lb.toml:8:10: device "eth0" is neither a PCI address nor a DPDK vdev; write one, as "0000:03:00.0" or "net_af_packet0,iface=eth0""#,
            r#"lb.toml:9:1: unknown key "adresses" in [[port]]; did you mean "addresses"? the keys are addresses, device, kernel_interface, mac, mtu, name"#,
            r#"lb.toml:11:1: missing key "name" in [[service]]; add it, as name = "web""#,
            r#"lb.toml:11:1: no pool "default" of local addresses; add it to [local_addresses], as default = ["10.0.8.10"]"#,
            "lb.toml:13:8: port 0 is out of range; write a number from 1 to 65535",
            r#"lb.toml:14:12: udp is no value of TOML; if it is a string, put it in quotes: "udp""#,
            r#"lb.toml:17:8: kind "ping" is unknown; write "tcp", "http", "https", "udp", "dns", "icmp", "script", "agent" or "none""#,
            r#"lb.toml:18:12: interval 2 has no unit; write "2s" or "2ms""#,
            r#"lb.toml:21:11: address "10.0.9.300" is not an IP address; write one, as "192.0.2.1" or "2001:db8::1""#,
        ],
    ),
];
