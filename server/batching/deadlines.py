"""Many deadlines with one timer."""

from __future__ import annotations

import asyncio
import math
from heapq import heappop, heappush
from typing import Protocol


class Waiting(Protocol):
    """An entry with a deadline."""

    def expire(self) -> None:
        """The deadline has passed; called once, and not after `remove`."""


class Bucket:
    """The entries whose deadlines fall into the same millisecond."""

    __slots__ = ("millisecond", "waiting")

    def __init__(self, millisecond: int) -> None:
        self.millisecond = millisecond
        self.waiting: set[Waiting] = set()


class Deadlines:
    """Calls `expire` on each entry within a millisecond after its deadline.

    Starting and cancelling a timer takes 3 µs in uvloop and asyncio, and few deadlines are ever
    reached. So there is one timer, for the earliest bucket, even if that is empty by then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, Bucket] = {}
        self._order: list[int] = []  # a heap of all buckets, and of some removed ones
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0  # the millisecond of the timer

    def add(self, when: float, entry: Waiting) -> Bucket:
        """Watch `entry` until `when`, by the loop's clock; return its bucket, for `remove`."""
        millisecond = math.ceil(when * 1000)
        bucket = self._buckets.get(millisecond)
        if bucket is None:
            bucket = self._buckets[millisecond] = Bucket(millisecond)
            heappush(self._order, millisecond)
            self._compact()
            self._wait_for(millisecond)
        bucket.waiting.add(entry)
        return bucket

    def remove(self, bucket: Bucket, entry: Waiting) -> None:
        """Stop watching `entry`; does nothing if it has expired."""
        bucket.waiting.discard(entry)
        if not bucket.waiting and self._buckets.get(bucket.millisecond) is bucket:
            del self._buckets[bucket.millisecond]

    def _compact(self) -> None:
        """Drop removed buckets from the heap when they are the larger part of it."""
        if len(self._order) > 2 * len(self._buckets) + 64:
            self._order = sorted(self._buckets)  # which is a heap

    def _wait_for(self, millisecond: int) -> None:
        """Make sure that the timer is due by then."""
        if self._timer is not None:
            if self._due <= millisecond:
                return
            self._timer.cancel()
        self._due = millisecond
        self._timer = self._loop.call_at(millisecond / 1000, self._pass)

    def _pass(self) -> None:
        """Expire the entries that are due, and start the timer for the next bucket."""
        self._timer = None
        now = self._loop.time()
        while self._order and (self._order[0] <= self._due or self._order[0] / 1000 <= now):
            bucket = self._buckets.pop(heappop(self._order), None)
            if bucket is not None:
                self._expire(bucket)
        while self._order and self._order[0] not in self._buckets:
            heappop(self._order)
        if self._order:
            self._wait_for(self._order[0])

    def _expire(self, bucket: Bucket) -> None:
        waiting, bucket.waiting = bucket.waiting, set()
        for entry in waiting:
            entry.expire()
