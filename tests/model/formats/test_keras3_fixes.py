"""Layers of Keras that answer wrongly where a size varies, as Keras has them and as corrected.

Where a test of what Keras itself does fails, Keras has it right, and the correction can go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.keras3_fixes import fix_layers
from model.formats.load import load_model
from tests.support.late import Late

pytestmark = pytest.mark.keras

CROP = "transform_images"

keras: Any = Late("keras")


@pytest.fixture
def as_keras_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the corrections."""
    fix_layers()
    from keras.src.backend.tensorflow import numpy as operations
    from keras.src.layers.preprocessing.data_layer import DataLayer

    for owner, name in [
        (keras.layers.TimeDistributed, "call"),
        (keras.layers.CenterCrop, CROP),
        (operations, "add"),
        (DataLayer, "__call__"),
    ]:
        monkeypatch.setattr(owner, name, getattr(owner, name).original)


def steps(count: int) -> np.ndarray:
    return np.arange(2 * count * 3, dtype="float32").reshape(2, count, 3)


def traced(layer: Any, shape: tuple[int | None, ...]) -> Any:
    """Return a layer as it is called when its input varies in size."""
    import tensorflow as tf

    return tf.function(layer, input_signature=[tf.TensorSpec((None, *shape), "float32")])


def test_the_steps_of_a_varying_length_are_all_answered(tmp_path: Path):
    x = keras.Input((None, 3), name="x")
    dense = keras.layers.Dense(2)
    keras.Model(x, keras.layers.TimeDistributed(dense)(x)).save(tmp_path / "m.keras")

    engine = load_model(tmp_path / "m.keras")
    for count in (1, 2, 5):
        (answer,) = engine.call([steps(count)])
        np.testing.assert_allclose(answer, dense(steps(count)), rtol=1e-5)


def test_steps_of_several_axes_and_a_mask_are_answered(tmp_path: Path):
    """The inner LSTM skips the words that are 0 in each sentence."""
    x = keras.Input((None, 4), name="x", dtype="int32")
    sentence = keras.Sequential(
        [keras.Input((4,)), keras.layers.Embedding(5, 3, mask_zero=True), keras.layers.LSTM(2)]
    )
    keras.Model(x, keras.layers.TimeDistributed(sentence)(x)).save(tmp_path / "m.keras")
    sentences = np.array([[[1, 2, 0, 0], [3, 0, 0, 0], [1, 2, 3, 4]]], "int32")

    (answer,) = load_model(tmp_path / "m.keras").call([sentences])
    np.testing.assert_allclose(answer[0], sentence(sentences[0]), atol=1e-6)


@pytest.mark.usefixtures("as_keras_has_it")
def test_keras_itself_makes_as_many_steps_as_there_are_rows():
    layer = traced(keras.layers.TimeDistributed(keras.layers.Dense(2)), (None, 3))
    assert layer(steps(2)).shape == (2, 2, 2)
    try:
        answer = layer(steps(5)).shape
    except Exception:  # of TensorFlow
        answer = None
    assert answer != (2, 5, 2)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("size", [(4, 4), (4, 12), (12, 4), (8, 8), (12, 9)])
def test_an_image_smaller_than_its_crop_is_enlarged(
    tmp_path: Path, size: tuple[int, int], data_format: str
):
    first = data_format == "channels_first"
    x = keras.Input((3, None, None) if first else (None, None, 3), name="x")
    crop = keras.layers.CenterCrop(8, 8, data_format=data_format)
    keras.Model(x, crop(x)).save(tmp_path / "m.keras")
    image = np.random.default_rng(0).random((1, *((3, *size) if first else (*size, 3))), "float32")

    (answer,) = load_model(tmp_path / "m.keras").call([image])
    assert answer.shape == ((1, 3, 8, 8) if first else (1, 8, 8, 3))
    np.testing.assert_allclose(answer, crop(image), atol=1e-6)


@pytest.mark.usefixtures("as_keras_has_it")
def test_keras_itself_cuts_an_image_that_it_should_enlarge():
    layer = traced(keras.layers.CenterCrop(8, 8), (None, None, 3))
    assert layer(np.zeros((1, 4, 4, 3), "float32")).shape != (1, 8, 8, 3)


def sums(row: np.ndarray) -> np.ndarray:
    """The sum of a square matrix and one column, by Keras."""
    x, y = keras.Input((4, 4)), keras.Input((4, 1))
    return np.asarray(keras.Model([x, y], x + y)([row, row[:, :, :1]], training=False))


def test_a_column_is_added_to_the_only_row_along_its_own_axis():
    fix_layers()
    row = np.arange(16, dtype="float32").reshape(1, 4, 4)
    np.testing.assert_array_equal(sums(row), row + row[:, :, :1])


@pytest.mark.usefixtures("as_keras_has_it")
def test_keras_itself_adds_a_column_to_the_only_row_along_another_axis():
    row = np.arange(16, dtype="float32").reshape(1, 4, 4)
    assert not np.array_equal(sums(row), row + row[:, :, :1])
    two = np.repeat(row, 2, axis=0)
    np.testing.assert_array_equal(sums(two), two + two[:, :, :1])


def resized_both_ways() -> tuple[np.ndarray, np.ndarray]:
    """An image of integers, made larger by a layer that is traced, and by one that is not."""
    import tensorflow as tf

    image = tf.constant([[[[0], [1]], [[1], [0]]]], "uint8")
    resize = keras.layers.Resizing(5, 5)
    specs = [tf.TensorSpec((None, None, None, 1), "uint8")]
    return tf.function(resize, input_signature=specs)(image).numpy(), resize(image).numpy()


def test_integers_are_resized_alike_both_ways():
    fix_layers()
    traced, eager = resized_both_ways()
    np.testing.assert_allclose(traced, eager)


@pytest.mark.usefixtures("as_keras_has_it")
def test_keras_itself_rounds_resized_integers_when_it_is_not_traced():
    traced, eager = resized_both_ways()
    assert not np.array_equal(traced, eager)
