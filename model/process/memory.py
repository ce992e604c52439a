"""How much memory this process takes, and how much more it may take (Linux; else unknown)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model.process.cgroups import CGROUP, PROC, folders

UNKNOWN: Final = 2**62

# Limit, what is used, and in `memory.stat` what of that the kernel would give up.
VERSION_2: Final = ("memory.max", "memory.current", "inactive_file")
VERSION_1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")

_KB: Final = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


class Memory:
    """Reads the kernel's counts; `proc` and `cgroup` are their folders."""

    def __init__(self, proc: Path = PROC, cgroup: Path = CGROUP) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._high = 0  # the peak when it was reset: of the whole life, where that is impossible

    def available(self) -> int:
        """Return how many bytes are left, of the machine's memory or of a cgroup's limit."""
        machine = self._sizes("meminfo").get("MemAvailable", UNKNOWN)
        return min([machine, *self._left_in_cgroups()])

    def resident(self) -> int:
        """Return how many bytes of memory this process has; 0 where the system does not tell."""
        return self._sizes("self/status").get("VmRSS", 0)

    def reset_peak(self) -> None:
        """Let `peak` count from now on, where the system can (proc(5), clear_refs)."""
        with contextlib.suppress(OSError):
            (self._proc / "self/clear_refs").write_text("5")
        self._high = self._sizes("self/status").get("VmHWM", 0)

    def peak(self) -> int:
        """Return the most bytes of memory that this process has had since then.

        Where it could not be reset, and was higher before, what it has now.
        """
        sizes = self._sizes("self/status")
        high = sizes.get("VmHWM", 0)
        return high if high > self._high else sizes.get("VmRSS", 0)

    def _sizes(self, name: str) -> dict[str, int]:
        try:
            text = (self._proc / name).read_text()
        except OSError:
            return {}
        return {key: int(size) * 1024 for key, size in _KB.findall(text)}

    def _left_in_cgroups(self) -> Iterator[int]:
        """Yield what is left of each limit: this group's, and those above it."""
        for folder in folders("memory", self._proc, self._cgroup):
            for limit, used, cache in (VERSION_2, VERSION_1):
                try:
                    most = (folder / limit).read_text().strip()
                    now = int((folder / used).read_text())
                    stat = (folder / "memory.stat").read_text()
                    if most != "max":
                        found = re.search(rf"^{cache} (\d+)$", stat, re.MULTILINE)
                        yield max(0, int(most) - now + (int(found[1]) if found else 0))
                except (OSError, ValueError):
                    continue
