"""When requests are due. All times are seconds since the start of the load test."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import accumulate, count, repeat
from random import Random
from typing import Protocol


class Schedule(Protocol):
    """Decides which requests are due, and since when.

    Call `waiting` first: it is the only method that moves arrived requests into the queue.
    """

    def waiting(self, now: float, /) -> float:
        """Return how many requests are due and not yet taken; may be infinite."""

    def take(self, now: float, /) -> float:
        """Take the first request that is due; return the time from which its latency counts."""

    def next_arrival(self, now: float, /) -> float | None:
        """Return when the next request is due, or None if that does not depend on the time."""

    def give_up(self, before: float, /) -> int:
        """Drop the queued requests that were due earlier than `before`; return how many."""

    def finished(self, now: float, /) -> bool:
        """Return whether no request is due and none will be."""

    def close(self) -> int:
        """Make no more requests due; return how many will now never be sent."""


class ClosedLoop:
    """A request is due as soon as a connection is free for it."""

    def __init__(self, duration: float = math.inf, requests: float = math.inf) -> None:
        self._duration = duration
        self._left = requests

    def waiting(self, now: float) -> float:
        return self._left if now < self._duration else 0

    def take(self, now: float) -> float:
        self._left -= 1
        return now

    def next_arrival(self, _now: float) -> float | None:
        """None: an answer makes the next request due."""
        return None

    def give_up(self, _before: float) -> int:
        """0: there is no queue."""
        return 0

    def finished(self, now: float) -> bool:
        return not self.waiting(now)

    def close(self) -> int:
        """Return the requests that are left of a given number, else 0."""
        unsent = 0 if math.isinf(self._left) else int(self._left)
        self._left = 0
        return unsent


class OpenLoop:
    """Requests are due at `arrivals`, whatever the server does, and queue until they are sent."""

    def __init__(
        self, arrivals: Iterator[float], duration: float = math.inf, requests: float = math.inf
    ) -> None:
        self._arrivals = arrivals
        self._duration = duration
        self._left = requests
        self._next = next(arrivals)
        self._queue: deque[float] = deque()

    def waiting(self, now: float) -> float:
        while self._left and self._next <= now and self._next < self._duration:
            self._queue.append(self._next)
            self._next = next(self._arrivals)
            self._left -= 1
        return len(self._queue)

    def take(self, _now: float) -> float:
        """Return the time at which the request was due."""
        return self._queue.popleft()

    def next_arrival(self, now: float) -> float | None:
        """Return the next arrival or the end of the duration, whichever is earlier."""
        return None if self._all_came(now) else min(self._next, self._duration)

    def give_up(self, before: float) -> int:
        dropped = 0
        while self._queue and self._queue[0] < before:
            self._queue.popleft()
            dropped += 1
        return dropped

    def finished(self, now: float) -> bool:
        return not self._queue and self._all_came(now)

    def close(self) -> int:
        """Return the number of queued requests."""
        unsent = len(self._queue)
        self._queue.clear()
        self._left = 0
        return unsent

    def _all_came(self, now: float) -> bool:
        return not self._left or min(self._next, now) >= self._duration


def constant_arrivals(rate: float) -> Iterator[float]:
    """Yield times exactly `1 / rate` seconds apart, starting at 0."""
    return (number / rate for number in count())


def poisson_arrivals(rate: float, random: Random) -> Iterator[float]:
    """Yield times with independent, exponentially distributed gaps of `1 / rate` on average."""
    return accumulate(random.expovariate(each) for each in repeat(rate))
