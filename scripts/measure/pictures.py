"""Pictures of the figures, drawn by gnuplot as SVG."""

import re
import subprocess

from . import short
from .targets import PEERS

STYLE = """\
set terminal svg size 860,480 font "Helvetica,13" background "white"
set key outside right top reverse Left width -2 samplen 2
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
"""


def draw(script, path):
    done = subprocess.run(["gnuplot"], input=STYLE + f'set output "{path}"\n' + script, text=True, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(f"gnuplot: {done.stderr.strip()}")


def rates(figures, path):
    """Packets per second against flows, beside testpmd on the same rig and peers as they were measured elsewhere."""
    series = {}
    for figure in figures:
        if found := re.fullmatch(r"rig\.(\w+)\.(evenkeel|io|macswap|5tswap|csum)", figure["name"]):
            name = found[2] if found[2] == "evenkeel" else f"testpmd {found[2]}"
            series.setdefault(name, {})[figure["parameters"]["flows"]] = figure["value"]
    if "evenkeel" not in series:
        return False
    names = ["evenkeel", *sorted(name for name in series if name != "evenkeel")]
    lines = [(name, series[name], 'lw 3 pt 7 lc rgb "#c0392b"' if name == "evenkeel" else "lw 1.5 pt 6") for name in names]
    for (name, costs), colour in zip(PEERS.items(), ["#2471a3", "#af601a", "#7f8c8d"]):
        style = f'dt 2 lw 1.5 pt 4 lc rgb "{colour}"'
        lines.append((name, {flows: 1e3 / cost for flows, cost in costs.items()}, style))
    ticks = ", ".join(f'"{short(10 ** power)}" {10 ** power}' for power in range(7))
    script = f"""\
set title "64-octet UDP, one core: packets per second against flows" noenhanced
set logscale xy
set xrange [0.7:2000000]
set yrange [0.8:150]
set xtics ({ticks})
set ytics (1, 2, 5, 10, 20, 50, 100)
set xlabel "flows, in random order"
set ylabel "Mpps"
"""
    draw(script + plot(lines), path)
    return True


def latencies(figures, path):
    """Quantiles of the time inside, by load."""
    series = {}
    for figure in figures:
        if found := re.fullmatch(r"latency_p([\d.]+)", figure["name"]):
            parameters = figure["parameters"]
            name = f"{parameters['load']:.0%} load, {parameters['idle']}"
            # An axis on which each nine has the same length.
            series.setdefault(name, {})[1 / (1 - float(found[1]) / 100)] = figure["value"]
    if not series:
        return False
    script = """\
set title "Time from the generator through evenkeel and back, over shared memory" noenhanced
set logscale xy
set xrange [1.8:13000]
set xtics ("50 %%" 2, "90 %%" 10, "99 %%" 100, "99.9 %%" 1000, "99.99 %%" 10000)
set xlabel "share of packets"
set ylabel "us or less"
"""
    draw(script + plot([(name, points, "lw 2 pt 7") for name, points in series.items()]), path)
    return True


def plot(lines):
    """The command and data for lines of (name, points, style)."""
    clauses = ", ".join(f'"-" using 1:2 with linespoints {style} title "{name}" noenhanced' for name, _, style in lines)
    data = ("".join(f"{x:g} {y:g}\n" for x, y in sorted(points.items())) + "e\n" for _, points, _ in lines)
    return f"plot {clauses}\n" + "".join(data)
