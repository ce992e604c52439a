"""What `model.engine: auto` costs: while it tries engines under load, and at the start."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from model.engines.choose import TENSORFLOW
from scripts.comparison.wrk import Measurement, measure
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving
from server.serving.engines import CANDIDATES

CONNECTIONS = 64
MODEL = "example"
BODY = '{"data": [10]}'
MOST = 2.0  # times the p99 with TensorFlow alone
MOST_LATER = 1.1  # times the time to ready; starts differ by that much by themselves
GIVE_UP = 900.0  # seconds


def while_trying(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the 99th percentile while engines are tried with that of TensorFlow alone."""
    pairs, lost = [], 0
    for _ in range(rounds):
        with serving(example) as server:
            measure(server.url, BODY, CONNECTIONS, 1)
            alone = measure(server.url, BODY, CONNECTIONS, seconds)
        with (
            tempfile.TemporaryDirectory(prefix="measure-") as cache,
            serving(example, *flags(cache), "--model.name", MODEL) as server,
        ):
            trying = until_moved(server, seconds)
        lost += sum(each.rejected + each.socket_errors for each in (alone, *trying))
        pairs.append((median(each.p99_ms or 0.0 for each in trying), alone.p99_ms or 0.0))
    ratio = median_ratio(pairs)
    trying_ms, alone_ms = (median(column) for column in zip(*pairs, strict=True))
    return Figure(
        f"p99 of the example model while engines are tried, {CONNECTIONS} connections",
        f"{ratio:.2f} times ({trying_ms:.2f} against {alone_ms:.2f} ms), {lost} requests lost",
        f"at most {MOST:g} times, none lost",
        ratio <= MOST and lost == 0,
    )


def start(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the time from the start to ready, each time without anything in the cache."""
    del seconds  # a start takes as long as it takes
    pairs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="measure-") as cache:
            pairs.append((seconds_to_ready(example, flags(cache)), seconds_to_ready(example)))
    ratio = median_ratio(pairs)
    auto, tensorflow = (median(column) for column in zip(*pairs, strict=True))
    return Figure(
        "from the start to ready with `model.engine: auto`, relative to `tensorflow`",
        f"{ratio:.2f} times ({auto:.1f} against {tensorflow:.1f} s)",
        f"at most {MOST_LATER} times",
        ratio <= MOST_LATER,
    )


def flags(cache: str) -> Sequence[str]:
    return "--model.engine", "auto", "--model.cache_dir", cache


def until_moved(server: Server, seconds: float) -> list[Measurement]:
    """Measure again and again until another engine computes the model, or none will.

    The move itself is in the last measurement.
    """
    found: list[Measurement] = []
    give_up = time.monotonic() + GIVE_UP
    while not found or (is_trying(server, MODEL) and time.monotonic() < give_up):
        found.append(measure(server.url, BODY, CONNECTIONS, seconds))
    return found


def is_trying(server: Server, model: str) -> bool:
    """Return whether TensorFlow computes the model, and it is not known that it stays."""
    about = server.about(model)["parameters"]
    stays = "engine_note" in about or set(CANDIDATES) <= set(about.get("engines_not_taken", ()))
    return about["engine"] == TENSORFLOW and not stays


def seconds_to_ready(example: Path, more: Sequence[str] = ()) -> float:
    started = time.perf_counter()
    with serving(example, *more):
        return time.perf_counter() - started
