"""The processes of Linux: whose children they are, and the CPU time that they use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from scripts.measurements.serving import cpu_seconds


def family(roots: Iterable[int]) -> set[int]:
    """Return some processes and all that they have started, directly or not."""
    parents = dict(_parents())
    found, size = set(roots), 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


class CpuMeter:
    """The CPU time that some processes use from now on; those that end count no more."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._before = _used(pids)
        self._began = time.monotonic()

    def cores(self) -> float:
        """Return how many cores were busy with them, on average."""
        now = _used(self._before)
        seconds = sum(now[pid] - self._before[pid] for pid in now)
        return seconds / (time.monotonic() - self._began)


def _used(pids: Iterable[int]) -> dict[int, float]:
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = cpu_seconds(pid)
    return found


def _parents() -> Iterable[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(fields[1])
