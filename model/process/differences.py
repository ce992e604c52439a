"""How much two answers of a network differ."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.tensors import Rows


def scales_of(answer: Rows) -> dict[str, float]:
    """Return the largest finite value of each output of numbers, 1 where that is 0."""
    return {name: scale_of(array) for name, array in answer.arrays.items()}


def scale_of(array: np.ndarray) -> float:
    """Return the largest finite absolute value, 1 where that is 0 or there are no numbers."""
    if array.dtype.hasobject:
        return 1.0
    values = np.abs(array.astype(float))
    return float(np.max(values, initial=0.0, where=np.isfinite(values))) or 1.0


def difference(one: Rows, other: Rows, scales: Mapping[str, float]) -> float:
    """Return the largest difference of two answers, relative to the scale of each output.

    It is infinite where shapes, strings or the places of NaN and infinity differ.
    """
    return max(
        largest_difference(array, other.arrays[name]) / scales[name]
        for name, array in one.arrays.items()
    )


def largest_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest absolute difference; infinite as in `difference`."""
    if one.shape != other.shape:
        return float("inf")
    if one.dtype.hasobject:  # strings
        return 0.0 if np.array_equal(one, other) else float("inf")
    left, right = one.astype(float), other.astype(float)
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(right[finite]).all():
        return float("inf")
    return float(np.max(np.abs(left[finite] - right[finite]), initial=0.0))
