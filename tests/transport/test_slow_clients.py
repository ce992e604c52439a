"""Clients that read or send slowly but steadily are answered, and slower ones are not."""

from __future__ import annotations

import asyncio

import pytest

from tests.http.test_http import assert_problem
from tests.support.harness import JSON, over_http, request_bytes, serving, with_settings
from tests.support.slow_reader import ANSWER_BYTES, SlowReader, asking, serving_wide
from tests.transport.test_http_limits import chunk
from tests.transport.test_tls import tls_settings

BODY_IN_TIME = with_settings(http={"body_timeout_s": 0.5})
A_LOT = 8 * 2**10  # in 0.5 s; 2 KiB would be enough


@pytest.mark.parametrize(
    "tls",
    [pytest.param(False, id="http"), pytest.param(True, id="https", marks=pytest.mark.torture)],
)
@over_http
async def test_a_client_that_reads_slowly_but_steadily_gets_all_of_its_answer(tls: bool) -> None:
    """It reads a little in every time limit, and the whole takes many of them."""
    limits = {"body_timeout_s": 1.0}
    settings = tls_settings(**limits) if tls else with_settings(http=limits)
    async with serving_wide(settings) as server:
        client = await asyncio.to_thread(SlowReader, server)
        await asyncio.to_thread(client.ask, asking({"Connection": "close"}))
        received = 0
        for _ in range(12):
            await asyncio.sleep(0.4)
            received += await asyncio.to_thread(client.read, 64 * 2**10)
        received += await asyncio.to_thread(client.read, 2**30)
        client.socket.close()

    assert received == ANSWER_BYTES


@pytest.mark.parametrize("in_chunks", [False, True], ids=["with a length", "in chunks"])
@over_http
async def test_a_body_that_arrives_slowly_but_steadily_is_answered(in_chunks: bool) -> None:
    """It takes several times as long as `body_timeout_s`."""
    parts = [b'{"data":[10]', *[b" " * A_LOT] * 12, b"}"]
    async with serving(settings=BODY_IN_TIME) as server:
        client = await server.connect()
        length = {"Content-Length": str(sum(map(len, parts)))}
        framing = {"Transfer-Encoding": "chunked"} if in_chunks else length
        await client.send(request_bytes("POST", "/predict", {"Content-Type": JSON, **framing}))
        for part in parts:
            await client.send(chunk(part) if in_chunks else part)
            await asyncio.sleep(0.2)
        if in_chunks:
            await client.send(b"0\r\n\r\n")
        answer = await client.receive()
        again = await client.predict([20])

    assert answer.json == {"prediction": 31.0}
    assert again.json == {"prediction": 61.0}


@over_http
async def test_a_body_that_becomes_slow_after_a_steady_beginning_gets_408() -> None:
    async with serving(settings=BODY_IN_TIME) as server:
        client = await server.connect()
        length = {"Content-Type": JSON, "Content-Length": "1000000"}
        await client.send(request_bytes("POST", "/predict", length))
        for _ in range(5):
            await client.send(b" " * A_LOT)
            await asyncio.sleep(0.2)
        answer = await client.receive()
        assert await client.rest() == b""

    assert_problem(answer, 408, "late-body")
    assert (
        answer.json["detail"]
        == "Too little of the body arrived within 0.5 s (http.body_timeout_s)."
    )
