"""The models that are measured, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.keras_model import KerasModel
from model.tensors import Tensors

INPUTS = 64


def heavy_network(path: Path) -> None:
    """Write four `Dense(2048)` on 64 inputs: the model, and not HTTP, is what takes time."""
    _network(path, [2048] * 4)


def small_network(path: Path) -> None:
    """Write one `Dense(32)` on 64 inputs: the numbers of a request take time."""
    _network(path, [32])


def rows_for(model: KerasModel, rows: int) -> Tensors:
    """Return random rows."""
    random = np.random.default_rng(0)
    return Tensors(
        {
            spec.name: random.standard_normal((rows, *map(int, filter(None, spec.shape)))).astype(
                spec.dtype
            )
            for spec in model.signature.inputs
        }
    )


def _network(path: Path, layers: list[int]) -> None:
    import keras

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, activation="relu") for units in layers]
    keras.Sequential([keras.Input((INPUTS,)), *hidden, keras.layers.Dense(1)]).save(path)
