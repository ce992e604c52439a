"""Numbers between JSON and arrays of a dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from model.signature import TensorSpec
from server.dialects.validation import Schema, violation
from server.errors import InvalidData

_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
_FORMATS = {"float32": "float", "float64": "double", "int32": "int32", "int64": "int64"}
_EXACT_IN_FLOAT64 = 2**53
_IS_FLOAT = np.frompyfunc(lambda number: isinstance(number, float), 1, 1)
_SMALL = 1024  # cells: above, looking at each costs little beside reading it
# By the size of a float: what bounds the sum of the squares of numbers that all fit it.
_SQUARES = {2: 65504.0**2, 4: 1e76, 8: np.inf}


def cell_schema(dtype: str) -> Schema:
    """Return the JSON Schema of one number.

    Its range is not part of it: a `maximum` on every cell makes validation 200 times slower.
    `to_array` checks it.
    """
    schema: Schema = {"type": _TYPES[np.dtype(dtype).kind]}
    if dtype in _FORMATS:
        schema["format"] = _FORMATS[dtype]
    return schema


def array_schema(spec: TensorSpec, *, batch: bool, nullable: bool = False) -> Schema:
    """Return the JSON Schema of one row of a tensor, or of a list of rows."""
    schema = cell_schema(spec.dtype)
    if nullable:
        schema["type"] = [schema["type"], "null"]
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": size or 1}
        if size is not None:
            schema["maxItems"] = size
    return {"type": "array", "items": schema, "minItems": 1} if batch else schema


def to_array(data: Any, spec: TensorSpec, path: tuple[str, ...]) -> np.ndarray:
    """Convert validated JSON to an array of the input's dtype.

    Raises InvalidData when the lists are not rectangular, or when a number at `path` is out of the
    range of the dtype.
    """
    try:
        array, fits = _convert(data, np.dtype(spec.dtype))
    except ValueError:
        message = "Lists along one dimension must be of one length"
        raise InvalidData(message, [violation(path, message)]) from None
    if fits is not np.True_ and not fits.all():
        cell = np.argwhere(~fits)[0].tolist()
        message = f"the number is out of the range of {spec.dtype}"
        raise InvalidData(
            f"A number does not fit {spec.dtype}", [violation([*path, *cell], message)]
        )
    return array


def is_finite(array: np.ndarray) -> bool:
    """Tell whether no cell is NaN or infinite."""
    if array.dtype.kind != "f":
        return True
    if array.size == 1:
        return math.isfinite(array.item())
    return bool(np.isfinite(array).all())


def example(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Return a plausible example: tens for a lone number; 0, 1, … for integers, often ids."""
    shape = [variable_size if size is None else size for size in spec.shape]
    if np.dtype(spec.dtype).kind != "f":
        return np.full(shape, row, spec.dtype)
    return np.full(shape, 10 * (row + 1) if spec.shape in ((), (1,)) else row + 1, spec.dtype)


def _convert(data: Any, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | np.bool]:
    """Return the array and, for every cell, whether it fits the dtype."""
    if dtype.kind == "f":
        return _to_floats(data, dtype)
    if dtype.kind == "b":
        return np.array(data, dtype), np.True_
    wide = np.array(data)
    limits = np.iinfo(dtype)
    if wide.dtype.kind == "f" and (np.abs(wide) >= _EXACT_IN_FLOAT64).any():
        # numpy rounds large integers to make one dtype of all, JSON's parser those beyond 64 bits
        wide = np.array(data, object)
        wide[_IS_FLOAT(wide).astype(bool) & (wide == limits.min)] = limits.min - 1
    fits = (wide >= limits.min) & (wide <= limits.max)
    return np.where(fits, wide, 0).astype(dtype), fits


def _to_floats(data: Any, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | np.bool]:
    wide = np.array(data, np.float64)
    if wide.size <= _SMALL and np.vdot(wide, wide) < _SQUARES[dtype.itemsize]:
        return wide.astype(dtype, copy=False), np.True_  # one call told it of all cells
    with np.errstate(over="ignore"):
        array = wide.astype(dtype, copy=False)
    return array, np.isfinite(array)
