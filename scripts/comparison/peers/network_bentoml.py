"""BentoML: adaptive batching, one worker per core; a tensor is a file of a form.

BentoML takes tensors in JSON, and bytes as files.
"""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np

from scripts.comparison.peers.network_call import MOST_ROWS, network_call, reader


@bentoml.service(
    workers="cpu_count", logging={"access": {"enabled": False}}, metrics={"enabled": False}
)
class Network:
    """POST /predict with a file in `x`."""

    def __init__(self) -> None:
        """Load the model in the worker."""
        self._call = network_call()
        self._read = reader()

    @bentoml.api(batchable=True, max_batch_size=MOST_ROWS)
    async def predict(self, x: list[Path]) -> list[list[float]]:
        """Call the model once."""
        rows = np.concatenate([self._read(file.read_bytes()) for file in x])
        answers: list[list[float]] = self._call(rows).tolist()
        return answers
