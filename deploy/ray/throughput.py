"""Throughput of the application on Ray Serve, beside one server and `@serve.batch`; prints JSON.

    .ray/bin/python -m deploy.ray.throughput

On every side one process computes the model, with one thread, in batches of up to 64 rows. All
sides stay up, and are measured in turn. The numbers in docs/ray.md come from here.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from deploy.ray.cluster import cluster, wait_until
from deploy.ray.networks import WIDTHS, dense, line
from deploy.ray.processes import CpuMeter, family
from deploy.ray.results import Run, table
from deploy.ray.sides import WAITS_S, Side, idle_processes, sides
from scripts.comparison.process import post
from scripts.comparison.rounds import in_turn
from scripts.comparison.venvs import Missing
from scripts.comparison.wrk import NOT_INSTALLED, is_installed, measure

CONNECTIONS: Final = (1, 64)
CPUS: Final = 1 + len(WAITS_S)  # one for each replica
WARM_UP_S: Final = 1
WITHIN_S: Final = 60.0  # for the answer to a single request
TIMES: Final = (1, 4, 16)  # as long
IDLE_FOR_S: Final = 0.5
IDLE_CORES: Final = 0.4  # the most that idle sides may use; a cluster without load uses up to 0.2


def main(argv: Sequence[str]) -> int:
    """Compare all sides; return 1 if a request failed or an idle side was busy, 2 without wrk."""
    options = _parser().parse_args(argv)
    if not is_installed():
        print(f"throughput: {NOT_INSTALLED}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="ray-throughput-") as folder,
        cluster(folder, options.port, workers=0, cpus=CPUS),
    ):
        for network, path, row in networks(Path(folder)):
            with sides(path, options.port) as compared:
                check(compared, path, row)
                for connections in CONNECTIONS:
                    runs = interleaved(compared, row, connections, options.rounds, options.seconds)
                    first = {"network": network, "connections": connections}
                    rows += [{**first, **each} for each in table(runs)]
    print(json.dumps({"rows": rows}, indent=1))
    return 1 if any(row["failed"] or row["cores of idle sides"] > IDLE_CORES for row in rows) else 0


def networks(folder: Path) -> list[tuple[str, Path, list[float]]]:
    """Write the networks; return the name, the file, and a row of each."""
    wide = " → ".join(map(str, WIDTHS))
    return [
        ("3 · x + 1", line(folder, "line", 3), [10.0]),
        (wide, dense(folder, "dense"), [n / WIDTHS[0] for n in range(WIDTHS[0])]),
    ]


def check(compared: Sequence[Side], model: Path, row: list[float]) -> None:
    """Compare the answer of each side with that of ONNX Runtime; raises ValueError."""
    (right,) = onnxruntime.InferenceSession(model).run(None, {"x": [row]})
    for side in compared:
        answer = post(
            side.port,
            side.path,
            body_of(row),
            {"Content-Type": "application/json"},
            lambda body, _: float(json.loads(body)["prediction"]),
            WITHIN_S,
        )
        if not math.isclose(answer, right[0][0], rel_tol=1e-4):
            raise ValueError(f"{side.name} answers {answer:g} instead of {right[0][0]:g}")


def interleaved(
    compared: Sequence[Side], row: list[float], connections: int, rounds: int, seconds: int
) -> dict[str, list[Run]]:
    """Measure all sides in each round, which begins with another one; return the runs of each."""
    runs: dict[str, list[Run]] = {side.name: [] for side in compared}
    for side in compared:
        measure(side.url, body_of(row), connections, WARM_UP_S)
    for order in in_turn(compared, rounds):
        for side in order:
            others = idle_processes(side, compared)
            runs[side.name].append(run(side, others, row, connections, seconds))
    return runs


def run(side: Side, others: set[int], row: list[float], connections: int, seconds: int) -> Run:
    """Measure one side, once all are idle: again and longer, if nothing is answered in time.

    Raises Missing if nothing is answered at all.
    """
    for times in TIMES:
        wait_until(all_are_idle, "idle sides")
        meter = CpuMeter(others)
        measured = measure(side.url, body_of(row), connections, times * seconds)
        if measured.rate:
            return Run(measured, meter.cores())
    raise Missing(f"{side.name}: no good answer within {TIMES[-1] * seconds} s")


def all_are_idle() -> bool:
    """Return whether no side uses CPU; requests that wrk has given up may keep one busy."""
    meter = CpuMeter(family([os.getpid()]))
    time.sleep(IDLE_FOR_S)
    return meter.cores() < IDLE_CORES


def body_of(row: list[float]) -> str:
    return json.dumps({"data": row})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="throughput",
        description="Measure one server, the application on Ray Serve and @serve.batch in turn.",
        epilog="Exit code 1: a request failed, or an idle side used CPU; 2: wrk is not installed.",
    )
    add = parser.add_argument
    add("--rounds", type=int, metavar="N", default=3, help="runs of each side (%(default)s)")
    add("--seconds", type=int, metavar="S", default=4, help="duration of a run (%(default)s)")
    add("--port", type=int, metavar="N", default=8124, help="of Ray's proxy (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
