"""Single examples of few numbers: from JSON to a batch and back without arrays of their own.

numpy takes as long for one number as for hundreds, and that was most of the time of a small
request. So a small row stays as it came in JSON until its batch is made, and its answer is encoded
together with those of the whole batch.
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

MAX_CELLS: Final = 256  # of a row; above, checking each cell in Python costs more than an array
MAX_BATCH_CELLS: Final = 8192  # of an answer; above, few of its rows may be small


class RowReader:
    """Makes a Row of the validated JSON of one example."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._can_read = all(_is_small(spec) for spec in inputs)
        self._dtypes = {spec.name: spec.array_dtype for spec in inputs}
        self._limits = [(spec.name, *_limits(spec)) for spec in inputs] if self._can_read else []
        self._nbytes = sum(map(_row_nbytes, inputs)) if self._can_read else 0

    def read(self, data: Any) -> Row | None:
        """Return the row; None if only an array can tell whether all numbers fit their dtype."""
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
    """Encodes the answers of a batch, all of them when the first one is needed."""

    def __init__(self, outputs: Sequence[TensorSpec]) -> None:
        self._can_write = all(_is_small(spec) for spec in outputs)
        self._outputs = outputs
        self._object = format_of([spec.name for spec in outputs])

    def write(self, answer: Rows) -> bytes | None:
        """Return one row of a batch as JSON; None if it has to be encoded alone.

        Outputs of shape `[1]` become numbers. A batch with NaN or infinity is not encoded as a
        whole, because only some of its rows have such numbers.
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
    """Return whether each row is one number or a short list of numbers."""
    return (
        spec.array_dtype.kind in "fiub"
        and spec.rank <= 1
        and all(size is not None and 0 < size <= MAX_CELLS for size in spec.shape)
    )


def _limits(spec: TensorSpec) -> tuple[Any, Any]:
    """Return two bounds; any number between them fits the dtype. Python compares exactly.

    The bounds are a little narrower than the dtype: at its ends numbers are rounded, by the dtype
    or by the JSON parser, so those are left to the array.
    """
    dtype = spec.array_dtype
    if dtype.kind == "b":
        return False, True
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min) + (dtype.kind == "i"), int(np.iinfo(dtype).max)


def _row_nbytes(spec: TensorSpec) -> int:
    return spec.array_dtype.itemsize * math.prod(size or 1 for size in spec.shape)
