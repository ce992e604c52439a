"""The fair queue of a model whose rows of different lengths can share a batch."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from server.batching.fair_queue import Entry, FairQueue, Lane, Piece, ceil_div
from server.batching.length_plan import LengthPlan

E = TypeVar("E", bound=Entry)


class LengthQueue(FairQueue[E]):
    """Waiting rows in fair order. A batch has rows of one shape, or of several lengths.

    The shape of rows that can be padded is the number of their lane in the plan; all other shapes
    are as in `FairQueue`. The request that is next in fair order is always in the next batch.
    """

    def __init__(self, max_rows: int, plan: LengthPlan) -> None:
        super().__init__(max_rows)
        self._plan = plan
        self._groups = 1  # that the lanes were in at the last batch

    def take(self) -> list[Piece[E]]:
        """Remove and return the next batch; an empty list if no rows wait."""
        if not self._jobs:
            return []
        shape = min(self._lanes, key=lambda shape: self._lanes[shape].head())
        if not isinstance(shape, int):
            return super().take()
        jobs = self._jobs
        waiting = {
            lane: self._lanes[lane].next_rows for lane in self._lanes if isinstance(lane, int)
        }
        group = self._plan.group_of(shape, waiting)
        self._groups = 1 + len(waiting) - len(group)
        tag, pieces = self._take_group(group, min(self.max_rows, self._plan.most_rows(group[-1])))
        self._count_service(tag, pieces, jobs)
        return pieces

    def ahead(self, shape: Hashable) -> tuple[int, int]:
        """Return how many batches, and how many rows, go before a new request of `shape`.

        Lanes are expected to share batches as they did at the last one.
        """
        waiting = [lane.next_rows for key, lane in self._lanes.items() if isinstance(key, int)]
        batches = self._batches_of(waiting, joins=isinstance(shape, int))
        rows = sum(waiting) if batches else 0
        others = [each for each in self._lanes.items() if not isinstance(each[0], int)]
        other_batches, other_rows = self._in_lanes(others, shape)
        return batches + other_batches, rows + other_rows

    def _batches_of(self, waiting: list[int], *, joins: bool) -> int:
        """Return how many batches the rows of the lanes make; all but the last if one `joins`."""
        groups = min(self._groups, len(waiting))
        if joins:
            return max(sum(waiting) // self.max_rows, groups - 1)
        return max(ceil_div(sum(waiting), self.max_rows), groups)

    def _take_group(self, shapes: list[int], most: int) -> tuple[float, list[Piece[E]]]:
        """Take up to `most` rows from lanes, in fair order; return the last tag and the pieces."""
        lanes = [self._lanes[shape] for shape in shapes]
        if sum(lane.next_rows for lane in lanes) < most:
            taken = [self._take_all(shape, self._lanes[shape]) for shape in shapes]
            return max(tag for tag, _ in taken), [piece for _, some in taken for piece in some]
        tag, room = 0.0, most
        pieces: list[Piece[E]] = []
        while room and (waiting := [lane for lane in lanes if lane.waiting]):
            lane = min(waiting, key=Lane[E].head)
            tag = lane.head()[0]
            pieces.append(self._cut(lane, room))
            room -= len(pieces[-1])
        return tag, pieces
