"""Answers that wait for their readers take a bounded amount of memory, all of them together."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest

from model.signature import Signature, TensorSpec
from tests.http.test_http import assert_plain_error, assert_problem
from tests.serving.test_counts_add_up import counted
from tests.support.harness import JSON, SOON, Server, over_http, serving, with_settings
from tests.support.slow_reader import (
    ANSWER_BYTES,
    ROWS,
    WIDE,
    WideModel,
    asking,
    holding,
    serving_wide,
)
from tests.transport.test_tls import tls_settings

ANY_LENGTH = Signature(WIDE.inputs, (TensorSpec("y", (None,), "float32"),))
ROOM_FOR_TWO = {"answer_bytes": 40 * 2**20, "body_timeout_s": 60.0}


async def reserved(server: Server, size: int) -> None:
    """Wait until as many answers are reserved, and nothing else."""
    async with asyncio.timeout(SOON):
        while server.service.answers.used // ANSWER_BYTES != size:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@over_http
async def test_requests_get_503_while_unread_answers_take_all_memory(tls: bool) -> None:
    """There is room for two; as soon as one of them has gone, the next is answered."""
    settings = tls_settings(**ROOM_FOR_TWO) if tls else with_settings(http=ROOM_FOR_TWO)
    async with serving_wide(settings) as server:
        async with holding(server, 2) as slow:
            client = await server.connect()
            await client.send(asking())
            rejected = await client.receive()
            again = await client.ask("GET", "/v2/health/live")
            slow[0].socket.close()
            await reserved(server, 1)
            await client.send(asking())
            answer = await client.receive()
        assert await counted(server, "predict_refused_total", "reason") == {"unread_answers": 1}
        assert "predict_answer_bytes " in (await server.ask("GET", "/metrics")).body.decode()

    assert_problem(rejected, 503, "unread-answers")
    assert rejected["Retry-After"] == "1"
    assert "41943040 bytes (http.answer_bytes)" in rejected.json["detail"]
    assert again.status == 200
    assert len(answer.body) == ANSWER_BYTES


@over_http
async def test_a_large_body_is_not_decoded_while_unread_answers_take_all_memory() -> None:
    """It is not even JSON, and gets 503 nevertheless; a small one costs nothing to decode."""
    async with (
        serving_wide(
            with_settings(http=ROOM_FOR_TWO | {"answer_bytes": 2 * ANSWER_BYTES + 3000})
        ) as server,
        holding(server, 2),
    ):
        large = await server.post(b"?" * 20_000)
        small = await server.post(b"?")

    assert_problem(large, 503, "unread-answers")
    assert_problem(small, 400, "invalid-json")


@over_http
async def test_the_503_has_the_form_of_its_protocol() -> None:
    async with serving_wide(with_settings(http=ROOM_FOR_TWO)) as server, holding(server, 2):
        instances = json.dumps({"instances": [[1]] * (ROWS // 4)}).encode()
        path = "/v1/models/my_best_model:predict"
        answer = await server.ask("POST", path, {"Content-Type": JSON}, instances)

    assert "http.answer_bytes" in assert_plain_error(answer, 503)
    assert answer["Retry-After"] == "1"


@over_http
async def test_memory_is_reserved_while_requests_wait_for_the_model() -> None:
    """And released if their clients disconnect meanwhile."""
    model = WideModel(WIDE)
    settings = with_settings(http=ROOM_FOR_TWO, batching={"max_rows": ROWS})
    async with serving(model, settings) as server:
        model.hold()
        computed, waiting, third = [await server.connect() for _ in range(3)]
        await computed.send(asking())
        await model.called()
        await waiting.send(asking())
        await server.waiting(rows=ROWS)
        await third.send(asking())
        assert_problem(await third.receive(), 503, "unread-answers")
        computed.close()
        waiting.close()
        await reserved(server, 0)
        model.release()


@over_http
async def test_clients_that_read_at_once_leave_nothing_reserved() -> None:
    """A kept connection has room for one answer after another."""
    async with serving_wide(with_settings(http=ROOM_FOR_TWO)) as server:
        client = await server.connect()
        for _ in range(6):
            await client.send(asking())
            assert len((await client.receive()).body) == ANSWER_BYTES
        await reserved(server, 0)


@over_http
async def test_an_answer_that_is_larger_than_all_may_be_gets_413() -> None:
    async with serving_wide(with_settings(http={"answer_bytes": 2**20})) as server:
        client = await server.connect()
        await client.send(asking())
        answer = await client.receive()
        assert await counted(server, "predict_refused_total", "reason") == {"too_large": 1}

    assert_problem(answer, 413, "too-many-rows")
    assert "http.answer_bytes" in answer.json["detail"]


@over_http
async def test_answers_of_unknown_size_are_counted_once_they_are_there() -> None:
    """One that finds no room then becomes a 503, so the limit holds for them, too."""
    settings = with_settings(http=ROOM_FOR_TWO)
    async with serving_wide(settings, ANY_LENGTH) as server, holding(server, 2):
        await reserved(server, 2)
        client = await server.connect()
        await client.send(asking())
        rejected = await client.receive()
        await reserved(server, 2)

    assert_problem(rejected, 503, "unread-answers")


@over_http
async def test_a_client_that_stands_still_is_disconnected_and_frees_its_memory() -> None:
    settings = with_settings(http={"body_timeout_s": 0.5})
    async with serving_wide(settings) as server, holding(server, 1) as [client]:
        await reserved(server, 0)
        assert await asyncio.to_thread(client.read, ANSWER_BYTES) < ANSWER_BYTES


@over_http
async def test_an_unread_answer_is_kept_once() -> None:
    """The memory grows by one answer for each client, and not by several copies of it."""
    async with serving_wide(with_settings(http=ROOM_FOR_TWO)) as server:
        tracemalloc.start()
        try:
            async with holding(server, 1):
                one, _ = tracemalloc.get_traced_memory()
                async with holding(server, 1):
                    two, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert 0.5 * ANSWER_BYTES < two - one < 1.5 * ANSWER_BYTES
