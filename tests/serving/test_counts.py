"""What is counted: plain numbers that add up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching import Batcher, Observer
from server.serving.counts import Counts, Histogram
from server.serving.loop_lag import LoopLag
from tests.support.fakes import FakeModel


@given(st.lists(st.one_of(st.sampled_from([1.0, 2.0, 5.0]), st.floats(0, 10))))
def test_a_histogram_counts_a_value_under_the_first_bound_that_it_does_not_exceed(values):
    histogram = Histogram((1.0, 2.0, 5.0))

    for value in values:
        histogram.add(value)

    edges = [(-1.0, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, float("inf"))]
    assert histogram.counts == [sum(low < v <= high for v in values) for low, high in edges]
    assert histogram.sum == sum(values)


@pytest.mark.gen_test
async def test_every_observer_is_notified_of_everything_in_turn():
    """Every method that an observer has is called, so none is forgotten when there are more."""
    heard: list[tuple[str, str]] = []

    class Listener(Observer):
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattribute__(self, word: str) -> Any:
            if word.startswith("_"):
                return super().__getattribute__(word)
            return lambda *_, **__: heard.append((self._name, word))

    await live_through_everything(Listener("first"), Listener("second"))

    words = [word for _, word in heard]
    assert set(words) == {name for name in vars(Observer) if not name.startswith("_")}
    assert heard == [(("first", "second")[n % 2], words[n - n % 2]) for n in range(len(heard))]


@pytest.mark.gen_test
async def test_the_fates_of_requests_are_counted_apart():
    """One of each kind, in a batcher that is observed by nothing else."""
    counts = Counts()

    await live_through_everything(counts)

    assert counts.rows == 3
    assert counts.refusals == {
        "queue_full": 1,
        "queue_wait": 0,
        "too_large": 1,
        "draining": 1,
        "unread_answers": 0,
    }
    assert (counts.expiries, counts.cancellations, counts.isolated_failures) == (1, 1, 1)
    assert sum(counts.queue_waits.counts) == 2
    assert sum(counts.model_durations.counts) == sum(counts.batch_rows.counts) == 5
    assert counts.batch_rows.sum == 2 + (1 + 1) + 1 + 1 + 1


async def live_through_everything(*observers: Observer) -> None:
    """Two answered, a failing one, a late one, one that leaves, and three that are refused."""
    loop, model = asyncio.get_running_loop(), FakeModel()
    model.poison = {99}
    model.hold()
    batcher = Batcher(model.run, queue_rows=4, observers=observers)
    serving = asyncio.ensure_future(batcher.serve())
    soon = loop.time() + 20
    answered = [batcher.submit([1, 2], soon)]
    await model.called()
    failing = batcher.submit([99], soon)
    answered.append(batcher.submit([3], soon))
    late = batcher.submit([4], loop.time())
    leaving = batcher.submit([5], soon)
    for rows in ([6], range(5)):
        await refused(batcher, rows, soon)
    leaving.cancel()
    await asyncio.wait([late])
    model.release()
    await asyncio.gather(*answered)
    await asyncio.wait([failing])
    alone = batcher.submit([99], soon)  # so isolated from nobody
    await asyncio.wait([alone])
    batcher.drain()
    await refused(batcher, [7], soon)
    await serving
    assert late.exception()
    assert failing.exception()
    assert alone.exception()


async def refused(batcher: Batcher, rows, deadline: float) -> None:
    """Submit rows that the batcher does not accept."""
    try:
        batcher.submit(rows, deadline)
    except Exception:
        return
    raise AssertionError(f"{rows} were accepted")


@pytest.mark.gen_test
async def test_a_stall_of_the_event_loop_shows_until_others_have_followed():
    lag = LoopLag(interval=0.01, kept=10)
    assert lag.longest == 0

    lag.start()
    await asyncio.sleep(0.02)
    time.sleep(0.3)
    await asyncio.sleep(0.02)
    stalled = lag.longest
    async with asyncio.timeout(20):
        while lag.longest >= 0.28:
            await asyncio.sleep(0.01)
    lag.stop()

    assert 0.28 <= stalled < 5
