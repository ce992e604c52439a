"""The model of the scripted server, 3x + 1, to compare its answers with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.signature import Signature, TensorSpec
from model.tensors import Tensors


class FakeModel:
    """3x + 1, like the server."""

    signature = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),))

    def predict(self, parts):
        return [Tensors({"y": 3 * part.arrays["x"].astype(np.float64) + 1}) for part in parts]


def fake_model(path):
    """Stand in for loading a model file."""
    assert path == Path("a.keras")
    return FakeModel()
