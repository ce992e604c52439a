"""A model process with y = 3x + 1 in place of a network: no TensorFlow, and up in a moment.

`tests.process.serve_fake` serves it. It takes from the environment:

FAKE_FOLDER: where it meets the test. It waits in there while the test holds the lock (flock) on
    `load`, when it loads, or on `gate`, in every call of the model; `calls` gets a line for every
    call when it begins, the list of its rows.
FAKE_SECONDS: how long every call takes.
FAKE_LOAD_ERROR: the text of an ImportError that loading ends with.
FAKE_ROW_SECONDS: and how much longer for every row.
FAKE_IMAGE: if it is set, the model takes an image and answers with one; see `ImageModel`.
FAKE_PICTURES: if it is set, the model takes a picture, and answers with its mean level.
FAKE_COLORS: if it is set, the model is a `ColorModel`.
FAKE_TEXT: if it is set, the model is a `TextModel`.

A file named `wide` is a `WideModel`; one named `broken`, or that cannot be read, cannot be loaded.

Some rows make it misbehave; see `Row`.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np

from model.formats.files import ModelError
from model.process.main import main
from model.process.prepare import LoadRequest
from model.signature import Signature, TensorSpec

POISON = -13


class Row(IntEnum):
    """What a row does to the call that it is in."""

    RAISES = POISON
    RAISES_ONCE = -14  # and never again
    NOT_A_NUMBER = -15
    TOO_FEW = -16  # answers are those of its call
    GROWS = -17  # by 32 MiB that are never given back
    NO_MEMORY = -18  # takes more than a process is allowed to
    ABORTS = -19  # ends the process
    HANGS = -20  # for ever


GROWTH = 32 * 2**20
A_LOT = 4 * 2**30


class LineModel:
    """Answers 3x + 1."""

    signature = Signature(
        (TensorSpec("x", (1,), "float32"),), (TensorSpec("dense", (1,), "float32"),)
    )

    fixed_rows = None
    name = "tensorflow"
    is_half_precision = False
    padding_hint = None
    eager = None

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        return [3 * arrays[0] + np.float32(1)]


class ImageModel:
    """Answers an image of 224 x 224 pixels with one of 256 x 256: ones for ones."""

    signature = Signature(
        (TensorSpec("image", (224, 224, 3), "float32"),),
        (TensorSpec("larger", (256, 256, 3), "float32"),),
    )

    fixed_rows = None
    name = "tensorflow"
    is_half_precision = False
    padding_hint = None
    eager = None

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        pixels = arrays[0][:, :1, :1, :]
        return [np.ascontiguousarray(np.broadcast_to(pixels, (len(pixels), 256, 256, 3)))]


class PictureModel:
    """Answers the mean of the levels of a picture of 32 x 32 pixels."""

    signature = Signature(
        (TensorSpec("image", (32, 32, 3), "float32"),), (TensorSpec("mean", (1,), "float32"),)
    )

    fixed_rows = None
    name = "tensorflow"
    is_half_precision = False
    eager = None

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        return [arrays[0].mean((1, 2, 3), keepdims=True)[:, 0, 0]]


class ColorModel(LineModel):
    """Answers a picture with the means of its three colours, from 0 to 1."""

    signature = Signature(
        (TensorSpec("picture", (8, 8, 3), "float32"),), (TensorSpec("color", (3,), "float32"),)
    )

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        return [arrays[0].mean(axis=(1, 2)) / np.float32(255)]


class TextModel(LineModel):
    """Answers a text with its length, and some numbers with themselves."""

    signature = Signature(
        (TensorSpec("words", (), "string"), TensorSpec("numbers", (2,), "int64")),
        (TensorSpec("length", (), "float32"), TensorSpec("same", (2,), "int64")),
    )

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        words, numbers = arrays
        return [np.array([len(each) for each in words], np.float32), numbers]


class WideModel:
    """Answers a number with a picture: 10 MB, as JSON some 25 MB."""

    signature = Signature(
        (TensorSpec("x", (1,), "float32"),), (TensorSpec("picture", (896, 928, 3), "float32"),)
    )

    fixed_rows = None
    name = "tensorflow"
    is_half_precision = False
    padding_hint = None
    eager = None

    def __init__(self) -> None:
        self._picture = np.random.default_rng(1).random((1, 896, 928, 3), np.float32)

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch."""
        return [self._picture * arrays[0].reshape(-1, 1, 1, 1)]


class MovedModel(LineModel):
    """A LineModel whose calls the test sees, holds, slows down and spoils."""

    def __init__(self, folder: Path, seconds: float, row_seconds: float) -> None:
        self._row_seconds = row_seconds
        self._kept: list[np.ndarray] = []
        self._has_raised = False
        self._gate = folder / "gate"
        self._calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seconds = seconds

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        rows = [float(x) for (x,) in arrays[0]]
        os.write(self._calls, json.dumps(rows).encode() + b"\n")
        pass_through(self._gate)
        time.sleep(self._seconds + self._row_seconds * len(rows))
        self._misbehave(set(rows))
        [answer] = super().call(arrays)
        if Row.TOO_FEW in rows:
            return [answer[:-1]]
        answer[arrays[0] == Row.NOT_A_NUMBER] = np.nan
        return [answer]

    def _misbehave(self, rows: set[float]) -> None:
        if Row.RAISES in rows:
            raise ValueError(f"{POISON} is poison")
        if Row.RAISES_ONCE in rows and not self._has_raised:
            self._has_raised = True
            raise ValueError("for once")
        if Row.GROWS in rows:
            self._kept.append(np.ones(GROWTH, np.uint8))
        if Row.NO_MEMORY in rows:
            np.ones(A_LOT, np.uint8)
        if Row.ABORTS in rows:
            os.abort()
        if Row.HANGS in rows:
            threading.Event().wait()


def pass_through(gate: Path) -> None:
    """Wait while somebody holds the lock of a file."""
    with gate.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def check_readable(file: Path) -> None:
    """Raise ModelError if a file is there that cannot be read."""
    try:
        file.open("rb").close()
    except PermissionError as error:
        raise ModelError(str(file), f"cannot be read: {error.strerror}") from error
    except OSError:
        return  # nothing is there, or a folder


def load_fake(request: LoadRequest) -> MovedModel | ImageModel | PictureModel | WideModel:
    """Load nothing, in the way that the environment and the name of the file say."""
    if Path(request.path).stem == "broken":
        raise ModelError(request.path, "is broken")
    check_readable(Path(request.path))
    folder = Path(os.environ["FAKE_FOLDER"])
    pass_through(folder / "load")
    if error := os.environ.get("FAKE_LOAD_ERROR"):
        raise ImportError(error)
    if Path(request.path).stem == "wide":
        return WideModel()
    if os.environ.get("FAKE_IMAGE"):
        return ImageModel()
    if os.environ.get("FAKE_PICTURES"):
        return PictureModel()
    if os.environ.get("FAKE_COLORS"):
        return ColorModel()
    if os.environ.get("FAKE_TEXT"):
        return TextModel()
    seconds, row_seconds = (
        float(os.environ.get(name, "0")) for name in ("FAKE_SECONDS", "FAKE_ROW_SECONDS")
    )
    return MovedModel(folder, seconds, row_seconds)


if __name__ == "__main__":
    main(load_fake, sys.argv[1:])
