"""Limits: bodies too large, clients too slow, connections too many, bytes that are not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model.signature import Signature, TensorSpec
from tests.http.test_http import assert_plain_error, assert_problem, assert_retry_after
from tests.support.harness import (
    JSON,
    SOON,
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

MIB = 2**20
FIN_WAIT = "04"  # in /proc/net/tcp
SMALL = with_settings(http={"max_body_bytes": 1000})
PATHS = ["/predict", "/nothing", "/", "/v2/health/live"]


def headers_of(length: int | None, **more: str) -> dict[str, str]:
    """Return the headers of a JSON body; chunked when no length is given."""
    told = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    return {"Content-Type": JSON, **told, **more}


def chunk(data: bytes) -> bytes:
    """Return a chunk as it goes over the wire."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def body_of(length: int) -> bytes:
    """Return a valid body of so many bytes."""
    return b'{"data":[10]' + b" " * (length - 13) + b"}"


async def assert_still_good(client: Client) -> None:
    """Assert that the connection either works or is closed."""
    try:
        response = await client.predict([10], {"X-Request-ID": "next"})
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    assert (response.status, response["X-Request-ID"]) == (200, "next")


def assert_too_large(response: Response, path: str) -> None:
    """Assert that a response is 413 in the form of its path."""
    if path.startswith("/v2/"):
        assert_plain_error(response, 413)
    else:
        assert_problem(response, 413, "body-too-large")


# Bodies


@over_http
async def test_a_body_of_exactly_the_limit_is_read() -> None:
    async with serving(settings=SMALL) as server:
        client = await server.connect()
        declared = await client.post(body_of(1000))
        await client.send(request_bytes("POST", "/predict", headers_of(None)))
        await client.send(chunk(body_of(1000)) + b"0\r\n\r\n")
        in_chunks = await client.receive()

    assert declared.json == in_chunks.json == {"prediction": 31.0}


@over_http
async def test_the_default_limit_is_8_mib() -> None:
    async with serving() as server:
        fits = await server.post(body_of(8 * MIB))
        client = await server.connect()
        await client.send(request_bytes("POST", "/predict", headers_of(8 * MIB + 1)))
        too_large = await client.receive()

    assert fits.json == {"prediction": 31.0}
    assert_problem(too_large, 413, "body-too-large")


@over_http
async def test_a_declared_length_too_large_is_413_on_any_path(subtests: pytest.Subtests) -> None:
    async with serving(settings=SMALL) as server:
        for path in PATHS:
            client = await server.connect()
            with subtests.test(path=path):
                response = await client.ask(
                    "POST", path, {"Content-Type": JSON, "X-Request-ID": "mine"}, body_of(1001)
                )
                assert_too_large(response, path)
                assert response["X-Request-ID"] == "mine"
                await assert_still_good(client)


@over_http
async def test_chunks_that_are_too_large_are_413_on_any_path(subtests: pytest.Subtests) -> None:
    async with serving(settings=SMALL) as server:
        for path in PATHS:
            client = await server.connect()
            with subtests.test(path=path):
                more = headers_of(None, **{"X-Request-ID": "mine"})
                await client.send(request_bytes("POST", path, more))
                await client.send(chunk(body_of(600)) + chunk(b" " * 401))
                response = await client.receive(path=path)  # before the body ends
                assert_too_large(response, path)
                assert response["X-Request-ID"] == "mine"
                await client.send(b"0\r\n\r\n")
                await assert_still_good(client)


@pytest.mark.parametrize("in_chunks", [False, True])
@over_http
async def test_a_client_that_sends_30_mib_can_read_its_413(in_chunks: bool) -> None:
    async with serving() as server:
        client = await server.connect()
        head = request_bytes("POST", "/predict", headers_of(None if in_chunks else 30 * MIB))
        await client.send(head)
        for _ in range(30):
            piece = b" " * MIB
            await client.send(chunk(piece) if in_chunks else piece)
        await client.send(b"0\r\n\r\n" if in_chunks else b"")
        response = await client.receive()  # the client reads only now
        await assert_still_good(client)

    assert_problem(response, 413, "body-too-large")


@pytest.mark.parametrize("length", ["1" + "0" * 12, str(2**63), str(2**64 + 1), "9" * 5000])
@over_http
async def test_a_length_beyond_all_bounds_is_413(length: str) -> None:
    async with serving() as server:
        client = await server.connect()
        headers = {"Content-Type": JSON, "Content-Length": length}
        await client.send(request_bytes("POST", "/predict", headers))
        assert_problem(await client.receive(), 413, "body-too-large")
        client.close()
        assert (await server.predict([10])).status == 200


@over_http
async def test_a_client_that_expects_100_continue_gets_413_at_once() -> None:
    async with serving(settings=SMALL) as server:
        client = await server.connect()
        head = request_bytes("POST", "/predict", headers_of(1001, Expect="100-continue"))
        await client.send(head)
        response = await client.receive()
        await client.send(body_of(1001))  # it may, RFC 9110, section 10.1.1
        await assert_still_good(client)

    assert_problem(response, 413, "body-too-large")


@over_http
async def test_after_a_413_the_next_request_is_not_read_as_the_rest_of_the_body() -> None:
    """A client that expected 100-continue may go on with its next request instead of the body."""
    settings = with_settings(http={"max_body_bytes": 1000, "body_timeout_s": 0.5})
    async with serving(settings=settings) as server:
        client = await server.connect()
        head = request_bytes("POST", "/predict", headers_of(1001, Expect="100-continue"))
        await client.send(head)
        refused = await client.receive()
        if refused.all("Connection") != ["close"]:
            await assert_still_good(client)

    assert_problem(refused, 413, "body-too-large")


@over_http
async def test_a_client_that_expects_100_continue_and_sends_too_many_chunks_gets_413() -> None:
    async with serving(settings=SMALL) as server:
        client = await server.connect()
        head = request_bytes("POST", "/predict", headers_of(None, Expect="100-continue"))
        await client.send(head)
        assert (await client.receive()).status == 100
        await client.send(chunk(b" " * 2000) + b"0\r\n\r\n")
        assert_problem(await client.receive(), 413, "body-too-large")
        await assert_still_good(client)


@over_http
async def test_a_413_has_one_line_in_the_access_log() -> None:
    async with serving(settings=SMALL) as server:
        await server.post(body_of(2000), {"X-Request-ID": "one"})
        client = await server.connect()
        await client.send(request_bytes("POST", "/nothing?a=b", headers_of(None)))
        await client.send(chunk(b" " * 2000) + b"0\r\n\r\n")
        await client.receive(path="/nothing")
        await server.logs.access("POST /predict 413", "one")
        await server.logs.access("POST /nothing 413")

    assert len(server.logs.accesses) == 2


@over_http
async def test_the_connection_of_an_endless_body_is_closed() -> None:
    """A client that goes on sending after the 413 does not occupy the server for ever."""
    async with serving() as server:
        client = await server.connect()
        await client.send(request_bytes("POST", "/predict", headers_of(None)))
        piece = chunk(b" " * 8 * MIB)
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                await client.send(piece)
        assert client.reader.at_eof() or client.reader.exception() or await client.rest()


@over_http
async def test_a_body_of_a_get_is_read_and_discarded() -> None:
    async with serving() as server:
        client = await server.connect()
        response = await client.ask("GET", "/v2/health/live", {}, b"x" * 1000)
        assert response.status == 200
        assert (await client.predict([10])).json == {"prediction": 31.0}


@over_http
async def test_more_rows_than_the_queue_holds_are_rejected_for_good() -> None:
    async with serving(settings=with_settings(batching={"queue_rows": 4})) as server:
        response = await server.predict([[1]] * 5)

    assert_problem(response, 413, "too-many-rows")
    assert "Retry-After" not in response


# Headers


@pytest.mark.parametrize("where", ["one header", "many headers", "request line"])
@over_http
async def test_headers_may_have_16_kib_together(where: str) -> None:
    async with serving() as server:
        for size, fits in ((15 * 1024, True), (17 * 1024, False)):
            client = await server.connect()
            with contextlib.suppress(ConnectionError):
                await client.send(with_headers(where, size))
            answer = await client.rest()
            client.close()
            if fits:
                assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")), answer[:100]
            else:
                assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        assert (await server.predict([10])).status == 200


def with_headers(where: str, size: int) -> bytes:
    """Return a request whose headers have about so many bytes."""
    if where == "request line":
        return request_bytes("GET", "/" + "a" * size, {"Connection": "close"})
    headers = {"A": "a" * size}
    if where == "many headers":
        headers = {f"A{n:06}": "a" * 89 for n in range(size // 100)}
    return request_bytes("GET", "/v2/health/live", {"Connection": "close", **headers})


# Too slow: short timeouts keep these tests short; LATE allows for a slow machine

HEADERS_IN_TIME = with_settings(http={"header_timeout_s": 0.2})
BODY_IN_TIME = with_settings(http={"body_timeout_s": 0.3})
LATE = 5.0  # seconds after which a connection must be closed at the latest


@contextlib.asynccontextmanager
async def cut_within(
    client: Client, at_least: float, slug: str = ""
) -> AsyncIterator[asyncio.Future[object]]:
    """Assert that the server closes the connection, not too early, with 408 or no answer.

    Yields what is done as soon as it has.
    """
    started = time.monotonic()
    answer = asyncio.ensure_future(client.receive() if slug else client.rest())
    yield answer
    if slug:
        assert_problem(await answer, 408, slug)
    else:
        assert await answer == b""
    assert await client.rest() == b""
    assert at_least * 0.9 <= time.monotonic() - started < LATE


async def drip(client: Client, data: bytes, seconds: float, answer: asyncio.Future[object]) -> None:
    """Send a byte at a time until there is an answer, or the connection is closed."""
    with contextlib.suppress(ConnectionError):
        for n in range(len(data)):
            await client.send(data[n : n + 1])
            await asyncio.sleep(seconds)
            if answer.done():
                return
        raise AssertionError("all of it could be sent")


@pytest.mark.parametrize("start", [b"P", b"POST /predict HTTP/1.1\r\nHost: localhost\r\n", b"\r\n"])
@over_http
async def test_incomplete_headers_close_the_connection(start: bytes) -> None:
    async with serving(settings=HEADERS_IN_TIME) as server:
        client = await server.connect()
        async with cut_within(client, 0.2, "late-headers"):
            await client.send(start)


@over_http
async def test_headers_that_arrive_byte_by_byte_close_the_connection() -> None:
    async with serving(settings=HEADERS_IN_TIME) as server:
        client = await server.connect()
        async with cut_within(client, 0.2, "late-headers") as answer:
            await drip(client, request_bytes("GET", "/" + "a" * 1000), 0.02, answer)


@over_http
async def test_slow_headers_close_a_kept_connection_too() -> None:
    async with serving(settings=HEADERS_IN_TIME) as server:
        client = await server.connect()
        assert (await client.predict([10])).status == 200
        async with cut_within(client, 0.2, "late-headers"):
            await client.send(b"POST /predict HTTP/1.1\r\n")


@over_http
async def test_slow_headers_after_a_pipelined_request_close_the_connection_too() -> None:
    async with serving(settings=HEADERS_IN_TIME) as server:
        client = await server.connect()
        await client.send(predict_bytes([10]) + b"POST /predict HTTP/1.1\r\n")
        assert (await client.receive()).json == {"prediction": 31.0}
        async with cut_within(client, 0.0, "late-headers"):
            pass


@over_http
async def test_a_pause_between_requests_does_not_count_as_slow_headers() -> None:
    async with serving(settings=HEADERS_IN_TIME) as server:
        client, silent = await server.connect(), await server.connect()
        for _ in range(2):
            assert (await client.predict([10])).status == 200
            await asyncio.sleep(1.3)
        assert (await client.predict([10])).status == 200
        assert (await silent.predict([10])).status == 200


@over_http
async def test_waiting_for_an_answer_does_not_count_as_slow_headers() -> None:
    model = FakeModel()
    settings = with_settings(http={"header_timeout_s": 0.2, "body_timeout_s": 0.2})
    async with serving(model, settings) as server:
        client = await server.connect()
        model.hold()
        await client.send(
            predict_bytes([10]) + predict_bytes([20])
        )  # the second waits for the first
        await asyncio.sleep(1.5)
        model.release()
        assert (await client.receive()).json == {"prediction": 31.0}
        assert (await client.receive()).json == {"prediction": 61.0}


@over_http
async def test_an_idle_connection_is_closed() -> None:
    async with serving(settings=with_settings(http={"idle_timeout_s": 0.3})) as server:
        client, silent = await server.connect(), await server.connect()
        assert (await client.predict([10])).status == 200
        async with cut_within(client, 0.3):
            pass
        assert await silent.rest() == b""


@pytest.mark.parametrize("length", [100, None])
@over_http
async def test_an_incomplete_body_closes_the_connection(length: int | None) -> None:
    async with serving(settings=BODY_IN_TIME) as server:
        client = await server.connect()
        async with cut_within(client, 0.3, "late-body"):
            start = chunk(b'{"data"') if length is None else b'{"data"'
            await client.send(request_bytes("POST", "/predict", headers_of(length)) + start)


@over_http
async def test_a_body_that_arrives_byte_by_byte_closes_the_connection() -> None:
    async with serving(settings=BODY_IN_TIME) as server:
        client = await server.connect()
        async with cut_within(client, 0.3, "late-body") as answer:
            await client.send(request_bytes("POST", "/predict", headers_of(2000)))
            await drip(client, b" " * 2000, 0.02, answer)


@over_http
async def test_a_rejected_body_that_arrives_byte_by_byte_closes_the_connection() -> None:
    settings = with_settings(http={"body_timeout_s": 0.3, "max_body_bytes": 10})
    async with serving(settings=settings) as server:
        client = await server.connect()
        await client.send(request_bytes("POST", "/predict", headers_of(2000)))
        assert_problem(await client.receive(), 413, "body-too-large")
        async with cut_within(client, 0.0) as answer:
            await drip(client, b" " * 2000, 0.02, answer)


@over_http
async def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    wide = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (500,), "float32"),))
    settings = with_settings(http={"body_timeout_s": 0.3}, batching={"max_rows": 5000})
    async with serving(FakeModel(wide), settings) as server:
        client = await server.connect()
        client.pause()
        await client.send(predict_bytes([[n] for n in range(5000)]))
        await server.logs.access("POST /predict")  # about 20 MB
        async with asyncio.timeout(LATE):
            await server.activity.idle()
            while kept_by_kernel(server.port):
                await asyncio.sleep(0.02)
        assert (await server.predict([10])).status == 200


def kept_by_kernel(port: int) -> list[str]:
    """Return the connections that a server has closed, and whose unsent bytes the kernel keeps."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]  # proc(5)
    states = [(address, state) for _, address, _, state, *_ in map(str.split, lines)]
    ended = f":{port:04X}"
    return [address for address, state in states if address.endswith(ended) and state == FIN_WAIT]


@pytest.mark.parametrize("how", ["close", "half_close", "abort"])
@over_http
async def test_a_disconnect_within_a_request_does_not_affect_others(how: str) -> None:
    async with serving(settings=SMALL) as server:
        for start in (b"POST /pre", request_bytes("POST", "/predict", headers_of(100)) + b"{"):
            client = await server.connect()
            await client.send(start)
            await asyncio.sleep(0.02)
            getattr(client, how)()
        client = await server.connect()
        await client.send(request_bytes("POST", "/predict", headers_of(2000)) + b"{")
        await client.receive()
        getattr(client, how)()
        assert (await server.predict([10])).status == 200


# Connections


CAPPED = with_settings(http={"max_connections": 2})


@over_http
async def test_a_connection_over_the_limit_gets_503_and_the_others_stay() -> None:
    async with serving(settings=CAPPED) as server:
        first, second = await server.connect(), await server.connect()
        assert (await first.predict([10])).status == 200
        assert (await second.predict([10])).status == 200
        third = await server.connect()
        refused = await third.receive()
        assert await third.rest() == b""
        assert (await first.predict([20])).json == {"prediction": 61.0}

    assert_problem(refused, 503, "too-many-connections")
    assert_retry_after(refused)
    assert refused["Connection"].lower() == "close"


@over_http
async def test_a_rejected_connection_that_has_sent_its_request_can_read_its_503() -> None:
    async with serving(settings=CAPPED) as server:
        kept = [await server.connect() for _ in range(2)]
        for client in kept:
            assert (await client.predict([10])).status == 200
        for _ in range(20):
            client = await server.connect()
            refused = await client.predict([10])
            assert_problem(refused, 503, "too-many-connections")


@over_http
async def test_a_closed_connection_makes_room_for_another() -> None:
    async with serving(settings=CAPPED) as server:
        first, second = await server.connect(), await server.connect()
        assert (await first.predict([10])).status == 200
        assert (await second.predict([10])).status == 200
        assert (await (await server.connect()).receive()).status == 503
        first.close()
        response = await until_accepted(server)

    assert response.json == {"prediction": 31.0}


async def until_accepted(server: Server) -> Response:
    """Ask until the server has noticed that a connection was closed."""
    async with asyncio.timeout(SOON):
        while (response := await server.predict([10])).status == 503:
            await asyncio.sleep(0.01)
    return response


# Not HTTP

NO_HTTP = {
    "words": b"hello\r\n\r\n",
    "nothing": b" \r\n\r\n",
    "zeros": bytes(100) + b"\r\n\r\n",
    "random": bytes(range(256)) + b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "bad version": b"GET / HTTQ/1.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n",
    "header without name": b"GET / HTTP/1.1\r\nHost: a\r\n: bad\r\n\r\n",
    "space in a header's name": b"GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "length in words": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: ten\r\n\r\n",
    "length below zero": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length with a plus": b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1",
    "length in other digits": (
        "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: ٣\r\n\r\n123".encode()
    ),
    "two lengths": (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12"
    ),
    "length and chunks": (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "unknown transfer coding": (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunk of a bad size": (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"
    ),
    "chunk of a size below zero": (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"
    ),
    "chunk that does not end": (
        b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n\r\n"
    ),
}


@over_http
async def test_bytes_that_are_not_http_get_a_bare_400_and_the_connection_closes(
    subtests: pytest.Subtests,
) -> None:
    async with serving() as server:
        for what, data in NO_HTTP.items():
            client = await server.connect()
            await client.send(data)
            answer = await client.rest()
            client.close()
            with subtests.test(what):
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400 "), answer[:200]
                assert body == b""
        assert (await server.predict([10])).status == 200


@over_http
async def test_a_tls_handshake_on_an_http_port_closes_the_connection() -> None:
    async with serving(settings=HEADERS_IN_TIME) as server:
        client = await server.connect()
        await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
        answer = await client.rest()

    assert answer.startswith(b"HTTP/1.1 400 ")


# Connections that are kept


@over_http
async def test_a_connection_is_kept_after_any_status() -> None:
    async with serving() as server:
        client = await server.connect()
        for _ in range(3):
            assert (await client.predict([10])).json == {"prediction": 31.0}
            assert (await client.post(b"{")).status == 400
            assert (await client.predict(["a"])).status == 422
            assert (await client.ask("GET", "/nothing")).status == 404
            assert (await client.ask("DELETE", "/predict")).status == 405
            assert (await client.ask("OPTIONS", "/predict")).status == 204
            assert (await client.ask("POST", "/predict", {}, b"1")).status == 415
        assert "close" not in (await client.predict([10])).all("Connection")


@over_http
async def test_a_connection_closes_when_the_client_asks_for_it() -> None:
    async with serving() as server:
        client = await server.connect()
        response = await client.predict([10], {"Connection": "close"})
        assert await client.rest() == b""

    assert response.json == {"prediction": 31.0}
    assert response["Connection"].lower() == "close"


@over_http
async def test_http_1_0_is_answered_and_the_connection_closes() -> None:
    async with serving() as server:
        client = await server.connect()
        response = await client.ask(
            "POST", "/predict", {"Content-Type": JSON}, b'{"data":[10]}', version="HTTP/1.0"
        )
        assert await client.rest() == b""

    assert (response.status, response.json) == (200, {"prediction": 31.0})


@over_http
async def test_http_1_0_can_keep_its_connection() -> None:
    async with serving() as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.ask(
                "POST",
                "/predict",
                {"Content-Type": JSON, "Connection": "keep-alive"},
                b'{"data":[10]}',
                version="HTTP/1.0",
            )
            assert response.json == {"prediction": 31.0}


@over_http
async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as server:
        client = await server.connect()
        requests = [
            predict_bytes([1], {"X-Request-ID": "1"}),
            request_bytes("GET", "/nothing", {"X-Request-ID": "2"}),
            predict_bytes([[3], [4]], {"X-Request-ID": "3"}),
            predict_bytes("?", {"X-Request-ID": "4"}),
            predict_bytes([5], {"X-Request-ID": "5"}),
        ]
        await client.send(b"".join(requests))
        answers = [
            await client.receive(path="/nothing" if n == 2 else "/predict") for n in range(1, 6)
        ]

    assert [answer["X-Request-ID"] for answer in answers] == ["1", "2", "3", "4", "5"]
    assert [answer.status for answer in answers] == [200, 404, 200, 422, 200]
    assert answers[2].json == {"prediction": [10.0, 13.0]}


@over_http
async def test_a_request_that_arrives_byte_by_byte_is_answered() -> None:
    async with serving() as server:
        client = await server.connect()
        data = predict_bytes([10])
        for n in range(len(data)):
            await client.send(data[n : n + 1])
            await asyncio.sleep(0)
        assert (await client.receive()).json == {"prediction": 31.0}


@over_http
async def test_a_body_in_chunks_of_a_byte_is_read_and_others_are_answered_meanwhile() -> None:
    """Decoding so many chunks takes long; other requests run in between."""
    body = body_of(20_000)
    chunks = b"".join(chunk(body[n : n + 1]) for n in range(len(body)))
    async with serving() as server:
        client, other = await server.connect(), await server.connect()
        await client.send(request_bytes("POST", "/predict", headers_of(None)) + chunks)
        for n in range(20):
            assert (await other.predict([n])).json == {"prediction": 3.0 * n + 1}
        await client.send(b"0\r\n\r\n")
        assert (await client.receive()).json == {"prediction": 31.0}
