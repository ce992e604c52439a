"""Measure latency, CPU time and memory of this server, each against a target; see `--help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.measurements.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
