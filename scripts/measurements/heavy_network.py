"""Throughput of a large network when served, relative to direct calls."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median

from model.formats.load import BatchEngine, load_model
from model.process.trials import Trials
from scripts.comparison.wrk import measure
from scripts.measurements import models
from scripts.measurements.batches import mean_rows
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

LEAST = 0.9
CONNECTIONS = 256


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the rows per second with those of direct calls with batches of the same size."""
    del example  # uses its own network
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heavy.keras"
        models.heavy_network(path)
        model = load_model(path)
        Trials(model, "model").warm_up(CONNECTIONS)
        body = json.dumps({"data": [round(0.1 * n, 1) for n in range(models.INPUTS)]})
        pairs, sizes = [], []
        with serving(path) as server:
            measure(server.url, body, CONNECTIONS, 1)
            for _ in range(rounds):
                size, served = _served(server, body, seconds)
                pairs.append((served, _alone(model, size, seconds)))
                sizes.append(size)
    ratio = median_ratio(pairs)
    return Figure(
        "four `Dense(2048)`: rows per second, relative to direct calls",
        f"{ratio:.2f} ({median(served for served, _ in pairs):,.0f} rows/s, "
        f"{median(sizes):.0f} rows per batch)",
        f"at least {LEAST}",
        ratio >= LEAST,
    )


def _served(server: Server, body: str, seconds: float) -> tuple[int, float]:
    """Return the mean number of rows per batch, and the rows per second."""
    rows, done = mean_rows(server, lambda: measure(server.url, body, CONNECTIONS, seconds))
    return max(1, round(rows)), done.rate


def _alone(model: BatchEngine, size: int, seconds: float) -> float:
    """Return the rows per second of direct calls."""
    rows, calls, started = [models.rows_for(model, size)], 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        model.predict(rows)
        calls += 1
    return calls * size / passed
