//! Datagrams that are larger than the network carries, cut and put together by the kernels of both ends.

use serde_json::json;

use crate::balancer::Balancer;
use crate::configuration::Configuration;
use crate::configuration::Driver;
use crate::configuration::ECHO;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::lab::Arms;
use crate::lab::Lab;

#[test]
fn datagrams_in_pieces_arrive_there_and_back_over_both_families() {
    assert_echoed("pieces", ECHOES, "20");
}

#[test]
fn a_datagram_whose_pieces_come_last_one_first_is_answered_over_both_families() {
    assert_echoed("early", REVERSED, "5");
}

/// Runs a client, which fails unless all of the `count` datagrams that it sends come back, over both families and with
/// several sizes.
#[track_caller]
fn assert_echoed(name: &str, client: &str, count: &str) {
    let Some(lab) = Lab::lay(name, Arms::Two, 1) else { return };
    let balancer =
        Balancer::start(&lab, &Configuration { driver: Driver::Pcap, ..Configuration::new(Arms::Two) });
    for address in [VIP4, VIP6] {
        for octets in ["4000", "8000"] {
            let line = ["python3", "-c", client, address, &ECHO.to_string(), octets, count];
            let done = lab.on("client", &line);
            let said = format!("{}{}\n{}", done.out, done.err, balancer.circumstances());
            assert!(done.success, "{address}, {octets} octets: {said}");
        }
    }
    assert_undisturbed(&balancer);
}

/// Nothing was dropped of what was cut, and nothing waits.
#[track_caller]
fn assert_undisturbed(balancer: &Balancer<'_>) {
    let total = &balancer.ask("status")["total"];
    for reason in ["fragment_invalid", "fragment_store_full", "fragment_without_first"] {
        assert_eq!(total["drops"].get(reason), None, "{}", balancer.circumstances());
    }
    assert_eq!(total["held"], json!(0), "{}", balancer.circumstances());
}

/// Datagrams of a socket each, cut by the kernel.
const ECHOES: &str = r#"
import os, socket, sys
address, port, octets, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for number in range(count):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((address, port))
        text = os.urandom(octets)
        client.send(text)
        server, answer = client.recv(65535).split(b" ", 1)
        assert answer == text, f"{number}: {len(answer)} octets came back from {server}"
"#;

/// The same, cut here and sent last piece first.
const REVERSED: &str = r#"
import os, socket, struct, sys
address, port, octets, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
six = ":" in address
family = socket.AF_INET6 if six else socket.AF_INET
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def headers(source, number, at, piece, more):
    ends = source + socket.inet_pton(family, address)
    if six:
        fragment = struct.pack("!BBHI", socket.IPPROTO_UDP, 0, at | more, number)
        return struct.pack("!IHBB", 6 << 28, len(piece) + 8, 44, 64) + ends + fragment
    # The kernel fills in the checksum.
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), number, more << 13 | at >> 3, 64, 17, 0) + ends
for number in range(octets, octets + count):
    with socket.socket(family, socket.SOCK_DGRAM) as client, socket.socket(family, socket.SOCK_RAW, 255) as raw:
        if six: raw.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
        client.settimeout(5)
        client.connect((address, port))
        source = socket.inet_pton(family, client.getsockname()[0])
        text = os.urandom(octets)
        length = 8 + octets
        pseudo = source + socket.inet_pton(family, address) + struct.pack("!II", length, 17)
        udp = struct.pack("!HHHH", client.getsockname()[1], port, length, 0) + text
        udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xffff) + udp[8:]
        for at in reversed(range(0, length, 1400)):
            piece = udp[at:at + 1400]
            raw.sendto(headers(source, number, at, piece, int(at + 1400 < length)) + piece, (address, 0))
        server, answer = client.recv(65535).split(b" ", 1)
        assert answer == text, f"{number}: {len(answer)} octets came back from {server}"
"#;
