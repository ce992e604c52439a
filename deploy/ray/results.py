"""The runs of the throughput, and the rows that they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scripts.comparison.wrk import Measurement
from scripts.measurements.figure import median_ratio


@dataclass(frozen=True)
class Run:
    """One measurement, and the cores that the other sides used meanwhile."""

    measured: Measurement
    idle_cores: float


def table(runs: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """Return a row for each side: medians over the rounds; ratios to the first side by round."""
    first = [each.measured.rate for each in next(iter(runs.values()))]
    return [_row(side, rounds, first) for side, rounds in runs.items()]


def _row(side: str, rounds: Sequence[Run], first: Sequence[float]) -> dict[str, Any]:
    measured = [each.measured for each in rounds]
    rates = [each.rate for each in measured]
    return {
        "side": side,
        "requests per second": round(median(rates)),
        "to one server": round(median_ratio(list(zip(rates, first, strict=True))), 2),
        "p50 ms": round(median(each.p50_ms or 0 for each in measured), 2),
        "p99 ms": round(median(each.p99_ms or 0 for each in measured), 2),
        "failed": sum(each.rejected + each.socket_errors for each in measured),
        "cores of idle sides": round(max(each.idle_cores for each in rounds), 3),
    }
