"""Calls that test a network before it serves: first calls, timed calls, alone and batched rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from model.engines.interface import Engine
from model.examples import RowKind, random_rows, row_kinds
from model.formats.files import ModelError, in_one_line
from model.tensors import RowCountMismatch, Rows, Tensors

log = logging.getLogger(__name__)

LARGEST_SIZE_TRIED = 2**10  # for variable dimensions
SEARCH_SECONDS = 30.0  # no further kinds of rows are tried after that
ROWS_COMPARED = 4
NEIGHBOURS_TOLERANCE = 1e-6  # relative; sound networks are at 0

# Exceptions that no other rows avoid: Python's, TensorFlow's (which is not imported here), and ours
WHATEVER_THE_ROWS = frozenset(
    {
        *("MemoryError", "ResourceExhaustedError", "UnimplementedError"),
        *("RowCountMismatch", "OutputCountMismatch"),
    }
)


class OutputCountMismatch(Exception):
    """A network returned more or fewer outputs than its signature has."""


class Trials:
    """Tries one network; `path` names its file in messages."""

    def __init__(self, engine: Engine, path: str) -> None:
        self._engine = engine
        self._path = path
        self._variable_size = 1
        self._kind: RowKind | None = None
        self._refusal = ""  # of the first rows tried
        self._failure_of_any_rows: ModelError | None = None
        self._names = [spec.name for spec in engine.signature.outputs]

    @property
    def most_rows(self) -> int | None:
        """The most rows of a call, for a network that was built for a fixed number; else None."""
        return self._engine.fixed_rows

    @property
    def row_nbytes(self) -> int:
        """The size of one generated row in bytes."""
        return self.rows(1).nbytes

    @property
    def refusal(self) -> str:
        """The first rows that the network rejected, and its error; "" if it rejected none."""
        return self._refusal

    def find_rows(self) -> bool:
        """Find generated rows that the network accepts; return whether there are any.

        Variable dimensions get the second smallest power of two that the network accepts, because
        the smallest may be an edge case for a layer. Raises ModelError when the network fails in a
        way that does not depend on what is in the rows.
        """
        end = time.monotonic() + SEARCH_SECONDS
        for kind in row_kinds(self._engine.signature):
            if size := self._size_for(kind):
                self._kind, self._variable_size = kind, size
                return True
            if time.monotonic() >= end:
                break
        if self._failure_of_any_rows:
            raise self._failure_of_any_rows
        return False

    def rows(self, count: int) -> Tensors:
        """Return so many equal rows that the network accepts one of; raises ModelError."""
        kind = self._accepted_kind()
        return kind.equal_rows(self._engine.signature, count, self._variable_size)

    def different_rows(self, count: int) -> Tensors:
        """Return rows of the kind that the network accepts; it may still reject some of them."""
        kind = self._accepted_kind()
        return kind.rows(self._engine.signature, count, self._variable_size)

    def warm_up(self, max_rows: int) -> None:
        """Call with 1, 2, 4, … and `max_rows` rows, as the first calls are slow.

        Raises ModelError when the network fails, or does not return as many rows as it got.
        """
        self._accepted_kind()  # found by a call with one row
        sizes = [2**power for power in range(1, max_rows.bit_length()) if 2**power < max_rows]
        for rows in [*sizes, max_rows]:
            if rows > 1:
                self.trial(rows)

    def trial(self, rows: int) -> Callable[[], int]:
        """Call once with so many rows, and return that call; raises ModelError.

        The returned call returns the size of its answer in bytes.
        """
        batch = self.rows(rows)
        try:
            self.answer(batch)
        except Exception as error:  # whatever the network raises
            raise self._failure(rows, self._accepted_kind(), error) from error
        return lambda: self.answer(batch).nbytes

    def answer(self, rows: Rows) -> Tensors:
        """Call the network; raises what it raises, RowCountMismatch and OutputCountMismatch."""
        inputs = self._engine.signature.inputs
        outputs = self._engine.call([rows.arrays[spec.name] for spec in inputs])
        if len(outputs) != len(self._names):
            what = f"{len(outputs)} outputs came out where {len(self._names)} are declared"
            raise OutputCountMismatch(what)
        answer = Tensors(dict(zip(self._names, outputs, strict=True)))
        if len(answer) != len(rows):
            raise RowCountMismatch(f"{len(answer)} rows came out where {len(rows)} went in")
        return answer

    def row_dependence(self) -> float:
        """Return the largest relative difference of answers to a row alone and in a batch of four.

        About 1e-7 is rounding. If it is much more, rows depend on each other, or the model keeps
        state. It is 0 for a network that takes one row a call.
        """
        if self.most_rows == 1:
            return 0.0
        _, alone, together = self._compared
        return max(
            difference([part.arrays[name] for part in alone], together.arrays[name])
            for name in self._names
        )

    def depends_on_neighbours(self) -> bool:
        """Return whether the answer to a row changes with the other rows of its batch.

        The row keeps its place, and the batch its size, for which sound networks give the same
        bits. A network that answers one batch differently each time is not judged.
        """
        if self.most_rows == 1:
            return False
        batch, _, together = self._compared
        if self._differs(self.answer(batch), together, slice(None)):
            return False
        return any(
            self._differs(self.answer(repeated(batch, place)), together, slice(place, place + 1))
            for place in (0, len(batch) - 1)
        )

    def _differs(self, one: Tensors, other: Tensors, rows: slice) -> bool:
        return any(
            difference([one.arrays[name][rows]], other.arrays[name][rows]) > NEIGHBOURS_TOLERANCE
            for name in self._names
        )

    @cached_property
    def _compared(self) -> tuple[Tensors, list[Tensors], Tensors]:
        """Rows, with the network's answer to each of them alone, and to all together."""
        batch, alone = self._answered_one_by_one()
        return batch, alone, self.answer(batch)

    def _answered_one_by_one(self) -> tuple[Tensors, list[Tensors]]:
        """Return rows, as different as the network accepts, with its answer to each of them."""
        count = min(ROWS_COMPARED, self.most_rows or ROWS_COMPARED)
        for make in (self._random_rows, self.different_rows):
            try:
                batch = make(count)
                return batch, self._one_by_one(batch)
            except Exception as error:  # such as an Embedding of a single id
                log.debug("rows are not compared on these, which fail: %s", in_one_line(error))
        batch = self.rows(count)
        return batch, self._one_by_one(batch)

    def _one_by_one(self, batch: Tensors) -> list[Tensors]:
        return [self.answer(batch[row : row + 1]) for row in range(len(batch))]

    def _random_rows(self, count: int) -> Tensors:
        self._accepted_kind()  # finds the size of variable dimensions
        return random_rows(self._engine.signature, count, self._variable_size)

    def _accepted_kind(self) -> RowKind:
        if self._kind is None and not self.find_rows():
            raise ModelError(self._path, f"the model fails on all generated rows: {self._refusal}")
        assert self._kind is not None
        return self._kind

    def _size_for(self, kind: RowKind) -> int:
        """Return a size of variable dimensions at which the network accepts rows; 0: none."""
        accepted: list[int] = []
        for size in self._sizes():
            if self._accepts(kind, size):
                accepted.append(size)
            elif accepted:
                break
            if len(accepted) == 2:
                break
        return accepted[-1] if accepted else 0

    def _sizes(self) -> Iterator[int]:
        if self._engine.signature.is_fixed:
            return iter([1])
        return (2**power for power in range(LARGEST_SIZE_TRIED.bit_length()))

    def _accepts(self, kind: RowKind, size: int) -> bool:
        signature = self._engine.signature
        try:
            self.answer(kind.equal_rows(signature, 1, size))
        except Exception as error:  # whatever the network raises
            name = kind.describe(signature)
            log.debug("%s, variable dimensions of %d: %s", name, size, in_one_line(error))
            self._refusal = self._refusal or f"{name}: {in_one_line(error)}"
            if type(error).__name__ in WHATEVER_THE_ROWS:
                self._failure_of_any_rows = self._failure(1, kind, error)
                self._failure_of_any_rows.__cause__ = error
                if signature.is_fixed:
                    raise self._failure_of_any_rows from error
            return False
        return True

    def _failure(self, rows: int, kind: RowKind, error: Exception) -> ModelError:
        what = f"a batch of {rows}, {kind.describe(self._engine.signature)}"
        return ModelError(self._path, f"the model fails on {what}: {in_one_line(error)}")


def repeated(batch: Tensors, row: int) -> Tensors:
    """Return a batch of the same size that consists of one of its rows."""
    return Tensors({name: array[[row] * len(array)] for name, array in batch.arrays.items()})


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
