"""Strings between JSON and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

EXAMPLES = ("some words", "other words")


def to_array(data: Any) -> np.ndarray:
    """Convert validated JSON; raises ValueError when the lists are not rectangular."""
    array = np.array(data, object)
    if isinstance(array.flat[0], list):  # numpy keeps lists that differ in length as they are
        raise ValueError("not rectangular")
    return array


def to_json(cells: Any) -> Any:
    """Turn an output's bytes, in lists as `tolist` makes them, into strings."""
    if isinstance(cells, list):
        return [to_json(cell) for cell in cells]
    # A model makes its strings of a vocabulary or of its inputs, and all of these were UTF-8.
    return cells.decode(errors="replace")
