"""When requests are due. All times are seconds since the load began."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import accumulate, count, repeat
from random import Random
from typing import Protocol


class Schedule(Protocol):
    """Which requests are due, and since when; only `waiting` lets those that are due into line."""

    def waiting(self, now: float, /) -> float:
        """Return how many requests are due and not taken; infinite where nothing bounds them."""

    def take(self, now: float, /) -> float:
        """Take the first that waits; return the time from which its latency counts."""

    def next_arrival(self, now: float, /) -> float | None:
        """Return when to look again, or None when only free connections matter."""

    def give_up(self, before: float, /) -> int:
        """Drop those that should have been sent earlier than `before`; return how many."""

    def finished(self, now: float, /) -> bool:
        """Tell whether nothing waits and nothing will come."""

    def close(self) -> int:
        """Let nothing more come; return how many will now never be sent."""


class ClosedLoop:
    """A request is due as soon as a connection is free for it."""

    def __init__(self, duration: float = math.inf, requests: float = math.inf) -> None:
        self._duration = duration
        self._left = requests

    def waiting(self, now: float) -> float:
        """All that are left, till the time is over."""
        return self._left if now < self._duration else 0

    def take(self, now: float) -> float:
        """The latency counts from now."""
        self._left -= 1
        return now

    def next_arrival(self, _now: float) -> float | None:
        """Never: an answer makes the next request due."""
        return None

    def give_up(self, _before: float) -> int:
        """None: nobody waits in line."""
        return 0

    def finished(self, now: float) -> bool:
        """All are taken, or the time is over."""
        return not self.waiting(now)

    def close(self) -> int:
        """Where their number was given, those that are left."""
        unsent = 0 if math.isinf(self._left) else int(self._left)
        self._left = 0
        return unsent


class OpenLoop:
    """Requests are due at `arrivals`, whatever the server does; they wait in line till sent."""

    def __init__(
        self, arrivals: Iterator[float], duration: float = math.inf, requests: float = math.inf
    ) -> None:
        self._arrivals = arrivals
        self._duration = duration
        self._left = requests
        self._next = next(arrivals)
        self._line: deque[float] = deque()

    def waiting(self, now: float) -> float:
        """Those whose time has come."""
        while self._left and self._next <= now and self._next < self._duration:
            self._line.append(self._next)
            self._next = next(self._arrivals)
            self._left -= 1
        return len(self._line)

    def take(self, _now: float) -> float:
        """The latency counts from the time at which it was due."""
        return self._line.popleft()

    def next_arrival(self, now: float) -> float | None:
        """The next one, or the end of the time."""
        return None if self._all_came(now) else min(self._next, self._duration)

    def give_up(self, before: float) -> int:
        """Those at the head of the line."""
        dropped = 0
        while self._line and self._line[0] < before:
            self._line.popleft()
            dropped += 1
        return dropped

    def finished(self, now: float) -> bool:
        """The line is empty, and the time over or all have come."""
        return not self._line and self._all_came(now)

    def close(self) -> int:
        """Those in line."""
        unsent = len(self._line)
        self._line.clear()
        self._left = 0
        return unsent

    def _all_came(self, now: float) -> bool:
        return not self._left or min(self._next, now) >= self._duration


def constant_arrivals(rate: float) -> Iterator[float]:
    """Yield times exactly `1 / rate` seconds apart, from 0 on."""
    return (number / rate for number in count())


def poisson_arrivals(rate: float, random: Random) -> Iterator[float]:
    """Yield times with independent, exponentially distributed gaps of `1 / rate` on average."""
    return accumulate(random.expovariate(each) for each in repeat(rate))
