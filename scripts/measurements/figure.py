"""A measured figure and its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """The result of a measurement as text, and whether it meets its target."""

    what: str
    measured: str
    target: str
    reached: bool

    def row(self) -> tuple[str, str, str, str]:
        """Return the cells of a row of the table."""
        return self.what, self.measured, self.target, "yes" if self.reached else "no"


def markdown(figures: Sequence[Figure]) -> str:
    """Return the figures as a table."""
    rows = [("measurement", "result", "target", "met"), ("---",) * 4, *(f.row() for f in figures)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median over the rounds of the first number divided by the second."""
    return median(one / other for one, other in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as the given share of `values`."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
