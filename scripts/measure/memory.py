"""Memory for programs that are measured: the same for all."""

import contextlib

from . import hugepages

# Octets of packet memory that a buffer takes: data room, headroom and the header of DPDK.
BUFFER = 2048 + 128 + 256
# Octets of flow tables for each flow that there is room for: index, entry and expiry of both families.
FLOW = 300


def buffers(flows):
    """Packet buffers that a run takes: one for each packet of the capture, and those under way."""
    return flows + flows // 16 + 16_384


def room(flows):
    """Flows that evenkeel has room for."""
    return max(1_000_000, 2 * flows)


class Memory:
    """Huge pages for both programs if the machine has them, ordinary pages for both if not."""

    def __init__(self, mebibytes, huge):
        self.mebibytes, self.huge = mebibytes, huge

    @classmethod
    @contextlib.contextmanager
    def reserved(cls, mebibytes):
        with hugepages.reserved(mebibytes) as huge:
            memory = cls(mebibytes, huge)
            print(f"memory: {memory}, {mebibytes} MiB", flush=True)
            yield memory

    def __str__(self):
        return "huge pages of 2 MiB" if self.huge else "ordinary pages"

    def eal_arguments(self):
        if self.huge:
            return ["--in-memory", "--single-file-segments"]
        return ["--no-huge", "-m", str(self.mebibytes)]
