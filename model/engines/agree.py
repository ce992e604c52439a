"""Tests whether an engine answers as TensorFlow does.

Nothing is believed of a conversion: operations were seen to be dropped silently. Both get the same
rows, recorded and random ones, of several numbers, sizes and scales. One disagreement is enough.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

import numpy as np

from model.examples import RANDOM, scaled
from model.formats.files import in_one_line
from model.process.differences import differences_by_row, scale_of
from model.process.eager_check import Compared, calls_by_cost, unclear_rows
from model.process.memory import Memory
from model.process.trials import Trials
from model.signature import Signature
from model.tensors import Tensors

log = logging.getLogger(__name__)

TOLERANCE: Final = 1e-4  # of the largest value; seen: 5e-6
ROWS: Final = (1, 2, 7)  # and as many as a call may have
SCALES: Final = (1.0, 0.01, 100.0)
SECONDS: Final = 60.0  # no further calls after that, but for one of each scale
NON_FINITE: Final = (np.nan, np.inf, -np.inf)
RANK_OF_IMAGES: Final = 3
NON_FINITE_ROWS: Final = 14  # of each, two of them with nothing else


class Agreement:
    """Compares an engine with the one that it is to replace.

    Attributes:
        calls: how many calls both have answered.
        lost: values of NON_FINITE in a row of input that the engine answers otherwise, and that may
            be answered with NaN: `NanRows` does. Infinity always may.
    """

    def __init__(
        self,
        reference: Trials,
        other: Trials,
        *,
        max_rows: int,
        recorded: Sequence[Tensors] = (),
        clock: Callable[[], float] = time.monotonic,
        memory: Memory | None = None,
    ) -> None:
        """`recorded` are rows that the network is known to accept."""
        self.calls = 0
        self.lost: list[float] = []
        self._reference = reference
        self._other = other
        self._recorded = recorded
        self._numbers = sorted({*ROWS, max_rows})
        self._clock = clock
        self._memory = memory or Memory()
        self._signature = reference.engine.signature

    def disagreement(self) -> str:
        """Return how the answers differ; "" if they agree."""
        if not self._reference.find_rows():
            return "no rows are known that the network accepts"
        for name, batches in self._batches():
            if found := self._differ(batches):
                return f"it answers otherwise than TensorFlow: {found} ({name})"
        return self._non_finite()

    def _batches(self) -> Iterator[tuple[str, Iterator[Tensors]]]:
        yield "examples", iter(self._recorded)
        end = self._clock() + SECONDS
        for number, scale in enumerate(SCALES):
            yield f"random values times {scale:g}", self._random(scale, number * 10_000, end)

    def _random(self, scale: float, first: int, end: float) -> Iterator[Tensors]:
        """Yield batches of random rows, by their cost; other rows for each scale."""
        kind = scaled(RANDOM, scale, "random values")
        kinds = [kind, replace(kind, uses_samples=False)]
        for rows, size in calls_by_cost(self._reference, self._numbers, self._memory):
            for number, each in enumerate(kinds if has_samples(self._signature) else kinds[:1]):
                yield each.rows(self._signature, rows, size, first + 1_000 * number)
            if self._clock() >= end:
                log.debug("there is no time to compare more calls")
                return

    def _differ(self, batches: Iterator[Tensors]) -> str:
        """Return how the answers to some batches differ, relative to their largest value."""
        compared = {spec.name: Compared() for spec in self._signature.outputs}
        for rows in batches:
            answers = attempt(self._reference, rows), attempt(self._other, rows)
            if found := self._note(rows, *answers, compared):
                return f"{found}, in a call of {len(rows)} rows"
        for name, each in compared.items():
            if each.relative > TOLERANCE:
                return f"{name} by {each.relative:.1e} of its scale"
        return ""

    def _note(
        self,
        rows: Tensors,
        reference: Tensors | Exception,
        other: Tensors | Exception,
        compared: dict[str, Compared],
    ) -> str:
        """Add to what was compared; return what cannot be compared at all, or ""."""
        if isinstance(reference, Exception):
            return "" if isinstance(other, Exception) else "it answers what TensorFlow rejects"
        if isinstance(other, Exception):
            return f"it fails: {in_one_line(other)}"
        self.calls += 1
        unclear = cache(lambda: self._unclear(rows))
        for spec in self._signature.outputs:
            one, two = reference.arrays[spec.name], other.arrays[spec.name]
            if one.shape != two.shape or one.dtype != two.dtype:
                return f"{spec.name} is {two.dtype}{list(two.shape)}"
            if not compared[spec.name].add(one, two, TOLERANCE, unclear):
                return f"{spec.name} has NaN, infinity or another text elsewhere"
        return ""

    def _unclear(self, rows: Tensors) -> np.ndarray:
        """Return which rows hold a decision that rounding may change; of shape `[rows]`."""
        eager = self._reference.engine.eager
        if eager is None:
            return np.zeros(len(rows), bool)
        return unclear_rows(eager, self._signature, rows, TOLERANCE)

    def _non_finite(self) -> str:
        """Compare rows with NaN and infinity in them, which TensorFlow does not treat alike.

        A fused `relu` of it answers 0 to NaN, where Keras' layers answer NaN. So either will do.
        """
        if not any(spec.array_dtype.kind == "f" for spec in self._signature.inputs):
            return ""
        for value in NON_FINITE:
            name = "NaN" if np.isnan(value) else "infinity"
            rows = self._with(value)
            references = list(self._references(rows))
            other = attempt(self._other, rows)
            if isinstance(other, Exception):
                if references:
                    return f"it fails on {name} in the input: {in_one_line(other)}"
            elif not references:
                return f"it answers {name} in the input, which TensorFlow rejects"
            elif not np.logical_or.reduce([alike(each, other) for each in references]).all():
                if not may_be_nan(value, references, self._signature):
                    return f"it answers otherwise than TensorFlow to {name} in the input"
                self.lost.append(value)
        return ""

    def _references(self, rows: Tensors) -> Iterator[Tensors]:
        """Yield the answers of TensorFlow and of Keras' layers, where there is one."""
        eager = self._reference.engine.eager
        layers = [Trials(eager, self._reference.path)] if eager else []
        for trials in (self._reference, *layers):
            answer = attempt(trials, rows)
            if not isinstance(answer, Exception):
                yield answer

    def _with(self, value: float) -> Tensors:
        """Return rows that have a number somewhere; the last two have nothing else."""
        count = min(NON_FINITE_ROWS, self._reference.most_rows or NON_FINITE_ROWS)
        rows = RANDOM.rows(self._signature, count, self._reference.sizes[0], 50_000)
        arrays = {name: np.array(array) for name, array in rows.arrays.items()}
        floats = [array for array in arrays.values() if array.dtype.kind == "f" and array.size]
        random = np.random.default_rng(0)
        for row in range(count):
            array = floats[row % len(floats)][row : row + 1].reshape(-1)  # a view of it
            places = slice(None) if row >= count - 2 else random.integers(array.size)
            array[places] = value
        return Tensors(arrays)


def attempt(trials: Trials, rows: Tensors) -> Tensors | Exception:
    """Call a network; return its answer, or what it raised."""
    try:
        return trials.answer(rows)
    except Exception as error:  # whatever the network raises
        return error


def has_samples(signature: Signature) -> bool:
    return any(spec.samples for spec in signature.inputs)


def alike(one: Tensors, other: Tensors) -> np.ndarray:
    """Return which rows are finite in both and close, or finite in neither; of shape `[rows]`."""
    first, second = is_finite_by_row(one), is_finite_by_row(other)
    close = np.ones(len(one), bool)
    for name, array in one.arrays.items():
        apart = differences_by_row(array, other.arrays[name])
        close &= apart <= TOLERANCE * scale_of(array)
    found: np.ndarray = np.where(first & second, close, first == second)
    return found


def may_be_nan(value: float, references: Sequence[Tensors], signature: Signature) -> bool:
    """Return whether NaN may be answered to rows of input with a value in them.

    NaN may stand for what is not known, and have an answer; not in images, where a pooling layer
    may drop it.
    """
    if any(array.dtype.kind != "f" for array in references[0].arrays.values()):
        return False
    lost = np.logical_or.reduce([~is_finite_by_row(each) for each in references])
    floats = [spec for spec in signature.inputs if spec.array_dtype.kind == "f"]
    are_images = all(spec.rank >= RANK_OF_IMAGES for spec in floats)
    return bool(np.isinf(value) or lost.all() or (are_images and lost.any()))


def is_finite_by_row(answer: Tensors) -> np.ndarray:
    """Return which rows have no NaN and no infinity, of shape `[rows]`."""
    found = np.ones(len(answer), bool)
    for array in answer.arrays.values():
        if array.dtype.kind == "f":
            found &= np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    return found
