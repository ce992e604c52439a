"""Describes the machine that a measurement ran on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path


def describe_machine(extras: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return processor, memory, system, Python, `extras` and the current load, by name."""
    return {
        "processor": f"{processor()}, {cores()} cores",
        "memory": memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **(extras or {}),
        "load before": f"{load_average():.2f}",
    }


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def processor() -> str:
    """Return the name of the processor, or its architecture where the name is unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # only Linux has this file
        text = ""
    names = re.findall(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return names[0] if names else platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    """Return the size of the machine's memory."""
    nbytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{nbytes / 2**30:.0f} GiB"
