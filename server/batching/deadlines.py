"""Deadlines of many, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from heapq import heappop, heappush
from typing import Protocol


class Waiting(Protocol):
    """Who has a deadline."""

    def expire(self) -> None:
        """Hear that it has passed; called once, and not after `forget`."""


class Moment:
    """Those whose deadline is the same."""

    __slots__ = ("millisecond", "waiting")

    def __init__(self, millisecond: int) -> None:
        self.millisecond = millisecond
        self.waiting: set[Waiting] = set()


class Deadlines:
    """Calls `expire` on each entry within a millisecond after its time.

    To start and to cancel a timer takes 3 µs in uvloop's loop and asyncio's, and hardly a deadline
    is ever reached: there is one timer, for the first of all moments, which may have gone by then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._moments: dict[int, Moment] = {}
        self._order: list[int] = []  # a heap of all moments, and of some that have gone
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0  # the millisecond of the timer

    def add(self, when: float, entry: Waiting) -> Moment:
        """Watch `entry` until `when`, by the loop's clock; return what `forget` needs."""
        millisecond = math.ceil(when * 1000)
        moment = self._moments.get(millisecond)
        if moment is None:
            moment = self._moments[millisecond] = Moment(millisecond)
            heappush(self._order, millisecond)
            self._compact()
            self._wait_for(millisecond)
        moment.waiting.add(entry)
        return moment

    def forget(self, moment: Moment, entry: Waiting) -> None:
        """Stop watching `entry`; nothing happens when its time has come already."""
        moment.waiting.discard(entry)
        if not moment.waiting and self._moments.get(moment.millisecond) is moment:
            del self._moments[moment.millisecond]

    def _compact(self) -> None:
        """Forget the moments that have gone, once they are the larger part."""
        if len(self._order) > 2 * len(self._moments) + 64:
            self._order = sorted(self._moments)  # which is a heap

    def _wait_for(self, millisecond: int) -> None:
        """See that the timer is not later than this."""
        if self._timer is not None:
            if self._due <= millisecond:
                return
            self._timer.cancel()
        self._due = millisecond
        self._timer = self._loop.call_at(millisecond / 1000, self._pass)

    def _pass(self) -> None:
        """Expire those whose time has come, and wait for the next moment that has not gone."""
        self._timer = None
        now = self._loop.time()
        while self._order and (self._order[0] <= self._due or self._order[0] / 1000 <= now):
            moment = self._moments.pop(heappop(self._order), None)
            if moment is not None:
                self._expire(moment)
        while self._order and self._order[0] not in self._moments:
            heappop(self._order)
        if self._order:
            self._wait_for(self._order[0])

    def _expire(self, moment: Moment) -> None:
        waiting, moment.waiting = moment.waiting, set()
        for entry in waiting:
            entry.expire()
