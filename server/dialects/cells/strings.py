"""Strings between JSON and arrays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from server.dialects.validation import Schema

# Bytes in base64, as TensorFlow Serving takes them.
B64: Final[Schema] = {
    "type": "object",
    "properties": {"b64": {"type": "string"}},
    "required": ["b64"],
    "additionalProperties": False,
}


def to_array(data: Any) -> np.ndarray:
    """Convert validated JSON; raises ValueError when the lists are not rectangular."""
    array = np.array(data, object)
    if isinstance(array.flat[0], list):  # numpy keeps lists that differ in length as they are
        raise ValueError("not rectangular")
    return array


def cells_of(array: np.ndarray) -> Any:
    """Return numbers or strings in nested lists; bytes, as models give them, are UTF-8 text."""
    if not array.dtype.hasobject:
        return array.tolist()
    texts = np.empty(array.size, object)
    texts[:] = [cell.decode() if isinstance(cell, bytes) else cell for cell in array.flat]
    return texts.reshape(array.shape).tolist()


def to_json(cells: Any) -> Any:
    """Return an output's bytes, in nested lists, as strings."""
    if isinstance(cells, list):
        return [to_json(cell) for cell in cells]
    # Strings of a model come from its vocabulary or its inputs, and all of these were UTF-8.
    return cells.decode(errors="replace")
