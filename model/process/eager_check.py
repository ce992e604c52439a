"""Compares a traced network with the same network called layer by layer.

Layers that look at the size of their input while they are traced, may be right for that size alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from model.engines.interface import EagerEngine, Engine
from model.formats.files import ModelError, in_one_line
from model.formats.windows import SMALLER_THAN_WINDOW
from model.process.differences import differences_by_row, scale_of
from model.process.memory import Memory
from model.process.trials import MAX_NOISE, WHATEVER_THE_ROWS, Trials
from model.signature import Signature
from model.tensors import Tensors

log = logging.getLogger(__name__)

ROWS: Final = (1, 2, 7, 16)
SECONDS: Final = 5.0  # no further calls after that; one that has begun is not interrupted
MEMORY_SHARE: Final = 0.25  # of what is left, that a call may take
TOLERANCE: Final = 1e-4  # of the largest value
TOLERANCE_OF_16_BITS: Final = 2e-2


@dataclass
class Compared:
    """The answers to one output in all calls so far.

    Attributes:
        difference: the largest absolute difference.
        scale: the largest absolute value.
    """

    difference: float = 0.0
    scale: float = 0.0

    @property
    def relative(self) -> float:
        return self.difference / self.scale if self.scale else self.difference

    def add(
        self,
        one: np.ndarray,
        other: np.ndarray,
        tolerance: float,
        unclear: Callable[[], np.ndarray],
    ) -> bool:
        """Add two answers of shape `[rows, ...]`; return whether their difference is finite.

        `unclear` is called if they differ by more than the tolerance: it returns the rows that do
        not count, of shape `[rows]`.
        """
        scale = scale_of(one) if one.dtype.kind == "f" else 1.0
        apart = differences_by_row(one, other)
        if (apart > tolerance * scale).any():
            apart = apart[~unclear()]
        self.difference = max(self.difference, float(np.max(apart, initial=0.0)))
        self.scale = max(self.scale, scale)
        return bool(np.isfinite(self.difference))


def unclear_rows(
    eager: EagerEngine, signature: Signature, rows: Tensors, tolerance: float
) -> np.ndarray:
    """Return which rows hold a decision that rounding may change; of shape `[rows]`."""
    arrays = [rows.arrays[spec.name] for spec in signature.inputs]
    return eager.margins(arrays) <= tolerance


def traced_or_eager(trials: Trials, tell: Callable[[str], None] = lambda _: None) -> Trials:
    """Return the trials of a network that answers as Keras does when it calls layer by layer.

    That is the traced one if it does, which is faster; else the one that Keras calls so. Logs a
    warning if it is the latter. Raises ModelError when neither can be called.
    """
    eager = trials.engine.eager
    if eager is None:
        return trials
    layers = Trials(eager, trials.path)
    why = why_not_traced(trials, eager, tell)
    if not why or not layers.find_rows():
        return trials
    log.warning("%s: Keras calls it layer by layer instead, which takes longer", why)
    return layers


def why_not_traced(trials: Trials, eager: EagerEngine, tell: Callable[[str], None]) -> str:
    """Return what is wrong with the traced network; "" if nothing is, or nothing is known."""
    if not _accepts_rows(trials):
        return f"the traced model fails ({trials.refusal})"
    tell("comparing the traced model with its layers called one by one")
    if trials.noise > MAX_NOISE:
        return ""
    found = EagerCheck(trials, eager).difference()
    if found <= tolerance_of(trials.engine):
        return ""
    return f"the traced model answers otherwise than its layers one by one (by {found:.1e})"


def _accepts_rows(trials: Trials) -> bool:
    try:
        return trials.find_rows()
    except ModelError:
        return False


def tolerance_of(engine: Engine) -> float:
    """Return how much answers may differ, relative to their largest value."""
    return TOLERANCE_OF_16_BITS if engine.is_half_precision else TOLERANCE


class EagerCheck:
    """Calls both ways with the same rows, of different numbers and sizes.

    Attributes:
        calls: how many calls were compared.
    """

    def __init__(
        self,
        traced: Trials,
        eager: EagerEngine,
        *,
        clock: Callable[[], float] = time.monotonic,
        memory: Memory | None = None,
    ) -> None:
        self.calls = 0
        self._traced = traced
        self._eager = eager
        self._layers = Trials(eager, traced.path)
        self._signature = eager.signature
        self._tolerance = tolerance_of(traced.engine)
        self._clock = clock
        self._memory = memory or Memory()
        self._compared = {spec.name: Compared() for spec in eager.signature.outputs}

    def difference(self) -> float:
        """Return the largest difference, relative to the largest value of the output.

        It is infinite where one way fails or shapes differ. Rows do not count in which the network
        compares or rounds a value that is closer to the other result than the tolerance.
        """
        end = self._clock() + SECONDS
        for rows, size in calls_by_cost(self._traced, ROWS, self._memory):
            if self.calls and self._clock() >= end:
                log.debug("after %d calls there is no time to compare more", self.calls)
                break
            if not self._compare(rows, size):
                return float("inf")
        return max(each.relative for each in self._compared.values())

    def _compare(self, rows: int, size: int) -> bool:
        """Compare the answers to some rows; return whether both ways answer or fail."""
        try:
            batch, traced = self._traced.compared(rows, size)
        except Exception as error:
            return not self._is_answered(rows, size, error)
        try:
            expected = self._layers.answer(batch)
        except Exception as error:  # of a layer that works in a graph alone
            log.debug("layer by layer, the network fails: %s", in_one_line(error))
            return True
        self.calls += 1
        return self._note(batch, traced, expected)

    def _is_answered(self, rows: int, size: int, error: Exception) -> bool:
        """Return whether the layers, one by one, answer rows that the traced network rejects."""
        if type(error).__name__ in WHATEVER_THE_ROWS or SMALLER_THAN_WINDOW in str(error):
            return False
        try:
            self._layers.compared(rows, size)
        except Exception:
            return False
        log.debug("layer by layer, the network accepts what it rejects traced: %s", error)
        return True

    def _note(self, batch: Tensors, traced: Tensors, expected: Tensors) -> bool:
        """Add to what was compared; return whether shapes and clear decisions are equal."""
        unclear = cache(lambda: unclear_rows(self._eager, self._signature, batch, self._tolerance))
        for spec in self._signature.outputs:
            one, other = expected.arrays[spec.name], traced.arrays[spec.name]
            if one.shape != other.shape:
                return False
            if not self._compared[spec.name].add(one, other, self._tolerance, unclear):
                return False
        return True


def calls_by_cost(
    trials: Trials, numbers: Iterable[int], memory: Memory
) -> Iterator[tuple[int, int]]:
    """Yield numbers of rows with sizes of variable dimensions, until memory may be short."""
    most = trials.most_rows
    counts = [rows for rows in numbers if most is None or rows <= most]
    calls = [(rows, size) for rows in counts for size in trials.sizes]
    growth = before = 0
    for rows, size in sorted(calls, key=lambda call: call[0] * trials.nbytes_of(call[1])):
        nbytes = rows * trials.nbytes_of(size)
        if before and growth * nbytes / before > MEMORY_SHARE * memory.available():
            log.debug("calls of %d rows and more are not compared: memory is short", rows)
            return
        memory.reset_peak()
        resident = memory.resident()
        yield rows, size
        growth, before = max(0, memory.peak() - resident), nbytes
