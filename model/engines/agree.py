"""Tests whether an engine answers as TensorFlow does.

Nothing is believed of a conversion: operations were seen to be dropped silently. Both get the same
rows, recorded and random ones, of several numbers, sizes and scales. One disagreement is enough.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from model.examples import RANDOM, scaled
from model.formats.files import in_one_line
from model.process.differences import differences_by_row, scale_of
from model.process.eager_check import Compared, calls_by_cost
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
NON_FINITE_ROWS: Final = 14  # of each, two of them with nothing else


class Answers(NamedTuple):
    """What both engines answered to the same rows; or the errors that they raised."""

    rows: Tensors
    reference: Tensors | Exception
    other: Tensors | Exception


class Agreement:
    """Compares an engine with the one that it is to replace.

    Attributes:
        calls: how many calls both have answered.
        lost: values of NON_FINITE in a row of input that the other answers with nothing but NaN,
            and the engine does not. `NanRows` puts that right.
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
            if found := self._note(self._answers(rows), compared):
                return f"{found}, in a call of {len(rows)} rows"
        for name, each in compared.items():
            if each.relative > TOLERANCE:
                return f"{name} by {each.relative:.1e} of its scale"
        return ""

    def _answers(self, rows: Tensors) -> Answers:
        return Answers(rows, attempt(self._reference, rows), attempt(self._other, rows))

    def _note(self, answers: Answers, compared: dict[str, Compared]) -> str:
        """Add to what was compared; return what cannot be compared at all, or ""."""
        rows, reference, other = answers
        if isinstance(reference, Exception):
            return "" if isinstance(other, Exception) else "it answers what TensorFlow rejects"
        if isinstance(other, Exception):
            return f"it fails: {in_one_line(other)}"
        self.calls += 1
        unclear: np.ndarray | None = None
        for spec in self._signature.outputs:
            one, two = reference.arrays[spec.name], other.arrays[spec.name]
            if one.shape != two.shape or one.dtype != two.dtype:
                return f"{spec.name} is {two.dtype}{list(two.shape)}"
            scale = scale_of(one) if one.dtype.kind == "f" else 1.0
            apart = differences_by_row(one, two)
            if (apart > TOLERANCE * scale).any():
                unclear = self._unclear(rows) if unclear is None else unclear
                apart = apart[~unclear]
            each = compared[spec.name]
            each.difference = max(each.difference, float(np.max(apart, initial=0.0)))
            each.scale = max(each.scale, scale)
            if not np.isfinite(each.difference):
                return f"{spec.name} has NaN, infinity or another text elsewhere"
        return ""

    def _unclear(self, rows: Tensors) -> np.ndarray:
        """Return which rows hold a decision that rounding may change; of shape `[rows]`."""
        eager = self._reference.engine.eager
        if eager is None:
            return np.zeros(len(rows), bool)
        arrays = [rows.arrays[spec.name] for spec in self._signature.inputs]
        return eager.margins(arrays) <= TOLERANCE

    def _non_finite(self) -> str:
        """Compare rows with NaN and infinity in them."""
        if not any(spec.array_dtype.kind == "f" for spec in self._signature.inputs):
            return ""
        for value in NON_FINITE:
            answers = self._answers(self._with(value))
            if isinstance(answers.reference, Exception):
                if not isinstance(answers.other, Exception):
                    return f"it answers {value} in the input, which TensorFlow rejects"
            elif isinstance(answers.other, Exception):
                return f"it fails on {value} in the input: {in_one_line(answers.other)}"
            elif not alike(answers.reference, answers.other):
                if not is_all_nan(answers.reference):
                    return f"it answers otherwise than TensorFlow to {value} in the input"
                self.lost.append(value)
        return ""

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


def alike(one: Tensors, other: Tensors) -> bool:
    """Return whether NaN and infinity are at the same places, and numbers close."""
    return all(
        array.shape == other.arrays[name].shape
        and float(np.max(differences_by_row(array, other.arrays[name]), initial=0.0))
        <= TOLERANCE * scale_of(array)
        for name, array in one.arrays.items()
    )


def is_all_nan(answer: Tensors) -> bool:
    """Return whether there is nothing but NaN in an answer."""
    return all(
        array.dtype.kind == "f" and bool(np.isnan(array).all()) for array in answer.arrays.values()
    )
