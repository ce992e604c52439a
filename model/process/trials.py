"""Calls of a network before it serves, with generated rows: the first ones, and timed ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import cached_property

from model.engines.interface import Engine
from model.examples import RANDOM, RowKind, row_kinds
from model.formats.files import ModelError, in_one_line
from model.process.differences import difference, scales_of
from model.tensors import RowCountMismatch, Rows, Tensors

log = logging.getLogger(__name__)

LARGEST_SIZE_TRIED = 2**10  # for variable dimensions
ROWS_COMPARED = 4
MAX_NOISE = 1e-6  # relative; of a network that answers the same rows alike
LARGEST_ROW_COMPARED = 2**18  # bytes, where a size can be chosen
SEARCH_SECONDS = 30.0  # no further kinds of rows are tried after that

# Exceptions that no other rows avoid: Python's, TensorFlow's (which is not imported here), and ours
WHATEVER_THE_ROWS = frozenset(
    {
        *("MemoryError", "ResourceExhaustedError", "UnimplementedError"),
        *("RowCountMismatch", "OutputCountMismatch"),
    }
)


NEEDS_MEMORY = "give it more memory, or set batching.max_rows to fewer rows"
WHAT_TO_DO = {
    "MemoryError": NEEDS_MEMORY,
    "ResourceExhaustedError": NEEDS_MEMORY,
    "RowCountMismatch": "give the model one row of output for each row of input",
}
CHECK = "check that `model.predict` works on this machine"


class OutputCountMismatch(Exception):
    """A network returned more or fewer outputs than its signature has."""


class Trials:
    """Tries one network.

    Attributes:
        engine: the network.
        path: the name of its file in messages.
    """

    def __init__(self, engine: Engine, path: str) -> None:
        self.engine = engine
        self.path = path
        self._variable_size = 1
        self._kind: RowKind | None = None
        self._is_searched = False
        self._refusal = ""  # of the first rows tried
        self._failure_of_any_rows: ModelError | None = None
        self._names = [spec.name for spec in engine.signature.outputs]

    @property
    def most_rows(self) -> int | None:
        """The most rows of a call, for a network that was built for a fixed number; else None."""
        return self.engine.fixed_rows

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
        way that does not depend on what is in the rows. The network is called the first time only.
        """
        if not self._is_searched:
            self._is_searched = True
            self._search()
        if self._kind is None and self._failure_of_any_rows:
            raise self._failure_of_any_rows
        return self._kind is not None

    def _search(self) -> None:
        end = time.monotonic() + SEARCH_SECONDS
        for kind in row_kinds(self.engine.signature):
            if size := self._size_for(kind):
                self._kind, self._variable_size = kind, size
                return
            if time.monotonic() >= end:
                return

    def rows(self, count: int) -> Tensors:
        """Return so many equal rows that the network accepts one of."""
        self._accepted_kind()  # which finds the size
        return self.rows_of(count, self._variable_size)

    def rows_of(self, count: int, size: int) -> Tensors:
        """Return such rows with another size of variable dimensions, which it may reject."""
        return self._accepted_kind().equal_rows(self.engine.signature, count, size)

    def different_rows(self, count: int) -> Tensors:
        """Return rows of the kind that the network accepts; it may still reject some of them."""
        kind = self._accepted_kind()
        return kind.rows(self.engine.signature, count, self._variable_size)

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
        inputs = self.engine.signature.inputs
        outputs = self.engine.call([rows.arrays[spec.name] for spec in inputs])
        if len(outputs) != len(self._names):
            what = f"{len(outputs)} outputs came out where {len(self._names)} are declared"
            raise OutputCountMismatch(what)
        answer = Tensors(dict(zip(self._names, outputs, strict=True)))
        if len(answer) != len(rows):
            raise RowCountMismatch(f"{len(answer)} rows came out where {len(rows)} went in")
        return answer

    @property
    def sizes(self) -> list[int]:
        """Sizes of variable dimensions to compare answers at; the network may reject some.

        First the one that rows are generated of; then half of it, and larger ones that are no
        powers of two.
        """
        self._accepted_kind()
        found = self._variable_size
        if self.engine.signature.is_fixed:
            return [found]
        others = sorted({max(1, found // 2), 2 * found + 1, 8 * found + 3} - {found})
        return [found, *(size for size in others if self.nbytes_of(size) <= LARGEST_ROW_COMPARED)]

    def nbytes_of(self, size: int) -> int:
        """Return the size in bytes of one generated row with this size of variable dimensions."""
        return self._accepted_kind().rows(self.engine.signature, 1, size).nbytes

    @property
    def rows_compared(self) -> int:
        """How many rows a batch has whose answers are compared."""
        return min(ROWS_COMPARED, self.most_rows or ROWS_COMPARED)

    @cached_property
    def batch(self) -> tuple[Tensors, Tensors]:
        """Such a batch, with the first of `sizes`, and its answer; raises as `compared` does."""
        return self.compared(self.rows_compared, self.sizes[0])

    @cached_property
    def noise(self) -> float:
        """The largest difference of three answers to the same batch, relative to their scale.

        It is 0 for most networks. If it is more than rounding, a network answers at random, or
        keeps state. It is 0, too, if the network fails on a batch of several rows; where calls
        have several, `warm_up` raises that error.
        """
        try:
            batch, first = self.batch
        except Exception as error:  # whatever the network raises
            log.debug("%d rows are not compared: %s", self.rows_compared, in_one_line(error))
            return 0.0
        scales = scales_of(first)
        return max(difference(first, self.answer(batch), scales) for _ in range(2))

    def compared(self, count: int, size: int) -> tuple[Tensors, Tensors]:
        """Return rows, as different as the network accepts together, and its answer.

        Raises what the network raised for the last it was tried with.
        """
        for kind in (RANDOM, self._accepted_kind()):
            rows = kind.rows(self.engine.signature, count, size)
            try:
                return rows, self.answer(rows)
            except Exception as error:  # such as an Embedding of a single id
                log.debug("rows are not compared on these, which fail: %s", in_one_line(error))
        rows = self._accepted_kind().equal_rows(self.engine.signature, count, size)
        return rows, self.answer(rows)

    def _accepted_kind(self) -> RowKind:
        """Raises LookupError where `find_rows` has returned that there is none."""
        if self._kind is None and not self.find_rows():
            raise LookupError(f"the model fails on all generated rows: {self._refusal}")
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
        if self.engine.signature.is_fixed:
            return iter([1])
        return (2**power for power in range(LARGEST_SIZE_TRIED.bit_length()))

    def _accepts(self, kind: RowKind, size: int) -> bool:
        signature = self.engine.signature
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
        what = f"a batch of {rows}, {kind.describe(self.engine.signature)}"
        why = f"the model fails on {what}: {in_one_line(error)}"
        return ModelError(self.path, f"{why}; {WHAT_TO_DO.get(type(error).__name__, CHECK)}")
