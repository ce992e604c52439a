"""Generated rows of input: for the examples of the API documentation, and for trial calls."""

from __future__ import annotations

import numpy as np

from model.signature import Signature, TensorSpec
from model.tensors import Tensors

TEXTS = ("some words", "other words")
WORDS = ("", "a", "no", "yes", "good", "bad")  # some may be in the model's vocabulary


def example_rows(signature: Signature, rows: int, variable_size: int) -> Tensors:
    """Return plausible rows; variable dimensions have the size `variable_size`."""
    return Tensors(
        {
            spec.name: np.stack([example_row(spec, row, variable_size) for row in range(rows)])
            for spec in signature.inputs
        }
    )


def example_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Return a plausible row: 10, 20, … for a single float; 0, 1, … for integers, often ids."""
    shape = spec.row_shape(variable_size)
    if spec.dtype == "string":
        return np.full(shape, TEXTS[row % len(TEXTS)], object)
    value = row
    if spec.array_dtype.kind == "f":
        value = 10 * (row + 1) if spec.shape in ((), (1,)) else row + 1
    return np.full(shape, value if spec.maximum is None else min(value, spec.maximum), spec.dtype)


def zero_rows(signature: Signature, rows: int, variable_size: int) -> Tensors:
    """Return rows of zeros and of empty strings."""
    return Tensors(
        {
            spec.name: np.full(
                (rows, *spec.row_shape(variable_size)),
                "" if spec.dtype == "string" else 0,
                spec.array_dtype,
            )
            for spec in signature.inputs
        }
    )


def random_rows(signature: Signature, rows: int, variable_size: int) -> Tensors:
    """Return random rows, the same ones at every call."""
    random = np.random.default_rng(0)

    def make(spec: TensorSpec) -> np.ndarray:
        shape = (rows, *spec.row_shape(variable_size))
        if spec.dtype == "string":
            return random.choice(np.array(WORDS, object), shape)
        if spec.maximum is not None:
            return random.integers(0, spec.maximum + 1, shape).astype(spec.dtype)
        if spec.dtype.startswith("float"):
            return random.standard_normal(shape).astype(spec.dtype)
        return random.integers(0, 2, shape).astype(
            spec.dtype
        )  # small ids, which any Embedding accepts

    return Tensors({spec.name: make(spec) for spec in signature.inputs})
