"""Rows per second of a server with the batches that form, and of direct calls of that size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from model.formats.load import BatchEngine
from model.tensors import Tensors
from scripts.comparison.wrk import Measurement, measure
from scripts.measurements.serving import Server


def mean_rows(server: Server, load: Callable[[], Measurement]) -> tuple[float, Measurement]:
    """Put a load on a server; return the mean number of rows per batch, and the measurement."""
    names = ("predict_batch_rows_sum", "predict_batch_rows_count")
    before = [server.metric(each) for each in names]
    done = load()
    rows, batches = (server.metric(n) - b for n, b in zip(names, before, strict=True))
    return rows / batches, done


def served(
    server: Server,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    connections: int,
    seconds: float,
) -> tuple[float, float]:
    """Return the mean number of rows per batch, and the rows per second; one row a request.

    Raises RuntimeError if a request fails.
    """

    def load() -> Measurement:
        done = measure(url, body, connections, seconds, headers)
        if done.rejected or done.socket_errors or not done.requests:
            raise RuntimeError(f"{done.rejected} rejected, {done.socket_errors} socket errors")
        return done

    size, done = mean_rows(server, load)
    return size, done.rate


def direct(model: BatchEngine, rows: np.ndarray, size: float, seconds: float) -> float:
    """Return the rows per second of direct calls of `size` rows, on average."""
    [spec] = model.signature.inputs
    calls, answered, started = 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or not calls:
        calls += 1
        count = int(calls * size) - answered  # whole numbers of rows, `size` on average
        part = np.resize(rows, (max(1, count), *rows.shape[1:]))
        model.predict([Tensors({spec.name: part})])
        answered += len(part)
    return answered / passed
