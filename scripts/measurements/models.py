"""Builds the models for the measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.formats.load import BatchEngine
from model.tensors import Tensors

INPUTS = 64


def heavy_network(path: Path) -> None:
    """Save a model of four `Dense(2048)` with 64 inputs: the model takes most of the time."""
    _network(path, [2048] * 4)


def small_network(path: Path) -> None:
    """Save a model of one `Dense(32)` with 64 inputs: decoding takes most of the time."""
    _network(path, [32])


def wide_network(path: Path) -> None:
    """Save a model that answers one number with 65,536 numbers."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64), keras.layers.RepeatVector(1024)]
    keras.Sequential([keras.Input((1,)), *layers]).save(path)


def save_mobilenet(path: Path) -> None:
    """Save MobileNetV2 with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    keras.applications.MobileNetV2(weights=None).save(path)


def rows_for(model: BatchEngine, rows: int) -> Tensors:
    """Return random input rows for a model."""
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
