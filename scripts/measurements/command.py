"""The command line of measure.py: which measurements to run, and where to write the results."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.comparison.command import MODEL
from scripts.comparison.venvs import ROOT
from scripts.comparison.versions import versions
from scripts.comparison.wrk import NOT_INSTALLED, is_installed
from scripts.measurements import (
    auto_engine,
    beside_large,
    fairness,
    heavy_network,
    idle_connections,
    large_requests,
    memory,
    mixed_lengths,
    networks_in_bytes,
    one_connection,
    pictures,
    reload_beside,
    tensors_in_bytes,
    watching,
)
from scripts.measurements.figure import markdown
from server.loadtest.machine import describe_machine

MEASUREMENTS = {
    "one-connection": one_connection.run,
    "heavy-network": heavy_network.run,
    "large-requests": large_requests.run,
    "fairness": fairness.run,
    "beside-large": beside_large.run,
    "idle-connections": idle_connections.run,
    "memory": memory.run,
    "watching": watching.run,
    "tensors-in-bytes": tensors_in_bytes.run,
    "reload-beside": reload_beside.run,
    "auto-while-trying": auto_engine.while_trying,
    "auto-start": auto_engine.start,
    "pictures": pictures.run,
    "networks-in-bytes": networks_in_bytes.run,
    "mixed-lengths": mixed_lengths.run_lstm,
    "mixed-lengths-text": mixed_lengths.run_text,
}


def main(argv: Sequence[str]) -> int:
    """Measure; return 0 if all targets are met, 1 if not, 2 if wrk is missing."""
    parser = _parser()
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(MEASUREMENTS):
        parser.error(
            f"unknown measurement: {', '.join(sorted(unknown))}; known: {', '.join(MEASUREMENTS)}"
        )
    if not is_installed():
        print(f"measure: {NOT_INSTALLED}", file=sys.stderr)
        return 2
    if not MODEL.exists():
        subprocess.run([sys.executable, "-m", "model.train"], cwd=ROOT, check=True)
    figures = []
    for name in options.names or MEASUREMENTS:
        figures.append(MEASUREMENTS[name](MODEL, options.rounds, options.seconds))
        print(" | ".join(figures[-1].row()), flush=True)
    if options.out:
        command = shlex.join(["python", "scripts/measure.py", *argv])
        machine = describe_machine(versions())
        facts = "".join(f"- {name}: {value}\n" for name, value in machine.items())
        text = f"# Measured\n\nBy `{command}`.\n\n{markdown(figures)}\n{facts}"
        options.out.write_text(text)
    return int(not all(figure.reached for figure in figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="measure.py",
        description="Measure latency, CPU time and memory of this server, and compare each figure "
        "with its target.",
        epilog="Exit code 1: a target is not met. 2: wrk is not installed.",
    )
    add = parser.add_argument
    add(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"measurements to run (default: all): {', '.join(MEASUREMENTS)}",
    )
    add(
        "--rounds",
        metavar="N",
        type=int,
        default=5,
        help="how often each is measured; the result is the median (default: %(default)s)",
    )
    add(
        "--seconds",
        metavar="S",
        type=float,
        default=3,
        help="duration of each run (default: %(default)s)",
    )
    add("--out", metavar="FILE", type=Path, help="Markdown file to write")
    return parser
