"""Why rows got no prediction."""

from __future__ import annotations

OVERLOADED = ("queue_full", "queue_wait")  # reasons for a rejection that are due to the load


class BatchingError(Exception):
    """Rows that got no prediction."""


class Overloaded(BatchingError):
    """The queue is full, or waiting in it would take too long; try again later."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after  # in seconds


class TooManyRows(BatchingError):
    """The request is larger than the whole queue."""


class Draining(BatchingError):
    """The service is shutting down: it rejects new requests and answers the accepted ones."""


class DeadlineExceeded(BatchingError):
    """The deadline of the request passed while it was in the queue or in a batch."""


class ModelFailed(BatchingError):
    """The model raised an error, or did not return one row for each row of input."""


class ModelUnavailable(BatchingError):
    """The model cannot be called until it is loaded again; the text says why."""


class Interrupted(Exception):
    """What the model ran in has ended in the middle of a call, which can be made again."""


class WrongRowCount(Exception):
    """The model returned another number of rows than it got, so no row has a known owner."""


def failure_of(error: Exception) -> BatchingError:
    """Return an exception for one job: raising changes an exception, so jobs do not share one."""
    if isinstance(error, ModelUnavailable):
        return ModelUnavailable(*error.args)
    failure = ModelFailed()
    failure.__cause__ = error
    return failure
