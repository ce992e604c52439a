"""Named arrays that share their first axis: what goes into a model and comes out of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np


class RowCountMismatch(ValueError):
    """Arrays that should share their first axis do not, so no row can be given to its owner."""


class Tensors:
    """Named arrays of shape `[rows, ...]`, all with the same number of rows.

    Attributes:
        memo: what was worked out once for all rows, by whoever did; views have none of their own.
    """

    __slots__ = ("arrays", "memo", "rows")

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep `arrays` without copying; raises RowCountMismatch when their lengths differ."""
        rows = -1
        for array in arrays.values():
            if rows not in (-1, len(array)):
                lengths = sorted({len(array) for array in arrays.values()})
                raise RowCountMismatch(f"arrays of {lengths} rows where all should have the same")
            rows = len(array)
        if rows < 0:
            raise RowCountMismatch("no arrays, so no rows")
        self.arrays = arrays
        self.rows = rows
        self.memo: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice) -> Tensors:
        """Return a view of some of the rows."""
        start, stop, _ = rows.indices(self.rows)
        return View(self, start, stop)

    @property
    def row_shape(self) -> Hashable:
        """Equal for two Tensors exactly when `merge` can put them into one batch."""
        return tuple([(name, array.shape[1:]) for name, array in self.arrays.items()])

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes, that of their strings included."""
        return sum(
            [
                array.nbytes + sum(map(len, array.flat)) if array.dtype.hasobject else array.nbytes
                for array in self.arrays.values()
            ]
        )


class View(Tensors):
    """The rows `start` to `stop` of `whole`, whose arrays are cut when somebody asks for them.

    Of an answer that is encoded together with all others of its batch, nobody does.
    """

    __slots__ = ("start", "whole")

    def __init__(self, whole: Tensors, start: int, stop: int) -> None:
        """Take rows that there are."""
        self.whole = whole
        self.start = start
        self.rows = max(0, stop - start)

    def __getitem__(self, rows: slice) -> Tensors:
        """Return a view of the same whole."""
        start, stop, _ = rows.indices(self.rows)
        return View(self.whole, self.start + start, self.start + stop)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:  # type: ignore[override]  # read-only here
        """Views of the arrays of the whole."""
        rows = slice(self.start, self.start + self.rows)
        return {name: array[rows] for name, array in self.whole.arrays.items()}


class Row:
    """One row that is still numbers and lists of numbers, as they came in JSON.

    To make an array takes 3 µs however few numbers it gets; `merge` makes one of the rows of all
    requests in a batch.

    Attributes:
        values: by name; they fit the dtypes and have the shape of a row.
        dtypes: those of the arrays to be.
        nbytes: the size of these arrays.
    """

    __slots__ = ("dtypes", "nbytes", "values")

    def __init__(
        self, values: Mapping[str, Any], dtypes: Mapping[str, np.dtype], nbytes: int
    ) -> None:
        self.values = values
        self.dtypes = dtypes
        self.nbytes = nbytes

    def __len__(self) -> int:
        return 1

    def __getitem__(self, rows: slice) -> Tensors:
        """Return the row, or none, as arrays."""
        return Tensors(self.arrays)[rows]

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Arrays of this row alone, of shape `[1, ...]`."""
        return _arrays_of([self])

    @property
    def row_shape(self) -> Hashable:
        """As of Tensors."""
        return Tensors(self.arrays).row_shape


def merge(parts: Sequence[Tensors | Row]) -> Tensors:
    """Put the rows of `parts`, all of one `row_shape`, one after another."""
    rows = [part for part in parts if isinstance(part, Row)]
    if len(rows) == len(parts):
        return Tensors(_arrays_of(rows))
    if len(parts) == 1 and isinstance(parts[0], Tensors):
        return parts[0]
    arrays = [part.arrays for part in parts]
    return Tensors({name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]})


def _arrays_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    dtypes = rows[0].dtypes
    return {
        name: np.array([row.values[name] for row in rows], dtype) for name, dtype in dtypes.items()
    }


def split(tensors: Tensors, lengths: Sequence[int]) -> list[Tensors]:
    """Undo `merge`: views of `lengths[0]`, `lengths[1]`, … rows.

    Raises RowCountMismatch when the lengths do not add up to the rows there are.
    """
    if sum(lengths) != len(tensors):
        raise RowCountMismatch(f"{len(tensors)} rows came out where {sum(lengths)} went in")
    stops = accumulate(lengths, initial=0)
    return [View(tensors, start, stop) for start, stop in pairwise(stops)]


def is_finite(tensors: Tensors) -> bool:
    """Tell whether no number is NaN or infinite."""
    floats = [array for array in tensors.arrays.values() if array.dtype.kind == "f"]
    return all(np.isfinite(array).all() for array in floats)


def distance(one: Tensors, other: Tensors) -> float:
    """Return the largest difference, relative to the largest value of `one`.

    Arrays without numbers differ by 1 or not at all; it is infinite when names or shapes differ.
    """
    if one.row_shape != other.row_shape or len(one) != len(other):
        return float("inf")
    return max(_distance(array, other.arrays[name]) for name, array in one.arrays.items())


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    if one.dtype.kind not in "fiub":
        return float((one != other).any())
    one, other = one.astype(np.float64), other.astype(np.float64)
    if not one.size or np.array_equal(one, other, equal_nan=True):
        return 0.0
    scale = np.abs(one).max() or 1.0
    moved = np.abs(one - other).max() / scale
    return float(moved) if np.isfinite(moved) else float("inf")
