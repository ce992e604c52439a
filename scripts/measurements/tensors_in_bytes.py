"""How many more requests are answered with tensors in bytes than with the same tensors in JSON."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import orjson

from model.keras_model import KerasModel
from scripts.comparison.wrk import measure
from scripts.measurements import models
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

LEAST = 5.0
ROWS = 256
CONNECTIONS = 8


class Form(NamedTuple):
    """One way to send tensors."""

    body: bytes
    headers: dict[str, str]


class Cost(NamedTuple):
    """What was seen of requests in one form: how many a second, and the server's CPU time of one.

    The second wanders less where other work is on the machine.
    """

    rate: float
    cpu_seconds: float


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Ask in turn in the two forms of the Open Inference Protocol, answers in the same form."""
    del example  # a network of its own shows it
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.keras"
        models.small_network(path)
        [rows] = models.rows_for(KerasModel.load(path), ROWS).arrays.items()
        forms = in_bytes(*rows), in_json(*rows)
        with serving(path) as server:
            for form in forms:
                _cost(server, form, 1)
            pairs = [
                (_cost(server, forms[0], seconds), _cost(server, forms[1], seconds))
                for _ in range(rounds)
            ]
    ratio = median_ratio([(fast.rate, slow.rate) for fast, slow in pairs])
    cpu = median_ratio([(slow.cpu_seconds, fast.cpu_seconds) for fast, slow in pairs])
    rates = " against ".join(
        f"{median(cost.rate for cost in side):,.0f}" for side in zip(*pairs, strict=True)
    )
    return Figure(
        f"{ROWS}×{models.INPUTS} float32 on `/v2`: requests in bytes, of those in JSON",
        f"{ratio:.1f} ({rates} a second; {cpu:.1f} by CPU time)",
        f"at least {LEAST:g}",
        ratio >= LEAST,
    )


def in_json(name: str, array: np.ndarray) -> Form:
    """Return a request with its numbers in as few digits as tell them, and an answer alike."""
    cells = array.ravel()
    document = {"inputs": [{**_described(name, array), "data": cells}]}
    return Form(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), {})


def in_bytes(name: str, array: np.ndarray) -> Form:
    """Return a request with its numbers as they lie in memory, and an answer alike."""
    described = _described(name, array) | {"parameters": {"binary_data_size": array.nbytes}}
    document = {"inputs": [described], "parameters": {"binary_data_output": True}}
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Form(text + array.astype("<f4").tobytes(), headers)


def _described(name: str, array: np.ndarray) -> dict[str, object]:
    return {"name": name, "datatype": "FP32", "shape": array.shape}


def _cost(server: Server, form: Form, seconds: float) -> Cost:
    url = f"http://127.0.0.1:{server.port}/v2/models/small/infer"
    before = server.cpu_seconds()
    done = measure(url, form.body, CONNECTIONS, seconds, form.headers)
    if done.refused or done.socket_errors:
        raise RuntimeError(f"{done.refused} refused, {done.socket_errors} socket errors")
    return Cost(done.rate, (server.cpu_seconds() - before) / done.requests)
