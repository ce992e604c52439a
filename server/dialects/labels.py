"""Labels in place of numbers: the highest scores of an output, each with its label and index.

The last axis of an output has one score for each label. An output of one number may have two labels
instead: the number is then the score of the second one, and what is left of 1 that of the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from model.signature import TensorSpec
from server.dialects.answer_size import cell_bytes
from server.dialects.cells import numbers
from server.dialects.validation import Schema

_TWO: Final = 2  # labels of one number
_ENTRY: Final = len('{"label":,"score":,"index":},')
_LIST: Final = len("[],")
_DIGITS: Final = 6  # of an index


class Labels(NamedTuple):
    """The labels of an output, and which of them an answer has.

    Attributes:
        names: in the order of the scores.
        top_k: the most labels in an answer.
        threshold: the smallest score in an answer; None: any.
    """

    names: tuple[str, ...]
    top_k: int
    threshold: float | None = None


NO_LABELS: Final[Mapping[str, Labels]] = MappingProxyType({})  # by the names of outputs


def score_count(spec: TensorSpec) -> int | None:
    """Return how many scores an output has in its last axis; None if that varies."""
    return spec.shape[-1] if spec.shape else 1


def fits(count: int, spec: TensorSpec) -> bool:
    """Return whether so many labels belong to an output."""
    return count == score_count(spec) or (count == _TWO and is_one_number(spec))


def is_one_number(spec: TensorSpec) -> bool:
    """Return whether an output is one float for each example."""
    return spec.shape in ((), (1,)) and spec.array_dtype.kind == "f"


def scores_of(array: np.ndarray, spec: TensorSpec, count: int) -> np.ndarray:
    """Return the scores of so many labels, along the last axis."""
    scores = array[..., np.newaxis] if not spec.shape else array
    if count == _TWO and scores.shape[-1] == 1:
        return np.concatenate([1 - scores, scores], axis=-1)
    return scores


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` highest scores along the last axis.

    Equal scores are in the order of their indices, NaN is behind all numbers.
    """
    return np.argsort(-scores.astype(np.float64), axis=-1, kind="stable")[..., :count]


def labelled(array: np.ndarray, spec: TensorSpec, labels: Labels) -> list[Any]:
    """Return a list of objects for the scores of each row, nested like the other axes.

    The scores are cells of numpy.
    """
    scores = scores_of(array, spec, len(labels.names))
    flat = scores.reshape(-1, scores.shape[-1])
    rows = zip(flat, best(flat, labels.top_k).tolist(), strict=True)
    lists: list[Any] = [_entries(row, indices, labels) for row, indices in rows]
    for size in reversed(scores.shape[1:-1]):
        lists = [lists[start : start + size] for start in range(0, len(lists), size)]
    return lists


def labelled_bytes(spec: TensorSpec, labels: Labels) -> int:
    """Return the most bytes that a row of an output has as labels, without its name.

    Variable dimensions count as 1.
    """
    longest = max(len(orjson.dumps(name)) for name in labels.names)
    entry = longest + _ENTRY + _DIGITS + cell_bytes(spec)
    outer = spec.row_shape(1)[:-1]
    lists = sum(math.prod(outer[:depth]) for depth in range(len(outer) + 1))
    return lists * _LIST + math.prod(outer) * labels.top_k * entry


def labelled_schema(
    spec: TensorSpec, labels: Labels, *, batch: bool, nullable: bool = False
) -> Schema:
    """Return the JSON Schema of an output as labels."""
    score = numbers.array_schema(TensorSpec("", (), spec.dtype), batch=False, nullable=nullable)
    entry = {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "score": score,
            "index": {"type": "integer", "minimum": 0, "maximum": len(labels.names) - 1},
        },
        "required": ["label", "score", "index"],
        "additionalProperties": False,
    }
    schema: Schema = {"type": "array", "items": entry, "maxItems": labels.top_k}
    for _ in range(max(0, spec.rank - 1) + batch):
        schema = {"type": "array", "items": schema}
    return schema


def _entries(row: np.ndarray, indices: list[int], labels: Labels) -> list[dict[str, Any]]:
    least = labels.threshold
    return [
        {"label": labels.names[index], "score": row[index], "index": index}
        for index in indices
        if least is None or row[index] >= least
    ]
