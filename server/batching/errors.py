"""Why rows got no answer."""

from __future__ import annotations

OVERLOADED = ("queue_full", "queue_wait")  # the reasons of refusals that are the load's fault


class BatchingError(Exception):
    """Rows that got no answer."""


class Overloaded(BatchingError):
    """The queue is full; trying again after `retry_after` seconds may work."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class TooManyRows(BatchingError):
    """A request that the queue could not hold even if it were empty."""


class Draining(BatchingError):
    """Nothing is accepted any more; what was accepted is still answered."""


class DeadlineExceeded(BatchingError):
    """The deadline passed before the answer was there."""


class ModelFailed(BatchingError):
    """The model raised, or gave something else than one row for each row."""


class ModelStuck(BatchingError):
    """The model has not come back from a call, and none can follow it; the text says why."""


class WrongRowCount(Exception):
    """The model gave another number of rows than it got, so none can be given to its owner."""
