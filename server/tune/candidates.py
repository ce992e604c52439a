"""Chooses the settings to try for a model, based on the measured duration of its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.process.batch_size import BatchSize, choose
from server.config import BatchingSettings
from server.tune.engines import Measured, fastest

DEFAULTS = "the defaults"
SHARES = (0.4, 0.2)  # of the objective, per call: a request waits for one call and is in the next
WAIT_SHARE, LEAST_WAIT_MS, MOST_WAIT_MS = 0.1, 1, 5
MANY_CORES = 4  # from so many on, two processes with half of them each are tried

Values = Mapping[str, float | str]


@dataclass(frozen=True)
class Candidate:
    """Settings that differ from the defaults.

    Attributes:
        rows: the maximum number of rows in a call with these settings.
        settings: those of `batching`.
        model: those of `model`.
    """

    name: str
    rows: int
    settings: Mapping[str, float] = field(default_factory=dict)
    model: Values = field(default_factory=dict)

    @property
    def engine(self) -> str:
        """What computes the model, in the words of `model.engine`."""
        return str(self.model.get("engine", "tensorflow"))

    def with_queue(self, milliseconds: float) -> Candidate:
        """Return the same candidate with another limit on the queueing time."""
        return self.with_batching("max_queue_ms", milliseconds)

    def with_batching(self, key: str, value: float) -> Candidate:
        name = f"{self.name}, {key} {value:g}"
        return replace(self._named(name), settings={**self.settings, key: value})

    def with_model(self, key: str, value: int) -> Candidate:
        name = f"{self.name}, {key} {value}"
        return replace(self._named(name), model={**self.model, key: value})

    def _named(self, name: str) -> Candidate:
        """Return it with another name, in which defaults are not mentioned beside settings."""
        return replace(self, name=name.removeprefix(f"{DEFAULTS}, "))


def of_engines(measured: Sequence[Measured]) -> list[Candidate]:
    """Return the defaults first, then the engines whose calls are shorter."""
    assert measured[0].batch_size is not None
    found = [Candidate(DEFAULTS, rows_of(measured[0].batch_size))]
    for each in fastest(measured):
        assert each.batch_size is not None
        rows = rows_of(each.batch_size)
        found.append(Candidate(each.engine, rows, model={"engine": each.engine}))
    return found


def of_processes(base: Candidate, cores: int) -> list[Candidate]:
    """Return the settings so far, then other numbers of threads and of processes."""
    if cores < 2:
        return [base]
    found = [base, base.with_model("threads", 1), base.with_model("replicas", cores)]
    return [*found, base.with_model("replicas", 2)] if cores >= MANY_CORES else found


def candidates(
    measured: BatchSize, objective_seconds: float, base: Candidate | None = None
) -> list[Candidate]:
    """Return `base` first, then other limits on the rows per call, then a wait for rows.

    `base` are the defaults if it is not given.
    """
    base = replace(base or Candidate(DEFAULTS, 0), rows=rows_of(measured))
    found = [base]
    for share in SHARES:
        other = choose(measured.curve, objective_seconds * share)
        if other not in {each.rows for each in found}:
            found.append(replace(base.with_batching("max_rows", other), rows=other))
    wait = min(MOST_WAIT_MS, max(LEAST_WAIT_MS, round(1000 * objective_seconds * WAIT_SHARE)))
    return [*found, base.with_batching("max_wait_ms", wait)]


def rows_of(measured: BatchSize) -> int:
    """Return the most rows of a call with the defaults of `batching`."""
    return choose(measured.curve, BatchingSettings().max_batch_ms / 1000)


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
