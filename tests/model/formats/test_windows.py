from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import TensorFlowEngine, load_model
from model.process.trials import Trials
from model.tensors import Tensors

pytestmark = pytest.mark.keras

# How many dimensions it slides over, and how it is made; all need 5 of each.
WINDOWS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "one dimension": (1, lambda layers: layers.Conv1D(2, 5)),
    "strides": (1, lambda layers: layers.Conv1D(2, 5, strides=2)),
    "dilation": (1, lambda layers: layers.Conv1D(2, 3, dilation_rate=2)),
    "two dimensions": (2, lambda layers: layers.Conv2D(2, 5)),
    "dilation in two": (2, lambda layers: layers.Conv2D(2, 3, dilation_rate=2)),
    "three dimensions": (3, lambda layers: layers.Conv3D(2, 5, strides=2)),
    "depthwise": (2, lambda layers: layers.DepthwiseConv2D(5, strides=2)),
    "separable": (1, lambda layers: layers.SeparableConv1D(2, 5)),
    "largest of five": (1, lambda layers: layers.MaxPooling1D(5, strides=1)),
    "mean of five": (2, lambda layers: layers.AveragePooling2D(5)),
}


def load(folder: Path, dimensions: int, make: Callable[[Any], Any]) -> TensorFlowEngine:
    """A convolution over input of any size, inside of a model of its own."""
    import keras

    shape = (None,) * dimensions + (1,)
    inner = keras.Sequential([keras.Input(shape), make(keras.layers)])
    x = keras.Input(shape, name="x")
    path = folder / "m.keras"
    keras.Model(x, inner(x)).save(path)
    return load_model(path)


def ask(model: TensorFlowEngine, *sizes: int) -> tuple[int, ...]:
    """Ask with ones; return the shape of the answer."""
    (answer,) = model.predict([Tensors({"x": np.ones((1, *sizes, 1), "float32")})])
    [array] = answer.arrays.values()
    return array.shape


@pytest.mark.parametrize("kind", WINDOWS)
def test_input_that_is_smaller_than_a_window_is_not_answered(tmp_path: Path, kind: str):
    dimensions, make = WINDOWS[kind]
    model = load(tmp_path, dimensions, make)

    for size in (1, 2, 3, 4):
        with pytest.raises(Exception, match=r"the window of a layer takes [35] at least"):
            ask(model, *[size] * dimensions)
    assert ask(model, *[5] * dimensions)[1:-1] == (1,) * dimensions
    trials = Trials(model, "m.keras")
    trials.find_rows()
    trials.warm_up(2)


def test_one_dimension_that_is_too_small_is_enough(tmp_path: Path):
    model = load(tmp_path, 2, lambda layers: layers.Conv2D(2, (1, 5)))

    assert ask(model, 1, 6) == (1, 1, 2, 2)
    with pytest.raises(Exception, match="takes 5 at least"):
        ask(model, 6, 4)


def test_convolutions_that_pad_take_any_size(tmp_path: Path):
    model = load(tmp_path, 1, lambda layers: layers.Conv1D(2, 5, padding="same"))
    assert ask(model, 1) == (1, 1, 2)
