"""Incomplete and ambiguous requests, and the requests before and after them."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.harness import (
    SOON,
    Client,
    FakeModel,
    Server,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
)
from tests.transport.test_http_smuggling import (
    BODY,
    CHUNKINGS,
    CHUNKS,
    CODINGS,
    FIELDS,
    LENGTHS,
    post,
)

WHOLE = {
    "with a length": predict_bytes([10]),
    "in chunks": post(b"Transfer-Encoding: chunked\r\n", CHUNKS),
    "for a page": request_bytes("GET", "/metrics"),
}


async def end_of(server: Server, data: bytes) -> bytes:
    """Send bytes, half-close, and return what the server sends until it closes."""
    client = await server.connect()
    await client.send(data)
    client.half_close()
    answer = await client.rest()
    client.close()
    return answer


@pytest.mark.parametrize("what", WHOLE)
@over_http
async def test_a_request_cut_off_at_any_byte_is_dropped_at_once(what: str) -> None:
    """There is no answer, and no model call."""
    model = FakeModel()
    async with serving(model) as server:
        for length in range(len(WHOLE[what])):
            assert await end_of(server, WHOLE[what][:length]) == b"", length
        assert (await server.predict([20])).json == {"prediction": 61.0}

    assert model.rows == [20]


@over_http
async def test_an_ambiguous_request_closes_the_connection_at_once() -> None:
    """The server does not wait for more bytes."""
    async with serving() as server:
        for case in (*LENGTHS, *CODINGS, *CHUNKINGS, *FIELDS):
            answer = await end_of(server, case.data)
            assert answer[:12] in (b"", b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 431"), (
                case.what,
                answer,
            )


@pytest.mark.parametrize("how", ["close", "half_close", "abort"])
@over_http
async def test_a_disconnect_right_after_a_request_leaves_nothing_active(how: str) -> None:
    """The request does not stay active, however far its answer has come."""
    async with serving() as server:
        for turns in range(8):
            for data in WHOLE.values():
                client = await server.connect()
                client.writer.write(data)
                for _ in range(turns):
                    await asyncio.sleep(0)
                getattr(client, how)()
                await client.rest()
        await asyncio.wait_for(server.activity.idle(), SOON)


@over_http
async def test_an_ambiguous_request_among_valid_ones_is_answered_last() -> None:
    """Earlier requests are answered in order; later ones are never started."""
    model = FakeModel()
    before = [predict_bytes([n], {"X-Request-ID": str(n)}) for n in range(50)]
    doubtful = post(b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n", BODY)
    async with serving(model) as server:
        client = await server.connect()
        await client.send(b"".join(before) + doubtful + predict_bytes([666]))
        ids = [(await client.receive())["X-Request-ID"] for _ in before]
        refused = await client.rest()

    assert ids == [str(n) for n in range(50)]
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert refused.endswith(b"\r\n\r\n")
    assert model.rows == [*range(50)]


@over_http
async def test_two_clients_sending_byte_by_byte_each_get_their_own_answers() -> None:
    """They send in turn; one of them is rejected at the end."""
    async with serving() as server:
        one, other = await server.connect(), await server.connect()
        first, second = predict_bytes([1]), predict_bytes([2])[:-1] + b"?"
        for n in range(len(first)):
            await one.send(first[n : n + 1])
            await other.send(second[n : n + 1])
        answer, refusal = await receive_both(one, other)

    assert answer == (200, {"prediction": 4.0})
    assert refusal[0] == 400


async def receive_both(one: Client, other: Client) -> list[tuple[int, object]]:
    """Return status and JSON of the answers to both."""
    answers = [await one.receive(), await other.receive()]
    return [(answer.status, answer.json) for answer in answers]
