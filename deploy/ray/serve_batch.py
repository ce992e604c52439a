"""A model under Ray's own `@serve.batch`, to compare the application with."""

from __future__ import annotations

import numpy as np
import orjson
from onnxruntime import InferenceSession, SessionOptions
from ray import serve
from starlette.requests import Request


@serve.deployment(name="serve-batch")
class ServeBatch:
    """One replica: an .onnx file, called once for each batch; JSON in and out, no validation.

    Args:
        wait_s: seconds that a batch waits to be full.
    """

    def __init__(self, model: str, wait_s: float) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = 1
        self._session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._predict.set_batch_wait_timeout_s(wait_s)

    @serve.batch(max_batch_size=64)
    async def _predict(self, rows: list[list[float]]) -> list[float]:
        (answers,) = self._session.run(None, {"x": np.array(rows, np.float32)})
        predictions: list[float] = answers[:, 0].tolist()
        return predictions

    async def __call__(self, request: Request) -> dict[str, float]:
        """Answer one request."""
        return {"prediction": await self._predict(orjson.loads(await request.body())["data"])}
