"""JSON of cells for the TF Serving and V2 dialects, which differ from the native one."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson

from model.signature import TensorSpec
from server.dialects.json_body import LARGE_BODY

_NULL: Final = re.compile(rb"null")
_EXPONENT: Final = re.compile(rb"[0-9][eE]")


def has_floats(cells: Any, body: bytes) -> bool:
    """Return whether nested lists of numbers contain one with a decimal point or an exponent."""
    if b"." not in body and not _EXPONENT.search(body):
        return False
    while isinstance(cells[0], list):
        cells = list(chain.from_iterable(cells))
    return float in set(map(type, cells))


def shape_hint(spec: TensorSpec, size: int) -> tuple[int | None, ...]:
    """Return the `shape` that `numbers.to_array` should get for a body of `size` bytes."""
    return (None, *spec.shape) if size > LARGE_BODY else ()


def dump_numbers(cells: np.ndarray) -> bytes:
    """Return numbers as JSON, with `NaN`, `Infinity` and `-Infinity` for those not finite."""
    cells = np.ascontiguousarray(cells) if np.ndim(cells) else cells
    text = orjson.dumps(cells, option=orjson.OPT_SERIALIZE_NUMPY)
    if cells.dtype.kind != "f" or b"null" not in text:
        return text
    others = iter(np.ravel(cells)[~np.isfinite(np.ravel(cells))].tolist())
    return _NULL.sub(lambda _: _name_of(next(others)), text)


def dump_rows(cells: np.ndarray) -> list[bytes]:
    """Return each row of numbers as JSON, as `dump_numbers` does."""
    if not cells.size:
        return [dump_numbers(row) for row in cells]
    depth = cells.ndim - 1
    start, end = b"[" * depth, b"]" * depth  # brackets this deep stand only between rows
    inner = dump_numbers(cells)[1 + depth : -1 - depth].split(end + b"," + start)
    return [start + row + end for row in inner] if depth else inner


def _name_of(number: float) -> bytes:
    if number != number:
        return b"NaN"
    return b"Infinity" if number > 0 else b"-Infinity"
