"""Generated rows of input: for the examples of the API documentation, and for trial calls."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from model.signature import Signature, TensorSpec
from model.tensors import Tensors

TEXTS = ("some words", "other words")
WORDS = ("", "a", "no", "yes", "good", "bad")  # some may be in the model's vocabulary
UNKNOWN_WORDS = ("qxzv", "jkwq")  # no vocabulary has these
MOST_WORDS = 4  # of a random text
MOST_WORDS_OF_LONG_TEXTS = 24

MakeRow = Callable[[TensorSpec, int, int], np.ndarray]
"""Returns the row of a number, starting at 0, whose variable dimensions have a given size."""


def example_rows(signature: Signature, rows: int, variable_size: int) -> Tensors:
    """Return plausible rows; variable dimensions have the size `variable_size`."""
    return _rows(signature, example_row, rows, variable_size)


def example_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Return a plausible row: values that the model knows, where it has a vocabulary.

    Else 10, 20, … for a single float, and 0, 1, … for integers, which are often ids.
    """
    shape = spec.row_shape(variable_size)
    if spec.samples:
        return _sample_row(spec, row, variable_size)
    if spec.dtype == "string":
        return np.full(shape, TEXTS[row % len(TEXTS)], object)
    value = row
    if spec.array_dtype.kind == "f":
        value = 10 * (row + 1) if spec.shape in ((), (1,)) else row + 1
    return np.full(shape, value if spec.maximum is None else min(value, spec.maximum), spec.dtype)


def cells_of_row(signature: Signature, variable_size: int) -> int:
    """Return how many numbers or strings a row has, to know its size before it is made."""
    return sum(math.prod(spec.row_shape(variable_size)) for spec in signature.inputs)


@dataclass(frozen=True)
class RowKind:
    """A way to generate rows of input.

    Attributes:
        name: for messages, such as "all zeros".
        make: returns a row of an input without samples.
        make_sampled: returns a row of an input with samples.
        uses_samples: whether samples are used; else no input counts as one that has them.
    """

    name: str
    make: MakeRow
    make_sampled: MakeRow
    uses_samples: bool = True

    def rows(self, signature: Signature, rows: int, variable_size: int, first: int = 0) -> Tensors:
        """Return rows that differ from each other, where the kind has different ones.

        They are numbered from `first`; other numbers are other rows.
        """
        return _rows(signature, self._make_row, rows, variable_size, first)

    def equal_rows(self, signature: Signature, rows: int, variable_size: int) -> Tensors:
        """Return the first row so many times: a network that takes it once takes all of them."""
        row = self.rows(signature, 1, variable_size)
        return Tensors({name: np.repeat(array, rows, 0) for name, array in row.arrays.items()})

    def describe(self, signature: Signature) -> str:
        """Return what rows of this kind consist of, for messages."""
        sampled = [bool(self.uses_samples and spec.samples) for spec in signature.inputs]
        if not any(sampled):
            return self.name
        known = "values of its vocabulary"
        return known if all(sampled) else f"{known}, and otherwise {self.name}"

    def _make_row(self, spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
        if spec.samples and self.uses_samples:
            return self.make_sampled(spec, row, variable_size)
        return self.make(spec, row, variable_size)


def row_kinds(signature: Signature) -> Iterator[RowKind]:
    """Generate the kinds of rows to try with a network, those with samples first.

    A kind whose rows are those of an earlier one is left out.
    """
    seen: list[Tensors] = []
    for kind in (*KINDS, *(replace(kind, uses_samples=False) for kind in KINDS)):
        row = kind.rows(signature, 1, 2)
        if not any(_equal(row, other) for other in seen):
            seen.append(row)
            yield kind


def _equal(one: Tensors, other: Tensors) -> bool:
    return all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def scaled(kind: RowKind, factor: float, name: str) -> RowKind:
    """Return a kind whose floats are so many times those of another."""

    def make(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
        made = kind.make(spec, row, variable_size)
        is_float = spec.array_dtype.kind == "f"
        return np.asarray(made * spec.array_dtype.type(factor)) if is_float else made

    return replace(kind, name=name, make=make)


def _rows(
    signature: Signature, make: MakeRow, rows: int, variable_size: int, first: int = 0
) -> Tensors:
    numbers = range(first, first + rows)
    return Tensors(
        {
            spec.name: np.stack([make(spec, row, variable_size) for row in numbers])
            for spec in signature.inputs
        }
    )


def _sample_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """A row whose cells are samples in turn, beginning with another one in each row."""
    return _in_turn(spec, spec.samples, row, variable_size)


def _in_turn(
    spec: TensorSpec, values: tuple[int | str, ...], start: int, variable_size: int
) -> np.ndarray:
    shape = spec.row_shape(variable_size)
    places = (start + np.arange(math.prod(shape))) % len(values)
    return np.array(values, spec.array_dtype)[places].reshape(shape)


def _zero_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:  # noqa: ARG001  # MakeRow's
    zero = "" if spec.dtype == "string" else 0
    return np.full(spec.row_shape(variable_size), zero, spec.array_dtype)


def _one_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Ones in the first row, twos in the second, and so on; and texts."""
    if spec.dtype == "string":
        return np.full(spec.row_shape(variable_size), TEXTS[row % len(TEXTS)], object)
    value = row + 1 if spec.maximum is None else min(row + 1, spec.maximum)
    return np.full(spec.row_shape(variable_size), value, spec.array_dtype)


def _identity_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Multiples of the identity matrix, for networks that invert or decompose a matrix.

    Also flattened ones; ones where an input is no square.
    """
    shape = spec.row_shape(variable_size)
    if spec.array_dtype.kind == "f" and shape:
        is_square = len(shape) > 1 and shape[-1] == shape[-2]
        side = shape[-1] if is_square else math.isqrt(shape[-1])
        if side and (is_square or side**2 == shape[-1]):
            eye = (row + 1) * np.eye(side, dtype=spec.array_dtype)
            return np.broadcast_to(eye if is_square else eye.ravel(), shape).copy()
    return _one_row(spec, row, variable_size)


def _counting_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """1, 2, 3, 1, …, which are valid as ids and increase."""
    if spec.dtype == "string":
        return _in_turn(spec, WORDS[1:], row, variable_size)
    most = 3 if spec.maximum is None else max(1, min(3, spec.maximum))
    cells = _in_turn(spec, tuple(range(1, most + 1)), row, variable_size)
    return cells if spec.maximum is None else np.minimum(cells, spec.maximum)


def _random_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Random texts, ids or normal numbers."""
    random, shape = _generator(spec, row), spec.row_shape(variable_size)
    if spec.dtype == "string":
        return _random_texts(random, shape, WORDS, MOST_WORDS)
    if spec.maximum is not None:
        return np.asarray(random.integers(0, spec.maximum + 1, shape), spec.dtype)
    if spec.array_dtype.kind == "f":
        return np.asarray(random.standard_normal(shape), spec.dtype)
    return np.asarray(random.integers(0, 2, shape), spec.dtype)  # ids that any Embedding accepts


def _random_sample_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    shape = spec.row_shape(variable_size)
    places = _generator(spec, row).integers(0, len(spec.samples), math.prod(shape))
    return np.array(spec.samples, spec.array_dtype)[places].reshape(shape)


def _generator(spec: TensorSpec, row: int) -> np.random.Generator:
    """The same numbers at every call, and others for each input and row."""
    return np.random.default_rng([row, zlib.crc32(spec.name.encode())])


def _long_text_row(spec: TensorSpec, row: int, variable_size: int) -> np.ndarray:
    """Texts of many words, some of which no vocabulary has; else random values."""
    if spec.dtype != "string":
        return _random_row(spec, row, variable_size)
    known = tuple(map(str, spec.samples)) or WORDS
    words = (*known, *UNKNOWN_WORDS)
    shape = spec.row_shape(variable_size)
    return _random_texts(_generator(spec, row), shape, words, MOST_WORDS_OF_LONG_TEXTS)


def _random_texts(
    random: np.random.Generator, shape: tuple[int, ...], words: tuple[str, ...], most: int
) -> np.ndarray:
    """Texts of different lengths, because a network may pad them to the longest of a batch."""
    texts = np.empty(shape, object)
    for place in np.ndindex(shape):
        texts[place] = " ".join(random.choice(words, random.integers(1, most + 1)).tolist())
    return texts


RANDOM: Final = RowKind("random values", _random_row, _random_sample_row)
LONG_TEXTS: Final = RowKind("long texts", _long_text_row, _long_text_row)
KINDS: Final = (
    RowKind("all zeros", _zero_row, _sample_row),
    RowKind("all ones", _one_row, _sample_row),
    RowKind("identity matrices", _identity_row, _sample_row),
    RowKind("the numbers 1, 2, 3", _counting_row, _sample_row),
    RANDOM,
)
