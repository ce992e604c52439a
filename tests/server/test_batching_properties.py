"""What batching promises whatever happens: Hypothesis looks for the script that breaks it."""

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
    precondition,
    rule,
)

from server.batching import (
    Batcher,
    DeadlineExceeded,
    Draining,
    Job,
    ModelFailed,
    Overloaded,
    TooManyRows,
)
from tests.server.fakes import Diary, FakeModel, FakeTimeLoop

NEVER = 1e6  # seconds
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
    """However requests are cut, they are joined in order, and only the last batch is not full."""

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
def test_the_guilty_fail_within_the_bound_on_calls(sizes: list[int], poison: set[int]) -> None:
    """Whoever is poisoned fails; who is answered gets their own rows; one alone fails alone."""

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
    left: bool = False

    def waits(self) -> bool:
        """Tell whether anybody still wants the answer."""
        return not self.job.done() and self.deadline > self.job.get_loop().time()


class WatchedModel(FakeModel):
    """Notes at every call which of its rows nobody waited for any more."""

    def __init__(self, owners: dict[int, Request]) -> None:
        super().__init__()
        self.owners = owners
        self.unwanted: list[int] = []
        self.failed: set[int] = set()

    async def run(self, parts: Any) -> Any:
        rows = [row for part in parts for row in part]
        self.unwanted += [row for row in rows if not self.owners[row].waits()]
        try:
            answers = await super().run(parts)
        except ValueError:
            self.failed.update(rows)
            raise
        if [*map(len, answers)] != [*map(len, parts)]:
            self.failed.update(rows)
        return answers


class AnyScript(RuleBasedStateMachine):
    """Clients come and leave, time passes, the model answers, fails or miscounts, it drains."""

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

    @initialize(max_wait=st.sampled_from([0, 0.5]))
    def start(self, max_wait: float) -> None:
        """Begin with an idle model that takes until the script lets it go on."""
        self.model = WatchedModel(self.owners)
        self.model.hold()
        self.do(self.serve(max_wait))

    async def serve(self, max_wait: float) -> None:
        self.batcher = Batcher(
            self.model.run,
            max_rows=self.MAX_ROWS,
            max_wait=max_wait,
            max_queue=math.inf,
            queue_rows=self.QUEUE_ROWS,
            queue_bytes=self.QUEUE_BYTES,
            observer=self.diary,
        )
        self.served = asyncio.create_task(self.batcher.serve())

    def do(self, step: Coroutine[Any, Any, None] | None = None) -> None:
        """Run a step, then all that it sets in motion at this very time."""
        if step is not None:
            self.loop.run_until_complete(step)
        self.loop.run_until_complete(self.quiet())

    async def quiet(self) -> None:
        await self.loop.quiet()

    @rule(
        target=requests,
        size=st.integers(1, 18),
        shape=st.sampled_from("ab"),
        seconds=st.sampled_from([-1, 0.3, 1, 10, NEVER]),
        row_bytes=st.sampled_from([0, 10]),
        poisoned=st.sampled_from([False, False, False, True]),
        at_once=st.booleans(),
    )
    def submit(
        self, size: int, shape: str, seconds: float, row_bytes: int, poisoned: bool, at_once: bool
    ) -> Request | None:
        """A request comes, maybe together with the next one."""
        rows = range(len(self.owners), len(self.owners) + size)
        waiting, deadline = self.batcher.queue.rows, self.loop.time() + seconds
        try:
            job = self.batcher.submit(rows, deadline, shape=shape, nbytes=row_bytes * size)
        except Draining:
            assert self.draining
            return None
        except TooManyRows:
            assert size > self.QUEUE_ROWS or row_bytes * size > self.QUEUE_BYTES
            return None
        except Overloaded:
            assert waiting + size > self.QUEUE_ROWS or row_bytes * size > 0
            return None
        assert waiting + size <= self.QUEUE_ROWS or seconds < 0
        request = Request(job, rows, shape, deadline)
        self.all.append(request)
        self.owners.update(dict.fromkeys(rows, request))
        if poisoned:
            self.model.poison.add(rows[size // 2])
        if not at_once:
            self.do()
        return request

    @rule(request=requests)
    def leave(self, request: Request | None) -> None:
        """A client leaves; that changes nothing when its request is settled."""
        if request:
            was_done = request.job.done()
            assert request.job.cancel() is not was_done
            request.left |= not was_done

    @rule(calls=st.integers(1, 3))
    def answer(self, calls: int) -> None:
        """The model ends some calls."""
        for _ in range(calls):
            self.model.step()
            self.do()

    @rule()
    def miscount(self) -> None:
        """The model ends a call with a row too many."""
        self.model.spoil = lambda answers: [*answers[:-1], [*answers[-1], 7]]
        self.model.step()
        self.do()
        self.model.spoil = lambda answers: answers

    @rule(seconds=st.sampled_from([0.1, 0.5, 2, 20]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.do(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([0.1, 0.5, 2]))
    def block(self, seconds: float) -> None:
        """Time passes without the event loop doing anything; then the model ends a call."""
        self.loop.block(seconds)
        self.model.step()
        self.do()

    @precondition(lambda self: len(self.all) > 5)
    @rule()
    def drain(self) -> None:
        """The end is asked for."""
        self.batcher.drain()
        self.draining = True
        self.do()

    @invariant()
    def batches_are_lawful(self) -> None:
        """Not too large, of one shape, one at a time, and of rows that somebody waits for."""
        if not self.all:
            return
        assert all(0 < len(batch) <= self.MAX_ROWS for batch in self.model.batches)
        assert all(
            len({self.owners[row].shape for row in batch}) == 1 for batch in self.model.batches
        )
        assert not self.model.overlapped
        assert not self.model.unwanted

    @invariant()
    def the_queue_counts_what_waits(self) -> None:
        """Its rows are those of open requests that were in no call yet."""
        if not self.all:
            return
        called = set(self.model.rows)
        waiting = [row for row, owner in self.owners.items() if not owner.job.done()]
        assert self.batcher.queue.rows == len(set(waiting) - called)
        assert 0 <= self.batcher.queue.nbytes <= self.QUEUE_BYTES
        assert self.batcher.queue.rows or not self.batcher.queue.nbytes

    @invariant()
    def nobody_is_late(self) -> None:
        """Once the loop has had time for it, nothing waits a millisecond beyond its deadline."""
        if self.all:
            self.do()
        for request in self.all:
            assert request.job.done() or request.deadline > self.loop.time() - TIMERS

    def teardown(self) -> None:
        """In the end every request is settled once, and rightly."""
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
            assert len(self.diary.runs) == len(self.model.calls)
            assert (self.batcher.queue.rows, self.batcher.queue.nbytes) == (0, 0)
        assert not self.crashes
        self.loop.close()

    def check(self, request: Request) -> None:
        """Its own rows in order, or an error that it has deserved."""
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
            assert self.model.failed.intersection(request.rows)


AnyScript.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=30)
TestAnyScript = AnyScript.TestCase
