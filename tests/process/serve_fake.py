"""The service with y = 3x + 1 as its model: no TensorFlow, and ready in half a second.

`python -m tests.process.serve_fake` takes the arguments of `python -m server`, and these variables:

FAKE_FOLDER: a folder shared with the test. While the test holds the lock (flock) on the file
    `load`, loading waits; while it holds `gate`, every call of the model waits. At the start of
    every call, the list of its rows is appended to the file `calls` as a line.
FAKE_SECONDS: duration of every call.
FAKE_ROW_SECONDS: additional duration per row.
FAKE_LOAD_ERROR: message of an ImportError that loading raises.

Some rows make the model misbehave; see `Row`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np

from model.signature import Signature, TensorSpec
from model.tensors import Tensors, merge, split
from server.run import main
from server.serving.loading import ModelFile

POISON = -13


class Row(IntEnum):
    """Special rows, and what they do to the call that they are in."""

    RAISES = POISON
    RAISES_ONCE = -14  # only the first time
    NOT_A_NUMBER = -15
    TOO_FEW = -16  # predictions are returned
    GROWS = -17  # leaks 32 MiB
    NO_MEMORY = -18  # allocates more than the process may have
    KILLS_THREAD = -19  # the model's thread


GROWTH = 32 * 2**20
A_LOT = 4 * 2**30


class LineModel:
    """Answers 3x + 1."""

    signature = Signature(
        (TensorSpec("x", (1,), "float32"),), (TensorSpec("dense", (1,), "float32"),)
    )

    row_nbytes = 4

    def warm_up(self, max_rows: int) -> None:
        """Do nothing: the first call is as fast as the others."""

    def trial(self, rows: int) -> Callable[[], object]:
        """Return a function that calls the model with zeros."""
        zeros = Tensors({"x": np.zeros((rows, 1), np.float32)})
        return lambda: self.predict([zeros])

    def row_dependence(self) -> float:
        """Return 0: rows do not affect each other."""
        return 0.0

    def predict(self, parts: Sequence[Tensors]) -> list[Tensors]:
        """Compute all parts in one call."""
        rows = merge(parts).arrays["x"]
        answer = Tensors({"dense": 3 * rows + np.float32(1)})
        return split(answer, [len(part) for part in parts])


class MovedModel(LineModel):
    """A LineModel whose calls the test can observe, block, slow down and break."""

    def __init__(self, folder: Path, seconds: float, row_seconds: float) -> None:
        self._row_seconds = row_seconds
        self._kept: list[np.ndarray] = []
        self._has_raised = False
        self._gate = folder / "gate"
        self._calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seconds = seconds

    def predict(self, parts: Sequence[Tensors]) -> list[Tensors]:
        rows = [float(x) for part in parts for (x,) in part.arrays["x"]]
        os.write(self._calls, json.dumps(rows).encode() + b"\n")
        pass_through(self._gate)
        time.sleep(self._seconds + self._row_seconds * len(rows))
        self._misbehave(set(rows))
        answers = super().predict(parts)
        if Row.TOO_FEW in rows:
            return [answer[:-1] for answer in answers]
        for answer, part in zip(answers, parts, strict=True):
            answer.arrays["dense"][part.arrays["x"] == Row.NOT_A_NUMBER] = np.nan
        return answers

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
        if Row.KILLS_THREAD in rows:
            threading.Thread(target=kill, args=[threading.current_thread()], daemon=True).start()


def kill(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread until it ends."""
    while thread.is_alive():
        ident, error = ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, error)
        time.sleep(0.01)


def pass_through(gate: Path) -> None:
    """Wait while another process holds the lock of a file."""
    with gate.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def load_fake(_: ModelFile) -> MovedModel:
    """Return a model configured by the environment."""
    folder = Path(os.environ["FAKE_FOLDER"])
    pass_through(folder / "load")
    if error := os.environ.get("FAKE_LOAD_ERROR"):
        raise ImportError(error)
    seconds, row_seconds = (
        float(os.environ.get(name, "0")) for name in ("FAKE_SECONDS", "FAKE_ROW_SECONDS")
    )
    return MovedModel(folder, seconds, row_seconds)


if __name__ == "__main__":
    sys.exit(main(load_fake))
