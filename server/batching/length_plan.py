"""Which rows of different lengths share a batch: those for which one padded call takes less time.

The rows wait in lanes, one for each of a few lengths; the rows of a lane have this length or less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

CALL_SECONDS: Final = 2e-4  # of a call besides the network: messages, and forming the batch


class LaneCost(NamedTuple):
    """How long calls take with rows of a lane, in seconds.

    Attributes:
        one_row: with one row.
        rows: the most rows of a call, at least 2.
        all_rows: with so many.
    """

    one_row: float
    rows: int
    all_rows: float

    def seconds(self, rows: int) -> float:
        """Return how long so many rows take, in as many calls as they need."""
        calls = -(-rows // self.rows)
        row = (self.all_rows - self.one_row) / (self.rows - 1)
        return calls * (CALL_SECONDS + self.one_row - row) + rows * row


class LengthPlan:
    """Chooses lanes whose rows share batches, by the measured costs of calls.

    Args:
        costs: of each lane, the shortest rows first.
    """

    def __init__(self, costs: Sequence[LaneCost]) -> None:
        self._costs = tuple(costs)

    def most_rows(self, lane: int) -> int:
        """Return the most rows of a batch whose longest rows are those of a lane."""
        return self._costs[lane].rows

    def group_of(self, head: int, waiting: Mapping[int, int]) -> list[int]:
        """Return the lanes that share the batches of `head`, ascending.

        `waiting` is the number of rows in each lane that is not empty. Lanes next to each other are
        grouped such that all rows take the least time, each group padded to its longest lane.
        """
        lanes = sorted(waiting)
        best = [0.0]  # the least time for the first lanes
        starts = [0]  # where the last group of these begins
        for stop in range(1, len(lanes) + 1):
            cost, rows = self._costs[lanes[stop - 1]], 0
            least, start = float("inf"), stop - 1
            for first in range(stop - 1, -1, -1):
                rows += waiting[lanes[first]]
                if (seconds := best[first] + cost.seconds(rows)) < least:
                    least, start = seconds, first
            best.append(least)
            starts.append(start)
        stop = len(lanes)
        while lanes[starts[stop]] > head:
            stop = starts[stop]
        return lanes[starts[stop] : stop]
