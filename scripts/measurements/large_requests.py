"""CPU time of large requests, relative to decoding, predicting and encoding alone."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from model.formats.load import BatchEngine, load_model
from model.process.trials import Trials
from scripts.comparison.wrk import measure
from scripts.measurements import models
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import serving
from server.dialects.native.dialect import NativeDialect

MOST = 1.3
ROWS = 256
CONNECTIONS = 8


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the CPU time of a request with that of its steps, called directly."""
    del example  # uses its own network
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.keras"
        models.small_network(path)
        model = load_model(path)
        Trials(model, "model").warm_up(ROWS)
        numbers = np.random.default_rng(0).standard_normal((ROWS, models.INPUTS)).round(4)
        body = json.dumps({"data": numbers.tolist()})
        pairs = []
        with serving(path, "--logging.payloads", "false") as server:
            measure(server.url, body, CONNECTIONS, 1)
            for _ in range(rounds):
                before = server.cpu_seconds()
                answered = measure(server.url, body, CONNECTIONS, seconds).requests
                served = (server.cpu_seconds() - before) / answered
                pairs.append((served, _alone(model, body.encode(), seconds)))
    ratio = median_ratio(pairs)
    return Figure(
        f"{ROWS}×{models.INPUTS} numbers per request: CPU time, relative to its steps alone",
        f"{ratio:.2f} ({median(served for served, _ in pairs) * 1000:.2f} ms per request)",
        f"at most {MOST}",
        ratio <= MOST,
    )


def _alone(model: BatchEngine, body: bytes, seconds: float) -> float:
    """Return the CPU seconds of decoding, predicting and encoding one request."""
    dialect, calls = NativeDialect(model.signature), 0
    give_up, started = time.perf_counter() + seconds, time.process_time()
    while time.perf_counter() < give_up:
        request = dialect.decode(body)
        [answer] = model.predict([request.tensors])
        dialect.encode(answer, request)
        calls += 1
    return (time.process_time() - started) / calls
