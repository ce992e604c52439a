"""Bodies that are arriving take a bounded amount of memory, all of them together."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from tests.http.test_http import assert_plain_error, assert_problem
from tests.support.harness import (
    JSON,
    SOON,
    Client,
    Server,
    over_http,
    request_bytes,
    serving,
    with_settings,
)
from tests.transport.test_http_limits import body_of, chunk

MIB = 2**20
BODY = body_of(MIB)
PART = 600 * 2**10  # of a body; there is room for one
SETTINGS = with_settings(http={"max_body_bytes": MIB, "body_bytes": MIB})
FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])


def beginning(path: str = "/predict", *, chunked: bool = False) -> bytes:
    """Return a request up to the middle of its body."""
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(MIB)}
    head = request_bytes("POST", path, {"Content-Type": JSON, **framing})
    return head + (chunk(BODY[:PART]) if chunked else BODY[:PART])


def end(*, chunked: bool = False) -> bytes:
    """Return the rest of a request."""
    return chunk(BODY[PART:]) + b"0\r\n\r\n" if chunked else BODY[PART:]


async def arrived(server: Server, size: int) -> None:
    """Wait until so many bytes of incomplete bodies have arrived."""
    async with asyncio.timeout(SOON):
        while server.http.rejections.arriving.used != size:  # type: ignore[attr-defined]  # both transports have it
            await asyncio.sleep(0.001)


async def sending(server: Server, *, chunked: bool = False) -> Client:
    """Return a client that has sent a request up to the middle of its body."""
    client = await server.connect()
    await client.send(beginning(chunked=chunked))
    await arrived(server, PART)
    return client


@FRAMINGS
@over_http
async def test_a_body_that_finds_no_memory_gets_503_and_the_other_is_answered(
    chunked: bool,
) -> None:
    """The rejected client can use its connection again."""
    async with serving(settings=SETTINGS) as server:
        first = await sending(server, chunked=chunked)
        second = await server.connect()
        await second.send(beginning(chunked=chunked))
        rejected = await second.receive()
        await second.send(end(chunked=chunked))
        await first.send(end(chunked=chunked))
        answer = await first.receive()
        await second.send(beginning(chunked=chunked) + end(chunked=chunked))
        again = await second.receive()
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        await arrived(server, 0)

    assert_problem(rejected, 503, "arriving-bodies")
    assert rejected["Retry-After"] == "1"
    assert f"{MIB} bytes (http.body_bytes)" in rejected.json["detail"]
    assert answer.json == again.json == {"prediction": 31.0}
    assert 'http_rejected_total{reason="arriving_bodies"} 1' in metrics


@over_http
async def test_the_503_has_the_form_of_its_protocol() -> None:
    async with serving(settings=SETTINGS) as server:
        await sending(server)
        client = await server.connect()
        await client.send(beginning("/v1/models/my_best_model:predict"))
        answer = await client.receive(path="/v1/models/{name}:predict")

    assert "http.body_bytes" in assert_plain_error(answer, 503)


@over_http
async def test_bodies_that_arrive_at_once_need_no_memory_of_others() -> None:
    async with serving(settings=SETTINGS) as server:
        client = await sending(server)
        await client.send(BODY[PART : MIB - 1])
        await arrived(server, MIB - 1)
        assert (await server.predict([20])).json == {"prediction": 61.0}


@over_http
async def test_of_a_rejected_body_nothing_is_kept() -> None:
    """Though its client has not sent the rest of it."""
    async with serving(settings=SETTINGS) as server:
        await sending(server)
        tracemalloc.start()
        try:
            for _ in range(8):
                client = await server.connect()
                await client.send(beginning())
                assert (await client.receive()).status == 503
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert kept < MIB


@FRAMINGS
@over_http
async def test_a_client_that_disconnects_or_is_too_late_frees_its_memory(chunked: bool) -> None:
    settings = with_settings(http={"max_body_bytes": MIB, "body_bytes": MIB, "body_timeout_s": 0.5})
    async with serving(settings=settings) as server:
        (await sending(server, chunked=chunked)).close()
        await arrived(server, 0)
        client = await sending(server, chunked=chunked)
        answer = await client.receive()
        await arrived(server, 0)

    assert_problem(answer, 408, "late-body")


@over_http
async def test_one_body_of_the_largest_size_always_fits() -> None:
    settings = with_settings(http={"max_body_bytes": MIB, "body_bytes": 1})
    async with serving(settings=settings) as server:
        client = await sending(server)
        await client.send(end())
        assert (await client.receive()).json == {"prediction": 31.0}
