"""How large an answer can become, known from the shapes and types of the outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from model.signature import TensorSpec
from model.tensors import Rows

# The longest numbers as orjson writes them, with a comma: -1.2345678e-38, -1.2345678901234567e-308
_FLOAT_BYTES: Final = {2: 16, 4: 16, 8: 25}
_INTEGER_BYTES: Final = {1: 5, 2: 7, 4: 12, 8: 21}
_BOOL_BYTES: Final = 6
_STRING_BYTES: Final = 3
_LIST_BYTES: Final = 3  # brackets and a comma
_FIELD_BYTES: Final = 8  # quotes, colon, comma and what else stands around a name
_ESCAPED: Final = 6  # bytes of the longest form of a character, \u0000


def json_bytes(outputs: Iterable[TensorSpec]) -> int:
    """Return the most bytes that a row of outputs has in JSON, with names and brackets.

    Variable dimensions count as 1, strings as empty; then an answer can become larger.
    """
    return sum(_json_bytes_of(spec) for spec in outputs)


def binary_bytes(outputs: Iterable[TensorSpec]) -> int:
    """Return the bytes that a row of outputs has in an array; see `json_bytes` for the unknown."""
    return sum(math.prod(spec.row_shape(1)) * spec.array_dtype.itemsize for spec in outputs)


def is_known(outputs: Iterable[TensorSpec]) -> bool:
    """Return whether the size of an answer is known from its number of rows."""
    return all(None not in spec.shape and spec.dtype != "string" for spec in outputs)


def about(outputs: Iterable[TensorSpec], answer: Rows) -> int:
    """Return about how many bytes an answer has in JSON, without a look at its cells."""
    arrays = answer.arrays
    return sum(arrays[spec.name].size * cell_bytes(spec) for spec in outputs)


def name_bytes(spec: TensorSpec) -> int:
    """Return the most bytes that the name of an output has in JSON, with what stands around it."""
    return _FIELD_BYTES + _ESCAPED * len(spec.name)


def cell_bytes(spec: TensorSpec) -> int:
    """Return the most bytes of a number in JSON, with a comma; of a string the known part."""
    dtype = spec.array_dtype
    if dtype.kind == "f":
        return _FLOAT_BYTES[dtype.itemsize]
    if dtype.kind in "iu":
        return _INTEGER_BYTES[dtype.itemsize]
    return _BOOL_BYTES if dtype.kind == "b" else _STRING_BYTES


def _json_bytes_of(spec: TensorSpec) -> int:
    shape = spec.row_shape(1)
    lists = sum(math.prod(shape[:depth]) for depth in range(len(shape)))
    return name_bytes(spec) + lists * _LIST_BYTES + math.prod(shape) * cell_bytes(spec)
