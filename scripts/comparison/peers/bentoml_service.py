"""BentoML: adaptive batching, one worker per core.

A coroutine was faster than a plain function, which BentoML calls in a thread.
"""

from __future__ import annotations

import bentoml
import numpy as np

from scripts.comparison.peers.compiled_call import compiled_call


@bentoml.service(
    workers="cpu_count", logging={"access": {"enabled": False}}, metrics={"enabled": False}
)
class Example:
    """POST /predict with a list of rows in `data`."""

    def __init__(self) -> None:
        """Load the model in the worker."""
        self._call = compiled_call()

    @bentoml.api(batchable=True, max_batch_size=64)
    async def predict(self, data: list[float]) -> list[float]:
        """Call the model once."""
        rows = np.array(data, np.float32)[:, np.newaxis]
        predictions: list[float] = self._call(rows)[:, 0].tolist()
        return predictions
