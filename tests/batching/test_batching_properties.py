"""What batching always promises: Hypothesis searches for a script that breaks it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from server.batching import (
    Batcher,
    BatchingError,
    DeadlineExceeded,
    Draining,
    Job,
    ModelFailed,
    Overloaded,
    TooManyRows,
)
from server.batching.batcher import concatenate
from tests.support.fakes import Diary, FakeModel, FakeTimeLoop

NEVER = 1e6  # seconds
FAULTS = (None, None, "poisoned", "unjoinable")
TIMERS = 0.0011  # seconds that a deadline's timer may be late: `Deadlines` counts milliseconds


def in_fake_time(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in a loop whose clock jumps."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(asyncio.wait_for(main, NEVER))


async def run_waiting(model: FakeModel, sizes: list[int], **settings: Any) -> list[Job]:
    """Let requests of these sizes wait, then run the model until all are settled."""
    batcher = Batcher(model.run, **settings)
    rows = iter(range(sum(sizes)))
    deadline = batcher.loop.time() + NEVER
    jobs = [batcher.submit([next(rows) for _ in range(size)], deadline) for size in sizes]
    batcher.drain()
    await batcher.serve()
    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)
    return jobs


sizes = st.lists(st.integers(1, 20), min_size=1, max_size=20)


@settings(deadline=None, max_examples=100)
@given(sizes=sizes, max_rows=st.integers(1, 30))
def test_every_request_gets_its_own_rows_from_full_batches(sizes: list[int], max_rows: int) -> None:
    """However requests are split, they are joined in order, and only the last batch is not full."""

    async def main() -> None:
        model = FakeModel()
        jobs = await run_waiting(model, sizes, max_rows=max_rows)
        answers = [row for job in jobs for row in await job]

        assert [len(await job) for job in jobs] == sizes
        assert answers == [10 * row for row in range(sum(sizes))]
        assert sorted(model.rows) == [*range(sum(sizes))]
        assert [len(batch) for batch in model.batches[:-1]] == [max_rows] * (len(model.calls) - 1)

    in_fake_time(main())


@settings(deadline=None, max_examples=100)
@given(sizes=sizes, poison=st.sets(st.integers(0, 400), max_size=6))
def test_bad_requests_fail_within_the_bound_on_calls(sizes: list[int], poison: set[int]) -> None:
    """Bad requests fail; the others get their own rows; a single bad request fails alone."""

    async def main() -> None:
        model = FakeModel()
        model.poison = poison
        jobs = await run_waiting(model, sizes, max_rows=400)
        assert len(model.calls) - 1 <= 4 * math.log2(len(sizes))

        rows = iter(range(sum(sizes)))
        parts = [[next(rows) for _ in range(size)] for size in sizes]
        guilty = sum(bool(poison.intersection(part)) for part in parts)
        for job, part in zip(jobs, parts, strict=True):
            if poison.intersection(part):
                assert isinstance(job.exception(), ModelFailed)
            elif guilty <= 1 or not job.exception():
                assert await job == [10 * row for row in part]
            else:
                assert isinstance(job.exception(), ModelFailed)

    in_fake_time(main())


@dataclass
class Request:
    """What a client knows of its request."""

    job: Job
    rows: range
    shape: str
    deadline: float
    nbytes: int = 0
    left: bool = False

    def waits(self) -> bool:
        """Return whether the client still waits."""
        return not self.job.done() and self.deadline > self.job.get_loop().time()


class BrokenDown(Exception):
    """An error that no single request causes."""


class WatchedModel(FakeModel):
    """Records at every call which of its rows belong to settled requests.

    Attributes:
        whole: the rows of calls that failed as a whole: they were miscounted, or it broke down.
        breaks_down: whether the calls that end now do.
    """

    def __init__(self, owners: dict[int, Request]) -> None:
        super().__init__()
        self.owners = owners
        self.unwanted: list[int] = []
        self.whole: set[int] = set()
        self.breaks_down = False

    async def run(self, parts: Any) -> Any:
        rows = [row for part in parts for row in part]
        self.unwanted += [row for row in rows if not self.owners[row].waits()]
        answers = await super().run(parts)
        if self.breaks_down:
            self.whole.update(rows)
            raise BrokenDown
        if [*map(len, answers)] != [*map(len, parts)]:
            self.whole.update(rows)
        return answers


class AnyScript(RuleBasedStateMachine):
    """Requests arrive and are cancelled, time passes, the model answers or fails."""

    requests = Bundle("requests")
    MAX_ROWS, QUEUE_ROWS, QUEUE_BYTES = 4, 16, 150

    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeTimeLoop()
        self.crashes: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.crashes.append(context))
        self.all: list[Request] = []
        self.owners: dict[int, Request] = {}
        self.diary = Diary()
        self.draining = False
        self.unjoinable: set[int] = set()

    @initialize(max_wait=st.sampled_from([0, 0.5]), max_queue=st.sampled_from([math.inf, 0.3]))
    def start(self, max_wait: float, max_queue: float) -> None:
        """Start with an idle model whose calls end when the script says so."""
        self.model = WatchedModel(self.owners)
        self.model.hold()
        self.max_queue = max_queue
        self.do(self.serve(max_wait))

    async def serve(self, max_wait: float) -> None:
        self.batcher = Batcher(
            self.model.run,
            join=self.join,
            whole_batch_errors=(BrokenDown,),
            max_rows=self.MAX_ROWS,
            max_wait=max_wait,
            max_queue=self.max_queue,
            queue_rows=self.QUEUE_ROWS,
            queue_bytes=self.QUEUE_BYTES,
            observers=[self.diary],
        )
        self.served = asyncio.create_task(self.batcher.serve())

    def join(self, answers: list[Any]) -> Any:
        """Join the answers to a split request, unless one of them cannot be joined."""
        joined = concatenate(answers)
        if self.unjoinable.intersection(joined):
            raise ValueError("these answers do not fit together")
        return joined

    def do(self, step: Coroutine[Any, Any, None] | None = None) -> None:
        """Run a step, then everything that it causes at the same time."""
        if step is not None:
            self.loop.run_until_complete(step)
        self.loop.run_until_complete(self.quiet())

    async def quiet(self) -> None:
        await self.loop.quiet()

    @rule(
        target=requests,
        size=st.sampled_from([1, 1, 1, 2, 2, 3, 5, 8, 16, 17]),  # small ones share a batch
        shape=st.sampled_from("aaab"),
        seconds=st.sampled_from([NEVER, NEVER, 10, 1, 0.3, -1]),
        row_bytes=st.sampled_from([0, 0, 10, 70]),
        fault=st.sampled_from(FAULTS),
        at_once=st.booleans(),
    )
    def submit(
        self,
        size: int,
        shape: str,
        seconds: float,
        row_bytes: int,
        fault: str | None,
        at_once: bool,
    ) -> Request | None:
        """A request arrives, maybe together with the next one."""
        request = self.enter(size, shape, seconds, row_bytes, fault)
        if not at_once:
            self.do()
        return request

    @rule(target=requests, faults=st.lists(st.sampled_from(FAULTS), min_size=2, max_size=4))
    def crowd(self, faults: list[str | None]) -> Any:
        """Small requests arrive at once, and will share a batch."""
        requests = [self.enter(1, "a", NEVER, 0, fault) for fault in faults]
        self.do()
        return multiple(*requests)

    def enter(
        self, size: int, shape: str, seconds: float, row_bytes: int, fault: str | None
    ) -> Request | None:
        """Submit a request; return None if it is rightly rejected."""
        rows = range(len(self.owners), len(self.owners) + size)
        nbytes, deadline = row_bytes * size, self.loop.time() + seconds
        allowed, told = self.refusals(size, nbytes, shape), len(self.diary.refusals)
        try:
            job = self.batcher.submit(rows, deadline, shape=shape, nbytes=nbytes)
        except BatchingError as refusal:
            self.check_refusal(refusal, allowed)
            return None
        assert not allowed.difference({"queue_wait"})
        assert len(self.diary.refusals) == told
        request = Request(job, rows, shape, deadline, nbytes)
        self.all.append(request)
        self.owners.update(dict.fromkeys(rows, request))
        if fault == "poisoned":
            self.model.poison.add(rows[size // 2])
        if fault == "unjoinable":
            self.unjoinable.add(10 * rows[size // 2])
        return request

    def refusals(self, size: int, nbytes: int, shape: str) -> set[str]:
        """Return the reasons for which a request must, or for its wait may, be rejected now."""
        if self.draining:
            return {"draining"}
        if size > self.QUEUE_ROWS or nbytes > self.QUEUE_BYTES:
            return {"too_large"}
        queue = self.batcher.queue
        if queue.rows + size > self.QUEUE_ROWS or queue.nbytes + nbytes > self.QUEUE_BYTES:
            return {"queue_full"}
        others = any(r.shape != shape for r in self.all if self.waiting_rows(r))
        batches_wait = queue.rows >= self.MAX_ROWS or others
        return {"queue_wait"} if batches_wait and self.max_queue < math.inf else set()

    def check_refusal(self, refusal: BatchingError, allowed: set[str]) -> None:
        """The error fits the reason that the observer got, and the reason is a right one."""
        reason = self.diary.refusals[-1]
        assert reason in allowed
        errors = {"draining": Draining, "too_large": TooManyRows}
        assert type(refusal) is errors.get(reason, Overloaded)
        assert 0 <= getattr(refusal, "retry_after", 0) < math.inf

    @rule(request=requests)
    def leave(self, request: Request | None) -> None:
        """A request is cancelled; that changes nothing if it is settled."""
        if request:
            was_done = request.job.done()
            assert request.job.cancel() is not was_done
            request.left |= not was_done

    @rule(calls=st.integers(1, 3))
    def answer(self, calls: int) -> None:
        """Some model calls end."""
        for _ in range(calls):
            self.model.step()
            self.do()

    @rule()
    def miscount(self) -> None:
        """A model call returns one row too many."""
        self.model.spoil = lambda answers: [*answers[:-1], [*answers[-1], 7]]
        self.model.step()
        self.do()
        self.model.spoil = lambda answers: answers

    @rule()
    def break_down(self) -> None:
        """A model call raises a whole-batch error; nothing is tried again."""
        self.model.breaks_down = True
        self.model.step()
        self.do()
        self.model.breaks_down = False

    @rule(seconds=st.sampled_from([0.1, 0.5, 2, 20]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.do(asyncio.sleep(seconds))

    @rule(request=requests)
    def outlast(self, request: Request | None) -> None:
        """Time passes until a deadline is over by a little more than its timer may be late."""
        if request and (seconds := request.deadline + 2 * TIMERS - self.loop.time()) < NEVER / 2:
            self.do(asyncio.sleep(max(0, seconds)))

    @rule(seconds=st.sampled_from([0.1, 0.5, 2]))
    def block(self, seconds: float) -> None:
        """The event loop is blocked for a while; then a model call ends."""
        self.loop.block(seconds)
        self.model.step()
        self.do()

    @precondition(lambda self: len(self.all) > 3)
    @rule()
    def drain(self) -> None:
        """The batcher is told to drain."""
        self.batcher.drain()
        self.draining = True
        self.do()

    @invariant()
    def batches_are_lawful(self) -> None:
        """A call has one shape, is not too large, runs alone, and has no settled requests."""
        if not self.all:
            return
        assert all(0 < len(batch) <= self.MAX_ROWS for batch in self.model.batches)
        assert all(
            len({self.owners[row].shape for row in batch}) == 1 for batch in self.model.batches
        )
        assert not self.model.overlapped
        assert not self.model.unwanted

    def waiting_rows(self, request: Request) -> set[int]:
        """Return the rows of an open request that were in no call yet."""
        return set() if request.job.done() else set(request.rows).difference(self.model.rows)

    @invariant()
    def no_row_is_called_twice_but_to_find_who_is_at_fault(self) -> None:
        """A row goes into another call only if its last one raised."""
        if not self.all:
            return
        for row in set(self.model.rows).difference(self.model.poison):
            batches = [batch for batch in self.model.batches if row in batch]
            assert all(self.model.poison.intersection(batch) for batch in batches[:-1])

    @invariant()
    def the_queue_counts_what_waits(self) -> None:
        """Its rows and bytes are those of open requests that were in no call yet."""
        if not self.all:
            return
        waiting = [(request, len(self.waiting_rows(request))) for request in self.all]
        assert self.batcher.queue.rows == sum(rows for _, rows in waiting)
        assert self.batcher.queue.nbytes == sum(r.nbytes for r, rows in waiting if rows)

    @invariant()
    def nobody_is_late(self) -> None:
        """If the loop is not blocked, nothing waits a millisecond beyond its deadline."""
        if self.all:
            self.do()
        for request in self.all:
            assert request.job.done() or request.deadline > self.loop.time() - TIMERS

    def teardown(self) -> None:
        """In the end every request is settled once, and correctly."""
        if hasattr(self, "batcher"):
            self.model.release()
            self.batcher.drain()
            self.do(asyncio.wait_for(self.served, NEVER))
            self.the_queue_counts_what_waits()
            self.batches_are_lawful()
            for request in self.all:
                self.check(request)
            fates = [job for job, _ in self.diary.fates]
            assert sorted(map(id, fates)) == sorted(id(request.job) for request in self.all)
            errors = [r.job.exception() for r in self.all if not r.left and r.job.exception()]
            assert len({id(error) for error in errors}) == len(errors)  # none is shared
            for job, fate in self.diary.fates:
                assert fate == fate_of(job)
            assert len(self.diary.runs) == len(self.model.calls)
            assert (self.batcher.queue.rows, self.batcher.queue.nbytes) == (0, 0)
        assert not self.crashes
        self.loop.close()

    def check(self, request: Request) -> None:
        """A request gets its own rows in order, or the right error."""
        job = request.job
        assert job.done()
        assert job.cancelled() == request.left
        if request.left:
            return
        error = job.exception()
        if error is None:
            assert job.result() == [10 * row for row in request.rows]
            assert not self.model.poison.intersection(request.rows)
        elif isinstance(error, DeadlineExceeded):
            assert request.deadline <= self.loop.time()
        else:
            assert isinstance(error, ModelFailed)
            assert self.is_at_fault(request) or self.model.whole.intersection(request.rows)
            assert error.__cause__ is not None

    def is_at_fault(self, request: Request) -> bool:
        """Return whether a request is one of those that fail without affecting others.

        Of four requests in a batch halving always finds them: it takes six calls of eight.
        """
        is_unjoinable = self.unjoinable.intersection(10 * row for row in request.rows)
        return bool(self.model.poison.intersection(request.rows) or is_unjoinable)


def fate_of(job: Job) -> str:
    """Return the event that an observer should have got."""
    if job.cancelled():
        return "cancelled"
    if isinstance(job.exception(), DeadlineExceeded):
        return "expired"
    return "failed" if job.exception() else "answered"


AnyScript.TestCase.settings = settings(deadline=None, max_examples=80, stateful_step_count=30)
TestAnyScript = AnyScript.TestCase
