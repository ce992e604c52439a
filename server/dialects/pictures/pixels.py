"""From the pixels of a picture to a row of an input, in numpy.

`tf_bilinear` is `tf.image.resize` without antialias, as `keras.utils.image_dataset_from_directory`
and `keras.layers.Resizing` call it. The modes are those of `preprocess_input` of
`keras.applications`, in the same order of operations, so that the numbers are the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from server.config.inputs import CENTERED, NORMALIZED, SCALED
from server.dialects.pictures.plan import PicturePlan

Box = tuple[int, int, int, int]  # left, top, right, bottom

_MEAN: Final = {NORMALIZED: (0.485, 0.456, 0.406), CENTERED: (103.939, 116.779, 123.68)}
_STD: Final = (0.229, 0.224, 0.225)


def row_of(pixels: np.ndarray, plan: PicturePlan) -> np.ndarray:
    """Return pixels of shape `[height, width, channels]` as a row of the input of a plan.

    `pixels` may be changed. Raises ValueError if a level does not fit the dtype of the input.
    """
    dtype = plan.spec.array_dtype
    if dtype.kind == "f":
        pixels = _preprocessed(pixels.astype(np.float32, copy=False), plan)
    elif pixels.max() > np.iinfo(dtype).max:
        raise ValueError(f"has levels above {np.iinfo(dtype).max}")
    if not plan.axes.has_channels:
        pixels = pixels[..., 0]
    elif plan.axes.is_channels_first:
        pixels = pixels.transpose(2, 0, 1)
    return pixels.astype(dtype, copy=False)


def _preprocessed(x: np.ndarray, plan: PicturePlan) -> np.ndarray:
    settings = plan.settings
    if plan.mode:
        return _as_preset(x, plan.mode)
    if plan.color == "bgr":
        x = x[..., ::-1]
    if settings.scale != 1:
        x *= settings.scale
    if settings.offset:
        x += settings.offset
    if settings.mean:
        x -= np.array(settings.mean, np.float32)
    if settings.std:
        x /= np.array(settings.std, np.float32)
    return x


def _as_preset(x: np.ndarray, mode: str) -> np.ndarray:
    """Do what `_preprocess_numpy_input` of Keras does to RGB."""
    if mode == SCALED:
        x /= 127.5
        x -= 1.0
        return x
    if mode == NORMALIZED:
        x /= 255.0
    else:
        x = x[..., ::-1]
    for channel, mean in enumerate(_MEAN[mode]):
        x[..., channel] -= mean
        if mode == NORMALIZED:
            x[..., channel] /= _STD[channel]
    return x


def tf_crop(size: tuple[int, int], wanted: tuple[int, int]) -> Box:
    """Return the middle of a picture of this size (width, height) with the wanted ratio.

    It is rounded as `keras.layers.Resizing(crop_to_aspect_ratio=True)` does.
    """
    (width, height), (wanted_width, wanted_height) = size, wanted
    crop_height = max(1, min(height, _scaled(width, wanted_height, wanted_width)))
    crop_width = max(1, min(width, _scaled(height, wanted_width, wanted_height)))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def padding(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return how many columns and rows are added on each side of a picture (width, height).

    They are those of `keras.layers.Resizing(pad_to_aspect_ratio=True)`.
    """
    (width, height), (wanted_width, wanted_height) = size, wanted
    rows = max(height, _scaled(width, wanted_height, wanted_width)) - height
    columns = max(width, _scaled(height, wanted_width, wanted_height)) - width
    return columns // 2, rows // 2


def _scaled(side: int, numerator: int, denominator: int) -> int:
    return int(np.float32(side * numerator) / np.float32(denominator))


def tf_bilinear(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return pixels `[rows, columns, channels]` in another size, as float32."""
    top, bottom, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    across = across[:, np.newaxis]
    upper = _between(*_columns(pixels, top, left, right), across)
    lower = _between(*_columns(pixels, bottom, left, right), across)
    return _between(upper, lower, down[:, np.newaxis, np.newaxis])


def _columns(
    pixels: np.ndarray, rows: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of two lists of columns in these rows.

    Nothing between is larger than the picture or the result.
    """
    if len(rows) > len(pixels):
        found = pixels[:, left][rows], pixels[:, right][rows]
    else:
        lines = pixels[rows]
        found = lines[:, left], lines[:, right]
    return found[0].astype(np.float32), found[1].astype(np.float32)


def _between(low: np.ndarray, high: np.ndarray, part: np.ndarray) -> np.ndarray:
    high -= low
    high *= part
    high += low
    return high


def _neighbours(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two pixels that each wanted pixel is between, and how far it is from the first."""
    scale = np.float32(size) / np.float32(wanted)
    place = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(place)
    low = np.maximum(floor, 0).astype(np.intp)
    high = np.minimum(np.ceil(place), size - 1).astype(np.intp)
    return low, high, place - floor
