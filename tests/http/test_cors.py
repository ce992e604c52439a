"""CORS: off by default, and limited to the configured origins."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from server.config import ConfigError, load_settings
from server.http.auth import PREDICT
from server.http.cors import Cors
from tests.http.test_auth import key
from tests.support.harness import JSON, PROBLEM_JSON, Response, over_http, serving, with_settings

OURS, OTHER = "https://shop.example", "https://evil.example"
LISTED = {"cors_origins": ("http://localhost:3000", OURS)}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}
FOREIGN = [
    *(OTHER, "null", "*", "", "HTTPS://SHOP.EXAMPLE", "http://shop.example", f"{OURS}/"),
    *(f"{OURS}:443", f"{OURS}.evil.example", "https://evil.shop.example", f"{OURS}, {OTHER}"),
]


def allowed(response: Response) -> Mapping[str, str]:
    """Return the CORS headers of a response."""
    named = {name.lower(): value for name, value in response.headers}
    return {name: value for name, value in named.items() if name.startswith("access-control-")}


@over_http
async def test_without_configured_origins_there_are_no_cors_headers() -> None:
    async with serving() as server:
        for method, path in (("POST", "/predict"), ("GET", "/docs"), ("GET", "/v2/health/live")):
            response = await server.ask(
                method, path, {"Origin": OURS, "Content-Type": JSON}, b'{"data":[1]}'
            )
            assert response.status == 200
            assert not allowed(response)
            assert "Origin" not in "".join(response.all("Vary"))
        preflight = await server.ask("OPTIONS", "/predict", {"Origin": OURS, **PREFLIGHT})
        assert (preflight.status, allowed(preflight)) == (204, {})


@pytest.mark.parametrize("origin", LISTED["cors_origins"])
@over_http
async def test_an_allowed_origin_can_send_requests_and_read_responses(origin: str) -> None:
    async with serving(settings=with_settings(http=LISTED)) as server:
        preflight = await server.ask("OPTIONS", "/predict", {"Origin": origin, **PREFLIGHT})
        answer = await server.predict([1], {"Origin": origin})

    assert preflight.status == 204
    said = allowed(preflight)
    assert said["access-control-allow-origin"] == origin
    assert said["access-control-allow-methods"].split(", ") == ["POST", "OPTIONS"]
    for header in ("Authorization", "Content-Type", "X-API-Key", "X-Request-Timeout-Ms"):
        assert header in said["access-control-allow-headers"].split(", ")
    assert 0 < int(said["access-control-max-age"]) <= 7200  # Chromium remembers no longer
    assert answer.json == {"prediction": 4.0}
    assert allowed(answer)["access-control-allow-origin"] == origin
    assert "X-Model-Version" in allowed(answer)["access-control-expose-headers"]
    assert "Origin" in answer["Vary"]
    for response in (preflight, answer):
        assert "access-control-allow-credentials" not in allowed(response)


@pytest.mark.parametrize("origin", FOREIGN)
@over_http
async def test_other_origins_get_no_cors_headers(origin: str) -> None:
    async with serving(settings=with_settings(http=LISTED)) as server:
        for method, more in (("OPTIONS", PREFLIGHT), ("GET", {}), ("HEAD", {})):
            response = await server.ask(method, "/metrics", {"Origin": origin, **more})
            assert not allowed(response)
            assert "Origin" in [word for value in response.all("Vary") for word in value.split()]
        answer = await server.predict([1], {"Origin": origin})
        assert not allowed(answer)
        assert answer["Vary"] == "Origin"


@over_http
async def test_two_origins_in_one_header_are_not_allowed() -> None:
    async with serving(settings=with_settings(http=LISTED)) as server:
        client = await server.connect()
        twice = f"GET / HTTP/1.1\r\nHost: x\r\nOrigin: {OURS}\r\nOrigin: {OTHER}\r\n\r\n"
        await client.send(twice.encode())
        assert not allowed(await client.receive("GET", "/"))


@over_http
async def test_errors_have_cors_headers_too() -> None:
    """Else a page cannot read what was wrong, nor when to try again."""
    limits = LISTED | {"max_body_bytes": 1000}
    keys = {"api_keys": (key("app", PREDICT),)}
    async with serving(settings=with_settings(http=limits, auth=keys)) as server:
        for method, path, headers, body, status in (
            ("POST", "/predict", {}, b"{}", 401),
            ("POST", "/predict", {"X-API-Key": "app"}, b"{}", 422),
            ("POST", "/predict", {"X-API-Key": "app"}, b" " * 1001, 413),
            ("POST", "/v2/repository/index", {}, b" " * 1001, 413),
            ("POST", "/v2/models/my_best_model/infer", {"X-API-Key": "app"}, b"{}", 400),
            ("GET", "/predict", {}, None, 405),
            ("FOO", "/predict", {}, None, 405),
            ("GET", "/nowhere", {}, None, 404),
            ("POST", "/v2/repository/models/x/load", {}, b"{}", 401),
        ):
            given = {"Origin": OURS, "Content-Type": JSON} | headers
            response = await server.ask(method, path, given, body)
            assert response.status == status
            assert response.media_type in (JSON, PROBLEM_JSON)
            assert allowed(response)["access-control-allow-origin"] == OURS
            assert "Origin" in response["Vary"]


@over_http
async def test_a_preflight_needs_no_key_and_a_request_does() -> None:
    keys = {"api_keys": (key("app", PREDICT),)}
    async with serving(settings=with_settings(http=LISTED, auth=keys)) as server:
        preflight = await server.ask("OPTIONS", "/predict", {"Origin": OURS, **PREFLIGHT})
        without = await server.predict([1], {"Origin": OURS})
        with_key = await server.predict([1], {"Origin": OURS, "Authorization": "Bearer app"})

    assert [r.status for r in (preflight, without, with_key)] == [204, 401, 200]


@over_http
async def test_vary_lists_both_headers() -> None:
    async with serving(settings=with_settings(http=LISTED)) as server:
        metrics = await server.ask("GET", "/metrics", {"Origin": OURS})

    assert sorted(metrics.all("Vary")) == ["Accept", "Origin"]


@over_http
async def test_an_allowed_origin_can_read_events() -> None:
    async with serving(settings=with_settings(http=LISTED)) as server:
        client = await server.connect()
        events = await client.ask("GET", "/events", {"Origin": OURS})
        assert allowed(events)["access-control-allow-origin"] == OURS
        client.close()


def test_only_preflights_of_allowed_origins_get_cors_headers() -> None:
    cors = Cors([OURS])

    assert cors.preflight({"origin": OURS}, ["POST"]) == {}
    assert cors.preflight({"origin": OTHER, "access-control-request-method": "POST"}, []) == {}


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "shop.example", "https://*.shop.example", "https://Shop.example"),
        *("https://shop.example/", "https://shop.example/page", "https://shop.example:443"),
        *("http://shop.example:80", "https://a@shop.example", "https://", "ftp://shop.example"),
        *("https://shop.example:0", "https://shop.example\n", "https://größe.example"),
    ],
)
def test_origins_that_no_browser_sends_are_rejected_in_the_settings(origin: str, tmp_path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"http": {"cors_origins": [OURS, origin]}}))

    with pytest.raises(ConfigError, match=r"http.cors_origins\[1\]: .* is not a list of origins"):
        load_settings([], {}, tmp_path)


@pytest.mark.parametrize(
    "origin",
    ["https://shop.example", "http://localhost:3000", "http://[::1]:8080", "https://x:80"],
)
def test_origins_that_browsers_send_are_accepted(origin: str, tmp_path) -> None:
    settings = load_settings(["--http.cors_origins", f"{origin},{OURS}"], {}, tmp_path)

    assert settings.http.cors_origins == (origin, OURS)
