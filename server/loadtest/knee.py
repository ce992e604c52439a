"""Where the knee is: the highest rate of requests at which an objective still holds."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

ENOUGH = 2  # rates in a row at which the objective broke
DIGITS = 3  # of a rate: more would only look exact


class Outcome(NamedTuple):
    """What an attempt at a rate showed.

    Attributes:
        met: whether the objective held.
        doubtful: whether it may have been missed by chance.
    """

    met: bool
    doubtful: bool = False


Attempt = Callable[[float], Awaitable[Outcome]]


@dataclass(frozen=True)
class Rates:
    """Which rates are tried, in requests a second.

    Attributes:
        start: the first.
        most: the highest.
        least: the lowest that is tried where the first is too high.
        factor: from one to the next, until the objective breaks.
        precision: the ratio of the two rates around the knee at which the search ends.
    """

    start: float = 100
    most: float = 100_000
    least: float = 1
    factor: float = 2
    precision: float = 1.1


class Search:
    """Raises the rate until the objective breaks, then closes in on where it did.

    Attributes:
        good: the highest rate at which the objective held, or None.
        bad: the lowest rate above that at which it did not, or None: none was tried.
    """

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self.good: float | None = None
        self.bad: float | None = None

    async def run(self, attempt: Attempt) -> None:
        """Find the knee; `good` and `bad` are right at every moment, also if an attempt raises."""
        await self._raise(attempt)
        if self.good is None:
            await self._lower(attempt)
        while self._is_wide():
            await self._try(attempt, self._middle())

    async def _raise(self, attempt: Attempt) -> None:
        """Go up till the objective breaks at two rates in a row: at one, a hiccup may do it."""
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
        """Try a rate, twice where chance may have broken it: a hiccup must not be the knee."""
        outcome = await attempt(rate)
        if outcome.doubtful and not outcome.met:
            outcome = await attempt(rate)
        if outcome.met:
            self._holds(rate)
        elif self.bad is None or rate < self.bad:
            self.bad = rate
        return outcome.met

    def _holds(self, rate: float) -> None:
        """Take a rate for good; what broke at a lower one before was a hiccup."""
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
    """Round to the digits that a rate has."""
    return float(f"{value:.{DIGITS}g}")
