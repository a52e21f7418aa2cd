"""What the figures are held to, and what others reach."""

import dataclasses

from . import short

# Nanoseconds per packet on one core, by number of flows, of peers in the same role: measured once, on another virtual
# machine with the same kind of processor, each as it does best there; of DPVS with its port (11 to 17 ns of it), of VPP
# with its source of packets (5 to 6), of Linux with a veth pair. In UDP; VPP and DPVS one way, order other than created.
PEERS = {
    "VPP 26.06 nat44-ed": {1: 60, 1_000: 68, 16_000: 113, 128_000: 166, 1_000_000: 200},
    "DPVS 1.10 full NAT": {1: 124, 16_000: 215, 1_000_000: 640},
    "Linux nftables dnat + snat": {1: 509, 1_000: 643, 128_000: 877},
}
# Of those the ones with which a figure is compared: VPP both ways, and DPVS without its port.
VPP_BOTH_WAYS = {1_000: 102, 16_000: 102, 1_000_000: 248}
DPVS_WITHOUT_PORT = {16_000: 215 - 14, 1_000_000: 640 - 14}


@dataclasses.dataclass(frozen=True)
class Target:
    """A line of the table: `figure` shall be at most (or least) `target`, and would better be at most `stretch`."""

    number: str
    what: str
    figure: str
    unit: str
    better: str
    target: float
    stretch: float | None = None

    def verdict(self, value):
        reached = lambda limit: value <= limit if self.better == "less" else value >= limit
        if self.stretch is not None and reached(self.stretch):
            return "better"
        return "met" if reached(self.target) else "MISSED"


def _targets():
    for flows, target, stretch in [(1_000, 0.85, 1.0), (100_000, 0.8, 0.95), (1_000_000, 0.75, 0.9)]:
        yield Target("1", f"rate over testpmd 5tswap, {short(flows)} flows", f"rig.{short(flows)}.over_5tswap", "", "more",
                     target, stretch)
    for transport in ["udp", "tcp"]:
        yield Target("2", f"above the port, both ways, {transport}, 1k flows", f"both_ways.{transport}.1k.above_port", "ns",
                     "less", 20, 12)
    for transport in ["udp", "tcp"]:
        yield Target("3", f"more of it with 4M flows, {transport}", f"both_ways.{transport}.4M.growth", "ns", "less", 60, 35)
    yield Target("4", "whole TCP connections", "connections.rate", "M/s", "more", 1.0, 1.6)
    yield Target("5", "new UDP flows, as many expiring", "inserts.1000ms.rate", "M/s", "more", 3, 5)
    yield Target("6", "memory of an IPv4 flow, at most", "flows.octets", "octets", "less", 128, 96)
    yield Target("7", "a turn while a million flows expire, p99.99", "expiry.turn.p9999", "us", "less", 50, 20)
    yield Target("8", "second worker over the first", "workers.second_over_first", "", "more", 1.9, 1.95)
    for burst in [1, 2, 4]:
        yield Target("9", f"a packet in bursts of {burst} over one in bursts of 32", f"bursts.{burst}.over_full", "%", "less",
                     60, 35)
    yield Target("10", "Maglev table of 1000 backends", "maglev.build", "ms", "less", 5)
    yield Target("10", "flows that move when one of 100 backends leaves", "maglev.moved", "%", "less", 1.8)
    yield Target("10", "the busiest backend over the average", "maglev.load", "", "less", 1.01)
    yield Target("11", "publication of 1000 x 100 backends: effect on a turn, p99.99", "publication.effect_p9999", "us", "less",
                 20)
    yield Target("11", "the same: from the probe's result to workers", "publication.flip", "ms", "less", 10)
    for flows, target, stretch in [(16_000, 5, 8), (1_000_000, 10, 20)]:
        yield Target("12", f"DPVS's cost over ours, without ports, {short(flows)} flows", f"dpvs.{short(flows)}.over_ours", "x",
                     "more", target, stretch)
    for flows, target, stretch in [(1_000, 2, 3), (16_000, 3, 4), (1_000_000, 3, 5)]:
        yield Target("12b", f"VPP's cost over ours, both ways, {short(flows)} flows", f"vpp.{short(flows)}.over_ours", "x",
                     "more", target, stretch)


TARGETS = list(_targets())


def compared(figures):
    """Peers' costs over those of the whole-worker bench."""
    by_name = {figure["name"]: figure for figure in figures}
    of = [("dpvs", DPVS_WITHOUT_PORT, "above_port"), ("vpp", VPP_BOTH_WAYS, "whole")]
    for peer, costs, part in of:
        for flows, cost in costs.items():
            ours = by_name.get(f"both_ways.udp.{short(flows)}.{part}")
            if ours and ours["value"] > 0:
                low, high = (cost / value if value > 0 else float("inf") for value in reversed(ours["spread"]))
                yield {"name": f"{peer}.{short(flows)}.over_ours", "unit": "x", "value": cost / ours["value"],
                       "spread": [low, high], "parameters": {"theirs": cost}}


def table(figures):
    """Lines: the targets that were measured, each with its verdict; and how many were missed."""
    by_name = {figure["name"]: figure for figure in figures}
    rows = [("", "figure", "target", "stretch", "measured", "")]
    for target in TARGETS:
        figure = by_name.get(target.figure)
        if figure is None:
            continue
        sign = "<=" if target.better == "less" else ">="
        limit = lambda value: "" if value is None else f"{sign} {value:g} {target.unit}".rstrip()
        low, high = figure["spread"]
        value = f"{figure['value']:.4g}" + ("" if low == high else f" ({low:.4g} - {high:.4g})")
        rows.append((target.number, target.what, limit(target.target), limit(target.stretch), value,
                     target.verdict(figure["value"])))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return lines, sum(row[-1] == "MISSED" for row in rows)
