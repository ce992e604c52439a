"""The search for the knee: the highest rate of requests that meets an objective."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

ENOUGH = 2  # rates in a row that missed the objective; then the rate rises no further
DIGITS = 3  # significant digits of a rate; more would not be accurate


class Outcome(NamedTuple):
    """The outcome of one attempt at a rate.

    Attributes:
        met: whether the objective was met.
        doubtful: whether it may have been missed by chance.
    """

    met: bool
    doubtful: bool = False


Attempt = Callable[[float], Awaitable[Outcome]]


@dataclass(frozen=True)
class Rates:
    """Which rates are tried, in requests per second.

    Attributes:
        start: the first rate.
        most: the highest rate.
        least: the lowest rate, tried when the first one is too high.
        factor: from one rate to the next, until the objective is missed.
        precision: the search ends when the lowest rate that missed the objective is at most this
            many times the highest rate that met it.
    """

    start: float = 100
    most: float = 100_000
    least: float = 1
    factor: float = 2
    precision: float = 1.1


class Search:
    """Raises the rate until the objective is missed, then bisects between met and missed.

    Attributes:
        good: the highest rate that met the objective, or None.
        bad: the lowest rate above `good` that missed it, or None when no such rate was tried.
    """

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self.good: float | None = None
        self.bad: float | None = None

    async def run(self, attempt: Attempt) -> None:
        """Find the knee; `good` and `bad` are current at any time, also if an attempt raises."""
        await self._raise(attempt)
        if self.good is None:
            await self._lower(attempt)
        while self._is_wide():
            await self._try(attempt, self._middle())

    async def _raise(self, attempt: Attempt) -> None:
        """Raise the rate until two in a row miss the objective: one may miss it by chance."""
        rate, misses = min(self._rates.start, self._rates.most), 0
        while True:
            misses = 0 if await self._try(attempt, rate) else misses + 1
            if rate >= self._rates.most or misses == ENOUGH:
                return
            rate = min(significant(rate * self._rates.factor), self._rates.most)

    async def _lower(self, attempt: Attempt) -> None:
        assert self.bad is not None
        rate = self.bad
        while rate > self._rates.least:
            rate = max(significant(rate / self._rates.factor), self._rates.least)
            if await self._try(attempt, rate):
                return

    async def _try(self, attempt: Attempt, rate: float) -> bool:
        """Try a rate, and once more if the objective may have been missed by chance."""
        outcome = await attempt(rate)
        if outcome.doubtful and not outcome.met:
            outcome = await attempt(rate)
        if outcome.met:
            self._record_met(rate)
        elif self.bad is None or rate < self.bad:
            self.bad = rate
        return outcome.met

    def _record_met(self, rate: float) -> None:
        """Record that a rate met the objective; a miss at a lower rate was chance then."""
        self.good = rate
        if self.bad is not None and self.bad <= rate:
            self.bad = None

    def _is_wide(self) -> bool:
        if self.good is None or self.bad is None:
            return False
        return self.bad > self.good * self._rates.precision and self._middle() > self.good

    def _middle(self) -> float:
        assert self.good is not None
        assert self.bad is not None
        return significant(math.sqrt(self.good * self.bad))


def significant(value: float) -> float:
    """Round to DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")
