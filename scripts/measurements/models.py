"""Builds the models for the measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.formats.load import BatchEngine
from model.tensors import Tensors

INPUTS = 64
WIDE = [2048] * 4


def heavy_network(path: Path) -> None:
    """Save a model of four `Dense(2048)` with 64 inputs: the model takes most of the time."""
    _network(path, WIDE)


def small_network(path: Path) -> None:
    """Save a model of one `Dense(32)` with 64 inputs: decoding takes most of the time."""
    _network(path, [32])


def wide_network(path: Path) -> None:
    """Save a model that answers one number with 65,536 numbers."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64), keras.layers.RepeatVector(1024)]
    keras.Sequential([keras.Input((1,)), *layers]).save(path)


def masked_lstm(path: Path) -> None:
    """Save two layers of LSTM(64) over sequences of any length, with a mask."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    lstm = [layers.LSTM(64, return_sequences=True), layers.LSTM(64), layers.Dense(4)]
    keras.Sequential([keras.Input((None, 8)), layers.Masking(), *lstm]).save(path)


def text_classifier(path: Path, *, mask: bool = True) -> None:
    """Save a classifier of texts of any length, as ids, whose padding is masked, or not."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    embedding = layers.Embedding(10_000, 64, mask_zero=mask)
    rest = [layers.GlobalAveragePooling1D(), layers.Dense(64, "relu"), layers.Dense(4, "softmax")]
    keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *rest]).save(path)


def save_mobilenet(path: Path) -> None:
    """Save MobileNetV2 with random weights."""
    save_network("MobileNetV2", path)


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


def _network(path: Path, layers: Sequence[int]) -> None:
    import keras

    keras.utils.set_random_seed(0)
    _stack(keras, layers).save(path)


def _dense(keras: Any) -> Any:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def _mlp(keras: Any) -> Any:
    layers = keras.layers
    hidden = [layers.Dense(256, "relu"), layers.Dense(256, "relu"), layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((64,)), *hidden])


def _stack(keras: Any, units: Sequence[int]) -> Any:
    hidden = [keras.layers.Dense(each, "relu") for each in units]
    return keras.Sequential([keras.Input((INPUTS,)), *hidden, keras.layers.Dense(1)])


def _lstm(keras: Any) -> Any:
    layers = keras.layers
    cells = [layers.LSTM(64, return_sequences=True), layers.LSTM(64), layers.Dense(4)]
    return keras.Sequential([keras.Input((50, 8)), *cells])


def _transformer(keras: Any) -> Any:
    layers = keras.layers
    ids = keras.Input((64,), dtype="int32")
    x = layers.Embedding(1000, 128)(ids)
    for _ in range(4):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 32)(x, x))
        y = layers.Dense(128)(layers.Dense(512, activation="gelu")(x))
        x = layers.LayerNormalization()(x + y)
    return keras.Model(ids, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


NETWORKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Dense(1)": _dense,
    "MLP 64-256-256-10": _mlp,
    "4 × Dense(2048)": lambda keras: _stack(keras, WIDE),
    "2 × LSTM(64), 50 steps": _lstm,
    "transformer, 4 blocks, 64 ids": _transformer,
    "MobileNetV2": lambda keras: keras.applications.MobileNetV2(weights=None),
    "EfficientNetB0": lambda keras: keras.applications.EfficientNetB0(weights=None),
    "ResNet50": lambda keras: keras.applications.ResNet50(weights=None),
}
"""Networks that people serve, by their names, to compare engines with."""


def save_network(name: str, path: Path) -> None:
    """Save one of NETWORKS with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    NETWORKS[name](keras).save(path)
