"""Cells between JSON and arrays: numbers and booleans, and strings with the help of `strings`."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from model.signature import TensorSpec
from server.dialects.cells import strings
from server.dialects.validation import Schema, violation
from server.errors import InvalidData

_TYPES = {"f": "number", "i": "integer", "u": "integer", "b": "boolean", "O": "string"}
_FORMATS = {"float32": "float", "float64": "double"}  # integers have their own names
_EXACT_IN_FLOAT64 = 2**53
_SMALL = 1024  # cells: above, a check of each costs little compared with parsing
# By the size of a float in bytes: if the sum of squares is below this, every number fits it.
_SQUARES = {2: 65504.0**2, 4: 1e76, 8: np.inf}


def cell_schema(spec: TensorSpec) -> Schema:
    """Return the JSON Schema of one cell, with the range of ids where the model has one.

    It does not have the range of the dtype: bounds on every cell make validation 3 times slower,
    and 8 to 50 times if they are floats. `to_array` checks that range.
    """
    kind = spec.array_dtype.kind
    schema: Schema = {"type": _TYPES[kind]}
    if name := spec.dtype if kind in "iu" else _FORMATS.get(spec.dtype):
        schema["format"] = name
    for key, bound in (("minimum", spec.minimum), ("maximum", spec.maximum)):
        if bound is not None:
            schema[key] = bound
    return schema


def array_schema(
    spec: TensorSpec, *, batch: bool, nullable: bool = False, cell: Schema | None = None
) -> Schema:
    """Return the JSON Schema of one row of a tensor, or of a list of rows.

    `cell` is the schema of one cell, where a dialect has one of its own.
    """
    schema = dict(cell or cell_schema(spec))
    if nullable:
        schema["type"] = [schema["type"], "null"]
    for size in reversed(spec.shape):
        schema = {"type": "array", "items": schema, "minItems": size or 1}
        if size is not None:
            schema["maxItems"] = size
    return {"type": "array", "items": schema, "minItems": 1} if batch else schema


def to_array(
    data: Any, spec: TensorSpec, path: tuple[str, ...], *, shape: tuple[int | None, ...] = ()
) -> np.ndarray:
    """Convert validated JSON to an array of the input's dtype.

    `shape`, with None for unknown sizes, makes large data faster: numpy alone is slow to find the
    shape and type of many short lists. `path` is where the data stands in the document.

    Raises InvalidData if the lists are not rectangular or a number does not fit the dtype.
    """
    dtype = spec.array_dtype
    try:
        if shape:
            cells, sizes = _flatten(data, shape)
            array, fits = _convert_cells(cells, dtype)
            array = array.reshape(sizes)
        else:
            array, fits = _convert(data, dtype)
    except ValueError:
        message = "Lists along one dimension must have the same length"
        raise InvalidData(message, [violation(path, message)]) from None
    if fits is not np.True_ and not fits.all():
        cell = np.argwhere(~fits.reshape(array.shape))[0].tolist()
        message = f"the number is out of the range of {spec.dtype}"
        raise InvalidData(
            f"A number does not fit {spec.dtype}", [violation([*path, *cell], message)]
        )
    return array


def check_range(array: np.ndarray, spec: TensorSpec) -> None:
    """Raise InvalidData for ids that the model does not know, in data that no schema checks."""
    low, high = spec.minimum, spec.maximum
    if low is None or high is None:
        return
    if not (low <= array.min() and array.max() <= high):  # false for NaN, too
        raise InvalidData(f"{spec.name} takes ids from {low} to {high}", [])


def is_finite(array: np.ndarray) -> bool:
    """Return whether no cell is NaN or infinite."""
    if array.dtype.kind != "f":
        return True
    if array.size == 1:
        return math.isfinite(array.item())
    return bool(np.isfinite(array).all())


def _convert(data: Any, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | np.bool]:
    """Return the array, and for every cell whether it fits the dtype."""
    if dtype.kind == "f":
        return _to_floats(np.array(data, np.float64), dtype)
    if dtype.kind == "b":
        return np.array(data, dtype), np.True_
    if dtype.kind == "O":
        return strings.to_array(data), np.True_
    return _to_integers(np.array(data), data, dtype)


def _convert_cells(cells: list[Any], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | np.bool]:
    """Return what `_convert` does, for many cells in one flat list."""
    if dtype.kind == "O":
        return np.array(cells, object), np.True_
    wide = np.fromiter(cells, np.float64, len(cells))
    if dtype.kind == "f":
        return _to_floats(wide, dtype)
    if dtype.kind == "b":
        return wide.astype(dtype), np.True_
    return _to_integers(wide, cells, dtype)


def _to_integers(
    wide: np.ndarray, data: Any, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray | np.bool]:
    array, fits = _within(wide, dtype)
    if wide.dtype.kind == "f" and wide.ndim and (large := np.abs(wide) >= _EXACT_IN_FLOAT64).any():
        exact = np.array(data, object)  # numpy rounds large integers that stand beside floats
        large[large] = [isinstance(number, int) for number in exact[large].tolist()]
        array[large], fits[large] = _within(exact[large], dtype)
    return array, fits


def _within(wide: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    limits = np.iinfo(dtype)
    # As a float 2**63 - 1 is 2**63, and -2**63 may have been less: the JSON parser rounds.
    fits = (wide > limits.min - 1) & (wide < limits.max + 1)
    return np.where(fits, wide, 0).astype(dtype), fits


def _to_floats(wide: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | np.bool]:
    if wide.size <= _SMALL and np.vdot(wide, wide) < _SQUARES[dtype.itemsize]:
        return wide.astype(dtype, copy=False), np.True_  # one call has checked all cells
    with np.errstate(over="ignore"):
        array = wide.astype(dtype, copy=False)
    return array, np.isfinite(array)


def _flatten(data: Any, shape: tuple[int | None, ...]) -> tuple[list[Any], list[int]]:
    """Return the cells of nested lists and their shape; raises ValueError unless rectangular."""
    cells, sizes = data, [len(data)]
    for size in shape[1:]:
        size = len(cells[0]) if size is None else size
        if size == 1:
            cells = [cell for (cell,) in cells]  # raises ValueError for another length
        elif all(map(size.__eq__, map(len, cells))):
            cells = list(chain.from_iterable(cells))
        else:
            raise ValueError("not rectangular")
        sizes.append(size)
    return cells, sizes
