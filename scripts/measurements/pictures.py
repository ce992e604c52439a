"""Throughput of JPEG files on MobileNetV2 over HTTP, relative to the network alone."""

from __future__ import annotations

import io
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from model.formats.load import load_model
from scripts.comparison.wrk import measure
from scripts.measurements import models
from scripts.measurements.figure import Figure
from scripts.measurements.serving import Server, serving

MODEL = "mobilenet"
LEAST = 0.8
MOST_MS = 5.0
WIDTH, HEIGHT = 640, 480
CONNECTIONS = 32
PRESET = "keras.applications.mobilenet_v2"
CHOSEN_WITHIN = 1200.0  # seconds; all engines are tried
JPEG = {"Content-Type": "image/jpeg"}


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare pictures per second with the rows per second that the engine was timed at."""
    del example  # uses its own network
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        path = Path(folder) / f"{MODEL}.keras"
        saving = get_context("spawn").Process(target=models.save_mobilenet, args=(path,))
        saving.start()
        saving.join()
        [spec] = load_model(path).signature.inputs
        settings = f"{{{spec.name}: {{image: {{preset: {PRESET}}}}}}}"
        flags = ("--model.inputs", settings, "--model.engine", "auto")
        with serving(path, *flags, "--model.cache_dir", f"{folder}/cache") as server:
            engine, alone = chosen(server)
            measure(server.url, photo(), CONNECTIONS, 2, JPEG)
            rates, lags = [], []
            for _ in range(rounds):
                rates.append(measure(server.url, photo(), CONNECTIONS, seconds, JPEG).rate)
                lags.append(1000 * server.metric("event_loop_lag_seconds"))
    rate, lag = median(rates), max(lags)
    return Figure(
        f"JPEGs of {WIDTH} × {HEIGHT} on MobileNetV2 ({engine}) over HTTP, relative to the "
        "network alone; longest delay of the event loop",
        f"{rate / alone:.2f} ({rate:.0f} of {alone:.0f} a second); {lag:.1f} ms",
        f"at least {LEAST}; at most {MOST_MS:g} ms",
        rate / alone >= LEAST and lag <= MOST_MS,
    )


def photo() -> bytes:
    """Return a JPEG that is about as large as a photo of this size."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), np.uint8)
    smooth = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth) + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def chosen(server: Server) -> tuple[str, float]:
    """Wait until `auto` has chosen; return the engine, and the most rows per second it does."""
    give_up = time.monotonic() + CHOSEN_WITHIN
    while time.monotonic() < give_up:
        told = server.about(MODEL).get("parameters", {})
        if timings := told.get("engine_milliseconds", {}).get(told["engine"]):
            return told["engine"], max(1000 * int(rows) / ms for rows, ms in timings.items())
        time.sleep(1)
    raise RuntimeError(f"no engine was chosen within {CHOSEN_WITHIN:g} s")
