"""Huge pages for as long as a measurement lasts."""

import contextlib
import pathlib

PAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
PAGE_MIB = 2


@contextlib.contextmanager
def reserved(mebibytes):
    """Reserves what lacks of so many mebibytes, and gives it back at the end. Yields whether they are there: a kernel
    without huge pages, or without so much memory in one piece, has none."""
    added = 0
    try:
        lacking = max(0, mebibytes // PAGE_MIB - _read("free_hugepages"))
        before = _read("nr_hugepages")
        PAGES.write_text(str(before + lacking))
        added = _read("nr_hugepages") - before
        enough = _read("free_hugepages") >= mebibytes // PAGE_MIB
    except OSError:
        enough = False
    try:
        yield enough
    finally:
        if added > 0:
            # Not what was there before: others may have reserved or released some meanwhile.
            PAGES.write_text(str(max(0, _read("nr_hugepages") - added)))


def _read(name):
    return int(PAGES.with_name(name).read_text())
