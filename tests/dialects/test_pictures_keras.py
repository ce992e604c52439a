"""The rows of picture files, compared with Keras' own loading of the same files, bit for bit."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from server.config import PredictSettings
from server.config.inputs import METHODS, PRESETS, TF_BILINEAR, ImageSettings, InputSettings
from server.dialects.table import Dialects
from tests.support.picture_requests import WAYS, image_body
from tests.support.pictures import pictures

pytestmark = pytest.mark.keras

CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
SIZES = [(24, 32), (50, 50), (299, 120)]


def dialects_for(shape: tuple[int | None, ...], **image: Any) -> Dialects:
    """Return the dialects of a model that takes pictures in this shape."""
    spec = TensorSpec("image", shape, "float32")
    signature = Signature((spec,), (TensorSpec("y", (), "float32"),))
    inputs = (InputSettings("image", ImageSettings.of(image)),)
    return Dialects("m", "1", signature, PredictSettings(), inputs=inputs)


def row(dialects: Dialects, file: bytes) -> np.ndarray:
    sent = image_body([file])
    request = dialects.native.decode(sent.body, sent.headers)
    found: np.ndarray = request.tensors.arrays["image"][0]
    return found


def by_keras(file: bytes, **options: Any) -> np.ndarray:
    from keras.utils import img_to_array, load_img

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of palettes with transparency
        found: np.ndarray = img_to_array(load_img(io.BytesIO(file), **options))
    return found


def some(step: int) -> Iterator[tuple[str, bytes]]:
    """Generate every so many of the 200 pictures; the step shares no factor with their kinds."""
    return islice(pictures(), 0, None, step)


def check_bits(files: Iterator[tuple[str, bytes]]) -> int:
    """Compare every way that Keras loads pictures; return how many pictures were compared."""
    ours = {
        (color, size, method, fit): dialects_for(
            (*size, CHANNELS[color]), method=method, fit=fit, color=color
        )
        for color in CHANNELS
        for size in SIZES
        for method in METHODS
        if method != TF_BILINEAR
        for fit in ("stretch", "crop")
    }
    count = 0
    for name, file in files:
        for (color, size, method, fit), dialects in ours.items():
            expected = by_keras(
                file,
                color_mode=color,
                target_size=size,
                interpolation=method,
                keep_aspect_ratio=fit == "crop",
            )
            found = row(dialects, file)
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected), (name, color, size, method, fit)
        count += 1
    return count


def test_rows_have_the_bits_of_load_img_and_img_to_array() -> None:
    assert check_bits(some(29)) == 7


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_rows_of_200_pictures_have_the_bits_of_load_img_and_img_to_array() -> None:
    assert check_bits(some(1)) == 200


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_200_pictures_have_the_same_bits_in_every_way() -> None:
    dialects = dialects_for((24, 32, 3))
    for name, file in pictures():
        expected = by_keras(file, target_size=(24, 32), interpolation="bilinear")
        for way in WAYS:
            sent = way([file])
            request = dialects.by_name[sent.dialect].decode(sent.body, sent.headers)
            assert np.array_equal(request.tensors.arrays["image"][0], expected), (name, way)


@pytest.mark.torture
def test_a_picture_in_its_own_size_has_the_bits_of_img_to_array() -> None:
    dialects = dialects_for((None, None, 3))
    for name, file in some(29):
        assert np.array_equal(row(dialects, file), by_keras(file)), name


def check_resizing(files: list[tuple[str, bytes]]) -> None:
    """Compare `tf_bilinear` with the layer that the loader of data sets calls, too."""
    from keras.layers import Resizing

    for size in SIZES:
        for fit in ("stretch", "crop", "pad"):
            layer = Resizing(
                *size, crop_to_aspect_ratio=fit == "crop", pad_to_aspect_ratio=fit == "pad"
            )
            dialects = dialects_for((*size, 3), method=TF_BILINEAR, fit=fit)
            for name, file in files:
                expected = np.asarray(layer(by_keras(file)))
                np.testing.assert_allclose(
                    row(dialects, file), expected, rtol=0, atol=1e-3, err_msg=f"{name} {size} {fit}"
                )


@pytest.mark.torture
def test_tf_bilinear_is_what_the_resizing_layer_does() -> None:
    check_resizing([*some(29)])


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_tf_bilinear_is_what_the_resizing_layer_does_to_200_pictures() -> None:
    check_resizing([*some(1)])


ONE_OF_EACH_MODE = {f"keras.applications.{name}" for name in ("mobilenet_v2", "densenet", "vgg16")}


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=() if name in ONE_OF_EACH_MODE else pytest.mark.torture)
        for name in PRESETS
    ],
)
def test_presets_do_what_preprocess_input_does(preset: str) -> None:
    module = importlib.import_module(preset)
    dialects = dialects_for((24, 32, 3), preset=preset)
    first = dialects_for((3, 24, 32), preset=preset)
    for name, file in some(67):
        pixels = by_keras(file, target_size=(24, 32), interpolation="bilinear")
        expected = module.preprocess_input(pixels.copy())

        assert np.array_equal(row(dialects, file), expected), name
        assert np.array_equal(row(first, file), expected.transpose(2, 0, 1)), name


def test_every_module_of_keras_applications_is_a_preset() -> None:
    import keras

    modules = {name for name in dir(keras.applications) if not name.startswith("_")}
    with_preset = {
        name for name in modules if hasattr(getattr(keras.applications, name), "preprocess_input")
    }

    assert {f"keras.applications.{name}" for name in with_preset} - set(PRESETS) <= {
        "keras.applications.imagenet_utils"
    }
