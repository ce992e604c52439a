"""Micro-batching: requests wait in a queue, and one coroutine per replica calls it with batches.

This is plain asyncio. Rows are any object that has a length and can be sliced; the model is any
asynchronous function that takes a list of rows and returns their answers. Times are in seconds of
the event loop's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import chain

from server.batching.caller import Caller, CallModel, Ready, always_ready
from server.batching.deadlines import Deadlines
from server.batching.errors import (
    BatchingError,
    Draining,
    ModelUnavailable,
    Overloaded,
    TooManyRows,
    WrongRowCount,
    failure_of,
)
from server.batching.fair_queue import FairQueue, Piece, ceil_div
from server.batching.held import Held
from server.batching.job import Job, Rows
from server.batching.length_plan import LengthPlan
from server.batching.length_queue import LengthQueue
from server.batching.observer import Observer
from server.batching.speed import Speed

WHOLE_BATCH_ERRORS: tuple[type[Exception], ...] = (WrongRowCount, ModelUnavailable)
IDLE_ITERATIONS = 2  # clients that were just answered need one of them to send again


def concatenate(answers: list[Rows]) -> Rows:
    """Join the answers to the parts of a request, for rows in lists."""
    return list(chain.from_iterable(answers))


class Batcher:
    """The queue of a model, and the coroutine `serve`, which runs its batches.

    Args:
        call_model: takes a list of rows of equal shape (with `plan`, of several lengths), one item
            for each request, and returns their answers in a list. Raises Interrupted when the call
            can be made again.
        join: joins the answers to the parts of a request that was split.
        whole_batch_errors: errors of `call_model` that no single request can cause; they fail the
            whole batch at once.
        max_rows: the most rows in a batch.
        max_wait: how long an idle model waits for more rows.
        read_first: whether to read all requests that have arrived before a batch is taken. For a
            model that runs on the event loop's core: it would keep the loop from reading them.
        max_queue: the longest expected duration of the batches ahead of a new request.
        queue_rows, queue_bytes: the most rows and bytes that may wait.
        plan: which rows of different lengths share a batch; None: only those of equal shape do.
        replicas: how many calls can run at a time, one for each task of `serve`.
        observers: are notified of all events, in this order.
        clock: measures durations. By default it is the loop's, but uvloop's advances only between
            callbacks, in whole milliseconds.

    Attributes:
        is_crowded: whether the last request was rejected because the queue is too long.
        holders: how many callers have called `hold` and not released it yet.
        held_bytes: the bytes that they hold.
    """

    def __init__(
        self,
        call_model: CallModel | None = None,
        *,
        join: Callable[[list[Rows]], Rows] = concatenate,
        whole_batch_errors: tuple[type[Exception], ...] = (),
        max_rows: int = 64,
        max_wait: float = 0.0,
        read_first: bool = False,
        max_queue: float = 1.0,
        queue_rows: int = 65_536,
        queue_bytes: int = 256 * 2**20,
        plan: LengthPlan | None = None,
        replicas: int = 1,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = clock or self.loop.time
        self.queue: FairQueue[Job] = LengthQueue(max_rows, plan) if plan else FairQueue(max_rows)
        self.observers = observers
        self.deadlines = Deadlines(self.loop)
        self.is_crowded = False
        self.holders = 0
        self.held_bytes = 0
        self._call_model = call_model
        self.join = join
        self._whole_batch_errors = (*WHOLE_BATCH_ERRORS, *whole_batch_errors)
        self._max_wait = max_wait
        self._read_first = read_first
        self._max_queue = max_queue
        self._queue_rows, self._queue_bytes = queue_rows, queue_bytes
        self._replicas = replicas
        self._speed = Speed()
        self._arrived = asyncio.Event()
        self._draining = False
        self._interrupted: deque[Piece[Job]] = deque()  # each gets another call of its own
        self._batches = 0  # in progress
        self._settled = asyncio.Event()

    def submit(
        self,
        rows: Rows,
        deadline: float,
        *,
        shape: Hashable = (),
        nbytes: int = 0,
        wait: float = 0.0,
        held: Held | None = None,
    ) -> Job:
        """Enqueue `rows`; rows of equal `shape` can share a batch. Answers keep their order.

        The job fails with DeadlineExceeded at `deadline`, or with ModelFailed. `wait` is how long
        the request is expected to wait elsewhere. `held` counts no more from now on.

        Raises:
            Overloaded: too much is waiting.
            TooManyRows: more rows or bytes than the queue can ever hold.
            Draining: the service is shutting down, and nothing is held for these rows.
            ValueError: there are no rows.
        """
        job = Job(self, rows, deadline, shape, nbytes)
        self._admit(job.size, job.nbytes, shape, wait, held)
        self.is_crowded = False
        self.queue.add(job)
        job.arm()
        if held is not None:
            held.release()
        self._arrived.set()
        return job

    def check_room(self, nbytes: int, *, shape: Hashable = ()) -> None:
        """Raise what `submit` would raise for one row of `nbytes` bytes.

        Lets a caller reject a request before it decodes an expensive body.
        """
        self._admit(1, nbytes, shape)

    def hold(self, nbytes: int, wait: float, *, shape: Hashable = ()) -> Held:
        """Count bytes as waiting while the rows in them are decoded elsewhere.

        Raises what `submit` would raise for one row. Draining waits until they are released;
        `submit` takes their rows then, too.
        """
        self._admit(1, nbytes, shape, wait)
        return Held(self, nbytes)

    async def serve(self, call_model: CallModel | None = None, ready: Ready = always_ready) -> None:
        """Run batches until `drain` was called and every request is answered.

        Several tasks may run this, one for each replica of the model: `call_model` calls the
        replica, `ready` returns once the replica can be called.
        """
        call_model = call_model or self._call_model
        assert call_model is not None, "the constructor or `serve` gets it"
        caller = Caller(self, call_model)
        while await self._rows_wait():
            await self._fill_up()
            await ready()
            if self._read_first:
                await self._read_arrived()
            again = bool(self._interrupted)
            taken = [self._interrupted.popleft()] if again else self.queue.take()
            self._batches += 1
            try:
                if pieces := self.in_time(taken):
                    await caller.answer(pieces, again=again)
            finally:
                self._batches -= 1
                self.note_settled()

    def drain(self) -> None:
        """Reject new requests; `serve` returns once the accepted ones are settled."""
        self._draining = True
        self._arrived.set()
        self.note_settled()

    async def settled(self) -> None:
        """Return once `drain` was called and every accepted request is settled.

        A task of `serve` may then still wait for its replica to become ready.
        """
        await self._settled.wait()

    def note_settled(self) -> None:
        """Check, after the end of a request or a batch, whether draining is complete."""
        if not self._draining or self._batches or self.queue.rows or self.holders:
            return
        if all(piece.job.done() for piece in self._interrupted):
            self._settled.set()
            self._arrived.set()

    def call_again(self, pieces: list[Piece[Job]]) -> None:
        """Queue each of these for a call of its own, on the first replica that is free."""
        self._interrupted += pieces
        self._arrived.set()

    @property
    def waiting_bytes(self) -> int:
        """The bytes in the queue, and those that are held."""
        return self.queue.nbytes + self.held_bytes

    def _admit(
        self,
        size: int,
        nbytes: int,
        shape: Hashable,
        wait: float = 0.0,
        held: Held | None = None,
    ) -> None:
        queue = self.queue
        waiting = queue.nbytes + self.held_bytes
        if not size:
            raise ValueError("a request without rows")
        if held is not None:
            waiting -= held.nbytes
        elif self._draining:
            self._reject("draining", Draining())
        if size > self._queue_rows or nbytes > self._queue_bytes:
            limits = f"{self._queue_rows} rows or {self._queue_bytes} bytes"
            self._reject("too_large", TooManyRows(f"The queue cannot hold more than {limits}."))
        if queue.rows + size > self._queue_rows or waiting + nbytes > self._queue_bytes:
            self._reject_overload("queue_full", "The queue is full.", wait)
        batches, rows = queue.ahead(shape)
        if batches:
            wait += self._speed.predict(batches, rows) / self._replicas
        if wait > self._max_queue:
            self._reject_overload("queue_wait", "The wait in the queue would be too long.", wait)

    def _reject_overload(self, reason: str, why: str, wait: float) -> None:
        self.is_crowded = True
        self._reject(reason, Overloaded(why, max(wait, self._seconds_to_empty())))

    def _reject(self, reason: str, error: BatchingError) -> None:
        for observer in self.observers:
            observer.refused(reason)
        raise error

    def _seconds_to_empty(self) -> float:
        """Return how long the waiting rows are expected to take."""
        rows = self.queue.rows
        seconds = self._speed.predict(ceil_div(rows, self.queue.max_rows), rows)
        return seconds / self._replicas

    async def _rows_wait(self) -> bool:
        """Wait for rows; return False when draining leaves none.

        It waits for batches of other replicas too, as those may be interrupted and called again.
        """
        while not (self.queue.rows or self._interrupted):
            if self._draining and not self._batches and not self.holders:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _fill_up(self) -> None:
        """Wait up to `max_wait` seconds for rows that fill the batch."""
        end = self.loop.time() + self._max_wait
        while self._is_filling_up():
            if (remaining := end - self.loop.time()) <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), remaining)

    async def _read_arrived(self) -> None:
        """Let the event loop read requests until it has found none in two iterations."""
        idle = 0
        while idle < IDLE_ITERATIONS and self._is_filling_up():
            before = self.queue.rows
            await asyncio.sleep(0)
            idle = idle + 1 if self.queue.rows == before else 0

    def _is_filling_up(self) -> bool:
        is_full = self.queue.rows >= self.queue.max_rows
        return not (is_full or self._draining or self._interrupted)

    def called(self, pieces: list[Piece[Job]], rows: int, seconds: float) -> None:
        """Record a call of the model, successful or not."""
        self._speed.learn(rows, seconds)
        for observer in self.observers:
            observer.ran(rows, len(pieces), seconds)

    def is_about_the_batch(self, error: Exception) -> bool:
        """Return whether an error concerns the whole batch, not a single request."""
        return isinstance(error, self._whole_batch_errors)

    def in_time(self, pieces: list[Piece[Job]]) -> list[Piece[Job]]:
        """Return the pieces whose clients are still waiting."""
        now = self.loop.time()
        return [piece for piece in pieces if piece.job.waits(now)]

    def fail(self, pieces: list[Piece[Job]], error: Exception, isolated: bool) -> None:
        """Fail the jobs that are not settled yet, each with its own exception."""
        jobs = [piece.job for piece in pieces if not piece.job.done()]
        for job in jobs:
            job.fail(failure_of(error))
        if jobs:
            for observer in self.observers:
                observer.failed(jobs, error, isolated)
