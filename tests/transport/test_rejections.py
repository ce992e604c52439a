"""What the transports reject themselves is answered, logged and counted."""

from __future__ import annotations

import asyncio
import re

import pytest

from server.serving.counts import REJECTIONS
from tests.http.test_http import assert_plain_error, assert_problem
from tests.support.harness import (
    JSON,
    Client,
    Server,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
    with_settings,
)

QUICK = with_settings(http={"header_timeout_s": 0.2, "body_timeout_s": 0.2})
LONG = {"A": "a" * 20_000}


async def rejected(server: Server) -> dict[str, int]:
    """Return what `/metrics` counts as rejected, without zeros."""
    text = (await server.ask("GET", "/metrics")).body.decode()
    found = re.findall(r'^http_rejected_total{reason="(\w+)"} (\d+)', text, re.MULTILINE)
    assert [reason for reason, _ in found] == list(REJECTIONS)
    return {reason: int(times) for reason, times in found if int(times)}


async def sent(server: Server, data: bytes) -> Client:
    client = await server.connect()
    await client.send(data)
    return client


@over_http
async def test_headers_that_are_too_large_get_431(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving() as server:
        client = await sent(server, predict_bytes([1], LONG) + predict_bytes([2]) * 1000)
        assert_problem(await client.receive(), 431, "headers-too-large")
        assert await client.rest() == b""
        plain = await sent(server, request_bytes("GET", "/v2/%6dodels/?a=b", LONG))
        text = assert_plain_error(await plain.receive("GET", "/v2/models"), 431)
        unfinished = await sent(server, request_bytes("GET", "/a", LONG)[:-2])
        assert_problem(await unfinished.receive("GET", "/a"), 431, "headers-too-large")
        assert await rejected(server) == {"headers_too_large": 3}

    assert text.endswith("larger than 16384 bytes (http.max_header_bytes).")
    assert f"rejected POST /predict from 127.0.0.1 with 431: {text}" in caplog.text
    assert "rejected GET /v2/models from 127.0.0.1 with 431" in caplog.text


@over_http
async def test_late_headers_get_408(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving(settings=QUICK) as server:
        client = await sent(server, b"GET /v2 HTTP/1.1\r\nHost: a\r\n")
        text = assert_plain_error(await client.receive("GET", "/v2"), 408)
        other = await sent(server, b"G")
        assert_problem(await other.receive("GET", "/"), 408, "late-headers")
        assert await other.rest() == b""
        assert await rejected(server) == {"late_headers": 2}
        assert not [line for line in server.logs.accesses if "408" in line]

    assert text == "The headers did not arrive within 0.2 s (http.header_timeout_s)."
    assert f"rejected GET /v2 from 127.0.0.1 with 408: {text}" in caplog.text
    assert "rejected a connection from 127.0.0.1 with 408" in caplog.text


@over_http
async def test_a_connection_that_sends_nothing_is_closed_without_an_answer() -> None:
    settings = with_settings(http={"idle_timeout_s": 0.2, "header_timeout_s": 0.2})
    async with serving(settings=settings) as server:
        client = await server.connect()
        assert await client.rest() == b""
        assert await rejected(server) == {}


@over_http
async def test_a_late_body_gets_408_and_an_access_line() -> None:
    async with serving(settings=QUICK) as server:
        headers = {"Content-Type": JSON, "Content-Length": "50", "X-Request-ID": "mine"}
        client = await sent(server, request_bytes("POST", "/predict", headers) + b"{")
        answer = await client.receive()
        assert await client.rest() == b""
        assert_problem(answer, 408, "late-body")
        assert answer["X-Request-ID"] == "mine"
        assert answer["Connection"] == "close"
        chunked = {"Transfer-Encoding": "chunked"}
        other = await sent(server, request_bytes("PUT", "/v2/health/live", chunked))
        assert (await other.receive("PUT", "/v2/health/live")).status in (405, 408)
        elsewhere = await sent(server, request_bytes("POST", "/v2/repository/index", chunked))
        assert_plain_error(await elsewhere.receive("POST", "/v2/repository/index"), 408)
        await server.logs.access("POST /predict 408", "mine")
        await server.logs.access("POST /v2/repository/index 408")
        await asyncio.wait_for(server.activity.idle(), 5)
        assert (await rejected(server))["late_body"] >= 2
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        assert re.search(r'predict_requests_total{.*status="408"} 1', metrics)


@over_http
async def test_bytes_that_are_not_http_get_400(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with serving() as server:
        for data in (
            b"\x00\x01hello\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n?\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
        ):
            answer = await (await sent(server, data)).rest()
            assert answer.startswith(b"HTTP/1.1 400 "), answer
            assert answer.endswith(b"\r\nContent-Length: 0\r\n\r\n"), answer
        assert await rejected(server) == {"not_http": 4}

    lines = [r for r in caplog.records if "not HTTP" in r.getMessage()]
    assert [record.levelname for record in lines] == ["DEBUG"] * 4
    shown = [record for record in caplog.records if record.levelname != "DEBUG"]
    assert not [record for record in shown if record.name.startswith("tornado")]


@over_http
async def test_a_body_that_is_too_large_and_too_many_connections_are_counted() -> None:
    settings = with_settings(http={"max_body_bytes": 100, "max_connections": 1})
    async with serving(settings=settings) as server:
        client = await server.connect()
        assert (await client.post(b" " * 200)).status == 413
        assert (await (await server.connect()).receive()).status == 503
        text = (await client.ask("GET", "/metrics")).body.decode()

    for reason in ("body_too_large", "too_many_connections"):
        assert f'http_rejected_total{{reason="{reason}"}} 1.0' in text
