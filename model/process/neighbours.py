"""Tests whether the answer to a row changes with the rows that share its batch.

They would then get wrong answers from a service that batches: a text padded to the longest of its
batch, or a normalization over the batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from model.examples import KINDS, LONG_TEXTS, RANDOM, RowKind, scaled
from model.formats.files import in_one_line
from model.process.differences import difference, scales_of
from model.process.trials import Trials
from model.tensors import Tensors

log = logging.getLogger(__name__)

DRAWS: Final = 20  # batches with other neighbours, at each size
FEWEST_DRAWS: Final = 6  # also for a network that takes long
SECONDS: Final = 5.0  # no further draws after that
TOLERANCE: Final = 1e-6  # relative; sound networks are at 0
NOISE_FACTOR: Final = 10  # neighbours matter if they change more than this times the noise

NEIGHBOURS: Final[tuple[RowKind, ...]] = (
    RANDOM,
    LONG_TEXTS,
    scaled(RANDOM, 1000.0, "large values"),
    scaled(RANDOM, 0.001, "small values"),
    *KINDS[:-1],
)


class Neighbours:
    """Compares the answers to one row: beside other rows, alone, and at a second call."""

    def __init__(self, trials: Trials, clock: Callable[[], float] = time.monotonic) -> None:
        self._signature = trials.engine.signature
        self._trials = trials
        self._clock = clock
        self._rows = trials.rows_compared

    def matter(self) -> bool:
        """Return whether the answer to a row changes with the other rows of its batch.

        The row keeps its place, and the batch its size, for which sound networks give the same
        bits. What changes from call to call by itself does not count.
        """
        if self._rows == 1:
            return False
        allowed = max(TOLERANCE, NOISE_FACTOR * self._trials.noise)
        return any(change > allowed for change in self._changes())

    def alone_and_together(self) -> float:
        """Return the largest relative difference of the answers to rows alone and in a batch.

        About 1e-7 is rounding, up to 1e-3 was seen of sound networks. It is 0 for a network that
        takes one row a call.
        """
        if self._rows == 1:
            return 0.0
        batch, together = self._trials.batch
        scales = scales_of(together)
        return max(
            difference(self._trials.answer(batch[row : row + 1]), together[row : row + 1], scales)
            for row in range(self._rows)
        )

    def _changes(self) -> Iterator[float]:
        """Yield by how much the answer to one row changes with other neighbours."""
        end = self._clock() + SECONDS
        batches = [(*each, scales_of(each[-1])) for each in self._batches()]
        for draw in range(DRAWS):
            for size, batch, answer, scales in batches:
                if draw >= FEWEST_DRAWS and self._clock() >= end:
                    return
                place = draw % self._rows
                beside_others = self._answer_beside(batch, place, draw, size)
                if beside_others is not None:
                    row = slice(place, place + 1)
                    yield difference(answer[row], beside_others[row], scales)

    def _answer_beside(self, batch: Tensors, place: int, draw: int, size: int) -> Tensors | None:
        """Answer a batch in which one row is left and the others are new; None if it fails."""
        kind = NEIGHBOURS[draw % len(NEIGHBOURS)]
        first = (draw + 1) * self._rows  # other rows than those of the batch and of other draws
        others = kind.rows(self._signature, self._rows, size, first)
        arrays = {name: np.array(array) for name, array in others.arrays.items()}
        for name, array in arrays.items():
            array[place] = batch.arrays[name][place]
        try:
            return self._trials.answer(Tensors(arrays))
        except Exception as error:  # such as a word that the vocabulary does not have
            log.debug("neighbours of %s are rejected: %s", kind.name, in_one_line(error))
            return None

    def _batches(self) -> Iterator[tuple[int, Tensors, Tensors]]:
        """Yield sizes of variable dimensions, each with a batch of it and the answer."""
        first, *others = self._trials.sizes
        yield first, *self._trials.batch
        for size in others:
            try:
                yield size, *self._trials.compared(self._rows, size)
            except Exception as error:  # this size is not for the network
                log.debug("size %d of variable dimensions: %s", size, in_one_line(error))
