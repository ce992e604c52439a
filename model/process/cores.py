"""How many cores this process may use: affinity, and the quota of its cgroup (Linux)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from model.process.cgroups import CGROUP, PROC, folders

VERSION_2: Final = ("cpu.max",)
VERSION_1: Final = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def usable_cores(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Return the whole cores that may be used, 1 at least; not those that the machine has."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        count = os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(proc, cgroup)]
    return max(1, min([count, *quotas]))


def _quotas(proc: Path, cgroup: Path) -> Iterator[float]:
    """Yield the cores of each quota: this group's, and those above it."""
    for folder in folders("cpu", proc, cgroup):
        for names in (VERSION_2, VERSION_1):
            try:
                most, period = " ".join((folder / name).read_text() for name in names).split()
                if most not in ("max", "-1"):
                    yield int(most) / int(period)
            except (OSError, ValueError, ZeroDivisionError):
                continue


def use_one_core() -> set[int]:
    """Keep this process, and the threads that it starts, on one core; return what it had.

    A model that loads beside others leaves the other cores to them. Niceness would do it better,
    and could not be undone without CAP_SYS_NICE.
    """
    if not hasattr(os, "sched_setaffinity"):
        return set()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    return before


def use_cores(cores: set[int]) -> None:
    """Let all threads of this process use these cores again."""
    if not cores:
        return
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:  # the thread has ended
            continue
