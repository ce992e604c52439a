"""API keys: who can predict, read metrics and change models."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest

from server.config import ApiKey
from server.config.settings import GROUPS
from server.errors import Forbidden, NotForThisKey, Unauthorized
from server.http.auth import METRICS, PREDICT, REPOSITORY, ApiKeys
from server.logs import PayloadLog
from tests.support.files import serving_files
from tests.support.harness import JSON, listening, over_http, serving, with_settings


def key(name: str, *allow: str) -> ApiKey:
    """Return an entry whose key equals its name."""
    return ApiKey(name, hashlib.sha256(name.encode()).hexdigest(), allow)


HTML = {"Accept": "text/html"}
ONE, TWO = ApiKey.of("one"), ApiKey.of("sha256:" + hashlib.sha256(b"two").hexdigest())


def test_without_keys_everybody_can_predict_and_nobody_can_change_models() -> None:
    keys = ApiKeys([])

    for group in GROUPS:
        assert keys.check({}, group) == ""
    with pytest.raises(Forbidden):
        keys.check_change({"x-api-key": ""})


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "one"},
        {"authorization": "Bearer one"},
        {"authorization": "bearer  one "},
        {"x-api-key": "two"},
        {"authorization": "Bearer two", "x-api-key": "wrong"},
    ],
)
def test_a_key_is_valid_for_its_groups(headers: dict[str, str]) -> None:
    keys = ApiKeys([ONE, TWO])

    keys.check(headers, PREDICT)
    keys.check_change(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "One"},
        {"x-api-key": TWO.sha256},
        {"x-api-key": f"sha256:{TWO.sha256}"},
        {"x-api-key": "one,two"},
        {"authorization": "one"},
        {"authorization": "Basic one"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong", "x-api-key": "one"},
        {"x-api-key": "\udcff"},
    ],
)
def test_any_other_key_is_rejected(headers: dict[str, str]) -> None:
    keys = ApiKeys([ONE, TWO])

    with pytest.raises(Unauthorized):
        keys.check(headers, PREDICT)
    with pytest.raises(Unauthorized):
        keys.check_change(headers)


def test_an_empty_key_is_never_valid() -> None:
    keys = ApiKeys([ApiKey.of("sha256:" + hashlib.sha256(b"").hexdigest())])

    for headers in ({}, {"x-api-key": ""}, {"authorization": "Bearer "}):
        with pytest.raises(Unauthorized):
            keys.check(headers, PREDICT)


def test_a_key_is_valid_for_no_other_group() -> None:
    keys = ApiKeys([key("app", PREDICT), key("ci", REPOSITORY), key("prometheus", METRICS)])
    owners = {PREDICT: "app", REPOSITORY: "ci", METRICS: "prometheus"}

    for group in GROUPS:
        for name in owners.values():
            if owners[group] == name:
                assert keys.check({"x-api-key": name}, group) == name
            else:
                with pytest.raises(NotForThisKey):
                    keys.check({"x-api-key": name}, group)
    with pytest.raises(NotForThisKey):
        keys.check_change({"x-api-key": "app"})


def test_a_key_listed_twice_has_the_groups_of_both_entries() -> None:
    keys = ApiKeys([key("app", PREDICT), key("app", METRICS)])

    for group in (PREDICT, METRICS):
        assert keys.check({"x-api-key": "app"}, group) == "app"


@pytest.mark.parametrize(
    "given, closed",
    [
        ([], set()),
        ([ONE], {PREDICT, REPOSITORY}),
        ([key("ci", REPOSITORY)], {PREDICT, REPOSITORY}),
        ([ONE, key("prometheus", METRICS)], set(GROUPS)),
    ],
)
def test_any_key_protects_predictions_and_the_repository(
    given: list[ApiKey], closed: set[str]
) -> None:
    """Metrics require a key only if some key has the group."""
    keys = ApiKeys(given)

    assert {group for group in GROUPS if keys.requires_key(group)} == closed


def test_every_digest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a check reveals neither which key matched nor how much of it."""
    compared = []

    def compare_digest(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("server.http.auth.hmac.compare_digest", compare_digest)
    entries = [key(name, PREDICT) for name in ("a", "b", "c")]
    ApiKeys(entries).check({"x-api-key": "a"}, PREDICT)

    assert [known.hex() for _, known in compared] == [entry.sha256 for entry in entries]
    assert {given for given, _ in compared} == {hashlib.sha256(b"a").digest()}


# Over HTTP

APP, CI, PROMETHEUS = "the-key-of-the-app", "the-key-of-the-ci", "the-key-of-prometheus"
KEYS = tuple(
    ApiKey(name, hashlib.sha256(secret.encode()).hexdigest(), (group,))
    for name, secret, group in (
        ("app", APP, PREDICT),
        ("ci", CI, REPOSITORY),
        ("prometheus", PROMETHEUS, METRICS),
    )
)
CLOSED = with_settings(auth={"api_keys": KEYS})
TENSOR = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
PLAIN = {"error"}
PROBLEM = {"type", "title", "status", "detail", "instance"}

# A request of each closed route: the key that opens it, and the members of its errors.
ROUTES = [
    ("POST", "/predict", {"data": [1]}, APP, PROBLEM),
    ("POST", "/models/line/predict", {"data": [1]}, APP, PROBLEM),
    ("POST", "/models/line/versions/1/predict", {"data": [1]}, APP, PROBLEM),
    ("POST", "/v1/models/line:predict", {"instances": [[1]]}, APP, PLAIN),
    ("POST", "/v1/models/line/versions/1:predict", {"instances": [[1]]}, APP, PLAIN),
    ("POST", "/v2/models/line/infer", {"inputs": [TENSOR]}, APP, PLAIN),
    ("POST", "/v2/models/line/versions/1/infer", {"inputs": [TENSOR]}, APP, PLAIN),
    ("POST", "/v2/repository/index", {}, CI, PLAIN),
    ("POST", "/v2/repository/models/line/load", {}, CI, PLAIN),
    ("GET", "/metrics", None, PROMETHEUS, PROBLEM),
    ("GET", "/monitoring/prometheus/metrics", None, PROMETHEUS, PROBLEM),
    ("HEAD", "/events", None, PROMETHEUS, PROBLEM),
    ("GET", "/v2/models/stats", None, PROMETHEUS, PLAIN),
    ("GET", "/v2/models/line/stats", None, PROMETHEUS, PLAIN),
    ("GET", "/v2/models/line/versions/1/stats", None, PROMETHEUS, PLAIN),
]
OPEN = [
    *("/", "/docs", "/openapi.json", "/static/live.js", "/problems/unauthorized"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/line", "/v1/models/line"),
    *("/v2/models/line/ready", "/v1/models/line/metadata"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a model."""
    path = tmp_path / "line.keras"
    path.write_text("10")
    return path


@pytest.mark.parametrize("method, path, document, secret, members", ROUTES)
@over_http
async def test_each_protected_route_accepts_only_keys_of_its_group(
    method: str, path: str, document: object, secret: str, members: set[str], file: Path
) -> None:
    body = None if document is None else json.dumps(document).encode()
    async with serving_files(file, settings=CLOSED) as (server, _):

        async def status(headers: dict[str, str]) -> int:
            response = await server.ask(method, path, {"Content-Type": JSON, **headers}, body)
            if response.status in (401, 403) and method != "HEAD":
                assert set(response.json) == members
            assert ("WWW-Authenticate" in response) == (response.status == 401)
            return response.status

        assert await status({}) == 401
        assert await status({"X-API-Key": "wrong"}) == 401
        for other in {APP, CI, PROMETHEUS} - {secret}:
            assert await status({"X-API-Key": other}) == 403
        assert await status({"X-API-Key": secret}) == 200
        assert await status({"Authorization": f"Bearer {secret}"}) == 200


@over_http
async def test_all_other_routes_need_no_key(file: Path) -> None:
    async with serving_files(file, settings=CLOSED) as (server, _):
        for path in OPEN:
            assert (await server.ask("GET", path)).status == 200, path
        document = (await server.ask("GET", "/openapi.json")).json

    for path, operations in document["paths"].items():
        is_closed = [operation.get("security", [{}])[0] != {} for operation in operations.values()]
        sample = path.replace("{name}", "line").replace("{version}", "1")
        tried = any(sample == route for _, route, *_ in ROUTES) or "unload" in sample
        assert all(is_closed) == tried, path


@over_http
async def test_no_request_without_a_key_is_computed_or_logged_as_payload(tmp_path: Path) -> None:
    payloads = PayloadLog(str(tmp_path / "payloads"), max_bytes=1000)
    async with serving(settings=CLOSED, payload_log=payloads) as server:
        assert (await server.predict([1])).status == 401
        assert (await server.predict([2], {"X-API-Key": CI})).status == 403
        assert (await server.predict([3], {"X-API-Key": APP})).status == 200
        rows = server.service.counts.requests
    payloads.close(10)
    lines = (tmp_path / "payloads").read_text().splitlines()

    assert [json.loads(line)["input"] for line in lines] == [[3]]
    assert rows["my_best_model", "native"].by_status == {401: 1, 403: 1, 200: 1}


@over_http
async def test_no_key_is_ever_logged(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither valid nor invalid ones, for any response."""
    caplog.set_level(logging.DEBUG)
    secrets = [APP, CI, PROMETHEUS, "a-key-that-is-wrong"]
    async with serving_files(file, settings=CLOSED) as (server, _):
        for secret in secrets:
            for name, value in (("X-API-Key", secret), ("Authorization", f"Bearer {secret}")):
                for method, path, document, *_ in ROUTES:
                    body = b"{broken" if document is None else json.dumps(document).encode()
                    await server.ask(method, path, {name: value, "Content-Type": JSON}, body)
        lines = [*server.logs.accesses, *(record.getMessage() for record in server.logs.records)]

    assert any("/v2/repository/models/line/load with the API key ci" in line for line in lines)
    assert any("POST /predict 401" in line for line in lines)
    for secret in secrets:
        assert not [line for line in [*lines, caplog.text] if secret in line]


@over_http
async def test_options_needs_no_key(file: Path) -> None:
    async with serving_files(file, settings=CLOSED) as (server, _):
        for path in ("/predict", "/metrics", "/v2/repository/index"):
            assert (await server.ask("OPTIONS", path)).status == 204


@over_http
async def test_the_start_page_asks_for_a_key_and_hides_charts_that_require_one(file: Path) -> None:
    async with serving_files(file, settings=CLOSED) as (server, _):
        closed = (await server.ask("GET", "/", HTML)).body.decode()
    async with serving_files(file) as (server, _):
        opened = (await server.ask("GET", "/", HTML)).body.decode()
    async with listening(CLOSED) as server:
        loading = (await server.ask("GET", "/", HTML)).body.decode()

    for text in ('id="key" type="password"', "Authorization: Bearer …"):
        assert (text in closed, text in opened) == (True, False)
    for text in ('data-watch="true"', 'id="charts"'):
        assert (text in closed, text in opened, text in loading) == (False, True, False)
