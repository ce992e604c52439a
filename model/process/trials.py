"""Calls that test a network before it serves: first calls, timed calls, alone and batched rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from model.engines.interface import Engine
from model.examples import random_rows, zero_rows
from model.formats.files import ModelError, in_one_line
from model.tensors import RowCountMismatch, Rows, Tensors

log = logging.getLogger(__name__)

LARGEST_SIZE_TRIED = 2**10  # for variable dimensions
ROWS_COMPARED = 4


class Trials:
    """Tries one network; `path` names its file in messages."""

    def __init__(self, engine: Engine, path: str) -> None:
        self._engine = engine
        self._path = path
        self._variable_size = 1
        self._names = [spec.name for spec in engine.signature.outputs]

    @property
    def row_nbytes(self) -> int:
        """The size of one row of zeros in bytes."""
        return self._zeros(1).nbytes

    def find_variable_size(self) -> None:
        """Find a size that the network accepts for its variable dimensions.

        The second smallest power of two is used if possible, because the smallest may be an edge
        case for a layer.
        """
        if self._engine.signature.is_fixed:
            return
        taken: list[int] = []
        for size in (2**power for power in range(LARGEST_SIZE_TRIED.bit_length())):
            if self._takes_size(size):
                taken.append(size)
            elif taken:
                break
            if len(taken) == 2:
                break
        self._variable_size = taken[-1] if taken else 1

    def warm_up(self, max_rows: int) -> None:
        """Call with zeros for 1, 2, 4, … and `max_rows` rows, as the first calls are slow.

        Raises ModelError when the network fails, or does not return as many rows as it got.
        """
        sizes = [2**power for power in range(max_rows.bit_length()) if 2**power < max_rows]
        for rows in [*sizes, max_rows]:
            self.trial(rows)

    def trial(self, rows: int) -> Callable[[], int]:
        """Call once with so many rows of zeros, and return that call; raises ModelError.

        The returned call returns the size of its answer in bytes.
        """
        zeros = self._zeros(rows)
        try:
            self.answer(zeros)
        except Exception as error:  # whatever the network raises
            why = f"the model fails on a batch of {rows}, all zeros: {in_one_line(error)}"
            raise ModelError(self._path, why) from error
        return lambda: self.answer(zeros).nbytes

    def answer(self, rows: Rows) -> Tensors:
        """Call the network; raises what it raises, and RowCountMismatch."""
        inputs = self._engine.signature.inputs
        outputs = self._engine.call([rows.arrays[spec.name] for spec in inputs])
        answer = Tensors(dict(zip(self._names, outputs, strict=True)))
        if len(answer) != len(rows):
            raise RowCountMismatch(f"{len(answer)} rows came out where {len(rows)} went in")
        return answer

    def row_dependence(self) -> float:
        """Return the largest relative difference of answers to a row alone and in a batch of four.

        About 1e-7 is rounding. If it is much more, rows depend on each other, or the model keeps
        state.
        """
        try:
            batch = random_rows(self._engine.signature, ROWS_COMPARED, self._variable_size)
            alone = self._one_by_one(batch)
        except Exception as error:  # such as an Embedding of a single id
            log.info("random input fails, so rows are compared on zeros: %s", in_one_line(error))
            batch = self._zeros(ROWS_COMPARED)
            alone = self._one_by_one(batch)
        together = self.answer(batch)
        return max(
            difference([part.arrays[name] for part in alone], together.arrays[name])
            for name in self._names
        )

    def _one_by_one(self, batch: Tensors) -> list[Tensors]:
        return [self.answer(batch[row : row + 1]) for row in range(len(batch))]

    def _zeros(self, rows: int) -> Tensors:
        return zero_rows(self._engine.signature, rows, self._variable_size)

    def _takes_size(self, size: int) -> bool:
        self._variable_size = size
        try:
            self.answer(self._zeros(1))
        except Exception as error:  # whatever the network raises
            log.debug("variable dimensions of %d: %s", size, in_one_line(error))
            return False
        return True


def difference(alone: Sequence[np.ndarray], together: np.ndarray) -> float:
    """Return the largest difference relative to the largest value; infinite if shapes differ."""
    if any(part.shape[1:] != together.shape[1:] for part in alone):
        return float("inf")
    if together.dtype.hasobject:  # strings
        return 0.0 if np.array_equal(np.concatenate(alone), together) else float("inf")
    one, other = np.concatenate(alone).astype(float), together.astype(float)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = np.abs(one[finite]).max() or 1.0
    return float(np.abs(one[finite] - other[finite]).max() / scale)
