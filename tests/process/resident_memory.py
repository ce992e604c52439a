"""Samples the memory of a server, all of its processes together."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.process.harness import children

EVERY_SECONDS: Final = 0.05
MIB: Final = 2**20


def proportional_memory(pid: int) -> int:
    """Return the bytes of memory of a process; of what it shares, its part (PSS).

    0 if the process has ended.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        assert found
        return int(found[1]) * 1024
    return 0


def memory_of_all(pid: int) -> int:
    """Return the memory of a server and its model processes, in bytes."""
    return sum(proportional_memory(each) for each in (pid, *children(pid)))


class Samples:
    """The memory of a server, every 50 ms.

    Attributes:
        peak: the most bytes so far.
        number: how many samples were taken.
    """

    def __init__(self) -> None:
        self.peak = 0
        self.number = 0

    def add(self, nbytes: int) -> None:
        self.peak = max(self.peak, nbytes)
        self.number += 1


@contextmanager
def sampling(pid: int) -> Iterator[Samples]:
    """Sample the memory of a server during the block."""
    samples, stop = Samples(), threading.Event()

    def run() -> None:
        samples.add(memory_of_all(pid))
        while not stop.wait(EVERY_SECONDS):
            samples.add(memory_of_all(pid))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
