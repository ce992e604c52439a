"""The measurements, and medians and ratios of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from scripts.comparison.wrk import Measurement


class Record(NamedTuple):
    """One run of wrk."""

    round: int
    name: str
    connections: int
    measured: Measurement


@dataclass
class Results:
    """All runs, and the reason for each contestant that is missing."""

    records: list[Record] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, number: int, name: str, connections: int, measured: Measurement) -> None:
        """Add a run of round `number`."""
        self.records.append(Record(number, name, connections, measured))

    def has(self, name: str) -> bool:
        """Return whether there is any run of this contestant."""
        return any(record.name == name for record in self.records)

    def of(self, name: str, connections: int) -> dict[int, Measurement]:
        """Return the runs of one contestant at one number of connections, by round."""
        return {
            record.round: record.measured
            for record in self.records
            if (record.name, record.connections) == (name, connections)
        }

    def median(
        self, name: str, connections: int, value: Callable[[Measurement], float | None]
    ) -> float | None:
        """Return the median over the rounds that have a value; None if there are none."""
        values = [value(each) for each in self.of(name, connections).values()]
        known = [each for each in values if each is not None]
        return median(known) if known else None

    def rate(self, name: str, connections: int) -> float | None:
        """Return the median of the good answers per second."""
        return self.median(name, connections, lambda each: each.rate)

    def ratios(self, name: str, other: str, connections: int) -> list[float]:
        """Return the ratio of the rates of `name` and `other`, for each round.

        Ratios are taken within a round because the speed of the machine changes over time. A ratio
        is infinite where `other` gave no answer.
        """
        return [
            mine.rate / its.rate if its.rate else math.inf
            for mine, its in self._pairs(name, other, connections)
        ]

    def ratio(self, name: str, other: str, connections: int) -> float | None:
        """Return the median of the ratios; None if no round has both."""
        ratios = self.ratios(name, other, connections)
        return median(ratios) if ratios else None

    def bad(self, name: str, connections: int) -> tuple[int, int]:
        """Return the number of rejected requests and of socket errors."""
        runs = self.of(name, connections).values()
        return sum(each.rejected for each in runs), sum(each.socket_errors for each in runs)

    def as_list(self) -> list[dict[str, Any]]:
        """Return the runs as JSON values."""
        return [
            {
                "round": record.round,
                "name": record.name,
                "connections": record.connections,
                **record.measured.as_dict(),
            }
            for record in self.records
        ]

    def _pairs(
        self, name: str, other: str, connections: int
    ) -> Iterator[tuple[Measurement, Measurement]]:
        its = self.of(other, connections)
        for number, mine in self.of(name, connections).items():
            if number in its:
                yield mine, its[number]
