"""Named arrays that share their first axis: the inputs and outputs of a model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np


class RowCountMismatch(ValueError):
    """Arrays have different numbers of rows, so their rows cannot be matched with requests."""


class Rows(Protocol):
    """Rows of named arrays of shape `[rows, ...]`, however they are kept."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Rows: ...

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays by name; they share their first axis."""

    @property
    def row_shape(self) -> Hashable:
        """Equal for two Rows exactly when `merge` can put them into one batch."""

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes, including their strings."""


class Tensors:
    """Rows in arrays of their own.

    Attributes:
        encoded: a cache of the encoded rows, by encoder. The first answer of a batch encodes all
            rows; the other answers take theirs from here.
    """

    __slots__ = ("arrays", "encoded", "rows")

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep `arrays` without copying; raises RowCountMismatch when their lengths differ."""
        rows = -1
        for array in arrays.values():
            if rows not in (-1, len(array)):
                lengths = sorted({len(array) for array in arrays.values()})
                raise RowCountMismatch(f"arrays have {lengths} rows; all must have the same number")
            rows = len(array)
        if rows < 0:
            raise RowCountMismatch("no arrays, so no rows")
        self.arrays = arrays
        self.rows = rows
        self.encoded: dict[object, list[bytes]] = {}

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice) -> View:
        """Return a view of some of the rows."""
        start, stop, _ = rows.indices(self.rows)
        return View(self, start, stop)

    @property
    def row_shape(self) -> Hashable:
        return _row_shape(self.arrays)

    @property
    def nbytes(self) -> int:
        return _nbytes(self.arrays)


class View:
    """The rows `start` to `stop` of `whole`. Its arrays are sliced only when they are used.

    They are not used if the rows of the whole batch are encoded together.
    """

    __slots__ = ("rows", "start", "whole")

    def __init__(self, whole: Tensors, start: int, stop: int) -> None:
        self.whole = whole
        self.start = start
        self.rows = max(0, stop - start)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice) -> View:
        """Return a view of the same whole."""
        start, stop, _ = rows.indices(self.rows)
        return View(self.whole, self.start + start, self.start + stop)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Views of the arrays of the whole."""
        rows = slice(self.start, self.start + self.rows)
        return {name: array[rows] for name, array in self.whole.arrays.items()}

    @property
    def row_shape(self) -> Hashable:
        return self.whole.row_shape

    @property
    def nbytes(self) -> int:
        return _nbytes(self.arrays)


class Row:
    """One row that is still numbers and lists of numbers, as they came in JSON.

    Making an array takes 3 µs however few numbers it gets; `merge` makes one array of the rows of
    all requests in a batch.

    Attributes:
        values: by name; they fit the dtypes and have the shape of a row.
        dtypes: the dtypes that the arrays will have.
        nbytes: the size that the arrays will have.
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

    def __getitem__(self, rows: slice) -> View:
        """Return the row, or none, as arrays."""
        return Tensors(self.arrays)[rows]

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Arrays of this row alone, of shape `[1, ...]`."""
        return _arrays_of([self])

    @property
    def row_shape(self) -> Hashable:
        return _row_shape(self.arrays)


def merge(parts: Sequence[Rows]) -> Tensors:
    """Concatenate the rows of `parts`, which all have the same `row_shape`."""
    rows = [part for part in parts if isinstance(part, Row)]
    if len(rows) == len(parts):
        return Tensors(_arrays_of(rows))
    if len(parts) == 1 and isinstance(parts[0], Tensors):
        return parts[0]
    arrays = [part.arrays for part in parts]
    if len(arrays) == 1:
        return Tensors(arrays[0])
    return Tensors({name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]})


def _arrays_of(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    dtypes = rows[0].dtypes
    return {
        name: np.array([row.values[name] for row in rows], dtype) for name, dtype in dtypes.items()
    }


def split(tensors: Tensors, lengths: Sequence[int]) -> list[View]:
    """Undo `merge`: views of `lengths[0]`, `lengths[1]`, … rows.

    Raises RowCountMismatch if the sum of the lengths is not the number of rows.
    """
    if sum(lengths) != len(tensors):
        raise RowCountMismatch(f"{len(tensors)} rows came out where {sum(lengths)} went in")
    stops = accumulate(lengths, initial=0)
    return [View(tensors, start, stop) for start, stop in pairwise(stops)]


def is_finite(tensors: Rows) -> bool:
    """Return whether no number is NaN or infinite."""
    floats = [array for array in tensors.arrays.values() if array.dtype.kind == "f"]
    return all(np.isfinite(array).all() for array in floats)


def distance(one: Rows, other: Rows) -> float:
    """Return the largest difference, relative to the largest value of `one`.

    For strings it is 0 or 1. It is infinite if names or shapes differ.
    """
    if one.row_shape != other.row_shape or len(one) != len(other):
        return float("inf")
    return max(_distance(array, other.arrays[name]) for name, array in one.arrays.items())


def _row_shape(arrays: Mapping[str, np.ndarray]) -> Hashable:
    return tuple([(name, array.shape[1:]) for name, array in arrays.items()])


def _nbytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(
        array.nbytes + sum(map(len, array.flat)) if array.dtype.hasobject else array.nbytes
        for array in arrays.values()
    )


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    if one.dtype.kind not in "fiub":
        return float((one != other).any())
    one, other = one.astype(np.float64), other.astype(np.float64)
    if not one.size or np.array_equal(one, other, equal_nan=True):
        return 0.0
    scale = np.abs(one).max() or 1.0
    largest = np.abs(one - other).max() / scale
    return float(largest) if np.isfinite(largest) else float("inf")
