"""Chooses the settings to try for a model, based on the measured duration of its calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.process.batch_size import BatchSize, choose
from server.config import BatchingSettings

DEFAULTS = "the defaults"
SHARES = (0.4, 0.2)  # of the objective, per call: a request waits for one call and is in the next
WAIT_SHARE, LEAST_WAIT_MS, MOST_WAIT_MS = 0.1, 1, 5


@dataclass(frozen=True)
class Candidate:
    """Settings of `batching` that differ from the defaults.

    Attributes:
        rows: the maximum number of rows in a call with these settings.
    """

    name: str
    rows: int
    settings: Mapping[str, float] = field(default_factory=dict)

    def with_queue(self, milliseconds: float) -> Candidate:
        """Return the same candidate with another limit on the queueing time."""
        name = f"{self.name}, max_queue_ms {milliseconds:g}"
        return Candidate(name, self.rows, {**self.settings, "max_queue_ms": milliseconds})


def candidates(measured: BatchSize, objective_seconds: float) -> list[Candidate]:
    """Return the defaults first, then other limits on the rows per call, then a wait for rows."""
    defaults = BatchingSettings()
    rows = choose(measured.curve, defaults.max_batch_ms / 1000)
    found = [Candidate(DEFAULTS, rows)]
    for share in SHARES:
        other = choose(measured.curve, objective_seconds * share)
        if other not in {each.rows for each in found}:
            found.append(Candidate(f"max_rows {other}", other, {"max_rows": other}))
    wait = min(MOST_WAIT_MS, max(LEAST_WAIT_MS, round(1000 * objective_seconds * WAIT_SHARE)))
    return [*found, Candidate(f"max_wait_ms {wait}", rows, {"max_wait_ms": wait})]


def queue_limit_ms(measured: BatchSize, rows: int, objective_seconds: float) -> float:
    """Return the limit on the queueing time, in milliseconds, with which answers are in time.

    It is the objective minus two calls: the one that is running when a request arrives, and its
    own. It is at least the duration of one call.
    """
    call = next(point.seconds for point in measured.curve if point.rows >= rows)
    return max(1, round(1000 * max(objective_seconds - 2 * call, call)))


def longest_call(objective_seconds: float) -> float:
    """Return the duration in seconds up to which calls are measured."""
    return max(BatchingSettings().max_batch_ms / 1000, objective_seconds * max(SHARES))
