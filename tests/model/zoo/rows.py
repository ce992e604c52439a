"""Rows for the models of the zoo, the same at every call."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS = 5


def floats(*shape: int, dtype: str = "float32") -> np.ndarray:
    """Rows of normal numbers."""
    return np.random.default_rng(1).standard_normal((ROWS, *shape)).astype(dtype)


def integers(*shape: int, high: int = 10, dtype: str = "int32") -> np.ndarray:
    """Rows of integers from 0 to below `high`."""
    return np.random.default_rng(2).integers(0, high, (ROWS, *shape)).astype(dtype)


def text(*rows: Any) -> np.ndarray:
    """Rows of strings."""
    return np.array(rows, object)
