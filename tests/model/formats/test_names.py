"""The names of inputs and outputs, and names that TensorFlow does not allow for its scopes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import TensorFlowEngine, load_model
from model.formats.scopes import any_names_as_scopes
from tests.support.late import Late

pytestmark = pytest.mark.keras

keras: Any = Late("keras")


@pytest.fixture(params=[".keras", ".h5"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], TensorFlowEngine]:
    """Save a model in a format of Keras 3, and load it as the service does."""

    def load(model: Any) -> TensorFlowEngine:
        path = tmp_path / f"m{request.param}"
        model.save(path)
        return load_model(path)

    return load


def inputs_of(engine: TensorFlowEngine) -> list[str]:
    return [str(spec) for spec in engine.signature.inputs]


def outputs_of(engine: TensorFlowEngine) -> list[str]:
    return [str(spec) for spec in engine.signature.outputs]


def assert_same_answers(engine: TensorFlowEngine, model: Any, rows: list[np.ndarray]) -> None:
    """See that the outputs come in the order of the model's own."""
    right = model(rows if len(rows) > 1 else rows[0], training=False)
    for given, expected in zip(engine.call(rows), right, strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_the_states_of_an_lstm_are_numbered(load: Callable[[Any], TensorFlowEngine]):
    x = keras.Input((5, 2), name="x")
    lstm = keras.layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")
    model = keras.Model(x, lstm(x))

    engine = load(model)
    assert outputs_of(engine) == ["lstm: float32[5, 3]", "lstm_1: float32[3]", "lstm_2: float32[3]"]
    assert_same_answers(engine, model, [np.random.default_rng(0).random((2, 5, 2), "float32")])


def test_an_output_given_twice_is_numbered(load: Callable[[Any], TensorFlowEngine]):
    x = keras.Input((1,), name="x")
    y = keras.layers.Dense(1, name="y")(x)
    assert outputs_of(load(keras.Model(x, [y, y]))) == ["y: float32[1]", "y_1: float32[1]"]


def test_a_tower_shared_by_two_inputs_is_numbered(load: Callable[[Any], TensorFlowEngine]):
    tower = keras.layers.Dense(3, name="tower")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], [tower(b), tower(a)])

    engine = load(model)
    assert outputs_of(engine) == ["tower: float32[3]", "tower_1: float32[3]"]
    assert_same_answers(engine, model, [np.ones((1, 4), "float32"), np.zeros((1, 4), "float32")])


def test_a_number_is_skipped_when_another_layer_has_that_name(
    load: Callable[[Any], TensorFlowEngine],
):
    """As Keras 2 numbers them: in order, and each name once."""
    x = keras.Input((1,), name="x")
    y, other = keras.layers.Dense(1, name="y")(x), keras.layers.Dense(2, name="y_1")(x)
    engine = load(keras.Model(x, [other, y, y]))
    assert outputs_of(engine) == ["y_1: float32[2]", "y: float32[1]", "y_2: float32[1]"]


def test_nested_dicts_and_lists_are_named_by_their_path(load: Callable[[Any], TensorFlowEngine]):
    sizes = {"age": 1, "clicks": 2}
    user = {name: keras.Input((size,), name=name) for name, size in sizes.items()}
    items = [keras.Input((3,), name="first"), keras.Input((4,), name="second")]
    together = keras.layers.Concatenate()([*user.values(), *items])
    scale = keras.layers.Rescaling
    outputs = {"z": scale(2.0)(together), "a": {"b": scale(3.0)(items[0]), "c": [items[1]]}}

    engine = load(keras.Model({"user": user, "items": items}, outputs))
    assert inputs_of(engine) == [
        *("user/age: float32[1]", "user/clicks: float32[2]"),
        *("items/0: float32[3]", "items/1: float32[4]"),
    ]
    assert outputs_of(engine) == ["z: float32[10]", "a/b: float32[3]", "a/c/0: float32[4]"]
    rows = [np.full((1, size), size, "float32") for size in (1, 2, 3, 4)]
    z, b, c = engine.call(rows)
    assert z.ravel().tolist() == [2, 4, 4, 6, 6, 6, 8, 8, 8, 8]
    assert (b.tolist(), c.tolist()) == ([[9, 9, 9]], [[4, 4, 4, 4]])


def test_lists_in_lists_go_by_the_names_of_their_inputs(load: Callable[[Any], TensorFlowEngine]):
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    engine = load(keras.Model([a, [b]], keras.layers.Subtract(name="y")([a, b])))

    assert inputs_of(engine) == ["a: float32[1]", "b: float32[1]"]
    assert engine.call([np.float32([[5]]), np.float32([[3]])])[0].tolist() == [[2]]


def test_a_shape_is_that_of_the_answer_where_keras_declares_another(tmp_path: Path):
    """TextVectorization declares an axis more than it returns."""
    x = keras.Input((1,), name="text", dtype="string")
    words = keras.layers.TextVectorization(vocabulary=["a", "b"], output_mode="multi_hot")
    keras.Model(x, keras.layers.Dense(1, name="y")(words(x))).save(tmp_path / "m.keras")

    engine = load_model(tmp_path / "m.keras")
    assert outputs_of(engine) == ["y: float32[1]"]
    assert engine.call([np.array([["a"], ["c"]], object)])[0].shape == (2, 1)


def test_names_that_are_no_scopes_are_served(load: Callable[[Any], TensorFlowEngine]):
    """With spaces, umlauts and a slash, in the model, its layers, inputs and outputs."""
    x = keras.Input((2,), name="Größe in cm")
    inner = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, name="_ß")], name="Mein Netz"
    )
    outputs = {"Höhe (m)": keras.layers.Dense(1, name="naïve name")(inner(x)), "a/b": x}
    model = keras.Model(x, outputs, name="Mein Modell")

    engine = load(model)
    assert inputs_of(engine) == ["Größe in cm: float32[2]"]
    assert outputs_of(engine) == ["Höhe (m): float32[1]", "a/b: float32[2]"]
    rows = np.float32([[1, 2], [3, 4]])
    assert engine.call([rows])[1].tolist() == rows.tolist()


def test_tensorflow_opens_its_scopes_as_before_afterwards():
    import tensorflow as tf

    with any_names_as_scopes(), tf.Graph().as_default(), tf.name_scope("Mein Modell") as scope:
        assert scope == "Mein_Modell/"
    with (
        tf.Graph().as_default(),
        pytest.raises(ValueError, match="not a valid"),
        tf.name_scope("Mein Modell"),
    ):
        pass
