"""Escapes and slashes that change nothing, over a real socket."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from server.http.paths import normal_path, normal_target
from tests.support.harness import JSON, over_http, serving

ROWS = b'{"instances": [[10]]}'
ALLOW = "POST, OPTIONS"


@over_http
async def test_a_colon_may_be_escaped(subtests: pytest.Subtests) -> None:
    """As `quote` of Python, `encodeURIComponent` and `URLEncoder` do."""
    async with serving() as server:
        name, version = server.service.model.name, server.service.model.version
        for path in (
            f"/v1/models/{name}:predict",
            f"/v1/models/{quote(f'{name}:predict')}",
            f"/v1/models/{name}%3apredict?a=b%3A",
            f"/v1/models/{name}/versions/{version}%3Apredict",
            f"/v1/models/{name}%3A%70redict/",
        ):
            with subtests.test(path=path):
                assert (await server.ask("POST", path, {}, ROWS)).json == {"predictions": [[31.0]]}
                wrong = await server.ask("GET", path)
                assert (wrong.status, wrong["Allow"]) == (405, ALLOW)


@over_http
async def test_the_name_of_a_model_may_be_escaped() -> None:
    async with serving() as server:
        name = server.service.model.name
        escaped = "".join(f"%{ord(letter):02x}" for letter in name)
        answer = await server.ask(
            "POST", f"/models/{escaped}/predict", {"Content-Type": JSON}, b'{"data":[10]}'
        )
        missing = await server.ask("GET", f"/v2/models/{name}%2520")

    assert answer.json == {"prediction": 31.0}
    assert (missing.status, missing.json) == (404, {"error": f"There is no model {name}%20."})


@over_http
async def test_a_slash_at_the_end_changes_nothing(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        name = server.service.model.name
        for method, path, status in (
            ("POST", "/predict", 200),
            ("GET", "/predict", 405),
            ("GET", f"/v1/models/{name}", 200),
            ("GET", "/v2", 200),
            ("GET", "/v2/health/ready", 200),
            ("GET", "/metrics", 200),
            ("GET", "/docs", 200),
            ("GET", "/nothing", 404),
        ):
            body = b'{"data":[10]}' if method == "POST" else None
            headers = {"Content-Type": JSON, "X-Request-ID": "mine"}
            with subtests.test(f"{method} {path}"):
                without = await server.ask(method, path, headers, body)
                with_one = await server.ask(method, f"{path}/?a=b", headers, body)
                with_two = await server.ask(method, f"{path}//", headers, body)
                assert without.status == with_one.status == status
                assert without.all("Allow") == with_one.all("Allow")
                assert with_two.status == 404
                await server.logs.access(f"{method} {path} {status}")


def test_only_letters_of_routes_are_unescaped() -> None:
    for path, normal in (
        ("/", "/"),
        ("//", "//"),
        ("/a/", "/a"),
        ("/a//", "/a//"),
        ("/%41%7e%2D%3a", "/A~-:"),
        ("/a%2Fb%25%20%3F%23%00%0a%e9%", "/a%2Fb%25%20%3F%23%00%0a%e9%"),
        ("*", "*"),
        ("", ""),
    ):
        assert normal_path(path) == normal
    assert normal_target("/%61/?b=%61/") == "/a?b=%61/"
