"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version

from scripts.comparison import wrk
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
        "wrk": wrk.version(),
        "this server": f"commit {_commit()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    return done.stdout.strip() or "unknown"
