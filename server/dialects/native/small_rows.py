"""One example of few numbers, from JSON to a batch and back without an array of its own.

What numpy does for one number takes as long as for hundreds, and most of the time of a small
request was spent in it. So such a row stays as it came in JSON until its batch is made, and its
answer is written together with those of all other rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson

from model.signature import TensorSpec
from model.tensors import Row, Rows, Tensors, View
from server.dialects.json_body import format_of

MAX_CELLS: Final = 256  # of a row; above, to look at each in Python costs more than an array
MAX_BATCH_CELLS: Final = 8192  # of an answer; above, it may be that few of its rows are small


class RowReader:
    """Makes a Row of the validated JSON of one example."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._can_read = all(_is_small(spec) for spec in inputs)
        self._dtypes = {spec.name: spec.array_dtype for spec in inputs}
        self._limits = [(spec.name, *_limits(spec)) for spec in inputs] if self._can_read else []
        self._nbytes = sum(map(_row_nbytes, inputs)) if self._can_read else 0

    def read(self, data: Any) -> Row | None:
        """Return the row; None where only an array tells whether all numbers fit their dtype."""
        if not self._can_read:
            return None
        values = {self._limits[0][0]: data} if len(self._limits) == 1 else data
        for name, low, high in self._limits:
            value = values[name]
            if type(value) is list:
                if not (low <= min(value) and max(value) <= high):
                    return None
            elif not low <= value <= high:
                return None
        return Row(values, self._dtypes, self._nbytes)


class RowWriter:
    """Writes the answers of a batch, all of them at the first that is asked for."""

    def __init__(self, outputs: Sequence[TensorSpec]) -> None:
        self._can_write = all(_is_small(spec) for spec in outputs)
        self._outputs = outputs
        self._object = format_of([spec.name for spec in outputs])

    def write(self, answer: Rows) -> bytes | None:
        """Return one row of a batch as JSON; None where it has to be written alone.

        Outputs of shape `[1]` are numbers. A batch with a number that is not finite is not
        written, because that concerns some of its rows only.
        """
        if not (self._can_write and isinstance(answer, View)):
            return None
        whole = answer.whole
        texts = whole.encoded.get(self)
        if texts is None:
            texts = whole.encoded[self] = self._texts(whole)
        return texts[answer.start] if texts else None

    def _texts(self, batch: Tensors) -> list[bytes]:
        arrays = [batch.arrays[spec.name] for spec in self._outputs]
        if sum(array.size for array in arrays) > MAX_BATCH_CELLS:
            return []
        if not all(np.isfinite(array).all() for array in arrays):
            return []
        columns = [_column(array, spec) for array, spec in zip(arrays, self._outputs, strict=True)]
        return [self._object % texts for texts in zip(*columns, strict=True)]


def _column(array: np.ndarray, spec: TensorSpec) -> list[bytes]:
    """Return the rows of an output as JSON."""
    is_number = spec.shape in ((), (1,))
    flat = np.ascontiguousarray(array.reshape(len(array)) if is_number else array)
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    if is_number:
        return text[1:-1].split(b",")
    return [b"[%b]" % row for row in text[2:-2].split(b"],[")]


def _is_small(spec: TensorSpec) -> bool:
    """Whether a row is a number or a list of few, however many rows there are."""
    return (
        spec.array_dtype.kind in "fiub"
        and spec.rank <= 1
        and all(size is not None and 0 < size <= MAX_CELLS for size in spec.shape)
    )


def _limits(spec: TensorSpec) -> tuple[Any, Any]:
    """Return numbers between which all are certainly in a dtype, as Python compares them exactly.

    At the ends themselves numbers are rounded, by a float's dtype or by JSON's parser, so these
    are left to the array.
    """
    dtype = spec.array_dtype
    if dtype.kind == "b":
        return False, True
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min) + (dtype.kind == "i"), int(np.iinfo(dtype).max)


def _row_nbytes(spec: TensorSpec) -> int:
    return spec.array_dtype.itemsize * math.prod(size or 1 for size in spec.shape)
