"""A measured number beside its aim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """What was measured, in words, and whether the aim is reached."""

    what: str
    measured: str
    aim: str
    reached: bool

    def row(self) -> tuple[str, str, str, str]:
        """Return the cells of a table."""
        return self.what, self.measured, self.aim, "yes" if self.reached else "no"


def markdown(figures: Sequence[Figure]) -> str:
    """Return a table."""
    rows = [("measure", "figure", "aim", "reached"), ("---",) * 4, *(f.row() for f in figures)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of what each round gave: its first number by its second."""
    return median(one / other for one, other in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by so large a share of `values`."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
