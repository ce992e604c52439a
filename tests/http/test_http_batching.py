"""Batching over HTTP: shared batches, full queues, deadlines, disconnects, failures."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from server.config import Settings
from tests.http.test_http import assert_problem, assert_retry_after
from tests.support.harness import (
    JSON,
    Client,
    FakeModel,
    Response,
    Server,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
    with_settings,
)

BUSY = 1e6  # the row that keeps the model busy
Spoil = Callable[[np.ndarray], np.ndarray]
LATENESS = 5.0  # seconds; 50 ms are promised, but tests share their machine


@asynccontextmanager
async def busy(
    model: FakeModel, settings: Settings | None = None, *expected_logs: str
) -> AsyncIterator[Server]:
    """Serve a model whose call has begun and does not return until it is released."""
    async with serving(model, settings, expected_logs=expected_logs) as server:
        model.hold()
        first = asyncio.ensure_future(server.predict([BUSY]))
        await model.called()
        yield server
        model.release()
        assert (await first).status == 200


def batch_rows(response: Response) -> int:
    """Return the number of rows in the batch of a response."""
    match = re.search(r'batch;desc="(\d+) rows"', response["Server-Timing"])
    assert match
    return int(match[1])


async def ask_all(server: Server, rows: list[float]) -> list[asyncio.Task[Response]]:
    """Send a request for every row, in order, each over its own connection."""
    answers = []
    waiting = server.service.model.batcher.queue.rows
    for row in rows:
        answers.append(asyncio.ensure_future(server.predict([row])))
        waiting += 1
        await server.waiting(waiting)
    return answers


# Sharing


@over_http
async def test_requests_of_different_clients_share_a_batch() -> None:
    model = FakeModel()
    async with busy(model) as server:
        answers = await ask_all(server, [10, 20])
        model.release()
        ten, twenty = await asyncio.gather(*answers)

    assert (ten.json, twenty.json) == ({"prediction": 31.0}, {"prediction": 61.0})
    assert (batch_rows(ten), batch_rows(twenty)) == (2, 2)
    assert model.batches == [[BUSY], [10, 20]]


@over_http
async def test_a_single_request_does_not_wait_for_others() -> None:
    async with serving() as server:
        client = await server.connect()
        for _ in range(5):
            response = await client.predict([10])
            assert batch_rows(response) == 1
            queue = re.search(r"queue;dur=([\d.]+)", response["Server-Timing"])
            assert queue
            assert float(queue[1]) < 1000 * LATENESS


@over_http
async def test_a_request_that_is_split_into_batches_is_answered_in_order() -> None:
    model = FakeModel()
    async with serving(model, with_settings(batching={"max_rows": 4})) as server:
        response = await server.predict([[n] for n in range(11)])

    assert response.json == {"prediction": [3.0 * n + 1 for n in range(11)]}
    assert [len(batch) for batch in model.batches] == [4, 4, 3]
    assert batch_rows(response) <= 4


@over_http
async def test_many_clients_at_once_get_their_own_rows() -> None:
    model = FakeModel()
    model.seconds = 0.002
    async with serving(model, with_settings(batching={"max_rows": 8})) as server:

        async def one(n: int) -> None:
            client = await server.connect()
            for k in range(10):
                row = 100 * n + k
                rows = [[row + i / 8] for i in range(1 + (n + k) % 7)]
                response = await client.predict(rows)
                assert response.json == {"prediction": [3 * x + 1 for [x] in rows]}

        await asyncio.gather(*(one(n) for n in range(24)))

    assert max(map(len, model.batches)) == 8


# Full


@over_http
async def test_a_full_queue_is_503_at_once_with_retry_after() -> None:
    model = FakeModel()
    async with busy(model, with_settings(batching={"queue_rows": 3})) as server:
        waiting = await ask_all(server, [1, 2])
        too_many = await server.predict([[3], [4]])
        fits = await ask_all(server, [5])
        full = await server.predict([6])
        model.release()
        assert [r.status for r in await asyncio.gather(*waiting, *fits)] == [200, 200, 200]
        assert (await server.predict([6])).status == 200  # there is room again

    for refused in (too_many, full):
        assert_problem(refused, 503, "overloaded")
        assert_retry_after(refused)
    assert not {3.0, 4.0} & set(model.rows)


@over_http
async def test_during_an_overload_bodies_are_not_decoded_to_be_rejected() -> None:
    model = FakeModel()
    async with busy(model, with_settings(batching={"queue_rows": 1})) as server:
        [waiting] = await ask_all(server, [1])
        first = await server.post(b"no JSON")
        refused = await server.predict([2])
        unread = await server.post(b"no JSON")
        model.release()
        assert (await waiting).status == 200
        last = await server.post(b"no JSON")

    assert [first.status, refused.status, last.status] == [400, 503, 400]
    assert_problem(unread, 503, "overloaded")
    assert_retry_after(unread)


@over_http
async def test_a_queue_with_too_many_bytes_is_503() -> None:
    model = FakeModel()
    async with busy(model, with_settings(batching={"queue_bytes": 40})) as server:
        waiting = []
        for n in range(40 // 4 + 1):  # a row has four bytes, and its body may count as well
            answer = asyncio.ensure_future(server.predict([n]))
            await settled_or_waiting(server, answer, n + 1)
            if answer.done():
                break
            waiting.append(answer)
        refused = await answer
        model.release()
        assert waiting
        assert {(await answer).status for answer in waiting} == {200}

    assert_problem(refused, 503, "overloaded")
    assert_retry_after(refused)


async def settled_or_waiting(server: Server, answer: asyncio.Task[Response], rows: int) -> None:
    """Wait until a request is answered, or `rows` rows are in the queue."""
    in_queue = asyncio.ensure_future(server.waiting(rows))
    await asyncio.wait({in_queue, answer}, return_when=asyncio.FIRST_COMPLETED)
    in_queue.cancel()


@over_http
async def test_too_long_a_wait_is_503_but_the_next_batch_can_always_be_filled() -> None:
    model = FakeModel()
    model.seconds = 0.05
    settings = with_settings(batching={"max_queue_ms": 10, "max_rows": 1})
    async with serving(model, settings) as server:
        assert (await server.predict([0])).status == 200  # now it knows how long a batch takes
        model.hold()
        first = asyncio.ensure_future(server.predict([1]))
        await model.called(2)
        second = await ask_all(server, [2])
        refused = await server.predict([3])
        model.release()
        assert [r.status for r in await asyncio.gather(first, *second)] == [200, 200]

    assert_problem(refused, 503, "overloaded")
    assert_retry_after(refused)
    assert 3.0 not in model.rows


# Deadlines


async def timed(answer: Awaitable[Response]) -> tuple[Response, float]:
    """Return a response and how many seconds it took."""
    started = time.monotonic()
    return await answer, time.monotonic() - started


@over_http
async def test_the_deadline_is_kept_while_a_model_call_hangs() -> None:
    model = FakeModel()
    async with serving(model, with_settings(batching={"deadline_ms": 400})) as server:
        model.hold()
        in_model = asyncio.ensure_future(timed(server.predict([1])))
        await model.called()
        waiting = asyncio.ensure_future(timed(server.predict([[2], [3]])))
        answers = await asyncio.gather(in_model, waiting)
        assert model.batches == [[1]]  # it is still stuck
        model.release()
        assert (await server.predict([4])).json == {"prediction": 13.0}

    for response, seconds in answers:
        assert_problem(response, 504, "deadline-exceeded")
        assert 0.39 <= seconds < 0.4 + LATENESS
    assert model.batches == [[1], [4]]  # 2 and 3 were never computed


@over_http
async def test_a_client_can_ask_for_an_earlier_deadline() -> None:
    model = FakeModel()
    async with busy(model) as server:
        response, seconds = await timed(server.predict([1], {"X-Request-Timeout-Ms": "150"}))
        model.release()

    assert_problem(response, 504, "deadline-exceeded")
    assert 0.14 <= seconds < 0.15 + LATENESS
    assert 1.0 not in model.rows


@pytest.mark.parametrize("asked", ["60000", "999999999", "9999999999", "9" * 30])
@over_http
async def test_a_client_cannot_ask_for_a_later_deadline(asked: str) -> None:
    model = FakeModel()
    async with serving(model, with_settings(batching={"deadline_ms": 400})) as server:
        model.hold()
        answer = server.predict([1], {"X-Request-Timeout-Ms": asked})
        response, seconds = await timed(answer)
        model.release()

    assert_problem(response, 504, "deadline-exceeded")
    assert 0.39 <= seconds < 0.4 + LATENESS


@over_http
async def test_an_invalid_timeout_is_400(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for asked in (
            "",
            "0",
            "-1",
            "-0",
            "1.5",
            "1e3",
            "ten",
            "10ms",
            "0x10",
            "1 0",
            "1,2",
            "٣",
            "²",
        ):
            client = await server.connect()
            data = (
                predict_bytes([1])
                .decode()
                .replace("\r\n", f"\r\nX-Request-Timeout-Ms: {asked}\r\n", 1)
            )
            with subtests.test(asked=asked):
                await client.send(data.encode())
                assert_problem(await client.receive(), 400, "invalid-request")


# Leaving


async def leave(client: Client, how: str) -> None:
    """Disconnect, then read what the server still sends."""
    getattr(client, how)()
    if how == "half_close":
        assert await client.rest() == b""


@pytest.mark.parametrize("how", ["close", "abort", "half_close"])
@over_http
async def test_rows_of_a_client_that_disconnects_are_not_computed(how: str) -> None:
    model = FakeModel()
    async with busy(model) as server:
        [stays] = await ask_all(server, [1])
        leaver = await server.connect()
        await leaver.send(predict_bytes([[2], [3]], {"X-Request-ID": "leaver"}))
        await server.waiting(3)
        [stays_too] = await ask_all(server, [4])
        await leave(leaver, how)
        await server.logs.access("POST /predict 499", "leaver")
        await server.waiting(2)
        model.release()
        answers = await asyncio.gather(stays, stays_too)

    assert [answer.json for answer in answers] == [{"prediction": 4.0}, {"prediction": 13.0}]
    assert model.batches == [[BUSY], [1, 4]]
    assert len([line for line in server.logs.accesses if "leaver" in line]) == 1


@pytest.mark.parametrize("how", ["close", "abort", "half_close"])
@over_http
async def test_a_client_that_disconnects_during_its_batch_disturbs_nobody(how: str) -> None:
    model = FakeModel()
    async with busy(model) as server:
        leaver = await server.connect()
        await leaver.send(predict_bytes([2], {"X-Request-ID": "leaver"}))
        await server.waiting(1)
        [stays] = await ask_all(server, [1])
        model.release()
        model.hold()
        await model.called(2)
        assert model.batches[-1] == [2, 1]
        await leave(leaver, how)
        await server.logs.access("POST /predict 499", "leaver")
        model.release()
        assert (await stays).json == {"prediction": 4.0}


@pytest.mark.parametrize("more", [b"\r\n", predict_bytes([2])], ids=["line end", "request"])
@over_http
async def test_a_disconnect_is_noticed_even_if_the_client_has_sent_more(more: bytes) -> None:
    model = FakeModel()
    async with busy(model) as server:
        leaver = await server.connect()
        await leaver.send(predict_bytes([1]) + more)
        await server.waiting(1)
        leaver.close()
        async with asyncio.timeout(3):
            await server.waiting(0)
        model.release()
        assert (await server.predict([4])).json == {"prediction": 13.0}

    assert model.batches == [[BUSY], [4]]


@over_http
async def test_a_client_that_disconnects_before_reading_a_large_response_disturbs_nobody() -> None:
    async with serving() as server:
        client = await server.connect()
        body = b'{"data":[' + b",".join([b"[1.25]"] * 60_000) + b"]}"
        await client.send(request_bytes("POST", "/predict", {"Content-Type": JSON}, body))
        await server.logs.access("POST /predict")
        client.abort()
        assert (await server.predict([10])).status == 200


@pytest.mark.parametrize("is_large", [True, False])
@over_http
async def test_a_large_body_is_rejected_before_it_is_read(is_large: bool) -> None:
    """Reading it costs ten times as much as rejecting it."""
    model = FakeModel()
    async with busy(model, with_settings(batching={"max_rows": 64, "queue_rows": 2})) as server:
        waiting = await ask_all(server, [1, 2])
        wrong = b'{"data":"%b"}' % (b"x" * (20_000 if is_large else 20))
        answer = await server.post(wrong)
        model.release()
        await asyncio.gather(*waiting)
        counts = server.service.counts.refusals["queue_full"]

        if is_large:
            assert_problem(answer, 503, "overloaded")
            assert int(answer["Retry-After"]) >= 1
        else:
            assert_problem(answer, 422, "invalid-data", "errors")
        assert counts == int(is_large)
        assert_problem(await server.post(wrong), 422, "invalid-data", "errors")


# Failures


@pytest.mark.logs_warnings
@over_http
async def test_one_bad_request_among_63_good_ones_fails_alone() -> None:
    model = FakeModel()
    model.poison = {13.0}
    async with busy(model, None, "cannot stand [13.0]") as server:
        rows = [float(n) for n in range(64)]
        answers = await asyncio.gather(*await send_released(server, model, rows))

    assert [len(batch) for batch in model.batches[:2]] == [1, 64]
    for row, response in zip(rows, answers, strict=True):
        if row == 13.0:
            assert_problem(response, 500, "model-failed")
            assert b"stand" not in response.body  # what the model said is for the log
        else:
            assert (response.status, response.json) == (200, {"prediction": 3 * row + 1})


async def send_released(
    server: Server, model: FakeModel, rows: list[float]
) -> list[asyncio.Task[Response]]:
    """Queue requests while the model is busy, then release it."""
    answers = await ask_all(server, rows)
    model.release()
    return answers


@pytest.mark.logs_warnings
@over_http
async def test_the_log_has_the_reason_of_a_failure_with_the_request_id() -> None:
    """The response refers to the log, and the request id is all that a client can report."""
    model = FakeModel()
    model.poison = {13.0}
    async with serving(model, expected_logs=["cannot stand [13.0]"]) as server:
        response = await server.predict([13], {"X-Request-ID": "unlucky-13"})

    assert_problem(response, 500, "model-failed")
    [whole, its] = server.logs.serious
    assert vars(whole)["request_ids"] == [vars(its)["request_id"]] == ["unlucky-13"]
    assert "cannot stand [13.0]" in its.getMessage()
    assert "cannot stand [13.0]" in str(whole.exc_info)


@pytest.mark.logs_warnings
@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: y[:-1],
        lambda y: np.concatenate([y, y]),
        lambda y: y[:0],
    ],
    ids=["too few", "too many", "none"],
)
@over_http
async def test_a_wrong_number_of_rows_fails_the_whole_batch(spoil: Spoil) -> None:
    model = FakeModel()
    async with busy(model, None, "the model failed") as server:
        answers = await ask_all(server, [1, 2, 3])
        real = model.spoil
        model.release()
        model.hold()
        await model.called(2)
        model.spoil = spoil
        model.release()
        responses = await asyncio.gather(*answers)
        model.spoil = real
        assert (await server.predict([4])).json == {"prediction": 13.0}

    for response in responses:
        assert_problem(response, 500, "model-failed")
    assert model.batches == [[BUSY], [1, 2, 3], [4]]


def nan_for(*rows: float) -> Spoil:
    """Return NaN for these rows."""
    return lambda y: np.where(np.isin((y - 1) / 3, rows), np.nan, y)


@over_http
async def test_an_output_that_is_not_finite_is_500_for_that_request_alone() -> None:
    model = FakeModel()
    model.spoil = nan_for(2)
    async with busy(model) as server:
        one, two, three = await asyncio.gather(*await send_released(server, model, [1, 2, 3]))
        both = await server.predict([[1], [2]])

    assert model.batches[1] == [1, 2, 3]
    assert (one.json, three.json) == ({"prediction": 4.0}, {"prediction": 10.0})
    assert_problem(two, 500, "non-finite-output")
    assert_problem(both, 500, "non-finite-output")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@over_http
async def test_an_output_that_is_not_finite_can_be_null(value: float) -> None:
    model = FakeModel()
    model.spoil = lambda y: np.where(y == 7, value, y).astype(np.float32)
    async with serving(model, with_settings(predict={"non_finite": "as_null"})) as server:
        one = await server.predict([2])
        both = await server.predict([[1], [2]])

    assert (one.status, one.json) == (200, {"prediction": None})
    assert (both.status, both.json) == (200, {"prediction": [4.0, None]})
