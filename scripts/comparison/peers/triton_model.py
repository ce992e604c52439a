"""The model of Triton's Python backend: one compiled call for all requests of a batch."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

sys.path.insert(0, os.environ["PYTHONPATH"])  # Triton's Python ignores PYTHONPATH


class TritonPythonModel:
    """The class that the backend looks up by this name."""

    def initialize(self, _: dict[str, str]) -> None:
        """Load the model."""
        from scripts.comparison.peers.compiled_call import compiled_call

        self._call = compiled_call(int(os.environ.get("MOST_ROWS", "256")))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Merge, call once, split."""
        parts = [triton.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        answer = self._call(np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("y", rows)]) for rows in np.split(answer, ends)
        ]
