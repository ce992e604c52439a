"""The latency of a small model while a large one is reloaded beside it."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import urllib.request
from pathlib import Path
from statistics import median

from scripts.comparison.wrk import measure
from scripts.measurements.figure import Figure
from scripts.measurements.models import save_mobilenet
from scripts.measurements.serving import serving

CONNECTIONS = 16
MOST = 1.5
KEY = "a-key-for-this-measurement-alone"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the 99th percentile of the example model with that during reloads of MobileNetV2."""
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        large = Path(folder) / "mobilenet.keras"
        save_mobilenet(large)
        config = Path(folder) / "config.yaml"
        config.write_text(
            f"models:\n  - {{path: {example.resolve()}}}\n  - {{path: {large}}}\n"
            f"auth: {{api_keys: [{{name: reload, sha256: {DIGEST}, allow: [repository]}}]}}\n"
        )
        results = []
        with serving(None, "--config", str(config)) as server:
            for _ in range(rounds):
                alone = measure(server.url, '{"data": [10]}', CONNECTIONS, seconds)
                reloads = Reloads(server.port)
                beside = measure(server.url, '{"data": [10]}', CONNECTIONS, seconds)
                results.append((alone.p99_ms or 0.0, beside.p99_ms or 0.0, reloads.stop()))
    ratio = median(beside / alone for alone, beside, _ in results)
    alone, beside, count = (median(column) for column in zip(*results, strict=True))
    return Figure(
        f"p99 of the example model during {count:g} reloads of MobileNetV2, {CONNECTIONS} clients",
        f"{ratio:.2f} times ({beside:.2f} against {alone:.2f} ms)",
        f"at most {MOST} times",
        ratio <= MOST,
    )


class Reloads:
    """Reloads MobileNetV2 again and again, in a thread."""

    def __init__(self, port: int) -> None:
        url = f"http://127.0.0.1:{port}/v2/repository/models/mobilenet/load"
        headers = {"X-API-Key": KEY}
        self._request = urllib.request.Request(
            url, method="POST", headers=headers
        )  # our own server
        self._ended = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._reload)
        self._thread.start()

    def stop(self) -> int:
        """End after the reload in progress; return how many there were."""
        self._ended.set()
        self._thread.join()
        return self._count

    def _reload(self) -> None:
        while not self._ended.is_set():
            urllib.request.urlopen(self._request).close()  # noqa: S310  # our own server
            self._count += 1
