"""A network that OpenVINO computes; it is optional, and TensorFlow is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.engines import libraries
from model.engines.batch_engine import BatchEngine
from model.signature import Signature


class OpenVinoEngine(BatchEngine):
    """A network that OpenVINO computes, in 32 bits."""

    name = "openvino"

    def __init__(
        self, compiled: Any, signature: Signature, *, fixed_rows: int | None = None
    ) -> None:
        """Inputs and outputs of `compiled` are in the signature's order."""
        super().__init__(signature, fixed_rows=fixed_rows)
        self._request = compiled.create_infer_request()
        self._results = range(len(compiled.outputs))

    def _outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self._request.infer(dict(enumerate(arrays)), share_inputs=True, share_outputs=True)
        # Copies, because the next call writes into the same memory.
        return [self._request.get_output_tensor(i).data.copy() for i in self._results]


def compiled_model(path: Path | str, threads: int) -> Any:
    """Load and compile a file; raises what OpenVINO raises. `threads` 0: it decides."""
    core = libraries.openvino().Core()
    return core.compile_model(
        core.read_model(str(path)),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # else all processes compute on the same cores
        },
    )
