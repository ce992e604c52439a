"""What Keras 3 loses when it writes or reads an `.h5` file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import ModelError, TensorFlowEngine, load_model
from tests.support.late import Late

pytestmark = pytest.mark.keras

keras: Any = Late("keras")


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    """Save a model as `.h5` and return the path."""

    def save(model: Any) -> Path:
        path = tmp_path / "m.h5"
        model.save(path)
        return path

    return save


def network(shape: tuple[int, ...], *layers: Any, **options: Any) -> Any:
    return keras.Sequential([keras.Input(shape, name="x", **options), *layers])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def assert_answers_as(model: Any, engine: TensorFlowEngine, inputs: np.ndarray) -> None:
    expected = np.asarray(model(inputs))
    np.testing.assert_allclose(engine.call([inputs])[0], expected, rtol=1e-4, atol=1e-4)


def adapted(**options: Any) -> Any:
    layer = keras.layers.Normalization(**options)
    layer.adapt(7 * random(9, 2, 3) + 5)
    return layer


AXES: dict[str, Callable[[], Any]] = {
    "softmax": lambda: keras.layers.Softmax(axis=[1, 2]),
    "weights": lambda: keras.layers.LayerNormalization(axis=[1, 2]),
    "adapted": lambda: adapted(axis=(1, 2)),
    "none": lambda: adapted(axis=None),
}


@pytest.mark.parametrize("name", AXES)
def test_an_axis_of_several_numbers_or_of_none_is_kept(save: Callable[[Any], Path], name: str):
    model = network((2, 3), AXES[name]())

    assert_answers_as(model, load_model(save(model)), random(2, 2, 3))


@pytest.mark.parametrize("invert", [False, True])
def test_a_normalization_inside_an_inner_model_is_adapted(
    save: Callable[[Any], Path], invert: bool
):
    inner = keras.Sequential([keras.Input((2, 3)), adapted(invert=invert)])
    model = network((2, 3), keras.Sequential([keras.Input((2, 3)), inner]))

    assert_answers_as(model, load_model(save(model)), random(2, 2, 3))


def test_a_normalization_inside_a_wrapper_is_adapted(save: Callable[[Any], Path]):
    model = network((4, 2, 3), keras.layers.TimeDistributed(adapted()))

    assert_answers_as(model, load_model(save(model)), random(2, 4, 2, 3))


def test_operations_that_keras_takes_for_layers_still_work(save: Callable[[Any], Path]):
    x = keras.Input((2, 3), name="x")
    model = keras.Model(x, keras.ops.softmax(x, axis=1))

    assert_answers_as(model, load_model(save(model)), random(2, 2, 3))


def test_an_operation_is_rejected_by_its_name(save: Callable[[Any], Path]):
    x = keras.Input((3,), name="x")
    path = save(keras.Model(x, keras.ops.mean(keras.layers.Dense(2)(x), 1, keepdims=True)))

    advice = r"calls Mean of keras\.ops, which .*; save the model as \.keras"
    with pytest.raises(ModelError, match=advice):
        load_model(path)


@pytest.mark.parametrize("name", ["StringLookup", "TextVectorization"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_vocabulary_that_was_learned_is_missed(
    save: Callable[[Any], Path], name: str, nested: bool
):
    layer = getattr(keras.layers, name)(name="words")
    layer.adapt(np.array(["a b", "b"]))
    model = network((1,), layer, dtype="string")
    path = save(network((1,), model, dtype="string") if nested else model)

    with pytest.raises(
        ModelError, match=rf"the vocabulary of the {name} 'words' is lost .* as \.keras$"
    ):
        load_model(path)


def test_a_vocabulary_that_was_given_is_in_the_file(save: Callable[[Any], Path]):
    layer = keras.layers.IntegerLookup(vocabulary=[5, 7])
    model = network((1,), layer, dtype="int64")

    engine = load_model(save(model))
    assert engine.call([np.array([[7], [5], [6]])])[0].tolist() == [[2], [1], [0]]
