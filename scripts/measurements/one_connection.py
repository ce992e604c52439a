"""Latency that the service adds to a model call, with a single client."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from model.formats.load import BatchEngine, load_model
from model.process.trials import Trials
from scripts.comparison.wrk import measure
from scripts.measurements.figure import Figure
from scripts.measurements.models import rows_for
from scripts.measurements.serving import serving

MOST_MS = 0.3
CALLS = 500


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the median latency with that of the compiled call in a thread."""
    model = load_model(example)
    Trials(model, str(example)).warm_up(1)
    added = []
    with serving(example) as server:
        for _ in range(rounds):
            alone = asyncio.run(_median_call_ms(model))
            served = measure(server.url, '{"data": [10]}', 1, seconds).p50_ms or float("inf")
            added.append((served - alone, served, alone))
    extra, served, alone = (median(column) for column in zip(*added, strict=True))
    return Figure(
        "one connection: p50, minus that of a model call in a thread",
        f"{extra:.2f} ms ({served:.2f} - {alone:.2f})",
        f"at most {MOST_MS} ms",
        extra <= MOST_MS,
    )


async def _median_call_ms(model: BatchEngine) -> float:
    rows, times = [rows_for(model, 1)], []
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        for _ in range(CALLS):
            started = time.perf_counter()
            await loop.run_in_executor(thread, model.predict, rows)
            times.append(time.perf_counter() - started)
    return median(times) * 1000
