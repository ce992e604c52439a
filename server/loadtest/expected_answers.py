"""The model's own prediction for every request, to compare the answers with."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import orjson

from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors

TOLERANCE = 1e-5  # relative: batching changes the last bits of a float
ROWS_A_CALL = 1024


class Model(Protocol):
    """The part of `model.engines.batch_engine.BatchEngine` that is needed here."""

    signature: Signature

    def predict(self, parts: Sequence[Tensors]) -> Sequence[Rows]:
        """Return the outputs for each of `parts`."""


class ExpectedAnswers:
    """The model's own prediction for each request of a pool."""

    def __init__(self, model: Model, pool: Sequence[Any], rows: int) -> None:
        """Compute all predictions; `rows` is the number of rows in each request."""
        parts = [_tensors(data, model.signature.inputs, rows) for data in pool]
        outputs = _predict(model, parts)
        self._floors = _floors(outputs)
        specs = model.signature.outputs
        self._predictions = [_prediction(output, specs, rows) for output in outputs]

    def __getitem__(self, index: int) -> Any:
        """Return the expected prediction for request number `index`."""
        return self._predictions[index]

    def matches(self, index: int, body: bytes) -> bool:
        """Return whether `body` is the right answer to request number `index`."""
        try:
            prediction = orjson.loads(body)["prediction"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return False
        expected = self._predictions[index]
        if len(self._floors) == 1:
            return _close(prediction, expected, next(iter(self._floors.values())))
        return (
            isinstance(prediction, dict)
            and prediction.keys() == expected.keys()
            and all(
                _close(prediction[name], expected[name], self._floors[name]) for name in expected
            )
        )


def _close(value: Any, expected: Any, floor: float) -> bool:
    """Return whether shapes are equal, and numbers equal within the tolerance."""
    if isinstance(expected, float):  # the usual case; numpy would take ten times as long
        return (
            isinstance(value, int | float)
            and abs(value - expected) <= max(abs(expected), floor) * TOLERANCE
        )
    if isinstance(expected, str):
        return bool(value == expected)
    if expected.dtype.hasobject:
        return bool(value == expected.tolist())
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    if array.shape != expected.shape:
        return False
    return bool(np.all(np.abs(array - expected) <= np.maximum(np.abs(expected), floor) * TOLERANCE))


def _tensors(data: Any, inputs: Sequence[TensorSpec], rows: int) -> Tensors:
    named = data if isinstance(data, Mapping) else {inputs[0].name: data}
    arrays = {spec.name: np.asarray(named[spec.name], dtype=spec.array_dtype) for spec in inputs}
    if rows == 1:
        arrays = {name: array[np.newaxis] for name, array in arrays.items()}
    return Tensors(arrays)


def _predict(model: Model, parts: Sequence[Tensors]) -> list[Rows]:
    outputs: dict[int, Rows] = {}
    for numbers in _batches(parts):
        results = model.predict([parts[number] for number in numbers])
        outputs.update(zip(numbers, results, strict=True))
    return [outputs[number] for number in range(len(parts))]


def _batches(parts: Sequence[Tensors]) -> Iterator[list[int]]:
    """Yield the indexes of parts that can go into one call: rows of the same shape."""
    alike: dict[Hashable, list[int]] = {}
    for number, part in enumerate(parts):
        alike.setdefault(part.row_shape, []).append(number)
    for numbers in alike.values():
        step = max(1, ROWS_A_CALL // len(parts[numbers[0]]))
        for start in range(0, len(numbers), step):
            yield numbers[start : start + step]


def _text(array: np.ndarray) -> np.ndarray:
    words = [word.decode(errors="replace") for word in array.flat]
    return np.array(words, object).reshape(array.shape)


def _floors(outputs: Sequence[Rows]) -> dict[str, float]:
    """Return for each output the smallest scale that the tolerance is relative to.

    It is the mean absolute value of the output, at most 1: rounding errors of values near zero are
    as large as those of the others.
    """
    sizes = {
        name: 1.0  # unused: strings are compared exactly
        if array.dtype.hasobject
        else np.mean([np.abs(output.arrays[name]).mean() for output in outputs])
        for name, array in outputs[0].arrays.items()
    }
    return {name: min(1.0, float(size)) for name, size in sizes.items()}


def _prediction(output: Rows, specs: Sequence[TensorSpec], rows: int) -> Any:
    """Return the outputs in the shape of an answer: a float, an array, or a dict of these."""
    values = {}
    for spec in specs:
        array = output.arrays[spec.name]
        array = _text(array) if array.dtype.hasobject else array.astype(np.float64)
        if spec.shape == (1,):
            array = array[:, 0]
        value = array[0] if rows == 1 else array
        values[spec.name] = value if isinstance(value, str | np.ndarray) else float(value)
    return values if len(specs) > 1 else values[specs[0].name]
