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
    return float(np.max(differences_by_row(one, other), initial=0.0))


def differences_by_row(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the largest absolute difference in each row, of shape `[rows]`."""
    if one.shape != other.shape:
        return np.full(len(one), np.inf)
    flat = (len(one), -1)
    if one.dtype.hasobject:  # strings
        unequal = (one != other).reshape(flat).any(axis=1)
        return np.where(unequal, np.inf, 0.0)
    left, right = one.astype(float).reshape(flat), other.astype(float).reshape(flat)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        apart = np.abs(left - right)
    apart[(left == right) | (np.isnan(left) & np.isnan(right))] = 0
    apart[np.isnan(apart)] = np.inf
    largest: np.ndarray = np.max(apart, axis=1, initial=0.0)
    return largest
