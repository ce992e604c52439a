"""Batching: requests wait, one coroutine calls the model once for all their rows."""

from server.batching.batcher import Batcher, Job, Observer, Observers
from server.batching.errors import (
    BatchingError,
    DeadlineExceeded,
    Draining,
    ModelFailed,
    ModelStuck,
    Overloaded,
    TooManyRows,
    WrongRowCount,
)

__all__ = [
    "Batcher",
    "BatchingError",
    "DeadlineExceeded",
    "Draining",
    "Job",
    "ModelFailed",
    "ModelStuck",
    "Observer",
    "Observers",
    "Overloaded",
    "TooManyRows",
    "WrongRowCount",
]
