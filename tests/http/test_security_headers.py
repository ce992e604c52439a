"""Security headers of every response, on every route of both transports."""

from __future__ import annotations

import pytest

from server.handlers.pages import PageHandler
from server.handlers.routes import ROUTES
from tests.support.harness import (
    JSON,
    Response,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
    with_settings,
)

VALUES = {"name": "my_best_model", "version": "1", "slug": "overloaded", "file": "pages.css"}
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "DELETE", "FOO")
NOTHING = {"default-src 'none'", "frame-ancestors 'none'"}


def policies_of(response: Response) -> set[str]:
    """Return the directives of the Content-Security-Policy."""
    return {part.strip() for part in response["Content-Security-Policy"].split(";")}


def assert_safe(response: Response, is_page: bool = False) -> None:
    """Assert that a response has each security header exactly once."""
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert policies_of(response) >= NOTHING
    assert is_page or policies_of(response) == NOTHING
    assert response["Cache-Control"] in ("no-store", "public, max-age=3600")
    assert not [value for name, value in response.headers if name.lower().startswith("access-")]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
@over_http
async def test_every_route_sends_security_headers_for_every_method(route) -> None:
    path = route.path.format_map(VALUES)
    is_page = issubclass(route.handler, PageHandler)
    async with serving() as server:
        for method in METHODS:
            if (method, path) == ("GET", "/events"):
                method = "HEAD"
            response = await server.ask(method, path, {"Content-Type": JSON}, b'{"data": [1]}')
            assert_safe(response, is_page)


@pytest.mark.parametrize("route", ["/", "/docs", "/problems/overloaded"])
@over_http
async def test_pages_load_and_send_nothing_to_other_hosts(route: str) -> None:
    async with serving() as server:
        policies = policies_of(await server.ask("GET", route, {"Accept": "text/html"}))

    assert "script-src 'self'" in policies
    assert {"base-uri 'none'", "form-action 'none'"} <= policies
    sources = {word for policy in policies for word in policy.split()[1:]}
    assert sources <= {"'none'", "'self'", "data:", "'unsafe-inline'"}
    assert not [p for p in policies if p.startswith("script") and "unsafe" in p]


@over_http
async def test_requests_that_the_transport_rejects_have_security_headers() -> None:
    limits = {"max_body_bytes": 100, "max_connections": 2}
    async with serving(settings=with_settings(http=limits)) as server:
        client = await server.connect()
        for path in ("/predict", "/v1/models/m:predict", "/v2/repository/index", "/", "/nowhere"):
            too_large = await client.ask("POST", path, {"Content-Type": JSON}, b" " * 101)
            assert too_large.status == 413
            assert_safe(too_large)
        await client.send(predict_bytes([1], {"Expect": "100-continue"}))
        while (response := await client.receive()).status == 100:
            pass
        assert_safe(response)
        kept = await server.connect()
        one_too_many = await server.connect()
        refused = await one_too_many.receive()
        assert refused.status == 503
        assert_safe(refused)
        kept.close()


@over_http
async def test_errors_have_security_headers() -> None:
    async with serving() as server:
        for target, headers, status in (
            ("/nowhere", {}, 404),
            ("/%ff", {}, 404),
            ("/models/%ff/predict", {}, 400),
            ("/predict", {"Content-Type": "text/plain"}, 415),
            ("/predict", {"X-Request-Timeout-Ms": "x", "Content-Type": JSON}, 400),
            ("/v2/repository/models/m/load", {}, 403),
        ):
            response = await server.ask("POST", target, headers, b"{}")
            assert response.status == status, target
            assert_safe(response)


@over_http
async def test_invalid_http_gets_400_without_a_body() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(request_bytes("GET", "/", version="HTTP/9.9"))
        answer = await client.rest()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == b""
