"""What a batcher notifies others of."""

from __future__ import annotations

from server.batching.job import Job


class Observer:
    """Is notified of what a batcher does. This one ignores everything: override what you need."""

    def refused(self, reason: str) -> None:
        """A request was rejected: `queue_full`, `queue_wait`, `too_large` or `draining`."""

    def ran(self, rows: int, requests: int, seconds: float) -> None:
        """The model was called, successfully or not."""

    def answered(self, jobs: list[Job]) -> None:
        """These requests have all their answers, since the last call of the model."""

    def expired(self, job: Job) -> None:
        """The deadline of a request passed."""

    def cancelled(self, job: Job) -> None:
        """A client disconnected."""

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:
        """The model failed for these requests; `isolated`: others of their batch were answered."""
