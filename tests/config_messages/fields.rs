//! Names, devices, addresses, ports and statuses that are none.

use super::{Case, change};

pub(super) const CASES: &[Case] = &[
    change(
        "names with characters that commands and metrics cannot have",
        r#"name = "web""#,
        r#"name = "web server""#,
        &[r#"lb.toml:13:8: name "web server" is not a name; write 1 to 63 letters, digits, "-", "_" or ".""#],
    ),
    change(
        "an empty name",
        r#"name = "front""#,
        r#"name = """#,
        &[r#"lb.toml:5:8: name "" is not a name; write 1 to 63 letters, digits, "-", "_" or ".""#],
    ),
    change(
        "a word that is none of the choices",
        "port = 80",
        r#"port = 80
hash = "source-adress"
protocol = "http""#,
        &[
            r#"lb.toml:16:8: hash "source-adress" is unknown; did you mean "source-address"? the values are "five-tuple", "source-address" or "source-address-port""#,
            r#"lb.toml:17:12: protocol "http" is unknown; write "tcp", "udp" or "any""#,
        ],
    ),
    change(
        "words that a later version brings",
        "port = 80",
        r#"port = 80
protocol = "sctp"
mode = "redirect""#,
        &[
            r#"lb.toml:16:12: protocol "sctp" is not in this version; write "tcp", "udp" or "any""#,
            r#"lb.toml:17:8: mode "redirect" is not in this version; write "full-nat", "direct-routing" or "tunnel""#,
        ],
    ),
    change(
        "a page for clients that send datagrams",
        "port = 80",
        r#"port = 80
protocol = "udp"
on_no_backend = "http-503""#,
        &[
            r#"lb.toml:17:17: on_no_backend "http-503" answers TCP clients, and protocol is "udp"; write "reject" or "drop""#,
        ],
    ),
    change(
        "two rules for a failed backend, and a window that is too short",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
fall = 2
failure_window = { failures = 10, within = "10s" }"#,
        &[
            "lb.toml:19:8: fall and failure_window are two rules for the same; remove one of them",
            r#"lb.toml:20:44: 10 failures do not fit within 10s, with a probe each 2s; write at least "18s""#,
        ],
    ),
    change(
        "an interface of the kernel in place of a device",
        r#""net_af_packet0,iface=eth1""#,
        r#""eth1""#,
        &[
            r#"lb.toml:6:10: device "eth1" is neither a PCI address nor a DPDK vdev; write one, as "0000:03:00.0" or "net_af_packet0,iface=eth1""#,
        ],
    ),
    change(
        "devices that are none",
        r#""net_af_packet0,iface=eth1""#,
        r#""03:00""#,
        &[
            r#"lb.toml:6:10: device "03:00" is neither a PCI address nor a DPDK vdev; write one, as "0000:03:00.0" or "net_af_packet0,iface=eth0""#,
        ],
    ),
    change(
        "a device with a space in it",
        r#""net_af_packet0,iface=eth1""#,
        r#""net_af_packet0, iface=eth1""#,
        &[r#"lb.toml:6:10: device "net_af_packet0, iface=eth1" has a space in it; remove it"#],
    ),
    change(
        "an interface name that is too long",
        r#"name = "front""#,
        r#"name = "front"
kernel_interface = "evenkeel-front-0""#,
        &[r#"lb.toml:6:20: kernel_interface "evenkeel-front-0" is 16 octets long; write at most 15"#],
    ),
    change(
        "an interface name that Linux refuses",
        r#"name = "front""#,
        r#"name = "front"
kernel_interface = "ek/0""#,
        &[
            r#"lb.toml:6:20: kernel_interface "ek/0" is not an interface name; write letters, digits, "-", "_" or ".", or "none""#,
        ],
    ),
    change(
        "MAC addresses that no host has",
        r#"name = "front""#,
        r#"name = "front"
mac = "01:00:5e:00:00:01""#,
        &["lb.toml:6:7: mac 01:00:5e:00:00:01 is a multicast address; write one whose first octet is even"],
    ),
    change(
        "a MAC address of zeros",
        r#"name = "front""#,
        r#"name = "front"
mac = "00:00:00:00:00:00""#,
        &["lb.toml:6:7: mac 00:00:00:00:00:00 is no host's address; write the host's"],
    ),
    change(
        "a text that is no MAC address",
        r#"name = "front""#,
        r#"name = "front"
mac = "2:0:0:0:0:1""#,
        &[
            r#"lb.toml:6:7: mac "2:0:0:0:0:1" is not a MAC address; write six pairs of hexadecimal digits, as 02:00:00:00:00:09"#,
        ],
    ),
    change(
        "a name where an address belongs",
        r#"vip = "203.0.113.80""#,
        r#"vip = "www.example.net""#,
        &[
            r#"lb.toml:14:7: vip "www.example.net" is not an IP address; write one, as "192.0.2.1" or "2001:db8::1""#,
        ],
    ),
    change(
        "an address with a prefix length",
        r#"vip = "203.0.113.80""#,
        r#"vip = "203.0.113.80/32""#,
        &[r#"lb.toml:14:7: vip "203.0.113.80/32" has a prefix length; leave it out: "203.0.113.80""#],
    ),
    change(
        "an address with a port",
        r#"address = "10.0.9.1""#,
        r#"address = "10.0.9.1:8080""#,
        &[r#"lb.toml:21:11: address "10.0.9.1:8080" has a port; write address = "10.0.9.1" and port = 8080"#],
    ),
    change(
        "addresses that no single host has",
        r#"["10.0.8.10"]"#,
        r#"["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1", "10.0.8.10"]"#,
        &[
            "lb.toml:10:12: local address 0.0.0.0 is the unspecified address; write an address that a host has",
            "lb.toml:10:23: local address 127.0.0.1 is a loopback address; write an address that a host has",
            "lb.toml:10:36: local address 224.0.0.1 is a multicast address; write an address that a host has",
            "lb.toml:10:49: local address 255.255.255.255 is the broadcast address; write an address that a host has",
            "lb.toml:10:68: local address ::1 is a loopback address; write an address that a host has",
            "lb.toml:10:75: local address ff02::1 is a multicast address; write an address that a host has",
            "lb.toml:10:86: local address fe80::1 is a link-local address; write an address that a host has",
            r#"lb.toml:10:97: local address ::ffff:10.0.0.1 is an IPv4 address written as IPv6; write "10.0.0.1""#,
        ],
    ),
    change(
        "addresses of a port without a network",
        r#"["192.0.2.10/24"]"#,
        r#"["192.0.2.10", "fd00::1", "front", "192.0.2.10/33", "192.0.2.0/24", "192.0.2.255/24", "127.0.0.1/8", "fd00::/64"]"#,
        &[
            r#"lb.toml:7:14: address "192.0.2.10" has no prefix length; write it with its network's, as "192.0.2.10/24""#,
            r#"lb.toml:7:28: address "fd00::1" has no prefix length; write it with its network's, as "fd00::1/64""#,
            r#"lb.toml:7:39: address "front" is not an address with a prefix length; write one, as "192.0.2.10/24" or "2001:db8::10/64""#,
            r#"lb.toml:7:48: address "192.0.2.10/33" has a wrong prefix length; write 1 to 32 after the slash"#,
            r#"lb.toml:7:65: address "192.0.2.0/24" is the network itself; write the address of this host in it"#,
            r#"lb.toml:7:81: address "192.0.2.255/24" is the network's broadcast address; write the address of this host in it"#,
            "lb.toml:7:99: address 127.0.0.1 is a loopback address; write an address that a host has",
            r#"lb.toml:7:114: address "fd00::/64" is the network itself; write the address of this host in it"#,
        ],
    ),
    change(
        "prefixes that are none",
        "[local_addresses]",
        r#"[[next_hop]]
prefix = "10.0.9.7/24"
port = "front"
mac = "02:00:00:00:00:09"
vlan = 4095

[[next_hop]]
prefix = "ten/8"
port = "front"
mac = "02:00:00:00:00:09"

[local_addresses]"#,
        &[
            r#"lb.toml:10:10: prefix "10.0.9.7/24" has host bits set; write "10.0.9.0/24""#,
            "lb.toml:13:8: vlan 4095 is out of range; write a number from 1 to 4094",
            r#"lb.toml:16:10: prefix "ten/8" is not a prefix; write an address and a length, as "10.0.9.0/24" or "fd00:9::/64""#,
        ],
    ),
    change(
        "port 0",
        "port = 80",
        "port = 0",
        &["lb.toml:15:8: port 0 is out of range; write a number from 1 to 65535"],
    ),
    change(
        "a range of ports from 0",
        "port = 80",
        r#"port = "0-10""#,
        &[r#"lb.toml:15:8: port "0-10" holds port 0, which nobody can use; start at 1"#],
    ),
    change(
        "a range of ports that runs backwards",
        "port = 80",
        r#"port = "8009-8000""#,
        &[r#"lb.toml:15:8: port "8009-8000" runs backwards; write "8000-8009""#],
    ),
    change(
        "a range of ports that is none",
        "port = 80",
        r#"port = "http""#,
        &[
            r#"lb.toml:15:8: port "http" is no range of ports; write a number, or as "8000-8009", or "*" for all"#,
        ],
    ),
    change(
        "a backend's port 0",
        r#"address = "10.0.9.1""#,
        r#"address = "10.0.9.1"
port = 0"#,
        &["lb.toml:22:8: port 0 is out of range; write a number from 1 to 65535"],
    ),
    change(
        "a weight that is too large",
        r#"address = "10.0.9.1""#,
        r#"address = "10.0.9.1"
weight = 65536"#,
        &["lb.toml:22:10: weight 65536 is out of range; write a number from 0 to 65535"],
    ),
    change(
        "an HTTP path without its slash",
        r#"kind = "tcp""#,
        r#"kind = "http"
path = "healthz""#,
        &[r#"lb.toml:19:8: path "healthz" does not start with a slash; write "/healthz""#],
    ),
    change(
        "what would break the request line",
        r#"kind = "tcp""#,
        r#"kind = "http"
path = "/a b"
host = "x\r\nEvil: 1""#,
        &[
            r#"lb.toml:19:8: path "/a b" has the character ' ' in it; percent-encode it or leave it out"#,
            r#"lb.toml:20:8: host "x\r\nEvil: 1" has the character '\r' in it; percent-encode it or leave it out"#,
        ],
    ),
    change(
        "status codes that are none",
        r#"kind = "tcp""#,
        r#"kind = "http"
status = ["2xx", "399-200", 600, "100-700"]"#,
        &[
            r#"lb.toml:19:11: status "2xx" is no range of status codes; write codes from 100 to 599, as 200 or "200-399""#,
            r#"lb.toml:19:18: status "399-200" runs backwards; write "200-399""#,
            "lb.toml:19:29: status 600 is out of range; write a number from 100 to 599",
            r#"lb.toml:19:34: status "100-700" is no range of status codes; write codes from 100 to 599, as 200 or "200-399""#,
        ],
    ),
    change(
        "no status codes",
        r#"kind = "tcp""#,
        r#"kind = "http"
status = []"#,
        &[r#"lb.toml:19:10: status is an empty list; write codes, as "200-399""#],
    ),
    change(
        "rise and fall of zero",
        r#"kind = "tcp""#,
        r#"kind = "tcp"
fall = 0
rise = 101"#,
        &[
            "lb.toml:19:8: fall 0 is out of range; write a number from 1 to 100",
            "lb.toml:20:8: rise 101 is out of range; write a number from 1 to 100",
        ],
    ),
    change(
        "a place to listen that is none",
        "workers = [1, 2]",
        r#"workers = [1, 2]
http_listen = "localhost:9180"
control_socket = """#,
        &[
            r#"lb.toml:3:15: http_listen "localhost:9180" is not an address with a port; write one, as "127.0.0.1:9180" or "[::1]:9180", or "none""#,
            r#"lb.toml:4:18: control_socket "" is no path of a socket; write 1 to 107 octets, as "/run/evenkeel/control.sock""#,
        ],
    ),
];
