"""Batching: requests wait in a queue; one coroutine calls the model with many of their rows."""

from server.batching.batcher import Batcher
from server.batching.errors import (
    BatchingError,
    DeadlineExceeded,
    Draining,
    Interrupted,
    ModelFailed,
    ModelUnavailable,
    Overloaded,
    TooManyRows,
    WrongRowCount,
)
from server.batching.held import Held
from server.batching.job import Job
from server.batching.length_plan import LaneCost, LengthPlan
from server.batching.observer import Observer

__all__ = [
    "Batcher",
    "BatchingError",
    "DeadlineExceeded",
    "Draining",
    "Held",
    "Interrupted",
    "Job",
    "LaneCost",
    "LengthPlan",
    "ModelFailed",
    "ModelUnavailable",
    "Observer",
    "Overloaded",
    "TooManyRows",
    "WrongRowCount",
]
