"""A model that ends in the middle of a call: who is called again, by whom, and who fails.

And several replicas of it, which share one queue. Rows are plain integers, and time is fake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from tornado.ioloop import IOLoop

from server.batching import Batcher, DeadlineExceeded, Interrupted, Job, ModelFailed
from server.batching.errors import ModelUnavailable
from tests.support.fakes import Diary, FakeModel, FakeTimeLoop

fake_time = pytest.mark.gen_test(timeout=10_000)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The loop that tests run in: one whose clock jumps."""
    io_loop = IOLoop(asyncio_loop=FakeTimeLoop(), make_current=False)
    io_loop.make_current()
    yield io_loop
    io_loop.run_sync(end_waiting)
    io_loop.clear_current()
    io_loop.close(all_fds=True)


async def end_waiting() -> None:
    """End what waits for a replica that will not come back."""
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


class Replica(FakeModel):
    """A model that a call with one of some rows ends, and that takes a while to come back.

    Attributes:
        deadly: the rows.
        seconds_to_start: until it can be called again.
    """

    def __init__(self, *deadly: int, seconds_to_start: float = 0.0) -> None:
        super().__init__()
        self.deadly = set(deadly)
        self.seconds_to_start = seconds_to_start
        self.is_there = asyncio.Event()
        self.is_there.set()

    def die(self) -> None:
        self.is_there.clear()
        if self.seconds_to_start < float("inf"):
            now().call_later(self.seconds_to_start, self.is_there.set)

    async def ready(self) -> None:
        await self.is_there.wait()

    async def run(self, parts: Sequence[Sequence[int]]) -> Any:
        assert self.is_there.is_set()
        answer = await super().run(parts)
        if self.deadly.intersection(self.batches[-1]):
            self.die()
            raise Interrupted("it ended")
        return answer


def now() -> FakeTimeLoop:
    return cast(FakeTimeLoop, asyncio.get_running_loop())


def serve(*replicas: Replica, **settings: Any) -> tuple[Batcher, list[asyncio.Task[None]], Diary]:
    diary = Diary()
    batcher = Batcher(replicas=len(replicas), observers=[diary], **settings)
    tasks = [asyncio.create_task(batcher.serve(each.run, each.ready)) for each in replicas]
    return batcher, tasks, diary


def submit(batcher: Batcher, rows: Sequence[int], seconds: float = 1000) -> Job:
    return batcher.submit(rows, deadline=now().time() + seconds)


async def ends_of(batcher: Batcher, *jobs: Job) -> list[Any]:
    """Drain; return the answers, and the kind of error of what has none."""
    batcher.drain()
    ends = await asyncio.gather(*jobs, return_exceptions=True)
    async with asyncio.timeout(1000):
        await batcher.settled()
    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)
    return [type(end) if isinstance(end, BaseException) else end for end in ends]


@fake_time
async def test_requests_of_an_interrupted_call_are_called_again_each_alone() -> None:
    replica = Replica(0, seconds_to_start=2)
    batcher, _, diary = serve(replica)
    jobs = [submit(batcher, rows) for rows in ([0], [1], [2, 3])]
    await replica.called()
    replica.deadly.clear()

    assert await ends_of(batcher, *jobs) == [[0], [10], [20, 30]]
    assert replica.batches == [[0, 1, 2, 3], [0], [1], [2, 3]]
    assert not diary.failures


@fake_time
async def test_a_request_that_is_interrupted_alone_fails_alone() -> None:
    replica = Replica(5, seconds_to_start=1)
    batcher, _, diary = serve(replica)
    jobs = [submit(batcher, [n]) for n in range(64)]

    answers: list[Any] = [[10 * n] for n in range(64)]
    answers[5] = ModelFailed
    assert await ends_of(batcher, *jobs) == answers
    [(failed, error, isolated)] = diary.failures
    assert failed == [jobs[5]]
    assert isinstance(error, Interrupted)
    assert isolated
    assert len(replica.calls) == 65


@fake_time
async def test_what_came_later_waits_until_interrupted_requests_are_through() -> None:
    replica = Replica(0, seconds_to_start=1)
    batcher, _, _ = serve(replica, max_wait=0.5)
    jobs = [submit(batcher, [n]) for n in (0, 1)]
    await replica.called()
    replica.deadly.clear()
    late = submit(batcher, [2])

    assert await ends_of(batcher, *jobs, late) == [[0], [10], [20]]
    assert replica.batches == [[0, 1], [0], [1], [2]]


@fake_time
async def test_a_deadline_holds_while_the_model_is_away() -> None:
    replica = Replica(0, seconds_to_start=5)
    batcher, _, _ = serve(replica)
    jobs = [submit(batcher, [0], 3), submit(batcher, [1], 20)]
    await replica.called()
    replica.deadly.clear()
    waiting = submit(batcher, [2], 3)
    started = now().time()
    for job in (jobs[0], waiting):
        with pytest.raises(DeadlineExceeded):
            await job
    assert 3 <= now().time() - started < 3.1

    assert await ends_of(batcher, jobs[1]) == [[10]]
    assert replica.batches == [[0, 1], [1]]  # nobody waited for the others any more


@fake_time
async def test_who_leaves_while_the_model_is_away_is_not_called_again() -> None:
    replica = Replica(0, seconds_to_start=5)
    batcher, _, _ = serve(replica)
    jobs = [submit(batcher, [0]), submit(batcher, [1])]
    await replica.called()
    replica.deadly.clear()
    await asyncio.sleep(1)
    jobs[0].cancel()

    assert await ends_of(batcher, jobs[1]) == [[10]]
    assert replica.batches == [[0, 1], [1]]


@fake_time
async def test_an_interruption_while_the_guilty_are_looked_for() -> None:
    """A batch fails, is halved, and the model ends in the call of a half."""
    replica = Replica()
    replica.poison = {3}
    batcher, _, _ = serve(replica)
    jobs = [submit(batcher, [n]) for n in range(4)]
    await replica.called(1)
    replica.deadly = {2}
    await replica.called(2)
    await asyncio.sleep(0)
    replica.deadly.clear()

    assert await ends_of(batcher, *jobs) == [[0], [10], [20], ModelFailed]


@fake_time
async def test_a_model_that_is_gone_for_good_says_why() -> None:
    replica = Replica()

    async def run(_: Any) -> Any:
        raise ModelUnavailable("it was given up")

    batcher = Batcher(run)
    serving = asyncio.create_task(batcher.serve(ready=replica.ready))
    jobs = [submit(batcher, [n]) for n in range(3)]

    for job in jobs:
        with pytest.raises(ModelUnavailable, match="it was given up"):
            await job
    batcher.drain()
    await serving


# Draining


@fake_time
async def test_draining_answers_what_was_interrupted() -> None:
    replica = Replica(0, seconds_to_start=5)
    batcher, [task], _ = serve(replica)
    jobs = [submit(batcher, [0]), submit(batcher, [1])]
    await replica.called()
    batcher.drain()
    replica.deadly.clear()

    assert [await job for job in jobs] == [[0], [10]]
    await task


@fake_time
async def test_draining_waits_for_no_model_when_nobody_waits_for_an_answer() -> None:
    replica = Replica(0, seconds_to_start=float("inf"))
    batcher, _, _ = serve(replica)
    job, waiting = submit(batcher, [0], 3), submit(batcher, [1], 3)
    await replica.called()
    batcher.drain()
    async with asyncio.timeout(10):
        await batcher.settled()

    assert isinstance(job.exception(), DeadlineExceeded)
    assert isinstance(waiting.exception(), DeadlineExceeded)


# Replicas


@fake_time
async def test_one_queue_feeds_whichever_replica_is_free() -> None:
    one, other = Replica(), Replica()
    one.seconds = lambda rows: 10
    other.seconds = lambda rows: 1
    batcher, _, _ = serve(one, other, max_rows=1)
    jobs = [submit(batcher, [n]) for n in range(8)]

    assert await ends_of(batcher, *jobs) == [[10 * n] for n in range(8)]
    assert len(one.calls) == 1
    assert len(other.calls) == 7


@fake_time
async def test_a_request_that_two_replicas_answer_gets_its_rows_in_order() -> None:
    one, other = Replica(), Replica()
    one.seconds = lambda rows: 10
    other.seconds = lambda rows: 1
    batcher, _, _ = serve(one, other, max_rows=2)
    job = submit(batcher, range(20))

    assert await ends_of(batcher, job) == [[10 * n for n in range(20)]]
    assert one.calls
    assert other.calls


@fake_time
async def test_what_one_replica_was_interrupted_in_another_calls_again_at_once() -> None:
    one, other = Replica(0, seconds_to_start=float("inf")), Replica()
    batcher, _, _ = serve(one, other)
    jobs = [submit(batcher, [0]), submit(batcher, [1])]
    started = now().time()

    assert await ends_of(batcher, *jobs) == [[0], [10]]
    assert now().time() - started < 0.1
    assert other.batches == [[0], [1]]


@fake_time
async def test_a_replica_that_has_nothing_to_drain_takes_what_another_is_interrupted_in() -> None:
    one, other = Replica(0, seconds_to_start=float("inf")), Replica()
    one.hold()
    batcher, _, _ = serve(one, other)
    jobs = [submit(batcher, [0]), submit(batcher, [1])]
    await one.called()
    batcher.drain()
    await asyncio.sleep(1)
    one.release()

    assert await ends_of(batcher, *jobs) == [[0], [10]]
