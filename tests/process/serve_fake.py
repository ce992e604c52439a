"""The service with y = 3x + 1 in place of a network: no TensorFlow, and up in half a second.

`python -m tests.process.serve_fake` takes what `python -m server` takes, and from the environment:

FAKE_FOLDER: where it meets the test. It waits in there while the test holds the lock (flock) on
    `load`, when it loads, or on `gate`, in every call of the model; `calls` gets a line for every
    call when it begins, the list of its rows.
FAKE_SECONDS: how long every call takes.
FAKE_LOAD_ERROR: the text of an ImportError that loading ends with.

The row -13 makes its call fail.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from model.signature import Signature, TensorSpec
from model.tensors import Tensors, merge, split
from server.repository import ModelFile
from server.run import main

POISON = -13


class LineModel:
    """Answers 3x + 1."""

    signature = Signature(
        (TensorSpec("x", (1,), "float32"),), (TensorSpec("dense", (1,), "float32"),)
    )

    row_nbytes = 4

    def warm_up(self, max_rows: int) -> None:
        """Nothing is slow the first time."""

    def trial(self, rows: int) -> Callable[[], object]:
        """Return a call with zeros."""
        zeros = Tensors({"x": np.zeros((rows, 1), np.float32)})
        return lambda: self.predict([zeros])

    def row_dependence(self) -> float:
        """Rows are computed each for itself."""
        return 0.0

    def predict(self, parts: Sequence[Tensors]) -> list[Tensors]:
        """Compute all parts in one go."""
        rows = merge(parts).arrays["x"]
        answer = Tensors({"dense": 3 * rows + np.float32(1)})
        return split(answer, [len(part) for part in parts])


class MovedModel(LineModel):
    """A LineModel whose calls the test sees, holds, slows down and spoils."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._gate = folder / "gate"
        self._calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seconds = seconds

    def predict(self, parts: Sequence[Tensors]) -> list[Tensors]:
        rows = [float(x) for part in parts for (x,) in part.arrays["x"]]
        os.write(self._calls, json.dumps(rows).encode() + b"\n")
        pass_through(self._gate)
        time.sleep(self._seconds)
        if POISON in rows:
            raise ValueError(f"{POISON} is poison")
        return super().predict(parts)


def pass_through(gate: Path) -> None:
    """Wait while somebody holds the lock of a file."""
    with gate.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def load_fake(_: ModelFile) -> MovedModel:
    """Load nothing, in the way that the environment says."""
    folder = Path(os.environ["FAKE_FOLDER"])
    pass_through(folder / "load")
    if error := os.environ.get("FAKE_LOAD_ERROR"):
        raise ImportError(error)
    return MovedModel(folder, float(os.environ.get("FAKE_SECONDS", "0")))


if __name__ == "__main__":
    sys.exit(main(load_fake))
