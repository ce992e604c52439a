"""Named arrays that share their first axis: what goes into a model and comes out of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np


class WrongRowCount(ValueError):
    """Arrays that should share their first axis do not, so no row can be given to its owner."""


class Tensors:
    """Named arrays of shape `[rows, ...]`, all with the same number of rows."""

    __slots__ = ("arrays", "rows")

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take `arrays` over without copying; raises WrongRowCount when their first axes differ."""
        rows = -1
        for array in arrays.values():
            if rows not in (-1, len(array)):
                lengths = sorted({len(array) for array in arrays.values()})
                raise WrongRowCount(f"arrays of {lengths} rows where all should have the same")
            rows = len(array)
        if rows < 0:
            raise WrongRowCount("no arrays, so no rows")
        self.arrays = arrays
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice) -> Tensors:
        """Return a view of some of the rows."""
        part = Tensors.__new__(Tensors)  # of equal lengths: this need not be checked again
        part.arrays = arrays = {name: array[rows] for name, array in self.arrays.items()}
        part.rows = len(next(iter(arrays.values())))
        return part

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


def merge(parts: Sequence[Tensors]) -> Tensors:
    """Put the rows of `parts`, all of one `row_shape`, one after another."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].arrays
    return Tensors({name: np.concatenate([part.arrays[name] for part in parts]) for name in names})


def split(tensors: Tensors, lengths: Sequence[int]) -> list[Tensors]:
    """Undo `merge`: views of `lengths[0]`, `lengths[1]`, … rows.

    Raises WrongRowCount when the lengths do not add up to the rows there are.
    """
    if sum(lengths) != len(tensors):
        raise WrongRowCount(f"{len(tensors)} rows came out where {sum(lengths)} went in")
    return [tensors[start:stop] for start, stop in pairwise(accumulate(lengths, initial=0))]


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
