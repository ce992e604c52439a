from __future__ import annotations

import json
import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.formats.load import ModelError, TensorFlowEngine, load_model
from tests.support.late import Late

pytestmark = [
    pytest.mark.keras,
    # tf_keras 2.21 says so of every `.h5` file that it saves.
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

keras: Any = Late("tf_keras")

ENDINGS = pytest.mark.parametrize("ending", [".keras", ".h5"])


@pytest.fixture
def save(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., Path]:
    """Save a model of Keras 2, which may warn of that, and return the path."""

    def save(model: Any, ending: str = ".h5") -> Path:
        path = tmp_path / f"m{ending}"
        with caplog.at_level(logging.ERROR, "tensorflow"):
            model.save(path)
        return path

    return save


def network(shape: tuple[int, ...], *layers: Any, rows: int | None = None) -> Any:
    return keras.Sequential([keras.Input(shape, batch_size=rows, name="x"), *layers])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def assert_answers_as(model: Any, engine: TensorFlowEngine, inputs: np.ndarray) -> None:
    expected = np.asarray(model(inputs, training=False))
    np.testing.assert_allclose(engine.call([inputs])[0], expected, rtol=2e-4, atol=2e-4)


def edit_config(path: Path, edit: Callable[[str], str]) -> Path:
    """Rewrite the JSON of the config in an `.h5` or `.keras` file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = edit(file.attrs["model_config"])
        return path
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] = edit(entries["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


# What Keras 3 computes otherwise, or does not read


def hard_sigmoid() -> Any:
    return network((3,), keras.layers.Dense(2, "hard_sigmoid", kernel_initializer="ones"))


def joined_masks() -> Any:
    x = keras.Input((4,), name="x")
    one, other = (keras.layers.Embedding(3, 2, mask_zero=zero)(x) for zero in (True, False))
    joined = keras.layers.Concatenate()([one, other])
    return keras.Model(x, keras.layers.GlobalAveragePooling1D()(joined))


def operators() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Dense(2)((x * 2.0 + 1.0)[:, 1:3]))


def recurrent() -> Any:
    layers = keras.layers
    cells = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)], return_sequences=True)
    return network((4, 2), cells, layers.Bidirectional(layers.SimpleRNN(2)))


def grouped() -> Any:
    layers = keras.layers
    return network(
        (4, 4, 2),
        layers.DepthwiseConv2D(2, padding="same"),
        layers.SeparableConv2D(2, 2),
        layers.Conv2DTranspose(2, 2, name="a/b"),
        layers.RandomFlip(),
    )


def half_precision() -> Any:
    hidden = keras.layers.Dense(
        64, "relu", dtype="mixed_float16", bias_initializer=keras.initializers.Constant(1 / 3)
    )
    return network((8,), hidden, keras.layers.Dense(2, dtype="float32"))


def normalized_inside() -> Any:
    layer = keras.layers.Normalization()
    layer.adapt(10 * random(9, 2) + 5)
    return network((3, 2), keras.layers.TimeDistributed(network((2,), layer)))


def binned() -> Any:
    layer = keras.layers.Discretization(num_bins=4)
    layer.adapt(np.arange(-2, 2, 0.1)[:, None])
    return network((1,), layer)


MODELS = {
    each.__name__: (each, shape)
    for each, shape in [
        (hard_sigmoid, (5, 3)),
        (operators, (5, 4)),
        (recurrent, (3, 4, 2)),
        (grouped, (2, 4, 4, 2)),
        (half_precision, (64, 8)),
        (normalized_inside, (2, 3, 2)),
        (binned, (6, 1)),
    ]
}


@ENDINGS
@pytest.mark.logs_warnings  # Keras 2 says that 16 bits are slow here
@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_before_it_was_saved(save: Callable[..., Path], name: str, ending: str):
    make, shape = MODELS[name]
    model = make()

    assert_answers_as(model, load_model(save(model, ending)), random(*shape))


@ENDINGS
def test_masks_are_combined_as_in_keras_2(save: Callable[..., Path], ending: str):
    model = joined_masks()
    engine = load_model(save(model, ending))

    assert_answers_as(model, engine, np.array([[1, 2, 0, 0]], "float32"))
    assert engine.signature.inputs[0].maximum == 2  # the ids of the Embedding


# Files of older versions


@ENDINGS
def test_the_module_names_of_tensorflow_2_15_are_read(save: Callable[..., Path], ending: str):
    model = operators()
    path = edit_config(save(model, ending), lambda text: text.replace("tf_keras.src", "keras.src"))

    assert_answers_as(model, load_model(path), random(2, 4))


def test_a_wrapped_layer_without_a_module_is_read(save: Callable[..., Path]):
    model = recurrent()

    def without_modules(text: str) -> str:
        def strip(found: dict[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in found.items() if k not in {"module", "registered_name"}}

        return json.dumps(json.loads(text, object_hook=strip))

    assert_answers_as(model, load_model(edit_config(save(model), without_modules)), random(3, 4, 2))


def test_the_shape_of_a_sequential_model_is_read_from_its_first_layer(save: Callable[..., Path]):
    model = hard_sigmoid()

    def without_input_layer(text: str) -> str:
        config = json.loads(text)
        given, first, *_ = layers = config["config"]["layers"]
        first["config"]["batch_input_shape"] = given["config"]["batch_input_shape"]
        config["config"]["layers"] = layers[1:]
        return json.dumps(config)

    engine = load_model(edit_config(save(model), without_input_layer))
    assert engine.signature.inputs[0].shape == (3,)
    assert_answers_as(model, engine, random(2, 3))


def test_what_keras_3_names_otherwise_is_read(save: Callable[..., Path]):
    """As in files that were converted for Keras 2, but not all of them."""
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(2, "hard_sigmoid", name="y")(x))

    def as_keras_3_writes(text: str) -> str:
        config = json.loads(text)
        given, dense = config["config"]["layers"]
        given["config"]["batch_shape"] = given["config"].pop("batch_input_shape")
        given["config"]["optional"] = False
        dense["config"] |= {
            "dtype": {"class_name": "DTypePolicy", "config": {"name": "float32"}},
            "quantization_config": None,
        }
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}
        dense["inbound_nodes"] = [{"args": [tensor], "kwargs": {"mask": None}}]
        return json.dumps(config)

    assert_answers_as(model, load_model(edit_config(save(model), as_keras_3_writes)), random(2, 3))


def test_groups_that_keras_2_would_ignore_are_rejected(save: Callable[..., Path]):
    path = save(network((4, 4, 2), keras.layers.Conv2DTranspose(2, 2)))
    edit_config(path, lambda text: text.replace('"groups": 1', '"groups": 2'))

    with pytest.raises(ModelError, match="Conv2DTranspose with groups: 2, which Keras 2"):
        load_model(path)


# A number of rows that the model was built for


@pytest.mark.parametrize("rows", [1, 2])
def test_fewer_rows_than_a_model_was_built_for_are_filled_up(save: Callable[..., Path], rows: int):
    import tensorflow as tf

    x = keras.Input((4,), batch_size=2, name="x")
    model = keras.Model(x, tf.reduce_sum(tf.reshape(x, (2, 2, 2)), -1))
    engine = load_model(save(model))

    assert engine.fixed_rows == 2
    inputs = random(2, 4)
    np.testing.assert_allclose(
        engine.call([inputs[:rows]])[0], np.asarray(model(inputs))[:rows], rtol=1e-5
    )


def test_a_model_that_only_declares_its_rows_takes_any_number(save: Callable[..., Path]):
    engine = load_model(save(network((3,), keras.layers.Dense(2), rows=2)))

    assert engine.fixed_rows is None
    assert len(engine.call([random(5, 3)])[0]) == 5


@ENDINGS
def test_the_state_of_recurrent_layers_is_reset_before_each_call(
    save: Callable[..., Path], ending: str
):
    layers = keras.layers
    cells = [layers.LSTMCell(2), layers.GRUCell(3)]
    model = network((4, 2), layers.RNN(cells, stateful=True), rows=2)
    engine = load_model(save(model, ending))

    first = engine.call([random(2, 4, 2)])[0]
    np.testing.assert_array_equal(engine.call([random(2, 4, 2)])[0], first)


# One library in a process


@pytest.mark.torture
def test_keras_3_is_not_imported(save: Callable[..., Path]):
    path = save(network((3,), keras.layers.Embedding(4, 2)))
    code = (
        "import sys; from model.formats.load import LoadOptions, load_model\n"
        f"load_model({str(path)!r}, LoadOptions(threads=1))\n"
        "print([name for name in ('keras', 'tf_keras') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "['tf_keras']\n"


@pytest.mark.logs_warnings
@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_model_that_normalizes_by_the_rows_of_a_batch_is_rejected(
    tmp_path: Path, ending: str, nested: bool
) -> None:
    """Its answers depend on the requests of others, and on one row it has nothing to normalize."""
    layer = keras.layers.BatchNormalization(name="by_batch")
    x = keras.Input((3,), name="x")
    called = network((3,), layer) if nested else layer
    path = tmp_path / f"m{ending}"
    keras.Model(x, called(x, training=True)).save(path)

    with pytest.raises(ModelError, match="'by_batch' is called with training=True"):
        load_model(path)


def test_a_base_that_is_called_with_training_false_is_served(tmp_path: Path) -> None:
    x = keras.Input((3,), name="x")
    base = network((3,), keras.layers.BatchNormalization())
    keras.Model(x, base(x, training=False)).save(tmp_path / "m.keras")

    assert load_model(tmp_path / "m.keras").call([np.zeros((1, 3), np.float32)])[0].shape == (1, 3)
