"""Cells between arrays and JSON, where a dialect differs from the native one."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import orjson

from model.signature import TensorSpec
from server.dialects.json_body import LARGE_BODY

_NULL: Final = re.compile(rb"null")


def has_floats(cells: Any) -> bool:
    """Tell whether nested lists of numbers have one that is written with a point or exponent."""
    while isinstance(cells, list) and cells and isinstance(cells[0], list):
        cells = [cell for row in cells for cell in row]
    return float in set(map(type, cells if isinstance(cells, list) else [cells]))


def shape_hint(spec: TensorSpec, size: int) -> tuple[int | None, ...]:
    """Return what helps `numbers.to_array` with the rows of a large body."""
    return (None, *spec.shape) if size > LARGE_BODY else ()


def dump_numbers(cells: np.ndarray) -> bytes:
    """Write numbers as JSON, with `NaN`, `Infinity` and `-Infinity` where they are not finite."""
    cells = np.ascontiguousarray(cells) if np.ndim(cells) else cells
    text = orjson.dumps(cells, option=orjson.OPT_SERIALIZE_NUMPY)
    if cells.dtype.kind != "f" or b"null" not in text:
        return text
    others = iter(np.ravel(cells)[~np.isfinite(np.ravel(cells))].tolist())
    return _NULL.sub(lambda _: _name_of(next(others)), text)


def _name_of(number: float) -> bytes:
    if number != number:
        return b"NaN"
    return b"Infinity" if number > 0 else b"-Infinity"
