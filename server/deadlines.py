"""Deadlines of many, with one timer for all that share a millisecond."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol


class Waiting(Protocol):
    """Who has a deadline."""

    def expire(self) -> None:
        """Hear that it has passed; called once, and not after `forget`."""


class Moment:
    """Those whose deadline is the same."""

    __slots__ = ("millisecond", "timer", "waiting")

    def __init__(self, millisecond: int, timer: asyncio.TimerHandle) -> None:
        self.millisecond = millisecond
        self.timer = timer
        self.waiting: set[Waiting] = set()


class Deadlines:
    """Calls `expire` on each entry within a millisecond after its time.

    To start and to cancel a timer takes 3 µs, and most requests of one turn of the event loop may
    take equally long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._moments: dict[int, Moment] = {}

    def add(self, when: float, entry: Waiting) -> Moment:
        """Watch `entry` until `when`, by the loop's clock; return what `forget` needs."""
        millisecond = math.ceil(when * 1000)
        moment = self._moments.get(millisecond)
        if moment is None:
            timer = self._loop.call_at(millisecond / 1000, self._pass, millisecond)
            moment = self._moments[millisecond] = Moment(millisecond, timer)
        moment.waiting.add(entry)
        return moment

    def forget(self, moment: Moment, entry: Waiting) -> None:
        """Stop watching `entry`; nothing happens when its time has come already."""
        moment.waiting.discard(entry)
        if not moment.waiting and self._moments.get(moment.millisecond) is moment:
            del self._moments[moment.millisecond]
            moment.timer.cancel()

    def _pass(self, millisecond: int) -> None:
        moment = self._moments.pop(millisecond)
        waiting, moment.waiting = moment.waiting, set()
        for entry in waiting:
            entry.expire()
