"""Throughput of JPEG files on MobileNetV2 over HTTP, relative to direct calls of the network."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from model.engines.convert import load_converted
from model.formats.load import BatchEngine, load_model
from model.process.trials import Trials
from scripts.comparison.networks.prepare import Prepared, prepare
from scripts.measurements.auto_engine import is_trying
from scripts.measurements.batches import direct, served
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

NAME = "mobilenetv2"
LEAST = 0.8
MOST_MS = 5.0
WIDTH, HEIGHT = 640, 480
CONNECTIONS = 32
PRESET = "keras.applications.mobilenet_v2"
GIVE_UP = 1200.0  # seconds; all engines are tried
JPEG = {"Content-Type": "image/jpeg"}


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare pictures per second with the rows per second of direct calls, in turn.

    `auto` chooses the engine, and both use it, with the batches that formed.
    """
    del example  # uses its own network
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        network = prepare(NAME, Path(folder))
        image = f"{{{network.input}: {{image: {{preset: {PRESET}}}}}}}"
        flags = ("--model.inputs", image, "--model.engine", "auto")
        with serving(network.model, *flags, "--model.cache_dir", f"{folder}/cache") as server:
            engine = chosen(server, NAME)
            model = direct_model(network, engine)
            file = photo()
            served(server, server.url, file, JPEG, CONNECTIONS, 1)
            done = [_round(server, model, network.rows, file, seconds) for _ in range(rounds)]
    rates, alone, lags = (list(column) for column in zip(*done, strict=True))
    ratio, lag = median_ratio(list(zip(rates, alone, strict=True))), median(lags)
    return Figure(
        f"JPEGs of {WIDTH} × {HEIGHT} on MobileNetV2 ({engine}) over HTTP, relative to direct "
        "calls; longest delay of the event loop",
        f"{ratio:.2f} ({median(rates):.0f} of {median(alone):.0f} a second); {lag:.1f} ms",
        f"at least {LEAST}; at most {MOST_MS:g} ms",
        ratio >= LEAST and lag <= MOST_MS,
    )


def _round(
    server: Server, model: BatchEngine, rows: np.ndarray, file: bytes, seconds: float
) -> tuple[float, float, float]:
    """Return the pictures and the rows per second, and the longest delay in milliseconds."""
    size, rate = served(server, server.url, file, JPEG, CONNECTIONS, seconds)
    lag = 1000 * server.metric("event_loop_lag_seconds")
    return rate, direct(model, rows, size, seconds), lag


def photo() -> bytes:
    """Return a JPEG that is about as large as a photo of this size."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
    smooth = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth) + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def chosen(server: Server, name: str) -> str:
    """Wait until the engine that `auto` has chosen computes the model; return its name."""
    give_up = time.monotonic() + GIVE_UP
    while is_trying(server, name):
        if time.monotonic() > give_up:
            raise RuntimeError(f"no engine was chosen within {GIVE_UP:g} s")
        time.sleep(1)
    return str(server.about(name)["parameters"]["engine"])


def direct_model(network: Prepared, engine: str) -> BatchEngine:
    """Load the network with the engine that was chosen, for direct calls."""
    folder = network.model.parent / engine
    model = load_converted(folder, 0) if folder.exists() else load_model(network.model)
    Trials(model, NAME).warm_up(CONNECTIONS)
    return model
