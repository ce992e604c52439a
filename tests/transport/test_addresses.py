"""Where the service listens: one address or several, both families, Unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from server.config import HttpSettings
from server.listening import UNIX_MODE, CannotStart, address_of, bind
from tests.support.harness import Client, Server, over_http, serving, with_settings
from tests.transport.test_tls import CERT, KEY


def has_ipv6() -> bool:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6")


async def client_at(server: Server, host: str) -> Client:
    return Client(*await asyncio.open_connection(host, server.port), server)


async def unix_client(server: Server, path: Path) -> Client:
    return Client(
        *await asyncio.open_unix_connection(path, ssl=server.tls, **named(server)), server
    )


def named(server: Server) -> dict[str, str]:
    return {"server_hostname": "localhost"} if server.tls else {}


async def answer(client: Client) -> object:
    response = await client.predict([1])
    client.close()
    return response.json["prediction"]


@needs_ipv6
@over_http
async def test_the_address_of_all_families_is_both() -> None:
    async with serving(settings=with_settings(http={"host": "::"})) as server:
        for host in ("127.0.0.1", "::1"):
            assert await answer(await client_at(server, host)) == 4
        line = await server.logs.access("POST", "from ::1")

    assert "::ffff" not in line


@needs_ipv6
@over_http
async def test_several_addresses_share_a_port() -> None:
    async with serving(settings=with_settings(http={"host": "127.0.0.1, ::1"})) as server:
        for host in ("127.0.0.1", "::1"):
            assert await answer(await client_at(server, host)) == 4


@pytest.mark.parametrize("tls", [{}, {"tls_cert": CERT, "tls_key": KEY}], ids=["http", "https"])
@over_http
async def test_a_unix_socket_serves_predictions_and_pages(tmp_path: Path, tls: object) -> None:
    path = tmp_path / "s"
    settings = with_settings(http={"host": f"unix:{path}", **tls})
    async with serving(settings=settings) as server:
        client = await unix_client(server, path)
        assert (await client.predict([1])).json == {"prediction": 4}
        assert (await client.ask("GET", "/v2/health/ready")).status == 200
        mode = stat.S_IMODE(path.stat().st_mode)
        await server.logs.access("POST /predict 200", "from 0.0.0.0")
        client.close()

    assert mode == UNIX_MODE


@over_http
async def test_a_unix_socket_beside_a_port(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(settings=with_settings(http={"host": f"unix:{path},127.0.0.1"})) as server:
        assert await answer(await unix_client(server, path)) == 4
        assert await answer(await server.connect()) == 4


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    [listener] = bind(HttpSettings(host=f"unix:{path}"))

    with closing(listener), closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(path))
        assert address_of(listener, "http") == f"unix:{path}"


def test_a_socket_that_is_in_use_is_not_replaced(tmp_path: Path) -> None:
    host = f"unix:{tmp_path}/s"
    [first] = bind(HttpSettings(host=host))
    with closing(first), pytest.raises(CannotStart) as caught:
        bind(HttpSettings(host=host))

    assert str(caught.value) == f"cannot listen on {host}: Address already in use"


@pytest.mark.parametrize(
    "name, words",
    [
        ("file", "Address already in use"),
        ("none/s", "No such file or directory"),
        ("x" * 200, "AF_UNIX path too long"),
    ],
)
def test_a_path_that_cannot_be_a_socket_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_text("mine")
    host = f"unix:{tmp_path}/{name}"
    with pytest.raises(CannotStart) as caught:
        bind(HttpSettings(host=host))

    assert str(caught.value).startswith(f"cannot listen on {host}: ")
    assert words in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_without_ipv6_the_address_of_all_families_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system whose kernel was started without IPv6."""
    make = socket.socket

    def without_ipv6(family: int = -1, *more: object, **named: object) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, os.strerror(97))
        return make(family, *more, **named)

    monkeypatch.setattr("tornado.netutil.socket.socket", without_ipv6)
    sockets = bind(HttpSettings(host="::", port=0))

    assert [each.family for each in sockets] == [socket.AF_INET]
    sockets[0].close()
