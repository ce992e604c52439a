"""Latency of small requests while another client sends large ones."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from model.formats.load import BatchEngine, load_model
from model.process.batch_size import Limits
from model.process.batch_size import measure as measure_batch_size
from model.process.trials import Trials
from scripts.comparison.wrk import measure
from scripts.measurements.figure import Figure
from scripts.measurements.models import rows_for
from scripts.measurements.serving import serving

LARGE = 10_000
EXTRA_MS = 5.0


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the 99th percentile of one-row requests with twice the time of a full batch."""
    model = load_model(example)
    trials = Trials(model, str(example))
    trials.warm_up(1)
    full = measure_batch_size(trials.trial, trials.row_nbytes, Limits()).rows
    large = json.dumps({"data": [[float(n % 100)] for n in range(LARGE)]})
    results = []
    with serving(example) as server, ThreadPoolExecutor(1) as beside:
        for _ in range(rounds):
            batch_ms = _median_call_ms(model, full)
            flood = beside.submit(measure, server.url, large, 1, seconds + 1)
            time.sleep(0.5)
            small = measure(server.url, '{"data": [10]}', 1, seconds)
            results.append((small.p99_ms or float("inf"), batch_ms, flood.result().rate))
    p99, batch_ms, rate = (median(column) for column in zip(*results, strict=True))
    most = 2 * batch_ms + EXTRA_MS
    return Figure(
        f"p99 of one-row requests while another client sends {LARGE:,} rows per request",
        f"{p99:.1f} ms (with {rate:.0f} large requests per second)",
        f"at most {most:.1f} ms: two batches of {full} rows ({batch_ms:.2f} ms each) "
        f"plus {EXTRA_MS:g} ms",
        p99 <= most,
    )


def _median_call_ms(model: BatchEngine, size: int) -> float:
    rows, times = [rows_for(model, 1)] * size, []
    for _ in range(50):
        started = time.perf_counter()
        model.predict(rows)
        times.append(time.perf_counter() - started)
    return median(times) * 1000
