"""Throughput with binary tensors, relative to the same tensors in JSON."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import orjson

from model.formats.load import load_model
from scripts.comparison.encodings import Encoding, described, in_bytes
from scripts.comparison.wrk import measure
from scripts.measurements import models
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

LEAST = 5.0
ROWS = 256
CONNECTIONS = 8


class Cost(NamedTuple):
    """The requests per second in one encoding, and the server's CPU time per request.

    CPU time depends less on other processes.
    """

    rate: float
    cpu_seconds: float


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Measure both encodings of the Open Inference Protocol in turn; answers are encoded alike."""
    del example  # uses its own network
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.keras"
        models.small_network(path)
        [rows] = models.rows_for(load_model(path), ROWS).arrays.items()
        encodings = in_bytes(*rows), in_json(*rows)
        with serving(path) as server:
            for encoding in encodings:
                _cost(server, encoding, 1)
            pairs = [
                (_cost(server, encodings[0], seconds), _cost(server, encodings[1], seconds))
                for _ in range(rounds)
            ]
    ratio = median_ratio([(fast.rate, slow.rate) for fast, slow in pairs])
    cpu = median_ratio([(slow.cpu_seconds, fast.cpu_seconds) for fast, slow in pairs])
    rates = " and ".join(
        f"{median(cost.rate for cost in side):,.0f}" for side in zip(*pairs, strict=True)
    )
    return Figure(
        f"{ROWS}×{models.INPUTS} float32 on `/v2`: binary requests per second, relative to JSON",
        f"{ratio:.1f} ({rates} per second; {cpu:.1f} by CPU time)",
        f"at least {LEAST:g}",
        ratio >= LEAST,
    )


def in_json(name: str, array: np.ndarray) -> Encoding:
    """Return a request with its numbers in JSON, in the shortest form, and a JSON answer."""
    cells = array.ravel()
    document = {"inputs": [{**described(name, array), "data": cells}]}
    return Encoding(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), {})


def _cost(server: Server, encoding: Encoding, seconds: float) -> Cost:
    url = f"http://127.0.0.1:{server.port}/v2/models/small/infer"
    before = server.cpu_seconds()
    done = measure(url, encoding.body, CONNECTIONS, seconds, encoding.headers)
    if done.rejected or done.socket_errors:
        raise RuntimeError(f"{done.rejected} rejected, {done.socket_errors} socket errors")
    return Cost(done.rate, (server.cpu_seconds() - before) / done.requests)
