"""Captures for DPDK's pcap port: one packet per flow, in random order."""

import random
import struct

# What net_pcap gives its port, and where the packets are from and to.
PORT_MAC = bytes.fromhex("027063617000")
PEER_MAC = bytes.fromhex("020000000002")
VIP = "203.0.113.80"
VIP_PORT = 53


def write_capture(path, flows):
    """A capture of one UDP packet of 64 octets (60 and the checksum of Ethernet) for each flow, in random order."""
    rng = random.Random(flows)
    # Distinct numbers make distinct clients: the high part is the address, the low part the port.
    clients = rng.sample(range(1 << 31), flows)
    vip = bytes(map(int, VIP.split(".")))
    ethernet = PORT_MAC + PEER_MAC + b"\x08\x00"
    payload = bytes(range(18))
    udp_length = 8 + len(payload)
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + udp_length, 0, 0, 64, 17)
    ip_sum = words(head) + words(vip)
    udp_sum = words(vip) + 17 + udp_length + VIP_PORT + udp_length + words(payload)
    with open(path, "wb") as capture:
        capture.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        record = struct.pack("<IIII", 0, 0, 60, 60)
        for client in clients:
            # 10.64.0.0 and on, ports from 1024.
            source = struct.pack("!I", 0x0A400000 + (client >> 15))
            port = 1024 + (client & 0x7FFF)
            sources = words(source)
            capture.write(b"".join((
                record, ethernet,
                head, struct.pack("!H", folded(ip_sum + sources)), source, vip,
                struct.pack("!HHHH", port, VIP_PORT, udp_length, folded(udp_sum + sources + port) or 0xFFFF),
                payload)))


def words(data):
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def folded(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
