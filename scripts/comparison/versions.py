"""The versions that a comparison or a measurement ran with."""

from __future__ import annotations

import subprocess
from importlib.metadata import version

from scripts.comparison import wrk
from scripts.comparison.venvs import ROOT


def versions() -> dict[str, str]:
    """Return the versions of TensorFlow, Tornado, wrk and this server, by name."""
    return {
        "TensorFlow": f"{version('tensorflow')}, Keras {version('keras')}",
        "Tornado": version("tornado"),
        "wrk": wrk.version(),
        "this server": f"commit {_commit()}",
    }


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    return done.stdout.strip() or "unknown"
