"""Files that are made to take much memory or time."""

from __future__ import annotations

import tracemalloc
import zlib
from weakref import WeakSet

import numpy as np
import pytest
from PIL import Image

from server.dialects.pictures import files
from server.dialects.pictures.pixels import tf_bilinear
from server.dialects.pictures.plan import PicturePlan
from server.errors import InvalidData
from tests.dialects.test_pictures import dialects_for, row, tensors_of
from tests.support.picture_requests import Way, instances, native_json, v2_binary
from tests.support.pictures import base, png, saved


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1)])
def test_very_long_pictures_are_rejected(size: tuple[int, int]) -> None:
    """They take more memory than others with as many pixels."""
    with pytest.raises(InvalidData, match="is more than 65535 pixels wide or high"):
        row(file=saved(Image.new("1", size), "PNG"))


def test_tf_bilinear_takes_no_more_memory_than_picture_and_result() -> None:
    for size, wanted in (((4, 60_000), (10_000, 4)), ((60_000, 4), (4, 10_000))):
        pixels = np.zeros((*size, 3), np.uint8)
        height, width = wanted
        tracemalloc.start()
        found = tf_bilinear(pixels, width, height)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert found.shape == (*wanted, 3)
        assert peak < 4 * found.nbytes + 2 * pixels.nbytes + 10**6


def test_a_jpeg_with_very_many_pieces_of_exif_data_is_rejected() -> None:
    """Pillow would copy all that it has found for each of them."""
    jpeg = saved(base(8, 8), "JPEG")
    piece = b"\xff\xe1\x00\x0aExif\0\0ab"

    assert row(file=jpeg[:2] + piece * 100 + jpeg[2:]).any()
    with pytest.raises(InvalidData, match="has more than 100 pieces of EXIF data"):
        row(file=jpeg[:2] + piece * 101 + jpeg[2:])


def test_a_png_with_very_many_colour_profiles_is_rejected() -> None:
    """Each becomes up to a mebibyte, which takes time."""
    profile = b"a\0\0" + zlib.compress(bytes(10**6))
    pixels = (b"IDAT", zlib.compress(bytes(8 * 25)))

    assert not row(file=png(8, 8, *[(b"iCCP", profile)] * 3, pixels)).any()
    with pytest.raises(InvalidData, match="has more than 100 colour profiles"):
        row(file=png(8, 8, *[(b"iCCP", profile)] * 101, pixels))


@pytest.mark.parametrize("way", [native_json, instances, v2_binary])
def test_a_request_with_very_many_pictures_is_rejected(way: Way) -> None:
    """Small ones take more time and memory than their pixels."""
    with pytest.raises(InvalidData, match="A request may have 10000 pictures, not 10001"):
        tensors_of(dialects_for(), way([b""] * 10_001))


def test_the_pixels_of_a_picture_are_released_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[int] = []
    pictures: WeakSet[files.PictureFile] = WeakSet()

    class Watched(files.PictureFile):
        def __init__(self, file: bytes, plan: PicturePlan) -> None:
            super().__init__(file, plan)
            pictures.add(self)

        def decode(self) -> np.ndarray:
            kept.append(len(pictures))
            return super().decode()

    monkeypatch.setattr(files, "PictureFile", Watched)
    tensors_of(dialects_for(), native_json([saved(base(8, 8), "PNG")] * 4))

    assert kept == [4, 3, 2, 1]
