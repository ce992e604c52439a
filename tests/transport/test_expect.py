"""`Expect: 100-continue`: what the head is enough to reject is rejected before the body is sent."""

from __future__ import annotations

import hashlib

import pytest

from server.config import ApiKey
from tests.http.test_http import assert_problem
from tests.support.harness import (
    JSON,
    Client,
    Response,
    Server,
    over_http,
    request_bytes,
    serving,
    with_settings,
)

MIB = 2**20
BODY = b'{"data":[10]}'
CLOSED = with_settings(
    auth={"api_keys": (ApiKey("one", hashlib.sha256(b"one").hexdigest(), ("predict",)),)}
)


async def announced(
    server: Server, method: str, path: str, version: str = "HTTP/1.1", **more: str
) -> tuple[Client, Response]:
    """Send a head that announces a body; return the connection and the first answer."""
    client = await server.connect()
    headers = {"Content-Type": JSON, "Content-Length": str(len(BODY)), "Expect": "100-continue"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    await client.send(request_bytes(method, path, headers, version=version))
    return client, await client.receive(method, path)


@pytest.mark.parametrize("word", ["100-continue", "100-Continue", "100-CONTINUE"])
@over_http
async def test_100_continue_is_sent_for_any_letters(word: str) -> None:
    async with serving() as server:
        client, first = await announced(server, "POST", "/predict", Expect=word)
        assert (first.status, first.reason) == (100, "Continue")
        await client.send(BODY)
        assert (await client.receive()).json == {"prediction": 31.0}
        assert (await client.predict([10])).json == {"prediction": 31.0}


@over_http
async def test_100_continue_is_sent_for_other_routes() -> None:
    async with serving() as server:
        client, first = await announced(server, "POST", "/v2/repository/index")
        assert first.status == 100
        await client.send(b"{}" + b" " * (len(BODY) - 2))
        assert (await client.receive(path="/v2/repository/index")).status == 200


@over_http
async def test_http_1_0_never_gets_100_continue() -> None:
    async with serving() as server:
        client = await server.connect()
        headers = {"Content-Type": JSON, "Content-Length": "13", "Expect": "100-continue"}
        await client.send(request_bytes("POST", "/predict", headers, version="HTTP/1.0"))
        assert (await server.predict([1])).status == 200  # the head has been read by now
        await client.send(BODY)
        answer = await client.receive()

    assert (answer.status, answer.json) == (200, {"prediction": 31.0})


@pytest.mark.parametrize(
    "method, path, status, slug, more",
    [
        ("POST", "/predict", 415, "unsupported-media-type", {"Content_Type": "text/plain"}),
        ("POST", "/predict", 415, "unsupported-media-type", {"Content_Encoding": "br"}),
        ("POST", "/predict", 413, "body-too-large", {"Content_Length": "999999999"}),
        ("POST", "/predict", 400, "invalid-request", {"X_Request_Timeout_Ms": "soon"}),
        ("PUT", "/predict", 405, "method-not-allowed", {}),
        ("POST", "/docs", 405, "method-not-allowed", {}),
        ("POST", "/nothing", 404, "not-found", {}),
        ("POST", "/models/nobody/predict", 404, "unknown-model", {}),
    ],
)
@over_http
async def test_a_request_is_rejected_instead_of_asking_for_its_body(
    method: str, path: str, status: int, slug: str, more: dict[str, str]
) -> None:
    async with serving() as server:
        client, answer = await announced(server, method, path, X_Request_ID="mine", **more)
        assert_problem(answer, status, slug)
        assert answer["Connection"] == "close"
        assert answer["X-Request-ID"] == "mine"
        await client.send(BODY)  # it may have been on its way; the answer is not lost
        assert await client.rest() == b""
        await server.logs.access(f"{method} {path} {status}", "mine")
        assert len(server.logs.accesses) == 1


@over_http
async def test_a_client_that_sends_its_body_nevertheless_can_read_the_rejection() -> None:
    """Closing a connection with bytes unread would reset it."""
    async with serving() as server:
        client = await server.connect()
        headers = {"Content-Length": str(4 * MIB), "Expect": "100-continue"}
        await client.send(request_bytes("POST", "/nothing", headers))
        for _ in range(64):
            await client.send(b" " * (MIB // 16))
        assert_problem(await client.receive("POST", "/nothing"), 404, "not-found")
        assert await client.rest() == b""


@pytest.mark.parametrize("coded", [{}, {"Transfer_Encoding": "chunked"}])
@over_http
async def test_without_a_key_the_body_is_not_asked_for(coded: dict[str, str]) -> None:
    async with serving(settings=CLOSED) as server:
        for path in ("/predict", "/v1/models/m:predict", "/v2/repository/index"):
            client = await server.connect()
            headers = {"Content-Type": JSON, "Expect": "100-continue"}
            length = {"Transfer-Encoding": "chunked"} if coded else {"Content-Length": "13"}
            await client.send(request_bytes("POST", path, headers | length))
            answer = await client.receive("POST", path)
            assert (answer.status, "WWW-Authenticate" in answer) == (401, True)
        _, allowed = await announced(server, "POST", "/predict", X_API_Key="one")
        _, other = await announced(server, "POST", "/v2/repository/index", X_API_Key="one")

    assert (allowed.status, other.status) == (100, 403)


@over_http
async def test_a_head_that_is_rejected_counts_as_a_request() -> None:
    async with serving(settings=CLOSED) as server:
        await announced(server, "POST", "/predict")
        text = (await server.ask("GET", "/metrics")).body.decode()

    assert 'dialect="native",model="' in text
    assert 'status="401"} 1.0' in text
