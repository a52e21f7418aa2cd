"""The programs that are measured on the rig: one core, DPDK's pcap port, the same capture and memory."""

import json
import os
import re
import subprocess
import time

from . import fail
from .capture import VIP, VIP_PORT
from .memory import buffers, room

CONTROL_CORE, WORKER_CORE = 0, 1
BURST = 32
MEMPOOL_CACHE = 256
BACKENDS = 16
# Seconds between the first packets and the measurement.
WARM_UP = 1


class Evenkeel:
    """evenkeel on the rig: full NAT of one UDP service on one worker."""

    def __init__(self, program, capture, flows, memory, work):
        self.program, self.flows = program, flows
        self.socket = work / "control.sock"
        self.log = open(work / "evenkeel.log", "w+")
        configuration = work / "rig.toml"
        configuration.write_text(rig(capture, flows, memory, self.socket))
        self.command = [program, "run", "-c", str(configuration)]
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def measure(self, seconds):
        """Packets per second that were forwarded, and packets that were not."""
        self.wait_for_flows()
        time.sleep(WARM_UP)
        (before, began), (after, ended) = self.sample(), self.sample_after(seconds)
        delta = lambda name: after[name] - before[name]
        dropped = sum(after["drops"].values()) - sum(before["drops"].values())
        if delta("flows_created") or after["flows"] != self.flows:
            fail(f"evenkeel has {after['flows']} flows, {delta('flows_created')} of them new; the capture has {self.flows}")
        if delta("punted"):
            fail(f"evenkeel gave {delta('punted')} packets to the kernel")
        return delta("tx_packets") / (ended - began), dropped

    def wait_for_flows(self):
        deadline = time.monotonic() + 60
        while (status := self.status()) is None or status["flows"] < self.flows:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                fail(f"evenkeel does not have {self.flows} flows: {status}\n{self.log.read()[-2000:]}")
            time.sleep(0.1)

    def sample_after(self, seconds):
        time.sleep(seconds)
        return self.sample()

    def sample(self):
        """The counters, and when they were read: in the middle of asking."""
        asked = time.monotonic()
        status = self.status()
        return status, (asked + time.monotonic()) / 2

    def status(self):
        line = ["taskset", "-c", str(CONTROL_CORE), self.program, "status", "--json", "--socket", str(self.socket)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return json.loads(done.stdout)["total"] if done.returncode == 0 else None

    def close(self):
        end(self.process)
        self.log.close()


def rig(capture, flows, memory, socket):
    backends = "".join(f'[[service.backend]]\naddress = "10.0.9.{number}"\n' for number in range(1, BACKENDS + 1))
    # A local address for each 40000 flows of a backend.
    locals_ = ", ".join(f'"10.0.8.{number}"' for number in range(10, 12 + flows // BACKENDS // 40_000))
    return f"""# Made by scripts/bench.
[appliance]
name = "rig"
control_core = {CONTROL_CORE}
workers = [{WORKER_CORE}]
memory = "{'hugepages' if memory.huge else 'no-hugepages'}"
flows_per_worker = {room(flows)}
idle = "poll"
control_socket = "{socket}"
http_listen = "none"
mbufs = {buffers(flows)}

[[port]]
name = "rig"
device = "net_pcap0,rx_pcap={capture},infinite_rx=1"
kernel_interface = "none"

[[next_hop]]
prefix = "0.0.0.0/0"
port = "rig"
mac = "02:00:00:00:00:09"

[local_addresses]
default = [{locals_}]

[[service]]
name = "dns"
vip = "{VIP}"
port = {VIP_PORT}
protocol = "udp"

[service.health]
kind = "none"

{backends}"""


class Testpmd:
    """dpdk-testpmd on the same rig."""

    def __init__(self, mode, capture, flows, memory, work):
        eal = ["dpdk-testpmd", "--no-pci", *memory.eal_arguments(), "--no-telemetry", "--log-level=warning",
               f"--file-prefix=evenkeel-bench-{os.getpid()}", "--lcores", f"0@{CONTROL_CORE},1@{WORKER_CORE}",
               f"--vdev=net_pcap0,rx_pcap={capture},infinite_rx=1"]
        own = ["--interactive", f"--forward-mode={mode}", f"--burst={BURST}", "--nb-cores=1", "--no-flush-rx",
               f"--total-num-mbufs={buffers(flows)}", f"--mbcache={MEMPOOL_CACHE}"]
        self.command = [*eal, "--", *own]
        # What DPDK writes beside goes with the rest.
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, bufsize=1, env={**os.environ, "RUNTIME_DIRECTORY": str(work)})

    def measure(self, seconds):
        """Packets per second that were forwarded, and packets that were not. testpmd counts between two questions."""
        self.say("start")
        time.sleep(WARM_UP)
        self.say("show port stats 0")
        time.sleep(seconds)
        self.say("show port stats 0")
        self.say("stop")
        self.say("quit")
        try:
            text, _ = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            fail("testpmd does not end")
        rates = re.findall(r"Tx-pps:\s+(\d+)", text)
        drops = re.findall(r"TX-dropped:\s+(\d+)", text)
        if len(rates) < 2 or not drops:
            fail(f"testpmd says no rate:\n{text[-2000:]}")
        return float(rates[-1]), int(drops[-1])

    def say(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            fail(f"testpmd has ended:\n{self.process.stdout.read()[-2000:]}")

    def close(self):
        end(self.process)


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
