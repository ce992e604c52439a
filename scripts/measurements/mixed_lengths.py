"""Throughput with sequences of many lengths: padded into shared batches, relative to unpadded."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from scripts.comparison.wrk import measure
from scripts.measurements import models
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

LEAST_LSTM = 4.0
LEAST_TEXT = 2.0  # HTTP, not the network, is most of what an answer costs
CONNECTIONS = 64
LENGTHS = range(1, 201)
BODIES = 1_000
TOLERANCE = 1e-4
NO_REJECTIONS = ("--batching.max_queue_ms", "60000")

Row = Callable[[np.random.Generator, int], Any]
"""Returns a row with so many steps."""


def run_lstm(example: Path, rounds: int, seconds: float) -> Figure:
    """Two layers of LSTM with a mask."""
    del example

    def row(random: np.random.Generator, length: int) -> Any:
        return random.standard_normal((length, 8)).round(3).tolist()

    return _compared("two LSTM(64)", models.masked_lstm, row, LEAST_LSTM, rounds, seconds)


def run_text(example: Path, rounds: int, seconds: float) -> Figure:
    """A classifier of texts."""
    del example

    def row(random: np.random.Generator, length: int) -> Any:
        return random.integers(1, 10_000, length).tolist()

    return _compared("a text classifier", models.text_classifier, row, LEAST_TEXT, rounds, seconds)


def _compared(
    what: str,
    save: Callable[[Path], None],
    row: Row,
    least: float,
    rounds: int,
    seconds: float,
) -> Figure:
    """Measure `batching.pad: auto` and `off` in turn, and compare every answer of one round."""
    random = np.random.default_rng(0)
    bodies = [
        json.dumps({"data": row(random, int(length))}).encode()
        for length in random.choice(LENGTHS, BODIES)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        save(path)
        with (
            serving(path, "--batching.pad", "auto", *NO_REJECTIONS) as padded,
            serving(path, "--batching.pad", "off", *NO_REJECTIONS) as unpadded,
        ):
            wrong = _wrong_answers(padded, unpadded, bodies)
            pairs = [
                (_rate(padded, bodies, seconds), _rate(unpadded, bodies, seconds))
                for _ in range(rounds)
            ]
    ratio = median_ratio(pairs)
    rates = " and ".join(f"{median(side):,.0f}" for side in zip(*pairs, strict=True))
    return Figure(
        f"{what}, sequences of 1 to {LENGTHS[-1]} steps from {CONNECTIONS} connections: answers "
        "per second with `batching.pad` auto, relative to off",
        f"{ratio:.1f} ({rates} per second; {wrong} of {BODIES} answers differ)",
        f"at least {least:g}; no answer differs",
        ratio >= least and not wrong,
    )


def _rate(server: Server, bodies: Sequence[bytes], seconds: float) -> float:
    done = measure(server.url, bodies, CONNECTIONS, seconds)
    if done.rejected or done.socket_errors:
        raise RuntimeError(f"{done.rejected} rejected, {done.socket_errors} socket errors")
    return done.rate


def _wrong_answers(padded: Server, unpadded: Server, bodies: Sequence[bytes]) -> int:
    """Return how many answers, asked for by many clients at once, differ from those alone."""
    alone = _answers(unpadded, bodies)
    share = [bodies[place::CONNECTIONS] for place in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as clients:
        together = list(clients.map(lambda some: _answers(padded, some), share))
    return sum(
        not np.allclose(answer, alone[place + CONNECTIONS * number], TOLERANCE, TOLERANCE)
        for place, answers in enumerate(together)
        for number, answer in enumerate(answers)
    )


def _answers(server: Server, bodies: Sequence[bytes]) -> list[Any]:
    """Ask for predictions on one connection, one after the other."""
    headers = {"Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
        answers = []
        for body in bodies:
            client.request("POST", "/predict", body, headers)
            answer = json.loads(client.getresponse().read())
            if "prediction" not in answer:
                raise RuntimeError(f"rejected: {answer}")
            answers.append(answer["prediction"])
    return answers
