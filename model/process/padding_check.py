"""Tests whether rows that are padded to a longer length are answered as they are without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Final

import numpy as np

from model.examples import KINDS, RANDOM, RowKind, scaled
from model.formats.files import in_one_line
from model.padding import Value, cut, padded
from model.process.differences import scale_of
from model.process.eager_check import Compared, tolerance_of, unclear_rows
from model.process.trials import LARGEST_ROW_COMPARED, Trials
from model.signature import TensorSpec
from model.tensors import Rows, Tensors

log = logging.getLogger(__name__)

LENGTHS: Final = (8, 16, 32, 64, 128, 256, 512)
COMPARED_EVERY: Final = 2  # every second of them is compared, which takes half of the time
FEWEST_COMPARED: Final = 2  # also for a network that takes long
SECONDS: Final = 5.0  # no longer lengths after that
OTHER_KINDS: Final[tuple[RowKind, ...]] = (
    *KINDS[:-1],
    scaled(RANDOM, 1000.0, "large values"),
    scaled(RANDOM, 0.001, "small values"),
)


class CannotPad(Exception):
    """Rows of different lengths must not share a batch; the text says why."""


class PaddingCheck:
    """Compares answers to padded rows, alone and together, with those to the rows as they are."""

    def __init__(
        self,
        trials: Trials,
        values: Mapping[str, Value],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trials = trials
        self._signature = trials.engine.signature
        self._values = values
        self._clock = clock
        self._tolerance = tolerance_of(trials.engine)

    def outputs(self) -> tuple[str, ...]:
        """Return the outputs that have a value for each step; raises CannotPad."""
        two = LENGTHS[:2]
        answers = [self._trials.compared(1, length)[1].arrays for length in two]
        return tuple(
            spec.name
            for spec in self._signature.outputs
            if has_steps(spec, [answer[spec.name].shape[1:] for answer in answers], two)
        )

    def lengths(self) -> list[int]:
        """Return the lengths that rows may be padded to, ascending: larger rows are too large."""
        return [n for n in LENGTHS if self._trials.nbytes_of(n) <= LARGEST_ROW_COMPARED]

    def proved(self, outputs: Sequence[str]) -> list[int]:
        """Return those up to the longest one compared; longer ones are left out after a time.

        Raises CannotPad when padding changes answers, even at one length.
        """
        end = self._clock() + SECONDS
        longest = 0
        for place, length in enumerate(self.lengths()[::COMPARED_EVERY]):
            if place >= FEWEST_COMPARED and self._clock() >= end:
                break
            difference = self._difference(length, place, outputs)
            if difference is None:
                break
            if difference > self._tolerance:
                change = f"differ by {difference:.1e} of their scale"
                raise CannotPad(f"answers to rows padded to {length} steps {change}")
            longest = length
        return [length for length in self.lengths() if length <= longest]

    def _difference(self, length: int, place: int, outputs: Sequence[str]) -> float | None:
        """Return how much answers change when rows are padded to a length, of their scale.

        None if the network fails on rows of this length.
        """
        kinds = (RANDOM, *OTHER_KINDS[place::COMPARED_EVERY])
        calls = [self._compare(kind, length, outputs) for kind in kinds]
        return max((each for each in calls if each is not None), default=None)

    def _compare(self, kind: RowKind, length: int, outputs: Sequence[str]) -> float | None:
        """Return the largest difference, relative to the scale; None if the rows are rejected."""
        shorter = sorted({1, length // 3, length // 2 + 1, length - 1, length})
        try:
            rows = [kind.rows(self._signature, 1, n, first=n) for n in shorter]
            alone = [self._trials.answer(each) for each in rows]
        except Exception as error:  # such as an Embedding of a single id
            log.debug("%s of %d steps: %s", kind.name, length, in_one_line(error))
            return None
        compared = {
            spec.name: Compared(scale=max(scale_of(each.arrays[spec.name]) for each in alone))
            for spec in self._signature.outputs
        }
        try:
            for place, answer in self._padded(rows, length):
                mine = cut(answer, outputs, shorter[place])
                if not self._note(rows[place], alone[place], mine, compared):
                    return float("inf")
                if (found := max(each.relative for each in compared.values())) > self._tolerance:
                    return found
        except Exception as error:  # whatever the network raises for padded rows alone
            log.debug("padded to %d steps: %s", length, in_one_line(error))
            return float("inf")
        return max(each.relative for each in compared.values())

    def _padded(self, rows: Sequence[Tensors], length: int) -> Iterator[tuple[int, Tensors]]:
        """Yield places of rows with the answers to them, padded: together, and some alone."""
        most = self._trials.most_rows or len(rows)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            answer = self._trials.answer(padded(part, self._values, length))
            for place in range(len(part)):
                yield start + place, Tensors(answer[place : place + 1].arrays)
        for place in (0, len(rows) - 2):
            yield place, self._trials.answer(padded([rows[place]], self._values, length))

    def _note(
        self, rows: Tensors, alone: Tensors, mine: Rows, compared: Mapping[str, Compared]
    ) -> bool:
        """Add to what was compared; return whether shapes and places of NaN are equal."""
        unclear = cache(partial(self._unclear, rows))
        for name, each in compared.items():
            one, other = alone.arrays[name], mine.arrays[name]
            if one.shape != other.shape:
                return False
            if not each.add(one, other, self._tolerance, unclear):
                return False
        return True

    def _unclear(self, rows: Tensors) -> np.ndarray:
        eager = self._trials.engine.eager
        if eager is None:
            return np.zeros(len(rows), bool)
        return unclear_rows(eager, self._signature, rows, self._tolerance)


def has_steps(spec: TensorSpec, shapes: Sequence[tuple[int, ...]], lengths: Sequence[int]) -> bool:
    """Return whether an output has a value for each step, by its shapes at two lengths.

    Raises CannotPad for other outputs of varying size.
    """
    one, other = shapes
    if one == other:
        return False
    if [one[:1], other[:1]] == [(length,) for length in lengths] and one[1:] == other[1:]:
        return True
    raise CannotPad(f"the output {spec.name} has another number of steps than the input")
