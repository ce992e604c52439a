"""Throughput of networks that people serve, relative to direct calls of the same engine.

Tensors are sent in bytes over 8 connections. Only calls of 5 ms and more count: for shorter ones
HTTP is a large part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from model.formats.load import BatchEngine, load_model
from model.process.trials import Trials
from scripts.comparison.encodings import in_bytes
from scripts.comparison.networks.prepare import NETWORKS, Prepared, prepare
from scripts.measurements.batches import direct, served
from scripts.measurements.figure import Figure
from scripts.measurements.serving import Server, serving

LEAST = 0.85
SHORTEST = 0.005  # seconds a call
CONNECTIONS = 8
NAMES = ("transformer", "mobilenetv2", "efficientnetb0", "resnet50")


class Round(NamedTuple):
    """Rows per second when served and by direct calls; rows and seconds of a call."""

    served: float
    alone: float
    rows: float
    seconds: float

    @property
    def ratio(self) -> float:
        return self.served / self.alone


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the rows per second with those of direct calls with the batches that formed."""
    del example  # uses its own networks
    texts, ratios = [], []
    for name in NAMES:
        with tempfile.TemporaryDirectory(prefix="measure-") as folder:
            network = prepare(name, Path(folder))
            for engine, path in engines_of(network):
                done = rounds_of(path, network.rows, rounds, seconds)
                ratio = median(each.ratio for each in done)
                took = median(each.seconds for each in done)
                counts = took >= SHORTEST
                if counts:
                    ratios.append(ratio)
                texts.append(
                    f"{NETWORKS[name]}, {engine}: {ratio:.2f} "
                    f"({median(each.rows for each in done):.1f} rows in {1000 * took:.1f} ms"
                    f"{'' if counts else ', does not count'})"
                )
    return Figure(
        f"networks in bytes, {CONNECTIONS} connections: rows per second, relative to direct calls "
        "with the batches that formed",
        "; ".join(texts),
        f"at least {LEAST} for calls of {1000 * SHORTEST:g} ms and more",
        min(ratios, default=1.0) >= LEAST,
    )


def engines_of(network: Prepared) -> Iterator[tuple[str, Path]]:
    """Yield the name of each engine, and the file that it serves."""
    yield "TensorFlow", network.model
    yield "ONNX Runtime", network.model.parent / "onnx" / "model.onnx"


def rounds_of(path: Path, rows: np.ndarray, rounds: int, seconds: float) -> list[Round]:
    """Serve a file, and call it directly in turn."""
    model = load_model(path)
    Trials(model, path.stem).warm_up(CONNECTIONS)
    with serving(path, "--logging.payloads", "false") as server:
        _served(server, model, path.stem, rows, 1)
        return [_round(server, model, path.stem, rows, seconds) for _ in range(rounds)]


def _round(
    server: Server, model: BatchEngine, name: str, rows: np.ndarray, seconds: float
) -> Round:
    size, rate = _served(server, model, name, rows, seconds)
    alone = direct(model, rows, size, seconds)
    return Round(rate, alone, size, size / alone)


def _served(
    server: Server, model: BatchEngine, name: str, rows: np.ndarray, seconds: float
) -> tuple[float, float]:
    """Return the mean number of rows per batch, and the rows per second."""
    request = in_bytes(model.signature.inputs[0].name, rows[:1])
    url = f"http://127.0.0.1:{server.port}/v2/models/{name}/infer"
    return served(server, url, request.body, request.headers, CONNECTIONS, seconds)
