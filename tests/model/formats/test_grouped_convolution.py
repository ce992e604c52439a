"""Convolutions in groups, computed without XLA."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import load_model
from tests.support.late import Late

pytestmark = pytest.mark.keras

keras: Any = Late("keras")

LAYERS = {
    "Conv1D": ((9, 8), {"kernel_size": 3, "groups": 4}),
    "Conv1D_causal": ((9, 8), {"kernel_size": 3, "groups": 2, "padding": "causal"}),
    "Conv1D_channels_first": (
        (8, 9),
        {"kernel_size": 3, "groups": 2, "data_format": "channels_first"},
    ),
    "Conv2D": ((9, 7, 8), {"kernel_size": 3, "groups": 4, "strides": 2, "activation": "relu"}),
    "Conv2D_dilated": ((9, 9, 8), {"kernel_size": 3, "groups": 8, "dilation_rate": 2}),
    "Conv2D_same": ((6, 7, 8), {"kernel_size": (3, 2), "groups": 2, "padding": "same"}),
    "Conv2D_channels_first": (
        (8, 6, 7),
        {"kernel_size": 3, "groups": 2, "data_format": "channels_first"},
    ),
    "Conv2D_float16": ((9, 9, 8), {"kernel_size": 3, "groups": 2, "dtype": "mixed_float16"}),
    "Conv2D_bfloat16": ((9, 9, 8), {"kernel_size": 3, "groups": 2, "dtype": "mixed_bfloat16"}),
    "Conv3D": ((5, 4, 5, 8), {"kernel_size": 2, "groups": 2, "strides": (1, 2, 1)}),
    "Conv3D_channels_first": (
        (8, 5, 4, 5),
        {"kernel_size": 2, "groups": 2, "data_format": "channels_first"},
    ),
    "Conv3D_ungrouped_channels_first": (
        (8, 5, 4, 5),
        {"kernel_size": 2, "data_format": "channels_first"},
    ),
}


def model_of(library: Any, name: str) -> Any:
    shape, options = LAYERS[name]
    layer = getattr(library.layers, name.partition("_")[0])
    x = library.Input(shape)
    return library.Model(x, layer(16, bias_initializer="random_normal", **options)(x))


def rows_of(name: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((5, *LAYERS[name][0])).astype("float32")


def names_of_functions(engine: Any) -> set[str]:
    """The operations and attributes of all functions that a call runs."""
    traced = engine._run.__closure__
    [function] = [cell.cell_contents for cell in traced if hasattr(cell.cell_contents, "graph")]
    return {
        attribute
        for definition in function.graph.as_graph_def().library.function
        for attribute in definition.attr
    }


@pytest.mark.logs_warnings  # Keras itself has XLA compile each of them, and warns of it
@pytest.mark.parametrize("name", LAYERS)
def test_grouped_convolutions_answer_as_keras_does_without_xla(tmp_path: Path, name: str) -> None:
    from keras.src.backend.tensorflow import nn

    model = model_of(keras, name)
    model.save(tmp_path / "m.keras")
    rows = rows_of(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn, "conv", getattr(nn.conv, "original", nn.conv))
        expected = np.asarray(model(rows), "float32")

    engine = load_model(tmp_path / "m.keras")
    for count in (1, 5):
        (answer,) = engine.call([rows[:count]])
        tolerance = 2e-2 if "16" in name else 1e-5
        np.testing.assert_allclose(answer, expected[:count], atol=tolerance)
    assert "_XlaMustCompile" not in names_of_functions(engine)


def test_input_smaller_than_a_grouped_window_fails_its_own_request(tmp_path: Path) -> None:
    x = keras.Input((None, None, 4))
    keras.Model(x, keras.layers.Conv2D(4, 3, groups=2)(x)).save(tmp_path / "m.keras")

    engine = load_model(tmp_path / "m.keras")
    with pytest.raises(Exception, match="the window of a layer takes 3 at least"):
        engine.call([np.ones((1, 2, 5, 4), "float32")])


def exported(folder: Path, layer: Any, shape: tuple[int | None, ...]) -> tuple[Any, Any]:
    """Return a model with a layer, and what is loaded after it was exported as a SavedModel."""
    x = keras.Input(shape)
    model = keras.Model(x, layer(x))
    model.export(folder, verbose=False)
    return model, load_model(folder)


@pytest.mark.logs_warnings  # as above
def test_grouped_convolutions_of_a_saved_model_are_computed_without_xla(tmp_path: Path) -> None:
    layer = keras.layers.Conv2D(8, 3, groups=2, bias_initializer="random_normal")
    model, engine = exported(tmp_path / "m", layer, (None, None, 4))

    rows = np.random.default_rng(0).standard_normal((3, 6, 7, 4)).astype("float32")
    np.testing.assert_allclose(engine.call([rows])[0], model(rows), atol=1e-5)
    assert "_XlaMustCompile" not in names_of_functions(engine)
    with pytest.raises(Exception, match="the window of a layer takes 3 at least"):
        engine.call([np.ones((1, 2, 5, 4), "float32")])


@pytest.mark.logs_warnings  # as above
def test_xla_still_compiles_what_tensorflow_has_no_kernel_for(tmp_path: Path) -> None:
    layer = keras.layers.Conv3D(8, 2, groups=2)
    model, engine = exported(tmp_path / "m", layer, (3, 3, 3, 4))

    rows = np.ones((2, 3, 3, 3, 4), "float32")
    np.testing.assert_allclose(engine.call([rows])[0], model(rows), atol=1e-5)


KERAS_2 = """
import json, sys
import numpy as np
import tf_keras
from tests.model.formats.test_grouped_convolution import model_of, names_of_functions, rows_of
from model.formats.load import load_model
found = {}
for name in sys.argv[2:]:
    path = f"{sys.argv[1]}/{name}.h5"
    model = model_of(tf_keras, name)
    model.save(path)
    expected = model(rows_of(name)).numpy()
    engine = load_model(path)
    (answer,) = engine.call([rows_of(name)])
    found[name] = [
        float(abs(answer - expected).max()), "_XlaMustCompile" in names_of_functions(engine)
    ]
print(json.dumps(found))
"""


@pytest.mark.torture
def test_grouped_convolutions_of_keras_2_are_computed_without_xla(tmp_path: Path) -> None:
    names = [name for name in LAYERS if "first" not in name and "16" not in name]
    done = subprocess.run(
        [sys.executable, "-c", KERAS_2, str(tmp_path), *names],
        env={"TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == names
    assert all(error < 1e-5 and not compiled for error, compiled in found.values())
