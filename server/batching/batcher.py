"""Micro-batching: many requests wait in a queue, one coroutine calls the model in batches.

This is plain asyncio. Rows are anything with a length that can be sliced; the model is anything
that takes a list of rows and returns their answers. Times are in seconds of the event loop's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain

from server.batching.deadlines import Deadlines
from server.batching.errors import (
    BatchingError,
    Draining,
    ModelStuck,
    Overloaded,
    TooManyRows,
    WrongRowCount,
    failure_of,
)
from server.batching.fair_queue import FairQueue, Piece, ceil_div
from server.batching.job import Job, Rows
from server.batching.observer import Observer
from server.batching.speed import Speed

CallModel = Callable[[list[Rows]], Awaitable[Sequence[Rows]]]


def concatenate(answers: list[Rows]) -> Rows:
    """Join the answers to the parts of a request, for rows in lists."""
    return list(chain.from_iterable(answers))


def halves(pieces: list[Piece[Job]]) -> list[list[Piece[Job]]]:
    """Split a batch in two, between requests."""
    middle = len(pieces) // 2
    return [pieces[:middle], pieces[middle:]]


class Batcher:
    """The queue of a model, and the coroutine `serve` that runs its batches.

    Args:
        call_model: takes a list of rows of equal shape, one item a request, and returns their
            answers in a list.
        join: joins the answers to the parts of a request that was split.
        whole_batch_errors: errors of `call_model` that no single request can cause; they fail the
            whole batch at once.
        max_rows: the most rows in a batch.
        max_wait: how long an idle model waits for more rows.
        max_queue: the longest expected duration of the batches ahead of a new request.
        queue_rows, queue_bytes: how much may wait.
        observers: are notified of all events, in this order.
        clock: measures durations. By default it is the loop's, but uvloop's advances only between
            callbacks, in whole milliseconds.

    Attributes:
        is_crowded: whether the last request was rejected because too much waits.
    """

    def __init__(
        self,
        call_model: CallModel,
        *,
        join: Callable[[list[Rows]], Rows] = concatenate,
        whole_batch_errors: tuple[type[Exception], ...] = (),
        max_rows: int = 64,
        max_wait: float = 0.0,
        max_queue: float = 1.0,
        queue_rows: int = 65_536,
        queue_bytes: int = 256 * 2**20,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = clock or self.loop.time
        self.queue: FairQueue[Job] = FairQueue(max_rows)
        self.observers = observers
        self.deadlines = Deadlines(self.loop)
        self.is_crowded = False
        self._call_model = call_model
        self.join = join
        self._whole_batch_errors: tuple[type[Exception], ...] = (
            *(WrongRowCount, ModelStuck),
            *whole_batch_errors,
        )
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._queue_rows = queue_rows
        self._queue_bytes = queue_bytes
        self._speed = Speed()
        self._arrived = asyncio.Event()
        self._draining = False

    def submit(self, rows: Rows, deadline: float, *, shape: Hashable = (), nbytes: int = 0) -> Job:
        """Enqueue `rows`; rows of equal `shape` can share a batch. Answers keep their order.

        The job fails with DeadlineExceeded at `deadline`, or with ModelFailed.

        Raises:
            Overloaded: too much is waiting.
            TooManyRows: more rows or bytes than the queue can ever hold.
            Draining: the service is shutting down.
            ValueError: there are no rows.
        """
        job = Job(self, rows, deadline, shape, nbytes)
        self._admit(job.size, job.nbytes, shape)
        self.is_crowded = False
        self.queue.add(job)
        job.arm()
        self._arrived.set()
        return job

    def check_room(self, nbytes: int, *, shape: Hashable = ()) -> None:
        """Raise what `submit` would raise for one row of `nbytes` bytes.

        Lets a caller reject a request before it decodes an expensive body.
        """
        self._admit(1, nbytes, shape)

    async def serve(self) -> None:
        """Run batches until `drain` was called and every request is answered."""
        while await self._rows_wait():
            await self._fill_up()
            if pieces := self._in_time(self.queue.take()):
                await self._answer(pieces)

    def drain(self) -> None:
        """Reject new requests; `serve` returns once the accepted ones are settled."""
        self._draining = True
        self._arrived.set()

    def abandon(self, error: Exception) -> None:
        """Reject new requests, and fail those that wait for the model."""
        self.drain()
        while pieces := self.queue.take():
            self._fail(pieces, error, isolated=False)

    def _admit(self, size: int, nbytes: int, shape: Hashable) -> None:
        queue = self.queue
        if not size:
            raise ValueError("a request without rows")
        if self._draining:
            self._reject("draining", Draining())
        if size > self._queue_rows or nbytes > self._queue_bytes:
            limits = f"{self._queue_rows} rows or {self._queue_bytes} bytes"
            self._reject("too_large", TooManyRows(f"The queue cannot hold more than {limits}."))
        if queue.rows + size > self._queue_rows or queue.nbytes + nbytes > self._queue_bytes:
            self._reject_overload("queue_full", "The queue is full.")
        batches, rows = queue.ahead(shape)
        if batches and self._speed.predict(batches, rows) > self._max_queue:
            self._reject_overload("queue_wait", "The wait in the queue would be too long.")

    def _reject_overload(self, reason: str, why: str) -> None:
        self.is_crowded = True
        self._reject(reason, Overloaded(why, self._seconds_to_empty()))

    def _reject(self, reason: str, error: BatchingError) -> None:
        for observer in self.observers:
            observer.refused(reason)
        raise error

    def _seconds_to_empty(self) -> float:
        """Return how long the waiting rows are expected to take."""
        rows = self.queue.rows
        return self._speed.predict(ceil_div(rows, self.queue.max_rows), rows)

    async def _rows_wait(self) -> bool:
        """Wait for rows; return False when draining leaves none."""
        while not self.queue.rows:
            if self._draining:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _fill_up(self) -> None:
        """Wait up to `max_wait` seconds for rows that fill the batch."""
        end = self.loop.time() + self._max_wait
        while self.queue.rows < self.queue.max_rows and not self._draining:
            if (remaining := end - self.loop.time()) <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), remaining)

    async def _answer(self, pieces: list[Piece[Job]]) -> None:
        """Settle every request of a batch, even if the model fails."""
        error = await self._try(pieces)
        if isinstance(error, self._whole_batch_errors):
            self._fail(pieces, error, isolated=False)
        elif error:
            await self._isolate(pieces, error)

    async def _call(self, pieces: list[Piece[Job]]) -> None:
        """Call the model once and give each job its answer; raises what the model raises."""
        sizes = [stop - start for _, start, stop in pieces]
        rows = sum(sizes)
        started = self.clock()
        try:
            answers = await self._call_model([job.rows(start, stop) for job, start, stop in pieces])
        finally:
            seconds = self.clock() - started
            self._speed.learn(rows, seconds)
            for observer in self.observers:
                observer.ran(rows, len(pieces), seconds)
        if [len(answer) for answer in answers] != sizes:
            raise WrongRowCount(f"{rows} rows went in and {sum(map(len, answers))} came out")
        answered = [
            job
            for (job, _, _), answer in zip(pieces, answers, strict=True)
            # It may have expired, or its client may have disconnected.
            if not job.done() and job.add(answer, started, seconds, rows)
        ]
        for observer in self.observers:
            observer.answered(answered)

    async def _isolate(self, pieces: list[Piece[Job]], error: Exception) -> None:
        """Find the requests that fail by halving, with at most 4 log2(n) more calls."""
        calls = int(4 * math.log2(len(pieces)))
        suspects = halves(pieces)
        failures: list[tuple[list[Piece[Job]], Exception]] = []
        answered = False
        while suspects:
            group = self._in_time(suspects.pop())
            if not group:
                continue
            if calls:
                calls -= 1
                failure = await self._try(group)
                if failure is None:
                    answered = True
                    continue
                error = failure
                if len(group) > 1 and not isinstance(error, self._whole_batch_errors):
                    suspects += halves(group)
                    continue
            failures.append((group, error))
        for group, error in failures:
            self._fail(group, error, isolated=answered)

    async def _try(self, pieces: list[Piece[Job]]) -> Exception | None:
        """Call the model once and give each job its answer; return what the model raised."""
        try:
            await self._call(pieces)
        except Exception as error:
            return error
        return None

    def _in_time(self, pieces: list[Piece[Job]]) -> list[Piece[Job]]:
        """Return the pieces whose clients still wait."""
        now = self.loop.time()
        return [piece for piece in pieces if piece.job.waits(now)]

    def _fail(self, pieces: list[Piece[Job]], error: Exception, isolated: bool) -> None:
        """Fail the jobs that are not settled yet, each with its own exception."""
        jobs = [piece.job for piece in pieces if not piece.job.done()]
        for job in jobs:
            job.fail(failure_of(error))
        if jobs:
            for observer in self.observers:
                observer.failed(jobs, error, isolated)
