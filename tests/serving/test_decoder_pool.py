"""The pool of decoder processes: the order of its work, and processes that end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.batching import DeadlineExceeded
from server.errors import DecoderFailed, InvalidJSON
from server.serving.counts import Counts
from server.serving.decoders.pool import DecoderPool
from server.serving.decoders.work import Work
from tests.support.fake_decoder import FakeDecoders

LATER = 60.0


def fail() -> None:
    raise InvalidJSON("no JSON")


JOBS: dict[str, Callable[..., Any]] = {"echo": lambda value: value, "fail": fail}


class Pool(DecoderPool):
    """A pool of fake processes."""

    def __init__(self, most: int) -> None:
        self.decoders = FakeDecoders(JOBS)
        self.counts = Counts()
        super().__init__(self.decoders, self.counts, most)

    def echo(self, value: Any, client: str = "a", within: float = LATER) -> Work:
        deadline = asyncio.get_running_loop().time() + within
        return self.submit(self.expect(client, "echo", 100), deadline, value)


@asynccontextmanager
async def pool_of(most: int = 1) -> AsyncIterator[Pool]:
    pool = Pool(most)
    try:
        yield pool
    finally:
        await pool.close()
    assert pool.lines.ahead("a") == []


@pytest.mark.gen_test
async def test_no_process_is_started_before_there_is_work() -> None:
    async with pool_of() as pool:
        assert pool.pids == []
        assert await pool.echo("x") == "x"
        assert await pool.echo("y") == "y"
        assert pool.pids == [0]


@pytest.mark.gen_test
async def test_the_error_of_a_job_is_that_of_its_caller_alone() -> None:
    async with pool_of() as pool:
        failing = pool.submit(pool.expect("a", "fail", 1), LATER + time.monotonic())
        other = pool.echo("x")

        with pytest.raises(InvalidJSON, match="no JSON"):
            await failing
        assert await other == "x"
        assert len(pool.decoders.started) == 1


@pytest.mark.gen_test
async def test_there_are_at_most_as_many_processes_as_allowed() -> None:
    async with pool_of(2) as pool:
        pool.decoders.starts_held = True
        works = [pool.echo(number) for number in range(5)]
        for decoder in pool.decoders.started:
            await decoder.began(1)
            decoder.free.set()

        assert await asyncio.gather(*works) == [0, 1, 2, 3, 4]
        assert pool.pids == [0, 1]


@pytest.mark.gen_test
async def test_clients_take_turns() -> None:
    """One with much work does not keep out another one; each one's own work is in order."""
    async with pool_of() as pool:
        pool.decoders.starts_held = True
        order: list[str] = []
        works = [pool.echo(f"a{n}", "a") for n in range(4)]
        decoder = await pool.decoders.working()
        works += [pool.echo("b0", "b"), pool.echo("b1", "b"), pool.echo("c0", "c")]
        for work in works:
            work.add_done_callback(lambda done: order.append(done.result()))
        decoder.free.set()
        await asyncio.gather(*works)

        assert order == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


@pytest.mark.gen_test
async def test_cancelled_work_is_not_done() -> None:
    async with pool_of() as pool:
        pool.decoders.starts_held = True
        begun, waiting, last = (pool.echo(n) for n in range(3))
        decoder = await pool.decoders.working()
        begun.cancel()
        waiting.cancel()
        decoder.free.set()

        assert await last == 2
        assert decoder.jobs == ["echo", "echo"]
        assert pool.counts.cancellations == 2


@pytest.mark.gen_test
async def test_work_past_its_deadline_is_not_done() -> None:
    async with pool_of() as pool:
        pool.decoders.starts_held = True
        begun = pool.echo(0)
        decoder = await pool.decoders.working()
        late = pool.echo(1, within=0.01)

        with pytest.raises(DeadlineExceeded):
            await late
        decoder.free.set()
        assert await begun == 0
        assert decoder.jobs == ["echo"]
        assert pool.counts.expiries == 1


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_work_whose_process_ends_is_done_by_another_one() -> None:
    async with pool_of() as pool:
        pool.decoders.starts_held = True
        interrupted, waiting = pool.echo(0), pool.echo(1)
        first = await pool.decoders.working()
        pool.decoders.starts_held = False
        first.kill()

        assert await asyncio.gather(interrupted, waiting) == [0, 1]
        assert pool.pids == [1]
        assert pool.counts.decoders_ended["killed"] == 1


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_work_that_ends_two_processes_fails_alone() -> None:
    async with pool_of() as pool:
        pool.decoders.starts_held = True
        guilty = pool.echo(0, "a")
        (await pool.decoders.working()).kill()
        second = await pool.decoders.working(starts=2)
        innocent = pool.echo(1, "b")
        pool.decoders.starts_held = False
        second.kill()

        with pytest.raises(DecoderFailed, match="twice"):
            await guilty
        assert await innocent == 1


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_work_fails_if_processes_end_before_they_can_do_it() -> None:
    async with pool_of() as pool:
        pool.decoders.dies_at_start = True
        with pytest.raises(DecoderFailed):
            await pool.echo(0)
        assert len(pool.decoders.started) == 2
        pool.decoders.dies_at_start = False

        assert await pool.echo(1) == 1


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_work_fails_if_no_process_can_be_started() -> None:
    async with pool_of() as pool:
        pool.decoders.cannot_start = True
        with pytest.raises(DecoderFailed, match="started"):
            await pool.echo(0)
        pool.decoders.cannot_start = False

        assert await pool.echo(1) == 1


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_a_process_that_ends_while_idle_is_replaced_when_there_is_work() -> None:
    async with pool_of() as pool:
        await pool.echo(0)
        pool.decoders.started[0].kill()
        while pool.pids:
            await asyncio.sleep(0)

        assert await pool.echo(1) == 1
        assert pool.pids == [1]


@pytest.mark.gen_test
async def test_the_wait_is_learned_and_shared_between_clients() -> None:
    """Of another client's work, one piece goes before each piece of one's own."""
    async with pool_of() as pool:
        for _ in range(3):
            pool._speeds["echo"].learn(100, 2.0)
        pool.decoders.starts_held = True
        works = [pool.echo(n, "a") for n in range(3)]
        expected = pool.expect("b", "echo", 100)

        assert pool.wait("a") == pytest.approx(8.0)
        assert pool.wait("b") == pytest.approx(6.0)
        assert pool.wait("c") == pytest.approx(4.0)
        expected.leave()
        assert pool.wait("a") == pytest.approx(6.0)
        (await pool.decoders.working()).free.set()
        await asyncio.gather(*works)
        assert pool.wait("a") == 0
