"""Behind proxies: the client, the address and the path that they tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from server.config import ConfigError, load_settings
from server.config.settings import HttpSettings
from server.http.outside import Outside, Seen
from tests.support.harness import over_http, serving, with_settings

HTML = {"Accept": "text/html"}
PROXY = "10.0.0.1"
CLIENT = "203.0.113.7"


def outside(*proxies: str, root: str = "", routes: tuple[str, ...] = ()) -> Outside:
    settings = HttpSettings(root_path=root, trusted_proxies=proxies or ("10.0.0.0/8", "fd00::/8"))
    return Outside(settings, routes.__contains__)


def seen(headers: Mapping[str, str], peer: str = PROXY, **options: Any) -> Seen:
    lower = {name.lower(): value for name, value in headers.items()}
    return outside(**options).seen(lower, peer, "http", "inside:8888")


@pytest.mark.parametrize(
    "headers, client",
    [
        ({}, PROXY),
        ({"X-Forwarded-For": CLIENT}, CLIENT),
        ({"X-Forwarded-For": f"{CLIENT}:4711"}, CLIENT),
        ({"X-Forwarded-For": f"1.1.1.1, {CLIENT}, 10.0.0.9"}, CLIENT),
        ({"X-Forwarded-For": f"1.1.1.1,{CLIENT},10.0.0.9,fd00::1"}, CLIENT),
        ({"X-Forwarded-For": "10.0.0.2, 10.0.0.3"}, "10.0.0.2"),
        ({"X-Forwarded-For": "2001:db8::7"}, "2001:db8::7"),
        ({"X-Forwarded-For": "[2001:db8::7]:80"}, "2001:db8::7"),
        ({"X-Forwarded-For": "\x1b[31m<script>"}, "unknown"),
        ({"Forwarded": f"for={CLIENT}"}, CLIENT),
        ({"Forwarded": f'For="{CLIENT}:80";proto=https'}, CLIENT),
        ({"Forwarded": 'for="[2001:db8::7]:4711"'}, "2001:db8::7"),
        ({"Forwarded": f"for=1.1.1.1, for={CLIENT}, for=10.0.0.9"}, CLIENT),
        ({"Forwarded": "for=_hidden"}, "_hidden"),
        ({"Forwarded": "for=unknown"}, "unknown"),
        ({"Forwarded": "for=1.2.3.4, nonsense"}, PROXY),
        ({"Forwarded": "proto=https"}, PROXY),
        ({"Forwarded": f"for={CLIENT}", "X-Forwarded-For": CLIENT}, CLIENT),
        # One of them was written by the client.
        ({"Forwarded": "for=1.1.1.1", "X-Forwarded-For": CLIENT}, PROXY),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(
    headers: dict[str, str], client: str
) -> None:
    assert seen(headers).client == client


@pytest.mark.parametrize(
    "headers, address",
    [
        ({}, "http://inside:8888"),
        ({"X-Forwarded-Proto": "https"}, "https://inside:8888"),
        ({"X-Forwarded-Proto": "gopher"}, "http://inside:8888"),
        (
            {"X-Forwarded-For": f"{CLIENT}, 10.0.0.9", "X-Forwarded-Proto": "https, http"},
            "https://inside:8888",
        ),
        ({"X-Forwarded-Host": "shop.example"}, "http://shop.example"),
        ({"X-Forwarded-Host": 'x"><script>'}, "http://inside:8888"),
        (
            {"Forwarded": "for=1.1.1.1;host=shop.example:8443;proto=https"},
            "https://shop.example:8443",
        ),
        ({"X-Forwarded-Prefix": "/models/"}, "http://inside:8888/models"),
        ({"X-Forwarded-Prefix": "/a, /b/c"}, "http://inside:8888/a/b/c"),
        ({"X-Forwarded-Prefix": "//evil.example"}, "http://inside:8888/evil.example"),
        ({"X-Forwarded-Prefix": '/"><script>'}, "http://inside:8888"),
        ({"X-Forwarded-Prefix": "/" + "a" * 300}, "http://inside:8888"),
    ],
)
def test_the_address_is_what_the_proxy_tells(headers: dict[str, str], address: str) -> None:
    assert seen(headers).address == address


def test_nothing_is_believed_of_others() -> None:
    told = {"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Proto": "https", "Forwarded": "for=2.2.2.2"}
    told |= {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}

    assert seen(told, peer=CLIENT) == (CLIENT, "http", "inside:8888", "")
    assert seen(told, peer="0.0.0.0").client == "0.0.0.0"


def test_the_peer_of_a_unix_socket_can_be_trusted() -> None:
    assert outside("unix").client({"x-forwarded-for": CLIENT}, "0.0.0.0") == CLIENT


def test_a_network_of_ipv4_has_its_mapped_addresses() -> None:
    assert outside("10.0.0.0/8").trusts("::ffff:10.1.2.3")


@pytest.mark.parametrize(
    "path, inner",
    [
        *[
            ("/ml/predict", "/predict"),
            ("/ml", "/"),
            ("/ml?x=1", "/?x=1"),
            ("/predict", "/predict"),
        ],
        *[("/mlx/predict", "/mlx/predict"), ("/ml/ml/predict", "/ml/predict")],
        ("/ml/v2/route", "/ml/v2/route"),  # a route of its own
    ],
)
def test_the_path_of_the_proxy_is_removed_where_it_is_still_there(path: str, inner: str) -> None:
    assert outside(root="/ml", routes=("/ml/v2/route",)).inner_target(path) == inner


@over_http
async def test_requests_may_have_the_root_path_or_not() -> None:
    settings = with_settings(http={"root_path": "/models"})
    async with serving(settings=settings) as server:
        name = server.service.model.name
        for path in ("/predict", "/models/predict", "/models/predict/", f"/models/{name}/predict"):
            headers = {"Content-Type": "application/json"}
            response = await server.ask("POST", path, headers, b'{"data": [10]}')
            assert (path, response.status) == (path, 200)
        path = f"/models/models/{name}/predict"
        assert (await server.ask("POST", path, headers, b'{"data": [10]}')).status == 200
        assert (await server.ask("GET", "/models/v2/health/ready")).status == 200
        assert (await server.ask("GET", "/models/v2/nothing")).json["error"]


@over_http
async def test_links_begin_with_the_root_path() -> None:
    async with serving(settings=with_settings(http={"root_path": "/ml"})) as server:
        page = (await server.ask("GET", "/", HTML)).body.decode()
        docs = (await server.ask("GET", "/ml/docs")).body.decode()
        problem = (await server.ask("GET", "/problems/loading")).body.decode()
        alive = (await server.ask("GET", "/")).json
        document = (await server.ask("GET", "/openapi.json")).json

    for text in (page, docs, problem):
        links = [
            part.split('"')[0] for word in ('href="', 'src="') for part in text.split(word)[1:]
        ]
        assert links
        assert all(link.startswith(("/ml/", "data:")) for link in links), links
    assert "/ml/predict" in page
    assert (alive["documentation"], alive["openapi"]) == ("/ml/docs", "/ml/openapi.json")
    assert document["servers"] == [{"url": "/ml"}]


@over_http
async def test_a_trusted_proxy_tells_the_address_of_links_and_logs() -> None:
    told = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}
    told |= {"X-Forwarded-Host": "shop.example", "X-Forwarded-Prefix": "/ml"}
    settings = with_settings(http={"trusted_proxies": ("127.0.0.0/8",)})
    async with serving(settings=settings) as server:
        page = (await server.ask("GET", "/", HTML | told)).body.decode()
        document = (await server.ask("GET", "/openapi.json", told)).json
        plain = (await server.ask("GET", "/openapi.json")).json
        await server.predict([10], told)
        await server.logs.access("POST /predict", f"from {CLIENT}")
        await server.logs.access("GET /openapi.json", f"from {CLIENT}")

    assert "https://shop.example/ml/predict" in page
    assert document["servers"] == [{"url": "https://shop.example/ml"}]
    assert plain["servers"] == [{"url": f"{server.origin}"}] or plain["servers"][0]["url"]
    assert document["paths"] == plain["paths"]


@over_http
async def test_clients_tell_nothing() -> None:
    told = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}
    told |= {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    async with serving() as server:
        page = (await server.ask("GET", "/", HTML | told)).body.decode()
        document = (await server.ask("GET", "/openapi.json", told)).json
        await server.predict([10], told)
        await server.logs.access("POST /predict", "from 127.0.0.1")

    assert "evil" not in page
    assert document["servers"] == [{"url": "/"}]


@over_http
async def test_a_body_that_is_too_large_is_logged_with_the_client() -> None:
    http = {"trusted_proxies": ("127.0.0.1",), "max_body_bytes": 100}
    async with serving(settings=with_settings(http=http)) as server:
        await server.post(bytes(200), {"X-Forwarded-For": CLIENT})
        await server.logs.access("413", f"from {CLIENT}")


@pytest.mark.parametrize("root", ["models", "/models/", "//x", "/a b", "/ä", "/"])
def test_a_root_path_that_no_link_can_begin_with_is_rejected(root: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"--http.root_path: .* is not a path such as /models"):
        load_settings(["--http.root_path", root], {}, tmp_path)


@pytest.mark.parametrize("proxy", ["nginx", "10.0.0.0/33", "10.0.0.1/8", "*", "1.2.3"])
def test_a_proxy_that_is_no_address_is_rejected(proxy: str, tmp_path: Any) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"http": {"trusted_proxies": [proxy]}}))

    with pytest.raises(ConfigError, match=r"http.trusted_proxies"):
        Outside(load_settings([], {}, tmp_path).http)
