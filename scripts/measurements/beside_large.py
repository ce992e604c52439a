"""Latency of small requests while another client sends large bodies, or asks for large answers."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

from scripts.comparison.venvs import ROOT
from scripts.comparison.wrk import Measurement, measure
from scripts.measurements import models
from scripts.measurements.figure import Figure
from scripts.measurements.serving import Server, serving

MOST_MS = 25.0
BODY_BYTES = 8 * 2**20 - 1024
WIDE_ROWS = 36  # answers of 25 MB
ONE_ROW = '{"data": [10]}'


class Round(NamedTuple):
    """One-row requests alone, beside large bodies and beside large answers."""

    alone: Measurement
    bodies: Measurement
    answers: Measurement
    large: Sequence[Measurement]  # the requests of the other client


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the 99th percentile of one-row requests with MOST_MS."""
    results = rounds_of(example, rounds, seconds)
    p99 = {name: _p99([getattr(each, name) for each in results]) for name in Round._fields[:3]}
    p50 = {name: _p50([getattr(each, name) for each in results]) for name in Round._fields[:3]}
    rates = [median(each.large[n].rate for each in results) for n in (0, 1)]
    return Figure(
        f"p50 and p99 of one-row requests alone; beside a client that sends bodies of 8 MiB "
        f"({rates[0]:.1f} a second); beside one that asks for answers of 25 MB ({rates[1]:.1f})",
        "; ".join(f"{p50[name]:.2f} and {p99[name]:.1f} ms" for name in p99),
        f"p99 at most {MOST_MS:g} ms beside both",
        max(p99["bodies"], p99["answers"]) <= MOST_MS,
    )


def rounds_of(
    example: Path, rounds: int, seconds: float, *flags: str, folder: Path = ROOT
) -> list[Round]:
    """Measure on a server with the code in `folder`."""
    with tempfile.TemporaryDirectory(prefix="measure-") as made:
        config = configuration(example, Path(made))
        with serving(None, "--config", str(config), *flags, folder=folder) as server:
            bodies, answers = large_requests(server)
            for url, body in (bodies, answers):
                measure(url, body, 1, 1)
            return [
                Round(
                    measure(server.url, ONE_ROW, 1, seconds),
                    *_beside(server, seconds, bodies, answers),
                )
                for _ in range(rounds)
            ]


def configuration(example: Path, folder: Path) -> Path:
    """Return a configuration file for the example model, `small` and `wide`."""
    models.small_network(folder / "small.keras")
    models.wide_network(folder / "wide.keras")
    paths = [example.resolve(), folder / "small.keras", folder / "wide.keras"]
    config = folder / "config.yaml"
    config.write_text("models:\n" + "".join(f"  - {{path: {path}}}\n" for path in paths))
    return config


def large_requests(server: Server) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return URL and body of a request of 8 MiB, and of one with an answer of 25 MB."""
    origin = server.url.removesuffix("/predict")
    row = json.dumps([round(0.1234 + n / 100, 4) for n in range(models.INPUTS)])
    rows = ",".join([row] * (BODY_BYTES // (len(row) + 1)))
    wide = json.dumps({"data": [[float(n)] for n in range(WIDE_ROWS)]})
    return (
        (f"{origin}/models/small/predict", f'{{"data":[{rows}]}}'),
        (f"{origin}/models/wide/predict", wide),
    )


def _beside(
    server: Server, seconds: float, *others: tuple[str, str]
) -> tuple[Measurement, Measurement, list[Measurement]]:
    small, large = [], []
    with ThreadPoolExecutor(1) as beside:
        for url, body in others:
            flood = beside.submit(measure, url, body, 1, seconds + 1)
            time.sleep(0.5)
            small.append(measure(server.url, ONE_ROW, 1, seconds))
            large.append(flood.result())
    return small[0], small[1], large


def _p50(results: Sequence[Measurement]) -> float:
    return median(each.p50_ms or float("inf") for each in results)


def _p99(results: Sequence[Measurement]) -> float:
    return median(each.p99_ms or float("inf") for each in results)
