"""What the load was put on from."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def describe_machine() -> dict[str, str]:
    """Return what tells this machine and this moment from others, by name."""
    return {
        "processor": f"{processor()}, {cores()} cores",
        "memory": memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load before": f"{load_average():.2f}",
    }


def load_average() -> float:
    """Return how many threads wanted a core in the last minute, on average."""
    return os.getloadavg()[0]


def processor() -> str:
    """Return the processor's name, or at least its kind."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # Linux alone has it
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
