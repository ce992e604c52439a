"""Picture files to pixels, with Pillow: as `keras.utils.load_img` and `img_to_array` do it.

Only decoder processes import Pillow. Nothing is decoded before the size in pixels is known.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from PIL import Image

from server.config.inputs import TF_BILINEAR
from server.dialects.pictures.other_files import what_else
from server.dialects.pictures.pixels import Box, padding, tf_bilinear, tf_crop
from server.dialects.pictures.plan import PicturePlan

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# A progressive JPEG is decoded once for each scan: files of cameras and programs have about ten.
# Pillow copies all EXIF data for each further piece of it, and decompresses each colour profile.
MAX_PIECES: Final = 100
_JPEG: Final = ((b"\xff\xda", "scans"), (b"Exif\0\0", "pieces of EXIF data"))
_PNG: Final = ((b"iCCP", "colour profiles"),)
_PIECES: Final = {b"\xff\xd8\xff": _JPEG, b"\x89PNG\r\n\x1a\n": _PNG}  # by the start of a file
# As in a JPEG or GIF. A PNG may be one pixel wide and millions high, and Pillow needs memory for
# each line, and to resize them.
LONGEST_SIDE: Final = 65_535
_METHODS: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
_GREY: Final = ("L", "I;16", "I")  # what Keras takes for grayscale unchanged
_ORIENTATION: Final = 0x0112
_TURNS: Final = {  # by orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = range(5, 9)  # orientations that exchange height and width

# Pillow would warn of large pictures, and reject larger ones; `predict.max_image_pixels` decides.
Image.MAX_IMAGE_PIXELS = None


class BadPicture(Exception):
    """A file that cannot be decoded, and why."""


class PictureFile:
    """A picture file of which only the header has been read.

    Attributes:
        size: width and height in pixels.
    """

    def __init__(self, file: bytes, plan: PicturePlan) -> None:
        """Read the header; raises BadPicture."""
        self._plan = plan
        _check_pieces(file)
        with _errors(lambda: what_else(file)):
            self._image: Image.Image = Image.open(io.BytesIO(file), formats=FORMATS)
        self.size = self._image.size
        if max(self.size) > LONGEST_SIDE:
            raise BadPicture(f"is more than {LONGEST_SIDE} pixels wide or high")

    @property
    def pixels(self) -> int:
        """The most pixels that it takes to decode it: its own, or those of the row."""
        plan = self._plan
        width, height = self.size
        if plan.height is None or plan.width is None:
            return width * height
        sizes = [self.size, (plan.width, plan.height)]
        if plan.settings.fit == "pad":
            for turned in [self.size, (height, width)][: 1 + plan.settings.exif]:
                columns, rows = padding(turned, (plan.width, plan.height))
                sizes.append((turned[0] + 2 * columns, turned[1] + 2 * rows))
        return max(each[0] * each[1] for each in sizes)

    def decode(self) -> np.ndarray:
        """Return the pixels, of shape `[height, width, channels]`, once; raises BadPicture."""
        with _errors(lambda: "is damaged"), self._image:
            image = self._turned()
            image = _converted(image, self._plan.color)
            resized = _resized(image, self._plan)
            # A copy, because the arrays of Pillow cannot be changed.
            return _with_channels(
                np.array(resized) if isinstance(resized, Image.Image) else resized
            )

    def _turned(self) -> Image.Image:
        """Return the picture as its EXIF data says, decoded smaller if the settings allow that."""
        image, plan = self._image, self._plan
        settings = plan.settings
        is_jpeg = image.format in ("JPEG", "MPO")
        if settings.draft and is_jpeg and plan.width is not None and plan.height is not None:
            wanted = (plan.width, plan.height)
            if settings.exif and _orientation(image) in _SIDEWAYS:
                wanted = (plan.height, plan.width)
            image.draft(None, wanted)
        if not settings.exif:
            return image
        image.load()  # a PNG may have its EXIF data at the end
        turn = _TURNS.get(_orientation(image))
        return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Return the orientation in the EXIF data; 1, not turned, if it cannot be read.

    `ImageOps.exif_transpose` also writes the other EXIF data again, which fails for some cameras.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds
        return 1


@contextmanager
def _errors(what: Callable[[], str]) -> Iterator[None]:
    """Raise BadPicture for whatever Pillow raises for a crafted file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata and palettes
            yield
    except Exception as error:
        raise BadPicture(what()) from error


def _check_pieces(file: bytes) -> None:
    """Raise BadPicture if a file has very many pieces of a kind that takes time."""
    for start, pieces in _PIECES.items():
        for mark, name in pieces if file.startswith(start) else ():
            if file.count(mark) > MAX_PIECES:
                raise BadPicture(f"has more than {MAX_PIECES} {name}")


def _converted(image: Image.Image, color: str) -> Image.Image:
    """Return the picture in the mode that Keras would convert it to."""
    if color == "grayscale":
        return image if image.mode in _GREY else image.convert("L")
    mode = "RGBA" if color == "rgba" else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Image.Image, plan: PicturePlan) -> Image.Image | np.ndarray:
    """Return the picture in the size of the plan."""
    if plan.width is None or plan.height is None:
        return image
    wanted = (plan.width, plan.height)
    settings = plan.settings
    if settings.fit == "pad":
        image = _padded(image, wanted)
    if settings.method == TF_BILINEAR:
        box = tf_crop(image.size, wanted) if settings.fit == "crop" else (0, 0, *image.size)
        return _tf_resized(image, box, wanted)
    if image.size == wanted:
        return image
    method = _METHODS[settings.method]
    if settings.fit == "crop":
        return image.resize(wanted, method, box=_crop(image.size, wanted))
    return image.resize(wanted, method)


def _crop(size: tuple[int, int], wanted: tuple[int, int]) -> Box:
    """Return the middle of a picture, as `load_img(keep_aspect_ratio=True)` takes it."""
    (width, height), (wanted_width, wanted_height) = size, wanted
    crop_height = max(1, min(height, (width * wanted_height) // wanted_width))
    crop_width = max(1, min(width, (height * wanted_width) // wanted_height))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def _padded(image: Image.Image, wanted: tuple[int, int]) -> Image.Image:
    """Return the picture with black around it."""
    columns, rows = padding(image.size, wanted)
    if not columns and not rows:
        return image
    width, height = image.size
    around = Image.new(image.mode, (width + 2 * columns, height + 2 * rows))
    around.paste(image, (columns, rows))
    return around


def _tf_resized(image: Image.Image, box: Box, wanted: tuple[int, int]) -> np.ndarray:
    left, top, right, bottom = box
    pixels = _with_channels(np.asarray(image))[top:bottom, left:right]
    return tf_bilinear(pixels, *wanted)


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
