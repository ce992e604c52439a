"""What happens, counted in plain numbers; whoever wants to know reads them.

A count is an addition on the event loop and nothing else: names, labels and text are made when
somebody asks, in `server.monitoring.metrics`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from server.batching import Job, Observer
from server.batching.errors import OVERLOADED

DURATION_BUCKETS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
ROW_BUCKETS: Final = tuple(float(2**power) for power in range(13))
REFUSALS: Final = (*OVERLOADED, "too_large", "draining", "unread_answers")
REJECTIONS: Final = (
    *("arriving_bodies", "body_too_large", "headers_too_large", "late_body", "late_headers"),
    *("not_http", "plain_http", "too_many_connections"),
)
DECODER_ENDS: Final = ("crash", "hang", "killed")
RELOADS: Final = ("loaded", "rolled_back", "failed")


class Histogram:
    """How often values fell between fixed bounds, each bound with those below it.

    Attributes:
        bounds: the upper bounds, ascending.
        counts: one for each bound, and one for what is above the last.
        sum: all values together.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Requests:
    """The requests for predictions of one model that came in one dialect.

    Attributes:
        by_status: how many were answered with a status; 499 are the clients that left before.
    """

    def __init__(self, durations: Histogram) -> None:
        self.by_status: dict[int, int] = {}
        self._durations = durations

    def ended(self, status: int, seconds: float) -> None:
        """Count a request that has its answer, or whose client has left."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self._durations.add(seconds)


class Counts(Observer):
    """All that is counted about predictions; what a batcher does is told to it as an observer.

    Attributes:
        requests: by model and dialect; "" for models that there are not.
        durations: seconds from a request's body to its answer, whatever its status.
        queue_waits: seconds from the queue to the first batch, of answered requests.
        model_durations: seconds of each call of the model.
        batch_rows: rows of each call of the model.
        rows: the rows of answered requests.
        refusals: by reason.
        rejections: what the transport rejected itself, of all routes, by reason.
        expiries, cancellations: requests in the batcher or with the decoder processes whose
            deadline passed, whose client left.
        isolated_failures: requests on which the model failed while it answered others of their
            batch.
        restarts: of model processes, by model and reason.
        decoders_ended: decoder processes that have ended, by reason.
        reloads: attempts to replace a model that is served, by outcome.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], Requests] = {}
        self.durations = Histogram(DURATION_BUCKETS)
        self.queue_waits = Histogram(DURATION_BUCKETS)
        self.model_durations = Histogram(DURATION_BUCKETS)
        self.batch_rows = Histogram(ROW_BUCKETS)
        self.rows = 0
        self.refusals = dict.fromkeys(REFUSALS, 0)
        self.rejections = dict.fromkeys(REJECTIONS, 0)
        self.expiries = 0
        self.cancellations = 0
        self.isolated_failures = 0
        self.restarts: dict[tuple[str, str], int] = {}
        self.decoders_ended = dict.fromkeys(DECODER_ENDS, 0)
        self.reloads = dict.fromkeys(RELOADS, 0)

    def requests_in(self, model: str, dialect: str) -> Requests:
        """Return the account of the requests for a model in a dialect."""
        return self.requests.setdefault((model, dialect), Requests(self.durations))

    def restarted(self, model: str, reason: str) -> None:
        """Count a model process that has ended."""
        self.restarts[model, reason] = self.restarts.get((model, reason), 0) + 1

    def decoder_ended(self, reason: str) -> None:
        """Count a decoder process that has ended."""
        self.decoders_ended[reason] = self.decoders_ended.get(reason, 0) + 1

    def refused(self, reason: str) -> None:
        """Count a request that was refused at the door."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def rejected(self, reason: str) -> None:
        """Count a request that the transport rejected itself."""
        self.rejections[reason] += 1

    def ran(self, rows: int, requests: int, seconds: float) -> None:  # noqa: ARG002  # Observer's
        """Count a call of the model."""
        self.batch_rows.add(rows)
        self.model_durations.add(seconds)

    def answered(self, jobs: list[Job]) -> None:
        """Count the rows of requests, and their waits."""
        for job in jobs:
            self.rows += job.size
            self.queue_waits.add(job.queue_seconds)

    def expired(self, job: object) -> None:  # noqa: ARG002  # Observer's
        """Count a deadline that passed."""
        self.expiries += 1

    def cancelled(self, job: object) -> None:  # noqa: ARG002  # Observer's
        """Count a client that left."""
        self.cancellations += 1

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:  # noqa: ARG002  # Observer's
        """Count the requests at fault, where they could be told from others."""
        if isolated:
            self.isolated_failures += len(jobs)


class VersionCounts(Observer):
    """What one version of a model has done, for the statistics of its protocol.

    Attributes:
        answered_requests, failed_requests: requests that the batcher accepted.
        queue_seconds, model_seconds: how long answered requests waited, and were computed.
        rows: rows of all calls of the model.
        batches: calls and their seconds, by their number of rows.
        last: when the model was called last, in seconds since the epoch.
    """

    def __init__(self) -> None:
        self.answered_requests = 0
        self.failed_requests = 0
        self.queue_seconds = 0.0
        self.model_seconds = 0.0
        self.rows = 0
        self.batches: dict[int, tuple[int, float]] = {}
        self.last = 0.0

    @property
    def calls(self) -> int:
        """How often the model was called."""
        return sum(calls for calls, _ in self.batches.values())

    def ran(self, rows: int, requests: int, seconds: float) -> None:  # noqa: ARG002  # Observer's
        """Count a call of the model."""
        calls, before = self.batches.get(rows, (0, 0.0))
        self.batches[rows] = (calls + 1, before + seconds)
        self.rows += rows
        self.last = time.time()

    def answered(self, jobs: list[Job]) -> None:
        """Count requests, their waits and the time of their batches."""
        self.answered_requests += len(jobs)
        self.queue_seconds += sum([job.queue_seconds for job in jobs])
        self.model_seconds += sum([job.model_seconds for job in jobs])

    def expired(self, job: Job) -> None:  # noqa: ARG002  # Observer's
        """Count a deadline that passed as a failure."""
        self.failed_requests += 1

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:  # noqa: ARG002  # Observer's
        """Count the requests on which the model failed."""
        self.failed_requests += len(jobs)
