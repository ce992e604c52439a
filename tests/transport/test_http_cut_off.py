"""Requests that end where they should not, and what stands before and behind others."""

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
    """Send bytes, end the sending side, and return what the server says before it ends its own."""
    client = await server.connect()
    await client.send(data)
    client.half_close()
    answer = await client.rest()
    client.close()
    return answer


@pytest.mark.parametrize("what", WHOLE)
@over_http
async def test_a_request_that_is_cut_anywhere_is_let_go_at_once(what: str) -> None:
    """Without an answer, for nobody knows what it would have been, and without a call."""
    model = FakeModel()
    async with serving(model) as server:
        for length in range(len(WHOLE[what])):
            assert await end_of(server, WHOLE[what][:length]) == b"", length
        assert (await server.predict([20])).json == {"prediction": 61.0}

    assert model.rows == [20]


@over_http
async def test_a_doubtful_request_with_nothing_behind_it_ends_at_once() -> None:
    """What follows never comes, and is not waited for."""
    async with serving() as server:
        for case in (*LENGTHS, *CODINGS, *CHUNKINGS, *FIELDS):
            answer = await end_of(server, case.data)
            assert answer[:12] in (b"", b"HTTP/1.1 200", b"HTTP/1.1 400"), (case.what, answer)


@pytest.mark.parametrize("how", ["close", "half_close", "abort"])
@over_http
async def test_who_leaves_right_behind_a_request_leaves_nothing_behind(how: str) -> None:
    """Wherever its answer has got to by then, it does not count as one in progress for ever."""
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
async def test_a_doubtful_request_among_sound_ones_is_the_last_to_be_answered() -> None:
    """Those before it have their answers, in order; those behind it are never begun."""
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
async def test_two_clients_that_mix_their_pieces_get_each_their_own() -> None:
    """Byte by byte, in turn; one of them is refused in the end."""
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
