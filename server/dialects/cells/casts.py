"""Arrays of another dtype than an input has: cast where that changes no value but by rounding."""

from __future__ import annotations

from typing import Final

import numpy as np

from model.signature import TensorSpec
from server.errors import InvalidData

# The kinds of arrays for an input of each kind: as in JSON, only bool takes bool.
_TAKEN: Final = {"f": "fiu", "i": "iuf", "u": "iuf", "b": "b"}
_LARGEST: Final = 8  # bytes of a number; numpy's longer floats differ from machine to machine


def check_castable(dtype: np.dtype, spec: TensorSpec) -> None:
    """Raise InvalidData if no array of a dtype is taken for an input."""
    if dtype.kind not in _TAKEN[spec.array_dtype.kind] or dtype.itemsize > _LARGEST:
        raise InvalidData(
            f"The array has the dtype {dtype!s:.80}, but {spec.name} is {spec.dtype}; "
            f"send {_astype(spec)}",
            [],
        )


def cast(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return an array that `check_castable` allows, with the dtype of an input.

    Raises InvalidData unless every value fits: for floats, a finite one stays finite; for
    integers, it is a whole number in the range of the dtype; for bool, it is a byte of 0 or 1.
    """
    dtype = spec.array_dtype
    if dtype.kind == "b" and array.view(np.uint8).max() > 1:
        raise InvalidData("The elements of a bool array must be bytes of 0 or 1", [])
    if array.dtype == dtype:
        return array
    result, fits = (_to_floats if dtype.kind == "f" else _to_integers)(array, dtype)
    if not fits.all():
        element = np.argwhere(~fits)[0].tolist()
        raise InvalidData(
            f"The element {element} of the array, whose dtype is {array.dtype!s}, does not fit "
            f"{spec.name}, which is {spec.dtype}; correct it and send {_astype(spec)}",
            [],
        )
    return result


def _to_floats(array: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(dtype)
    fits = np.isfinite(result)
    return result, fits if fits.all() else fits | ~np.isfinite(array)


def _to_integers(array: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        array = array.astype(np.float64)  # in which both bounds are exact
        low, end = float(limits.min), float(limits.max + 1)
        fits = (array == np.trunc(array)) & (array >= low) & (array < end)
    else:
        fits = (array >= limits.min) & (array <= limits.max)
    return np.where(fits, array, 0).astype(dtype), fits


def _astype(spec: TensorSpec) -> str:
    return f'array.astype("{spec.dtype}")'
