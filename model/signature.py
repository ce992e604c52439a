"""The inputs and outputs of a model: names, shapes and dtypes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

DTYPES = frozenset(
    {
        *("bool", "float16", "float32", "float64", "string"),
        *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    }
)


DEFAULT_NAME = "serving_default"


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output; `shape` is that of one row, with None for variable dimensions.

    `dtype` is one of DTYPES: numpy's name, or "string". `minimum` and `maximum` are the valid ids,
    if the model takes ids. `samples` are a few values that the model knows, such as words of its
    vocabulary, for generated examples; signatures that differ in them alone are equal.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    minimum: int | None = None
    maximum: int | None = None
    samples: tuple[int | str, ...] = field(default=(), compare=False)

    @cached_property
    def array_dtype(self) -> np.dtype:
        """The dtype of its arrays; those of strings hold `str` (inputs only) or UTF-8 `bytes`."""
        return np.dtype(object if self.dtype == "string" else self.dtype)

    @property
    def rank(self) -> int:
        """The number of dimensions of one row."""
        return len(self.shape)

    def row_shape(self, variable_size: int) -> tuple[int, ...]:
        """The shape of one row whose variable dimensions have this size."""
        return tuple(variable_size if size is None else size for size in self.shape)

    @property
    def shape_text(self) -> str:
        """The shape for messages: `[28, ?]`."""
        return "[" + ", ".join("?" if size is None else str(size) for size in self.shape) + "]"

    def __str__(self) -> str:
        ids = "" if self.maximum is None else f" from {self.minimum} to {self.maximum}"
        return f"{self.name}: {self.dtype}{self.shape_text}{ids}"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, in its order; names are unique on each side.

    `name` is that of the signature in a SavedModel, which clients of TensorFlow Serving may send;
    two signatures that differ in it alone are equal.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    name: str = field(default=DEFAULT_NAME, compare=False)

    def __post_init__(self) -> None:
        for specs in (self.inputs, self.outputs):
            names = [spec.name for spec in specs]
            if len(set(names)) != len(names):
                raise ValueError(f"names of inputs or outputs are not unique: {', '.join(names)}")

    @cached_property
    def is_fixed(self) -> bool:
        """Whether all rows of input have one shape, so that any two can share a batch."""
        return all(None not in spec.shape for spec in self.inputs)

    def __str__(self) -> str:
        inputs, outputs = (", ".join(map(str, specs)) for specs in (self.inputs, self.outputs))
        return f"{inputs} → {outputs}"
