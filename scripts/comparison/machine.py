"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version

from scripts.comparison.venvs import ROOT
from server.loadtest.machine import cores, memory, processor


def describe_machine() -> dict[str, str]:
    """Return what tells this machine and this moment from others, by name."""
    return {
        "processor": f"{processor()}, {cores()} cores, shared by both sides",
        "memory": memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "TensorFlow": f"{version('tensorflow')}, Keras {version('keras')}",
        "Tornado": version("tornado"),
        "wrk": _first(["wrk", "-v"], r"wrk (\S+)"),
        "this server": "commit " + _first(["git", "rev-parse", "--short", "HEAD"], r"(\w+)"),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _first(command: list[str], pattern: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # two fixed commands
    found = re.search(pattern, done.stdout)
    return found[1] if found else "unknown"
