"""Measures how long calls with rows of a few lengths take, to know when padding pays."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from model.formats.files import in_one_line
from model.padding import LengthCost
from model.process.batch_size import MEMORY_SHARE, growth_of
from model.process.memory import Memory
from model.process.trials import Trials
from model.tensors import Tensors

log = logging.getLogger(__name__)

SECONDS: Final = 3.0  # no longer lengths after that
MAX_NBYTES: Final = 16 * 2**20  # of the inputs and outputs of a padded batch
CALLS: Final = 3  # of which the fastest counts
ROWS_TIMED: Final = 64  # at most; the time of more is calculated
ONE_ROW_FACTOR: Final = 4  # a call may take so many times as long as its longest row alone
SLOW_NEW_LENGTH: Final = 1.5  # times the time of a call with a known length


@dataclass
class PaddingCost:
    """Times calls of a network.

    Attributes:
        max_rows: the most rows of a call.
        max_seconds: the longest call with several rows, where one row takes a fraction of that.
    """

    trials: Trials
    max_rows: int
    max_seconds: float
    clock: Callable[[], float] = time.perf_counter
    memory: Memory | None = None

    def measure(self, lengths: Sequence[int]) -> tuple[LengthCost, ...]:
        """Return the costs of the lengths, up to the first that takes too much time or memory."""
        memory = self.memory or Memory()
        end = self.clock() + SECONDS
        found: list[LengthCost] = []
        rows = self.max_rows
        for length in lengths:
            if found and self.clock() >= end:
                break
            rows = min(rows, max(1, MAX_NBYTES // self._row_nbytes(length)))
            growth, cost = growth_of(memory, partial(self._cost, length, rows))
            if cost.rows < 2:
                break
            found.append(cost)
            if growth > MEMORY_SHARE * memory.available():
                log.info("rows of more than %d steps are not padded: memory is short", length)
                break
        return as_ascending(found)

    def is_slow_at_new_lengths(self, length: int) -> bool:
        """Return whether calls with a length that was never called before take longer."""
        rows = min(2, self.max_rows)
        known = self._fastest(rows, length)
        try:
            new = min(self._seconds(rows, length - less) for less in range(2, 2 + CALLS))
        except Exception as error:  # whatever the network raises
            log.debug("%s", in_one_line(error))
            return False
        return new > SLOW_NEW_LENGTH * known

    def _cost(self, length: int, rows: int) -> LengthCost:
        """Time calls with one row and with several; find how many rows a call may have."""
        one = self._fastest(1, length)
        timed = min(rows, ROWS_TIMED)
        if timed < 2:
            return LengthCost(length, one, 1, one)
        row = max(0.0, self._fastest(timed, length) - one) / (timed - 1)
        most = max(self.max_seconds, ONE_ROW_FACTOR * one)
        while rows > 1 and one + row * (rows - 1) > most:
            rows //= 2
        return LengthCost(length, one, rows, one + row * (rows - 1))

    def _fastest(self, rows: int, length: int) -> float:
        return min(self._seconds(rows, length) for _ in range(CALLS))

    def _seconds(self, rows: int, length: int) -> float:
        batch = self._batch(rows, length)
        started = self.clock()
        self.trials.answer(batch)
        return max(self.clock() - started, 1e-9)

    def _row_nbytes(self, length: int) -> int:
        batch = self._batch(1, length)
        return batch.nbytes + self.trials.answer(batch).nbytes

    def _batch(self, rows: int, length: int) -> Tensors:
        return self.trials.rows_of(rows, length)


def as_ascending(costs: Sequence[LengthCost]) -> tuple[LengthCost, ...]:
    """Return the costs, of which none is above that of a longer length: such a call was disturbed.

    A call with several rows takes no less than one with one row.
    """
    found: list[LengthCost] = []
    one = row = float("inf")
    for cost in reversed(costs):
        one = min(one, cost.one_row)
        row = min(row, max(0.0, cost.all_rows - one) / (cost.rows - 1))
        found.append(cost._replace(one_row=one, all_rows=one + row * (cost.rows - 1)))
    return tuple(reversed(found))
