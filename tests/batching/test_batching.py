"""What batching promises, on plain integers: a fake model returns ten times each row.

Time is fake: a test says how long things take, and its clock jumps (see `FakeTimeLoop`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import math
import weakref
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from tornado.ioloop import IOLoop

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
from server.config import BatchingSettings
from tests.support.fakes import Diary, FakeModel, FakeTimeLoop

# Of fake seconds: what would hang fails at once.
fake_time = pytest.mark.gen_test(timeout=10_000)

Serving = Callable[..., Batcher]


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The event loop of the tests, whose clock jumps."""
    io_loop = IOLoop(asyncio_loop=FakeTimeLoop(), make_current=False)
    io_loop.make_current()
    yield io_loop
    io_loop.clear_current()
    io_loop.close(all_fds=True)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def serving(io_loop: IOLoop, model: FakeModel, diary: Diary) -> Iterator[Serving]:
    """Start batchers; after a test they drain, and their queues must be empty."""
    started: list[tuple[Batcher, asyncio.Task[None]]] = []

    def serving(**settings: object) -> Batcher:
        batcher = Batcher(model.run, observers=[diary], **settings)
        started.append((batcher, asyncio.create_task(batcher.serve())))
        return batcher

    yield serving

    async def end() -> None:
        model.release()
        for batcher, served in started:
            batcher.drain()
            await served
            assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)
        for job, fate in diary.fates:
            if fate != "cancelled":
                job.exception()  # a test need not await every request that it made

    io_loop.run_sync(end, timeout=10_000)
    assert not model.overlapped


def clock() -> FakeTimeLoop:
    return cast(FakeTimeLoop, asyncio.get_running_loop())


def soon(seconds: float = 1000) -> float:
    """Return a deadline."""
    return clock().time() + seconds


async def busy(batcher: Batcher, model: FakeModel) -> Job:
    """Occupy the model with row 0, until it is released."""
    model.hold()
    job = batcher.submit([0], deadline=soon())
    await model.called(len(model.calls) + 1)
    return job


async def outcomes(*jobs: Job) -> list[object]:
    """Wait for all jobs; return their answers, or the type of their error."""
    ends = await asyncio.gather(*jobs, return_exceptions=True)
    return [type(end) if isinstance(end, BaseException) else end for end in ends]


def tenfold(rows: range) -> list[int]:
    return [10 * row for row in rows]


# 1. It counts rows, not requests.


@fake_time
async def test_requests_share_a_batch_until_their_rows_fill_it(serving, model):
    """Two requests of two rows are a full batch of four."""
    batcher = serving(max_rows=4)
    first = await busy(batcher, model)
    jobs = [batcher.submit([n, n + 1], deadline=soon()) for n in (10, 20, 30)]
    model.release()

    assert await outcomes(first, *jobs) == [[0], [100, 110], [200, 210], [300, 310]]
    assert model.batches == [[0], [10, 11, 20, 21], [30, 31]]


@fake_time
async def test_the_queue_is_bounded_in_rows_not_requests(serving, model):
    """One request of three rows leaves room for one row."""
    batcher = serving(queue_rows=4)
    await busy(batcher, model)
    batcher.submit([1, 2, 3], deadline=soon())

    with pytest.raises(Overloaded):
        batcher.submit([4, 5], deadline=soon())
    batcher.submit([4], deadline=soon())


@fake_time
async def test_a_request_without_rows_does_no_harm(serving, model):
    """It is rejected or answered, and later requests are served."""
    batcher = serving()
    with contextlib.suppress(ValueError, BatchingError):
        job = batcher.submit([], deadline=soon(0.25))
        assert await job == []
    await asyncio.sleep(1)

    assert await batcher.submit([1], deadline=soon()) == [10]
    assert model.batches == [[1]]


# 2. An idle model starts at once.


@fake_time
async def test_a_single_request_is_not_delayed(serving, model):
    """No time at all passes between a request and the call of an idle model."""
    batcher = serving()
    start = clock().time()

    for n in range(3):
        assert await batcher.submit([n], deadline=soon()) == [10 * n]

    assert model.batches == [[0], [1], [2]]
    assert clock().time() == start


@fake_time
async def test_on_one_core_requests_that_have_arrived_are_read_before_a_batch_is_taken(
    serving, model
):
    """Those of the next iterations of the loop, until two have none; no time passes meanwhile."""
    batcher = serving(read_first=True)
    start = clock().time()
    jobs = []
    for n in (1, 2, 3):
        jobs.append(batcher.submit([n], deadline=soon()))
        await asyncio.sleep(0)

    assert await outcomes(*jobs) == [[10], [20], [30]]
    assert model.batches == [[1, 2, 3]]
    assert clock().time() == start


@fake_time
async def test_on_one_core_a_full_batch_is_taken_at_once(serving, model):
    batcher = serving(read_first=True, max_rows=2)
    jobs = []
    for n in range(6):
        jobs.append(batcher.submit([n], deadline=soon()))
        await asyncio.sleep(0)

    assert await outcomes(*jobs) == [[10 * n] for n in range(6)]
    assert [0, 1] in model.batches
    assert max(map(len, model.batches)) == 2


@fake_time
async def test_an_idle_model_waits_max_wait_for_more_rows(serving, model):
    """Requests that arrive within max_wait of the first one share its batch, later ones do not."""
    batcher = serving(max_wait=0.5)
    start = clock().time()
    first = batcher.submit([1], deadline=soon())
    await asyncio.sleep(0.3)
    second = batcher.submit([2], deadline=soon())

    assert await outcomes(first, second) == [[10], [20]]
    assert model.batches == [[1, 2]]
    assert clock().time() == pytest.approx(start + 0.5)


@fake_time
async def test_a_full_batch_does_not_wait_for_max_wait(serving, model):
    """With max_rows rows the batch starts at once."""
    batcher = serving(max_wait=0.5, max_rows=2)
    start = clock().time()
    first = batcher.submit([1], deadline=soon())
    await asyncio.sleep(0.3)
    second = batcher.submit([2], deadline=soon())

    assert await outcomes(first, second) == [[10], [20]]
    assert model.batches == [[1, 2]]
    assert clock().time() == pytest.approx(start + 0.3)


@fake_time
async def test_more_than_a_full_batch_does_not_wait_for_max_wait(serving, model):
    """Nor if the waiting rows were never exactly a batch."""
    batcher = serving(max_wait=0.5, max_rows=2)
    start = clock().time()
    job = batcher.submit([1, 2, 3], deadline=soon())
    await model.called()

    assert clock().time() == start
    assert await job == [10, 20, 30]


@fake_time
async def test_a_request_cancelled_during_max_wait_causes_no_model_call(serving, model):
    """If no request is left after max_wait, the model is not called."""
    batcher = serving(max_wait=0.5)
    job = batcher.submit([1], deadline=soon())
    await clock().quiet()
    job.cancel()
    await asyncio.sleep(1)

    assert model.calls == []
    assert await batcher.submit([2], deadline=soon()) == [20]


@fake_time
async def test_a_deadline_shorter_than_max_wait_is_kept(serving, model):
    """Waiting for other rows does not delay a request beyond its deadline."""
    batcher = serving(max_wait=0.5)
    start = clock().time()

    with pytest.raises(DeadlineExceeded):
        await batcher.submit([1], deadline=soon(0.2))
    assert clock().time() == pytest.approx(start + 0.2)


# 3. While a batch runs, requests wait; the next batch is formed when the model is idle.


@fake_time
async def test_requests_that_arrive_while_the_model_is_busy_form_one_batch(serving, model):
    """Requests of different times wait for the same call."""
    batcher = serving()
    first = await busy(batcher, model)
    jobs = []
    for n in range(1, 6):
        jobs.append(batcher.submit([n], deadline=soon()))
        await asyncio.sleep(0.1)
    model.release()

    assert await outcomes(first, *jobs) == [[10 * n] for n in range(6)]
    assert model.batches == [[0], [1, 2, 3, 4, 5]]


@fake_time
async def test_a_place_freed_while_the_model_is_busy_goes_to_another_request(serving, model):
    """The next batch is not fixed before it runs: the next request takes a free place."""
    batcher = serving(max_rows=2)
    first = await busy(batcher, model)
    jobs = [batcher.submit([n], deadline=soon()) for n in (1, 2, 3)]
    await clock().quiet()
    jobs[0].cancel()
    await clock().quiet()
    model.release()

    assert await outcomes(first, *jobs) == [[0], asyncio.CancelledError, [20], [30]]
    assert model.batches == [[0], [2, 3]]


# 4. A model call has at most max_rows rows.


@fake_time
async def test_a_model_call_has_at_most_max_rows_rows(serving, model):
    """Ten rows take three calls of at most four rows."""
    batcher = serving(max_rows=4)
    first = await busy(batcher, model)
    jobs = [batcher.submit([n], deadline=soon()) for n in range(1, 11)]
    model.release()

    assert await outcomes(first, *jobs) == [[10 * n] for n in range(11)]
    assert [len(batch) for batch in model.batches] == [1, 4, 4, 2]


@fake_time
async def test_the_model_is_called_with_one_part_per_request(serving, model):
    """Parts are not padded, merged or reordered."""
    batcher = serving(max_rows=8)
    await busy(batcher, model)
    batcher.submit([1], deadline=soon())
    batcher.submit([2, 3], deadline=soon())
    model.step()
    await model.called(2)

    assert model.calls[1] == [[1], [2, 3]]


# 5. A larger request is split, and its answers joined; small requests overtake its rest.


@fake_time
async def test_a_large_request_is_split_and_joined_in_order(serving, model):
    """Ten rows in calls of at most four keep their order."""
    batcher = serving(max_rows=4)

    assert await batcher.submit(range(10), deadline=soon()) == tenfold(range(10))
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@fake_time
async def test_a_large_request_fills_up_a_batch(serving, model):
    """Of three small requests and a large one the first batch is full."""
    batcher = serving(max_rows=4)
    first = await busy(batcher, model)
    jobs = [batcher.submit([n], deadline=soon()) for n in (1, 2, 3)]
    jobs.append(batcher.submit(range(10, 15), deadline=soon()))
    model.release()

    assert await outcomes(first, *jobs) == [[0], [10], [20], [30], tenfold(range(10, 15))]
    assert model.batches == [[0], [1, 2, 3, 10], [11, 12, 13, 14]]


@fake_time
async def test_a_small_request_goes_before_the_rest_of_a_large_one(serving, model):
    """It may wait behind the large one, or arrive while that is computed."""
    batcher = serving(max_rows=4)
    await busy(batcher, model)
    large = batcher.submit(range(10, 30), deadline=soon())
    behind = batcher.submit([1], deadline=soon())
    model.step()
    await model.called(2)
    later = batcher.submit([2], deadline=soon())
    model.step()
    await model.called(3)

    assert model.batches[1:] == [[10, 11, 12, 13], [1, 2, 14, 15]]
    model.release()
    assert await outcomes(behind, later, large) == [[10], [20], tenfold(range(10, 30))]


@pytest.mark.parametrize("count, max_rows", [(1, 4), (2, 4), (10, 64)])
@fake_time
async def test_every_small_request_overtakes_the_rest_of_large_ones(
    serving, model, count, max_rows
):
    """However many large ones wait, a small one waits for one call."""
    batcher = serving(max_rows=max_rows)
    rows = [range(1000 * n, 1000 * n + 10 * max_rows) for n in range(1, count + 1)]
    model.hold()
    large = [batcher.submit(own, deadline=soon()) for own in rows]
    await model.called()
    for _ in range(count - 1):  # until all of them have begun
        model.step()
        await clock().quiet()
    for n in range(8):
        batcher.submit([n], deadline=soon())
        model.step()
        await clock().quiet()
        assert n in model.batches[-1]
        assert len(model.batches[-1]) == max_rows
    model.release()

    assert await outcomes(*large) == [tenfold(own) for own in rows]


@pytest.mark.parametrize("waiting", [1, 4, 16])
@fake_time
async def test_a_steady_stream_of_small_requests_cannot_starve_a_large_one(serving, model, waiting):
    """A large request is served although small ones could fill every batch."""
    batcher = serving(max_rows=4)
    await busy(batcher, model)
    large = batcher.submit(range(-20, 0), deadline=soon())
    small: list[Job] = []
    calls = 0
    while not large.done():
        small += [
            batcher.submit([len(small) + n], deadline=soon())
            for n in range(waiting + 4 - sum(not job.done() for job in small))
        ]
        model.step()
        calls += 1
        await model.called(calls + 1)
        # An equal share of the rows for each of those that wait, twice over, and the queue before.
        assert calls <= 2 * 20 * (waiting + 5) / 4 + waiting

    assert await large == tenfold(range(-20, 0))
    model.release()
    assert await outcomes(*small) == [[10 * n] for n in range(len(small))]


@fake_time
async def test_parts_are_joined_by_the_given_function(serving):
    """Rows are anything with a length that can be sliced: here the letters of a word."""

    async def louder(parts):
        return [part.upper() for part in parts]

    batcher = Batcher(louder, max_rows=3, join="".join)
    served = asyncio.create_task(batcher.serve())

    assert await batcher.submit("micro-batching", deadline=soon()) == "MICRO-BATCHING"
    batcher.drain()
    await served


@fake_time
async def test_an_answer_that_cannot_be_joined_fails_alone_and_nothing_is_computed_again(
    serving, model, diary
):
    def join(_: object) -> object:
        raise MemoryError

    batcher = serving(max_rows=3, join=join)
    large, small = (batcher.submit(range(n), deadline=soon()) for n in (4, 2))

    with pytest.raises(ModelFailed):
        await large
    assert await small == [0, 10]
    assert [(jobs, isolated) for jobs, _, isolated in diary.failures] == [([large], True)]
    assert sorted(fate for job, fate in diary.fates if job is large) == ["failed"]
    assert sum(map(len, model.batches)) == 6


# 6. Inputs with a variable dimension are batched with others of the same shape.


@fake_time
async def test_a_batch_has_one_shape(serving, model):
    """Requests of the same shape share a batch, and the shape that came first goes first."""
    batcher = serving()
    first = await busy(batcher, model)
    shapes = {10: "b", 20: "a", 11: "b", 30: "c", 21: "a"}
    jobs = [batcher.submit([n], deadline=soon(), shape=shape) for n, shape in shapes.items()]
    model.release()

    assert await outcomes(first, *jobs) == [[0], [100], [200], [110], [300], [210]]
    assert model.batches == [[0], [10, 11], [20, 21], [30]]


@fake_time
async def test_a_rare_shape_is_not_starved_by_a_frequent_one(serving, model):
    """A shape is next when its first request is, however many of another shape arrive."""
    batcher = serving(max_rows=4)
    await busy(batcher, model)
    for n in range(4):
        batcher.submit([n], deadline=soon(), shape="frequent")
    rare = batcher.submit([-1], deadline=soon(), shape="rare")
    for n in range(2):
        for row in range(4):
            batcher.submit([row], deadline=soon(), shape="frequent")
        model.step()
        await model.called(n + 2)
    model.release()

    assert model.batches[1:3] == [[0, 1, 2, 3], [-1]]
    assert await rare == [-10]


@fake_time
async def test_a_request_of_another_shape_goes_before_the_rest_of_a_large_one(serving, model):
    """A large request does not delay small ones of any shape."""
    batcher = serving(max_rows=4)
    model.hold()
    large = batcher.submit(range(10, 30), deadline=soon(), shape="large")
    await model.called()
    batcher.submit([1], deadline=soon(), shape="small")
    model.step()
    await model.called(2)
    model.release()

    assert model.batches[1] == [1]
    assert await large == tenfold(range(10, 30))


# 7. The queue is limited in rows, bytes and time.


@fake_time
async def test_a_queue_full_of_rows_rejects_at_once(serving, model, diary):
    """Running rows do not count; a rejected request leaves no trace; smaller ones still fit."""
    batcher = serving(queue_rows=4, max_rows=2)
    first = await busy(batcher, model)
    jobs = [batcher.submit([1, 2, 3], deadline=soon())]

    with pytest.raises(Overloaded) as refusal:
        batcher.submit([4, 5], deadline=soon())
    assert 0 <= refusal.value.retry_after < math.inf
    assert diary.refusals == ["queue_full"]
    assert batcher.queue.rows == 3

    jobs.append(batcher.submit([6], deadline=soon()))
    model.release()
    assert await outcomes(first, *jobs) == [[0], [10, 20, 30], [60]]


@fake_time
async def test_a_queue_full_of_bytes_rejects_at_once(serving, model, diary):
    """Bytes are limited like rows, and released when the rows are taken."""
    batcher = serving(queue_bytes=1000)
    first = await busy(batcher, model)
    jobs = [batcher.submit([1], deadline=soon(), nbytes=600)]

    with pytest.raises(Overloaded):
        batcher.submit([2], deadline=soon(), nbytes=401)
    assert diary.refusals == ["queue_full"]
    assert batcher.queue.nbytes == 600

    jobs.append(batcher.submit([3], deadline=soon(), nbytes=400))
    model.step()
    await model.called(2)
    jobs.append(batcher.submit([4], deadline=soon(), nbytes=1000))
    model.release()
    assert await outcomes(first, *jobs) == [[0], [10], [30], [40]]


@fake_time
async def test_a_request_larger_than_the_queue_gets_too_many_rows(serving, diary):
    """A request larger than an empty queue is an error of the client: a retry cannot help."""
    batcher = serving(queue_rows=4, queue_bytes=1000)

    with pytest.raises(TooManyRows):
        batcher.submit(range(5), deadline=soon())
    with pytest.raises(TooManyRows):
        batcher.submit([1], deadline=soon(), nbytes=1001)

    assert diary.refusals == ["too_large", "too_large"]
    assert await batcher.submit(range(4), deadline=soon(), nbytes=1000) == tenfold(range(4))


@fake_time
async def test_check_room_needs_no_rows(serving, model, diary):
    """It raises, and counts, what the smallest request with so many bytes would get."""
    batcher = serving(queue_rows=2, queue_bytes=100)
    model.hold()
    first = batcher.submit([0], deadline=soon())
    await model.called()
    batcher.check_room(100)
    with pytest.raises(TooManyRows):
        batcher.check_room(101)
    waiting = batcher.submit([1, 2], deadline=soon())
    with pytest.raises(Overloaded):
        batcher.check_room(1)
    model.release()

    assert await outcomes(first, waiting) == [[0], [10, 20]]
    assert diary.refusals == ["too_large", "queue_full"]
    batcher.check_room(1)
    batcher.drain()
    with pytest.raises(Draining):
        batcher.check_room(1)


@fake_time
async def test_it_is_crowded_from_a_rejection_until_a_request_is_accepted(serving, model):
    batcher = serving(queue_rows=1, queue_bytes=100)
    with pytest.raises(TooManyRows):  # which does not depend on the queue
        batcher.submit([1], deadline=soon(), nbytes=101)
    assert not batcher.is_crowded
    await busy(batcher, model)
    waiting = batcher.submit([1], deadline=soon())
    assert not batcher.is_crowded

    with pytest.raises(Overloaded):
        batcher.submit([2], deadline=soon())
    assert batcher.is_crowded
    model.release()
    await waiting
    assert batcher.is_crowded
    await batcher.submit([3], deadline=soon())
    assert not batcher.is_crowded


@fake_time
async def test_nbytes_defaults_to_0(serving, model):
    batcher = serving(queue_bytes=10)
    await busy(batcher, model)
    batcher.submit([1], deadline=soon())
    batcher.submit([2], deadline=soon(), nbytes=10)

    with pytest.raises(Overloaded):
        batcher.submit([3], deadline=soon(), nbytes=1)


@fake_time
async def test_check_room_accepts_if_one_more_row_fits(serving, model):
    batcher = serving(queue_rows=3)
    await busy(batcher, model)
    batcher.submit([1, 2], deadline=soon())

    batcher.check_room(0)


async def learned(batcher: Batcher, model: FakeModel, seconds: float) -> None:
    """Run a few batches of one to four rows, each with this duration."""
    model.seconds = lambda rows: seconds
    for rows in (1, 2, 3, 4):
        await batcher.submit(range(rows), deadline=soon())


@fake_time
async def test_a_request_is_rejected_if_the_batches_ahead_take_too_long(serving, model, diary):
    """At 0.4 s per batch, two batches may be ahead of a request with a max_queue of 1 s."""
    batcher = serving(max_rows=4, max_queue=1.0)
    await learned(batcher, model, seconds=0.4)
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([n], deadline=soon()) for n in range(12)]

    with pytest.raises(Overloaded):
        batcher.submit([12], deadline=soon())
    assert diary.refusals == ["queue_wait"]

    model.release()
    assert await outcomes(*jobs) == [[0]] + [[10 * n] for n in range(12)]


def test_the_default_limits_are_those_of_the_settings():
    given = inspect.signature(Batcher).parameters
    settings = BatchingSettings()

    assert given["max_wait"].default == settings.max_wait_ms / 1000
    assert given["max_queue"].default == settings.max_queue_ms / 1000
    assert given["queue_rows"].default == settings.queue_rows
    assert given["queue_bytes"].default == settings.queue_bytes


@fake_time
async def test_a_wait_of_exactly_max_queue_is_accepted(serving, model):
    """So with max_queue 0 nothing is rejected before batches were measured."""
    batcher = serving(max_rows=1, max_queue=0.0)
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([n], deadline=soon()) for n in (1, 2)]

    model.release()
    assert await outcomes(*jobs) == [[0], [10], [20]]


@fake_time
async def test_a_slow_model_can_always_fill_its_next_batch(serving, model):
    """The running batch and the request's own do not count towards max_queue."""
    batcher = serving(max_rows=4, max_queue=1.0)
    await learned(batcher, model, seconds=30)
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([n], deadline=soon()) for n in range(4)]

    with pytest.raises(Overloaded):
        batcher.submit([4], deadline=soon())

    model.release()
    assert await outcomes(*jobs) == [[0], [0], [10], [20], [30]]
    assert model.batches[-1] == [0, 1, 2, 3]


@fake_time
async def test_the_batches_of_a_large_request_do_not_count_against_itself(serving, model):
    """A slow model accepts a large request if the queue is empty."""
    batcher = serving(max_rows=4, max_queue=1.0)
    await learned(batcher, model, seconds=30)
    await busy(batcher, model)
    large = batcher.submit(range(20), deadline=soon())
    model.release()

    assert await large == tenfold(range(20))


@fake_time
async def test_the_rest_of_a_large_request_does_not_count_for_requests_that_overtake_it(
    serving, model
):
    """A small request waits for one batch of a large one, and only that one counts."""
    batcher = serving(max_rows=4, max_queue=1.0)
    await learned(batcher, model, seconds=0.8)
    await busy(batcher, model)
    batcher.submit(range(100, 140), deadline=soon())
    small = batcher.submit([1], deadline=soon())
    model.step()
    await model.called(len(model.calls) + 1)
    model.step()
    await model.called(len(model.calls) + 1)

    assert 1 in model.batches[-1]
    model.release()
    assert await small == [10]


@fake_time
async def test_batches_of_other_shapes_are_ahead_and_a_waiting_one_can_be_joined(serving, model):
    """At 0.8 s per batch, one other shape may wait; who joins the first batch waits for none."""
    batcher = serving(max_rows=4, max_queue=1.0)
    await learned(batcher, model, seconds=0.8)
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([n], deadline=soon(), shape=shape) for n, shape in [(1, "a"), (2, "b")]]

    with pytest.raises(Overloaded):
        batcher.submit([3], deadline=soon(), shape="c")
    jobs.append(batcher.submit([4], deadline=soon(), shape="a"))

    model.release()
    assert await outcomes(*jobs) == [[0], [10], [20], [40]]
    assert model.batches[-2:] == [[1, 4], [2]]


@pytest.mark.parametrize(
    "bound, fits", [({"queue_rows": 8, "max_queue": 1e9}, 8), ({"max_queue": 0.01}, 4)]
)
@fake_time
async def test_retry_after_grows_as_the_measured_speed_falls(serving, model, bound, fits):
    """The slower the model, the later it makes sense to try again."""
    delays = []
    for seconds in (0.5, 5):
        batcher = serving(max_rows=4, **bound)
        await learned(batcher, model, seconds)
        jobs = [await busy(batcher, model)]
        jobs += [batcher.submit([n], deadline=soon()) for n in range(fits)]
        with pytest.raises(Overloaded) as refusal:
            batcher.submit([fits], deadline=soon())
        delays.append(refusal.value.retry_after)
        model.release()
        await outcomes(*jobs)

    assert 0 < delays[0] < delays[1] < math.inf
    assert delays[1] == pytest.approx(10 * delays[0], rel=0.1)


async def seconds_to_empty(batcher: Batcher, model: FakeModel) -> float:
    """Return the retry_after of a rejection with ten rows in the queue, in batches of four."""
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([n], deadline=soon()) for n in range(10)]
    with pytest.raises(Overloaded) as refusal:
        batcher.submit([10], deadline=soon())
    model.release()
    await outcomes(*jobs)
    return refusal.value.retry_after


TEN_ROWS = {"max_rows": 4, "queue_rows": 10, "max_queue": 1e9}


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (lambda rows: 0.2 + 0.1 * rows, 3 * 0.2 + 10 * 0.1),
        (lambda rows: 0.4, 3 * 0.4),
        (lambda rows: 0.3 * rows, 10 * 0.3),
        (lambda rows: rows - 0.5, 10 * 1.0),  # durations are never negative
        # The prediction never falls with the rows: it is the weighted mean.
        (lambda rows: 1 - 0.1 * rows, 3 * (0.6 * 0.9**2 + 0.8 * 0.9 + 0.7 + 0.9 * 0.9**3) / 3.439),
    ],
)
@fake_time
async def test_retry_after_is_the_expected_duration_of_the_waiting_rows(
    serving, model, seconds, expected
):
    """A fixed time per batch and a time per row, learned from batches of several sizes."""
    model.seconds = seconds
    batcher = serving(**TEN_ROWS)
    for rows in (1, 4, 2, 3):
        await batcher.submit(range(rows), deadline=soon())

    assert await seconds_to_empty(batcher, model) == pytest.approx(expected)


@fake_time
async def test_old_durations_of_batches_lose_their_weight(serving, model):
    """Each batch weighs a tenth less than the next one, so a slow call soon loses its weight."""
    batcher = serving(**TEN_ROWS)
    model.seconds = lambda rows: 0.1
    for _ in range(30):
        await batcher.submit([0], deadline=soon())
    model.seconds = lambda rows: 1.1
    await batcher.submit([0], deadline=soon())
    model.seconds = lambda rows: 0.1

    shown = await seconds_to_empty(batcher, model)
    assert shown == pytest.approx(3 * (0.1 + 0.1), rel=0.1)
    for _ in range(60):
        await batcher.submit([0], deadline=soon())
    assert await seconds_to_empty(batcher, model) == pytest.approx(3 * 0.1, rel=0.01)


# 8. Every request has a deadline; it fails then, and is not computed afterwards.


@fake_time
async def test_a_request_that_expires_in_the_queue_fails_at_its_deadline(serving, model, diary):
    """The request fails on time, leaves the queue, and is never computed."""
    batcher = serving(queue_rows=1, queue_bytes=100)
    first = await busy(batcher, model)
    deadline = soon(0.25)
    late = batcher.submit([1], deadline, nbytes=100)

    with pytest.raises(DeadlineExceeded):
        await late
    assert clock().time() == pytest.approx(deadline)
    assert diary.fates == [(late, "expired")]
    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)

    next_one = batcher.submit([2], deadline=soon(), nbytes=100)
    model.release()
    assert await outcomes(first, next_one) == [[0], [20]]
    assert model.batches == [[0], [2]]


@fake_time
async def test_a_request_expires_at_its_deadline_while_the_model_computes_it(serving, model):
    """It fails while its batch runs; the other requests of the batch are still answered."""
    batcher = serving()
    await busy(batcher, model)
    deadline = soon(0.25)
    late, other = batcher.submit([1], deadline), batcher.submit([2], deadline=soon())
    model.step()
    await model.called(2)

    with pytest.raises(DeadlineExceeded):
        await late
    assert clock().time() == pytest.approx(deadline)
    assert not other.done()

    model.release()
    assert await other == [20]
    assert model.batches == [[0], [1, 2]]


@fake_time
async def test_a_settled_request_is_not_kept_until_its_deadline(model):
    """Otherwise a busy service would keep the requests of half a minute in memory."""
    batcher = Batcher(model.run)
    served = asyncio.create_task(batcher.serve())
    jobs = [batcher.submit([n], deadline=soon()) for n in range(2)]
    jobs[1].cancel()
    await outcomes(*jobs)
    kept = [weakref.ref(job) for job in jobs]
    jobs.clear()
    await batcher.submit([2], deadline=soon())  # `serve` releases a batch when it has the next one
    gc.collect()

    assert [job() for job in kept] == [None, None]
    batcher.drain()
    await served


@fake_time
async def test_a_deadline_that_has_passed_at_submit_is_answered_at_once(serving, model):
    """It fails at once, and an idle model is not called."""
    batcher = serving()
    start = clock().time()

    for late_by in (0, 1):
        with pytest.raises(DeadlineExceeded):
            await batcher.submit([1], deadline=start - late_by)
    await clock().quiet()

    assert clock().time() == start
    assert model.calls == []


@fake_time
async def test_a_request_that_expired_while_the_loop_was_blocked_is_not_computed(serving, model):
    """The model is idle before the timers have fired; expired rows are left out anyway."""
    batcher = serving()
    first = await busy(batcher, model)
    late, other = batcher.submit([1], deadline=soon(1)), batcher.submit([2], deadline=soon(3))
    model.release()
    clock().block(2)

    assert await outcomes(first, late, other) == [[0], DeadlineExceeded, [20]]
    assert model.batches == [[0], [2]]


@fake_time
async def test_the_rest_of_a_request_is_not_computed_after_its_deadline(serving, model):
    """The rest of a large request that expires half-way is removed."""
    batcher = serving(max_rows=4)
    model.hold()
    large = batcher.submit(range(20), deadline=soon(0.25), nbytes=2000)
    await model.called()

    with pytest.raises(DeadlineExceeded):
        await large
    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)

    model.release()
    assert await batcher.submit([50], deadline=soon()) == [500]
    assert model.batches == [[0, 1, 2, 3], [50]]


@fake_time
async def test_an_answer_in_time_is_not_disturbed_by_the_deadline_after_it(serving, diary):
    """The deadline of an answered request is removed."""
    batcher = serving()
    job = batcher.submit([1], deadline=soon(0.25))

    assert await job == [10]
    await asyncio.sleep(1)
    assert diary.fates == [(job, "answered")]


# 9. Cancelling a request removes its waiting rows and disturbs no other request.


@fake_time
async def test_a_request_cancelled_in_the_queue_is_not_computed(serving, model, diary):
    """Its rows are not computed, and its room is free at once."""
    batcher = serving(queue_rows=2, queue_bytes=100)
    first = await busy(batcher, model)
    leaver = batcher.submit([1, 2], deadline=soon(), nbytes=100)

    assert leaver.cancel()
    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)
    stayer = batcher.submit([3, 4], deadline=soon(), nbytes=100)
    model.release()

    assert await outcomes(first, leaver, stayer) == [[0], asyncio.CancelledError, [30, 40]]
    assert model.batches == [[0], [3, 4]]
    assert diary.fates.count((leaver, "cancelled")) == 1


@fake_time
async def test_a_cancelled_request_does_not_disturb_its_batch(serving, model):
    """The rest of the batch is answered if one of its requests is cancelled meanwhile."""
    batcher = serving()
    await busy(batcher, model)
    jobs = [batcher.submit([n], deadline=soon()) for n in (1, 2, 3)]
    model.step()
    await model.called(2)
    jobs[1].cancel()
    model.release()

    assert await outcomes(*jobs) == [[10], asyncio.CancelledError, [30]]


@fake_time
async def test_a_batch_whose_requests_are_all_cancelled_disturbs_no_other(serving, model):
    """The model finishes its call and continues with the next request."""
    batcher = serving()
    leaver = await busy(batcher, model)
    leaver.cancel()
    job = batcher.submit([1], deadline=soon())
    model.release()

    assert await job == [10]


@fake_time
async def test_the_rest_of_a_cancelled_request_is_not_computed(serving, model):
    """The waiting rows of a large request are not computed."""
    batcher = serving(max_rows=4, queue_rows=16)
    model.hold()
    large = batcher.submit(range(16), deadline=soon(), nbytes=1600)
    await model.called()
    large.cancel()

    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)
    other = batcher.submit(range(50, 66), deadline=soon())
    model.release()
    assert await other == tenfold(range(50, 66))
    assert model.rows == [0, 1, 2, 3, *range(50, 66)]


@fake_time
async def test_a_task_that_is_cancelled_while_it_waits_withdraws_its_request(serving, model):
    """A handler needs no code for this: cancelling its task is enough."""
    batcher = serving()
    await busy(batcher, model)

    async def handler() -> list[int]:
        return await batcher.submit([1], deadline=soon())

    task = asyncio.create_task(handler())
    await clock().quiet()
    assert batcher.queue.rows == 1
    task.cancel()
    await clock().quiet()
    assert batcher.queue.rows == 0
    model.release()
    await clock().quiet()
    assert model.batches == [[0]]


@fake_time
async def test_cancelling_twice_or_after_the_answer_changes_nothing(serving, model, diary):
    """Only the first cancellation counts, and none after the answer."""
    batcher = serving()
    answered = batcher.submit([1], deadline=soon())
    assert await answered == [10]
    assert not answered.cancel()
    assert answered.result() == [10]

    await busy(batcher, model)
    leaver = batcher.submit([1], deadline=soon())
    assert [leaver.cancel(), leaver.cancel()] == [True, False]
    await clock().quiet()
    assert diary.fates == [(answered, "answered"), (leaver, "cancelled")]


# 10. A batch that fails is halved until only the failing requests fail.


async def batch_of(batcher: Batcher, model: FakeModel, size: int) -> list[Job]:
    """Run one batch of `size` requests with rows 1, 2, 3, …; clear the record of earlier calls."""
    await busy(batcher, model)
    jobs = [batcher.submit([n], deadline=soon()) for n in range(1, size + 1)]
    model.calls.clear()
    model.release()
    await asyncio.wait(jobs)
    return jobs


@pytest.mark.parametrize("guilty", [1, 2, 33, 63, 64])
@fake_time
async def test_one_bad_request_among_63_good_ones_fails_alone(serving, model, guilty):
    """At any position, it takes at most 24 more calls to answer the others."""
    model.poison = {guilty}
    jobs = await batch_of(serving(max_rows=64), model, 64)

    expected = [ModelFailed if n == guilty else [10 * n] for n in range(1, 65)]
    assert await outcomes(*jobs) == expected
    assert len(model.batches[0]) == 64
    assert len(model.calls) - 1 <= 4 * math.log2(64)


@fake_time
async def test_two_bad_requests_fail_and_no_other(serving, model):
    """The limit of calls is enough for two that are far apart."""
    model.poison = {1, 64}
    jobs = await batch_of(serving(max_rows=64), model, 64)

    expected = [ModelFailed if n in (1, 64) else [10 * n] for n in range(1, 65)]
    assert await outcomes(*jobs) == expected
    assert len(model.calls) - 1 <= 4 * math.log2(64)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 64])
@fake_time
async def test_the_number_of_calls_is_bounded_if_all_requests_are_bad(serving, model, size):
    """A broken model is not called for each request separately."""
    model.poison = set(range(1, size + 1))
    jobs = await batch_of(serving(max_rows=64), model, size)

    assert await outcomes(*jobs) == [ModelFailed] * size
    assert len(model.calls) - 1 <= 4 * math.log2(size)


@fake_time
async def test_the_answers_of_good_halves_are_kept_when_the_calls_run_out(serving, model):
    """Every second request fails, and no request gets another's row."""
    model.poison = set(range(1, 65, 2))
    jobs = await batch_of(serving(max_rows=64), model, 64)

    for n, outcome in enumerate(await outcomes(*jobs), start=1):
        assert outcome in ([ModelFailed] if n in model.poison else [ModelFailed, [10 * n]])
    assert len(model.calls) - 1 <= 4 * math.log2(64)


@fake_time
async def test_a_request_is_never_split_to_isolate_a_failure(serving, model):
    """Batches are halved by request: all rows of one stay together."""
    model.poison = {3}
    batcher = serving(max_rows=16)
    await busy(batcher, model)
    jobs = [
        batcher.submit(rows, deadline=soon()) for rows in ([1, 2, 3, 4], [5], [6, 7, 8], [9, 10])
    ]
    model.release()

    assert await outcomes(*jobs) == [ModelFailed, [50], [60, 70, 80], [90, 100]]
    assert all(
        part in ([0], [1, 2, 3, 4], [5], [6, 7, 8], [9, 10])
        for parts in model.calls
        for part in parts
    )


@fake_time
async def test_a_lone_request_that_fails_is_not_tried_again(serving, model):
    """There are no others to isolate it from."""
    model.poison = {1}
    batcher = serving()

    with pytest.raises(ModelFailed):
        await batcher.submit([1], deadline=soon())
    assert model.batches == [[1]]
    assert await batcher.submit([2], deadline=soon()) == [20]


@fake_time
async def test_halves_of_a_failed_batch_never_mix_with_new_requests(serving, model):
    """Requests that arrive during isolation wait until it is over."""
    model.poison = {2}
    batcher = serving(max_rows=8)
    await busy(batcher, model)
    jobs = [batcher.submit([n], deadline=soon()) for n in (1, 2, 3, 4)]
    model.step()
    await model.called(2)
    new: list[Job] = []
    while not all(job.done() for job in jobs):
        new.append(batcher.submit([100 + len(new)], deadline=soon()))
        model.step()
        await clock().quiet()
    model.release()

    await outcomes(*jobs)
    assert await outcomes(*new) == [[1000 + 10 * n] for n in range(len(new))]
    old_or_new = [{row >= 100 for row in batch} for batch in model.batches]
    assert all(len(kinds) == 1 for kinds in old_or_new)
    assert old_or_new == sorted(old_or_new, key=lambda kinds: True in kinds)


@fake_time
async def test_a_request_settled_during_isolation_is_not_computed_again(serving, model):
    """One is cancelled and one expires while the other half runs: both are left out."""
    model.poison = {1, 8}
    batcher = serving(max_rows=8)
    await busy(batcher, model)
    jobs = {n: batcher.submit([n], deadline=soon(n)) for n in range(1, 9)}
    model.step()
    await model.called(2)
    model.step()
    await model.called(3)
    leaver, late = (2, 3) if 8 in model.batches[2] else (6, 5)
    jobs[leaver].cancel()
    await asyncio.sleep(late - 0.5)
    assert not jobs[late].done()
    await asyncio.wait([jobs[late]])
    model.release()
    await outcomes(*jobs.values())

    assert jobs[leaver].cancelled()
    assert isinstance(jobs[late].exception(), DeadlineExceeded)
    assert not {leaver, late} & set(model.rows[9:])


@fake_time
async def test_a_deadline_that_passes_during_isolation_while_the_loop_is_blocked(serving, model):
    """Its rows are left out of further calls even before the timers have fired."""
    model.poison = {1, 8}
    batcher = serving(max_rows=8)
    await busy(batcher, model)
    deadlines = {n: soon(1 if n in (3, 6) else 1000) for n in range(1, 9)}
    jobs = {n: batcher.submit([n], deadline) for n, deadline in deadlines.items()}
    model.step()
    await model.called(2)
    model.step()
    await model.called(3)
    late = 3 if 8 in model.batches[2] else 6
    model.release()
    clock().block(2)
    await outcomes(*jobs.values())

    assert isinstance(jobs[late].exception(), DeadlineExceeded)
    assert late not in model.rows[9:]


@fake_time
async def test_the_rest_of_a_split_request_that_failed_is_not_computed(serving, model):
    """After one of its parts failed, the rest is not computed, and its room is free."""
    model.poison = {2}
    batcher = serving(max_rows=4)
    large = batcher.submit(range(20), deadline=soon(), nbytes=2000)

    with pytest.raises(ModelFailed):
        await large
    assert (batcher.queue.rows, batcher.queue.nbytes) == (0, 0)
    assert await batcher.submit([50], deadline=soon()) == [500]
    assert model.batches == [[0, 1, 2, 3], [50]]


@fake_time
async def test_a_failing_split_request_does_not_fail_others_in_its_batches(serving, model):
    """The last rows of a large request fail; other requests of that batch are answered."""
    model.poison = {19}
    batcher = serving(max_rows=4)
    await busy(batcher, model)
    large = batcher.submit(range(10, 20), deadline=soon())
    small = [batcher.submit([n], deadline=soon()) for n in (1, 2, 3)]
    model.release()

    assert await outcomes(large, *small) == [ModelFailed, [10], [20], [30]]


WRONG_COUNTS = {
    "a row too few": lambda answers: [*answers[:-1], answers[-1][1:]],
    "a row too many": lambda answers: [*answers[:-1], answers[-1] + [7]],
    "a part too few": lambda answers: answers[:-1],
    "a part too many": lambda answers: [*answers, [7]],
    "a row in the wrong part": lambda answers: [answers[0] + [7], answers[1][1:], *answers[2:]],
    "nothing": lambda answers: [],
}


@pytest.mark.parametrize("spoil", WRONG_COUNTS.values(), ids=WRONG_COUNTS.keys())
@fake_time
async def test_a_wrong_number_of_rows_fails_the_whole_batch_at_once(serving, model, diary, spoil):
    """No request gets another's row, and the model is not called again for this batch."""
    model.spoil = spoil
    batcher = serving()
    jobs = await batch_of(batcher, model, 8)

    assert await outcomes(*jobs) == [ModelFailed] * 8
    assert len(model.calls) == 1
    assert {isolated for _, _, isolated in diary.failures} == {False}

    model.spoil = lambda answers: answers
    assert await batcher.submit([9], deadline=soon()) == [90]


@fake_time
async def test_whole_batch_errors_fail_the_whole_batch_at_once(serving, model):
    """The requests of a batch are not isolated after one of `whole_batch_errors`."""
    model.poison = {3}
    jobs = await batch_of(serving(whole_batch_errors=(ValueError,)), model, 8)

    assert await outcomes(*jobs) == [ModelFailed] * 8
    assert len(model.calls) == 1


@pytest.mark.parametrize("settings", [{}, {"whole_batch_errors": (ValueError,)}])
@fake_time
async def test_no_two_requests_share_an_exception(serving, model, settings):
    """Each gets its own exception, because a traceback grows with each await."""
    model.poison = set(range(1, 9))
    jobs = await batch_of(serving(**settings), model, 8)

    errors = [job.exception() for job in jobs]
    assert all(isinstance(error, BatchingError) for error in errors)
    assert len(set(map(id, errors))) == 8


# 11. Draining answers everything that was accepted, then ends.


@fake_time
async def test_draining_answers_everything_that_was_accepted_then_ends(serving, model, diary):
    """Running, waiting and split requests are answered; later ones are rejected."""
    batcher = Batcher(model.run, max_rows=4, observers=[diary])
    served = asyncio.create_task(batcher.serve())
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit(range(10), deadline=soon()), batcher.submit([7], deadline=soon())]
    batcher.drain()

    with pytest.raises(Draining):
        batcher.submit([8], deadline=soon())
    assert diary.refusals == ["draining"]
    await clock().quiet()
    assert not served.done()

    model.release()
    await served
    assert all(job.done() for job in jobs)
    assert await outcomes(*jobs) == [[0], tenfold(range(10)), [70]]


@fake_time
async def test_draining_ends_an_idle_batcher_at_once(model):
    """Calling it twice is the same as once."""
    batcher = Batcher(model.run)
    served = asyncio.create_task(batcher.serve())
    await clock().quiet()
    start = clock().time()
    batcher.drain()
    batcher.drain()

    await served
    assert clock().time() == start


@fake_time
async def test_draining_before_it_serves_still_answers(model):
    """Requests accepted before `serve` are answered, too."""
    batcher = Batcher(model.run)
    job = batcher.submit([1], deadline=soon())
    batcher.drain()

    await batcher.serve()
    assert await job == [10]


@fake_time
async def test_draining_ends_when_all_waiting_requests_are_cancelled(serving, model):
    """The last requests are cancelled, expire or fail, and it ends."""
    batcher = Batcher(model.run)
    served = asyncio.create_task(batcher.serve())
    model.poison = {0}
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([1], deadline=soon()), batcher.submit([2], deadline=soon(0.25))]
    batcher.drain()
    jobs[1].cancel()
    await asyncio.sleep(0.5)
    model.release()

    await served
    assert await outcomes(*jobs) == [ModelFailed, asyncio.CancelledError, DeadlineExceeded]
    assert model.batches == [[0]]


# 12. Observers are notified.


@fake_time
async def test_an_observer_is_notified_of_every_call(serving, model, diary):
    """Rows, requests and duration, whether it succeeded or not."""
    model.seconds = lambda rows: 0.5 * rows
    model.poison = {3}
    batcher = serving()
    first = await busy(batcher, model)
    jobs = [batcher.submit([1, 2], deadline=soon()), batcher.submit([3], deadline=soon())]
    model.release()
    await outcomes(first, *jobs)

    assert diary.runs[:2] == [(1, 1, pytest.approx(0.5)), (3, 2, pytest.approx(1.5))]
    assert sorted(diary.runs[2:]) == [(1, 1, pytest.approx(0.5)), (2, 1, pytest.approx(1.0))]


@fake_time
async def test_an_answered_request_knows_how_long_it_took(serving, model, diary):
    """Queue time, model time and batch size are known when the observer is notified."""
    model.seconds = lambda rows: 0.5 * rows
    batcher = serving(max_rows=4)
    first = batcher.submit([0], deadline=soon())
    await asyncio.sleep(0.2)
    jobs = [batcher.submit(range(6), deadline=soon()), batcher.submit([9], deadline=soon())]
    await outcomes(first, *jobs)

    assert [fate for _, fate in diary.fates] == ["answered"] * 3
    assert model.batches == [[0], [0, 1, 2, 3], [9, 4, 5]]
    numbers = [(job.queue_seconds, job.model_seconds, job.batch_rows) for job in (first, *jobs)]
    assert numbers == [
        (0, pytest.approx(0.5), 1),
        (pytest.approx(0.3), pytest.approx(2 + 1.5), 4),
        (pytest.approx(0.3 + 2), pytest.approx(1.5), 3),
    ]


@fake_time
async def test_an_observer_is_told_which_requests_failed_and_whether_they_were_isolated(
    serving, model, diary
):
    """The failed request, the model's own error, and that the rest of the batch was answered."""
    model.poison = {3}
    jobs = await batch_of(serving(), model, 4)
    await outcomes(*jobs)

    [(failed, error, isolated)] = diary.failures
    assert (failed, isolated) == ([jobs[2]], True)
    assert "cannot stand [3]" in str(error)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
@fake_time
async def test_a_model_that_fails_for_all_requests_isolates_none(serving, model, diary, size):
    """An observer can tell a broken model from a bad request among good ones."""
    model.poison = set(range(1, size + 1))
    await outcomes(*await batch_of(serving(), model, size))

    assert sum(len(failed) for failed, _, _ in diary.failures) == size
    assert not any(isolated for _, _, isolated in diary.failures)


@fake_time
async def test_an_observer_is_notified_of_each_request_once(serving, model, diary):
    """Each accepted request is answered, expires, is cancelled or fails, exactly once."""
    model.poison = {4}
    batcher = serving(max_rows=4)
    jobs = [await busy(batcher, model)]
    jobs += [batcher.submit([n], deadline=soon(n)) for n in (1, 2, 3, 4)]
    jobs[2].cancel()
    await asyncio.sleep(1.5)
    model.release()
    await outcomes(*jobs)
    await asyncio.sleep(10)

    fates = ["answered", "expired", "cancelled", "answered", "failed"]
    assert sorted(diary.fates, key=lambda fate: jobs.index(fate[0])) == [
        *zip(jobs, fates, strict=True)
    ]


@fake_time
async def test_a_batcher_needs_no_observer(model):
    """Without observers, all events are ignored."""
    batcher = Batcher(model.run, queue_rows=1)
    served = asyncio.create_task(batcher.serve())
    model.poison = {0}
    jobs = [await busy(batcher, model), batcher.submit([1], deadline=soon(0.25))]
    with pytest.raises(Overloaded):
        batcher.submit([2], deadline=soon())
    await asyncio.sleep(0.5)
    jobs.append(batcher.submit([3], deadline=soon()))
    jobs[2].cancel()
    model.release()
    batcher.drain()
    await served

    assert await outcomes(*jobs) == [ModelFailed, DeadlineExceeded, asyncio.CancelledError]
