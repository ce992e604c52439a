"""The classes with the highest scores, as strings: Triton's classification extension of V2.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md

A class is `score:index`, or `score:index:label` if the output has labels. Triton writes scores as
C's `%f` does.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from model.signature import TensorSpec
from server.dialects.labels import Labels, best, scores_of
from server.dialects.v2.documents import datatype
from server.errors import InvalidRequest

NAME: Final = "classification"
_NUMBERS: Final = "fiu"  # kinds of dtypes
_SCORE_BYTES: Final = {"f2": 14, "f4": 48, "f8": 318}  # by kind and size: the longest %f
_INTEGER_BYTES: Final = 20
_AROUND: Final = 4 + 2 + 10  # length or quotes and comma, colons, index


def class_count(parameters: dict[str, Any], spec: TensorSpec) -> int:
    """Return how many classes of an output a request wants; 0: its numbers.

    Raises InvalidRequest.
    """
    count = parameters.get(NAME) or 0
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InvalidRequest(f"The parameter {NAME} must be a number of classes.")
    if count and spec.array_dtype.kind not in _NUMBERS:
        kind = datatype(spec.dtype)
        raise InvalidRequest(f"The parameter {NAME} is for numbers, but {spec.name} is {kind}.")
    return count


def classes_of(
    array: np.ndarray, spec: TensorSpec, count: int, labels: Labels | None
) -> np.ndarray:
    """Return the highest scores of each row: strings in an array of rows and classes."""
    names = labels.names if labels else ()
    scores = scores_of(array, spec, len(names)).reshape(len(array), -1)
    form = "%f" if scores.dtype.kind == "f" else "%d"
    indices = best(scores, count)
    cells = np.empty(indices.shape, object)
    for row, chosen in enumerate(indices.tolist()):
        for place, index in enumerate(chosen):
            name = f":{names[index % len(names)]}" if names else ""
            cells[row, place] = f"{form % scores[row, index]}:{index}{name}".encode()
    return cells


def class_bytes(spec: TensorSpec, labels: Labels | None) -> int:
    """Return the most bytes of a class, in JSON or in binary."""
    kind = spec.array_dtype
    score = _SCORE_BYTES.get(f"{kind.kind}{kind.itemsize}", _INTEGER_BYTES)
    name = max(len(orjson.dumps(each)) for each in labels.names) if labels else 0
    return score + name + _AROUND
