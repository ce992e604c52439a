"""Which settings are worth trying for a model, by how long its calls take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.batching.batch_size import BatchSize, choose
from server.config import BatchingSettings

DEFAULTS = "the defaults"
SHARES = (0.4, 0.2)  # of the objective, for a call: one that runs, one's own, and room
WAIT_SHARE, LEAST_WAIT_MS, MOST_WAIT_MS = 0.1, 1, 5


@dataclass(frozen=True)
class Candidate:
    """Settings of `batching` that differ from the defaults.

    Attributes:
        rows: the most rows in a call that they come to.
    """

    name: str
    rows: int
    settings: Mapping[str, float] = field(default_factory=dict)

    def with_queue(self, milliseconds: float) -> Candidate:
        """Return the same with another bound on the wait."""
        name = f"{self.name}, max_queue_ms {milliseconds:g}"
        return Candidate(name, self.rows, {**self.settings, "max_queue_ms": milliseconds})


def candidates(measured: BatchSize, objective_seconds: float) -> list[Candidate]:
    """Return the defaults first, then fewer or more rows a call, then a wait for more rows."""
    defaults = BatchingSettings()
    rows = choose(measured.curve, defaults.max_batch_ms / 1000)
    found = [Candidate(DEFAULTS, rows)]
    for share in SHARES:
        other = choose(measured.curve, objective_seconds * share)
        if other not in {each.rows for each in found}:
            found.append(Candidate(f"max_rows {other}", other, {"max_rows": other}))
    wait = min(MOST_WAIT_MS, max(LEAST_WAIT_MS, round(1000 * objective_seconds * WAIT_SHARE)))
    return [*found, Candidate(f"max_wait_ms {wait}", rows, {"max_wait_ms": wait})]


def queue_bound(measured: BatchSize, rows: int, objective_seconds: float) -> float:
    """Return the milliseconds that the batches ahead may take, for what is answered to be in time.

    What is left of the objective after the call that runs and the one that answers; one call more
    where that is nothing.
    """
    call = next(point.seconds for point in measured.curve if point.rows >= rows)
    return max(1, round(1000 * max(objective_seconds - 2 * call, call)))


def longest_call(objective_seconds: float) -> float:
    """Return up to how many seconds calls are measured."""
    return max(BatchingSettings().max_batch_ms / 1000, objective_seconds * max(SHARES))
