"""Which engine computes a network fastest, of those that agree."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final, Self

TENSORFLOW: Final = "tensorflow"
ROWS_TIMED: Final = (1, 8, 32)
ROUNDS: Final = 21
SECONDS: Final = 6.0  # no further round after that, for each number of rows
FEWEST_ROUNDS: Final = 5
SHORT: Final = 0.05  # calls below that many seconds are made twice, and the second counts
LEAST_SCORE: Final = 1.2  # times as fast as TensorFlow, or it is not worth a change
LEAST_RATIO: Final = 0.95  # at no number of rows slower than that

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """How long calls of one engine take.

    Attributes:
        seconds: the median, by the number of rows.
        score: the geometric mean of how many times as fast as TensorFlow it is.
    """

    seconds: Mapping[int, float]
    score: float = 1.0

    def __str__(self) -> str:
        return ", ".join(f"{rows}: {1000 * s:.3g} ms" for rows, s in self.seconds.items())


@dataclass(frozen=True)
class Choice:
    """Which engine computes a network, and why.

    Attributes:
        engine: the engine.
        timings: what each was timed at, by its name.
        reasons: why an engine is not taken, by its name.
    """

    engine: str = TENSORFLOW
    timings: Mapping[str, Timing] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        timed = "; ".join(f"{name} {timing}" for name, timing in self.timings.items())
        rows = f" (a call by its rows: {timed})" if timed else ""
        return f"{self.engine}{rows}"

    def fields(self) -> dict[str, Any]:
        """Return it as JSON writes it."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read such fields; raises KeyError, TypeError, ValueError, AttributeError."""
        timings = {
            str(name): Timing(
                {int(rows): float(seconds) for rows, seconds in each["seconds"].items()},
                float(each["score"]),
            )
            for name, each in fields["timings"].items()
        }
        reasons = {str(name): str(reason) for name, reason in fields["reasons"].items()}
        return cls(str(fields["engine"]), timings, reasons)


def rows_timed(max_rows: int) -> list[int]:
    """Return which numbers of rows are timed."""
    return sorted({min(rows, max_rows) for rows in ROWS_TIMED})


def time_in_turn(
    calls: Mapping[str, Call], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median time of each call.

    They are made in turn, so that a busy phase of the machine slows all of them equally.
    """
    end = clock() + SECONDS
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS):
        if number >= FEWEST_ROUNDS and clock() >= end:
            break
        for name, call in calls.items():
            seconds[name].append(_time(call, clock))
    return {name: median(each) for name, each in seconds.items()}


def _time(call: Call, clock: Callable[[], float]) -> float:
    """Return how long a call takes that follows a call of the same engine, as in service.

    The first one finds the caches as another engine left them, whose threads may still run.
    """
    seconds = _time_once(call, clock)
    return _time_once(call, clock) if seconds < SHORT else seconds


def _time_once(call: Call, clock: Callable[[], float]) -> float:
    started = clock()
    call()
    return max(clock() - started, 1e-9)


def scored(seconds: Mapping[str, Mapping[int, float]]) -> dict[str, Timing]:
    """Return the timings with their scores; `seconds` are by engine and number of rows."""
    base = seconds[TENSORFLOW]
    return {name: Timing(each, score(base, each)) for name, each in seconds.items()}


def score(base: Mapping[int, float], seconds: Mapping[int, float]) -> float:
    """Return the geometric mean of how many times as fast calls are."""
    ratios = [base[rows] / seconds[rows] for rows in base]
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def choose(
    timings: Mapping[str, Timing], reasons: Mapping[str, str], only: str | None = None
) -> Choice:
    """Return the engine with the best score of those that agree, all of which were timed.

    `only` is the one that a user has set: it is taken however slow it is.
    """
    why = dict(reasons)
    if only is not None:
        return Choice(only if only in timings else TENSORFLOW, timings, why)
    for name, timing in timings.items():
        if name != TENSORFLOW and (reason := too_slow(timings[TENSORFLOW], timing)):
            why[name] = reason
    fit = [name for name in timings if name not in why]
    best = max(fit, key=lambda name: timings[name].score)
    for name in fit:
        if name not in (best, TENSORFLOW):
            why[name] = f"{timings[name].score:.2f} times as fast as TensorFlow, and {best} is "
            why[name] += f"{timings[best].score:.2f} times as fast"
    return Choice(best, timings, why)


def too_slow(base: Timing, timing: Timing) -> str:
    """Return why an engine is not worth a change; "" if it is."""
    ratios: Sequence[tuple[float, int]] = [
        (base.seconds[rows] / seconds, rows) for rows, seconds in timing.seconds.items()
    ]
    worst, rows = min(ratios)
    if worst < LEAST_RATIO:
        return f"calls of {rows} rows are {worst:.2f} times as fast as TensorFlow's"
    if timing.score < LEAST_SCORE:
        return f"only {timing.score:.2f} times as fast as TensorFlow"
    return ""
