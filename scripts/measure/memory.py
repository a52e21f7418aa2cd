"""Memory for programs that are measured: the same for all."""

import pathlib

# Octets of packet memory that a buffer takes: data room, headroom and the header of DPDK.
BUFFER = 2048 + 128 + 256
# Octets of flow tables for each flow that there is room for: index, entry and expiry of both families.
FLOW = 300
HUGE_PAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
HUGE_PAGE = 2 << 20


def buffers(flows):
    """Packet buffers that a run takes: one for each packet of the capture, and those under way."""
    return flows + flows // 16 + 16_384


def room(flows):
    """Flows that evenkeel has room for."""
    return max(1_000_000, 2 * flows)


class Memory:
    """Huge pages for both programs if the machine has them, ordinary pages for both if not."""

    def __init__(self, mebibytes):
        self.mebibytes = mebibytes
        self.before = None
        self.huge = False

    def __enter__(self):
        try:
            self.before = int(HUGE_PAGES.read_text())
            wanted = self.mebibytes * (1 << 20) // HUGE_PAGE
            free = int(HUGE_PAGES.with_name("free_hugepages").read_text())
            HUGE_PAGES.write_text(str(self.before + max(0, wanted - free)))
            self.huge = int(HUGE_PAGES.with_name("free_hugepages").read_text()) >= wanted
        except OSError:
            self.huge = False
        if not self.huge:
            self.__exit__()
        print(f"memory: {self}, {self.mebibytes} MiB", flush=True)
        return self

    def __exit__(self, *_):
        if self.before is not None:
            HUGE_PAGES.write_text(str(self.before))

    def __str__(self):
        return "huge pages of 2 MiB" if self.huge else "ordinary pages"

    def eal_arguments(self):
        if self.huge:
            return ["--in-memory", "--single-file-segments"]
        return ["--no-huge", "-m", str(self.mebibytes)]
