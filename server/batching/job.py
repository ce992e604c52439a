"""A request that waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from server.batching.deadlines import Bucket, Deadlines
from server.batching.errors import DeadlineExceeded, failure_of
from server.batching.fair_queue import FairQueue

Rows = Any  # a sequence of rows: has `len()` and can be sliced


class JobObserver(Protocol):
    """Is notified of jobs that expire, are cancelled, or whose answers cannot be joined."""

    def expired(self, job: Job) -> None: ...

    def cancelled(self, job: Job) -> None: ...

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None: ...


class JobOwner(Protocol):
    """What a job needs of its batcher."""

    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    join: Callable[[list[Rows]], Rows]
    queue: FairQueue[Job]
    deadlines: Deadlines

    @property
    def observers(self) -> Sequence[JobObserver]: ...

    def note_settled(self) -> None: ...


class Job(asyncio.Future[Rows]):
    """A request: await it for its answer, cancel it when its client disconnects.

    Attributes:
        name: set by the caller of `submit`, for observers.
        size: its number of rows.
        taken: how many of them have gone into a batch, or are no longer needed.
        queue_seconds: from `submit` to its first batch.
        model_seconds: how long all its batches took together.
        batch_rows: the rows of the largest batch that it was part of.
    """

    __slots__ = (
        "_answers",
        "_bucket",
        "_deadline",
        "_missing",
        "_owner",
        "_rows",
        "_submitted",
        "batch_rows",
        "model_seconds",
        "name",
        "nbytes",
        "queue_seconds",
        "shape",
        "size",
        "taken",
    )

    def __init__(
        self, owner: JobOwner, rows: Rows, deadline: float, shape: Hashable, nbytes: int
    ) -> None:
        super().__init__(loop=owner.loop)
        self.size = self._missing = len(rows)
        self.name = ""
        self.shape = shape
        self.nbytes = nbytes
        self.taken = 0
        self.queue_seconds = 0.0
        self.model_seconds = 0.0
        self.batch_rows = 0
        self._owner = owner
        self._rows = rows
        self._answers: dict[int, Rows] = {}  # by the first row that each is for
        self._submitted = owner.clock()
        self._deadline = deadline
        self._bucket: Bucket | None = None

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the request: rows that still wait are not computed."""
        if not super().cancel(msg):
            return False
        self._leave()
        for observer in self._owner.observers:
            observer.cancelled(self)
        return True

    def arm(self) -> None:
        """Start to watch the deadline."""
        self._bucket = self._owner.deadlines.add(self._deadline, self)

    def expire(self) -> None:
        """Fail because the deadline has passed."""
        if not self.done():
            self.fail(DeadlineExceeded())
            for observer in self._owner.observers:
                observer.expired(self)

    def waits(self, now: float) -> bool:
        """Return whether a client waits; expire first if the deadline is over before its timer."""
        if now >= self._deadline:
            self.expire()
        return not self.done()

    def rows(self, start: int, stop: int) -> Rows:
        """Return some of its rows."""
        return self._rows if stop - start == self.size else self._rows[start:stop]

    def add(
        self, start: int, answer: Rows, started: float, seconds: float, batch_rows: int
    ) -> bool:
        """Take the answer to its rows from `start` on; return whether it now has all of them.

        Several replicas may answer the parts of a request in any order. `started` and `seconds`
        say when the model was called and for how long.
        """
        if not self.batch_rows:
            self.queue_seconds = started - self._submitted
        self.model_seconds += seconds
        if batch_rows > self.batch_rows:  # `max` would take 80 ns longer
            self.batch_rows = batch_rows
        self._missing -= len(answer)
        if self._missing:
            self._answers[start] = answer
            return False
        if self._answers:
            self._answers[start] = answer
            try:
                answer = self._owner.join([self._answers[at] for at in sorted(self._answers)])
            except Exception as error:
                self.fail(failure_of(error))
                for observer in self._owner.observers:
                    observer.failed([self], error, isolated=True)
                return False
        self.set_result(answer)
        self._leave()
        return True

    def fail(self, error: Exception) -> None:
        """Settle with an error."""
        self.set_exception(error)
        self._leave()

    def _leave(self) -> None:
        """Leave the queue and the deadlines, and release the rows."""
        if self._bucket:
            self._owner.deadlines.remove(self._bucket, self)
        if self.taken < self.size:
            self._owner.queue.remove(self)
        self._rows, self._answers = [], {}
        self._owner.note_settled()
