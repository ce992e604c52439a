"""Connections that are established are served, and no new ones while the server stops."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Iterator

import pytest

from server.transport.sockets import block_new_handshakes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="no other system can do it")


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    listening = socket.socket(family)
    try:
        listening.bind((host, 0))
    except OSError as error:
        pytest.skip(f"this machine has no such address: {error}")
    listening.listen()
    listening.settimeout(5)
    with listening:
        yield listening


def connecting_to(listener: socket.socket) -> socket.socket:
    client = socket.socket(listener.family)
    client.setblocking(False)
    assert client.connect_ex(listener.getsockname()[:2]) in (0, errno.EINPROGRESS)
    return client


def is_connected(client: socket.socket, seconds: float) -> bool:
    return bool(select.select([], [client], [], seconds)[1])


@LINUX
def test_a_connection_that_waits_to_be_accepted_is_served(listener: socket.socket) -> None:
    with connecting_to(listener) as client:
        assert is_connected(client, 5)
        block_new_handshakes(listener)
        accepted, _ = listener.accept()
        with accepted:
            client.setblocking(True)
            client.sendall(b"ping")
            assert accepted.recv(4) == b"ping"
            accepted.sendall(b"pong")
            assert client.recv(4) == b"pong"


@LINUX
def test_a_later_connection_is_blocked(listener: socket.socket) -> None:
    block_new_handshakes(listener)
    with connecting_to(listener) as client:
        assert not is_connected(client, 0.2)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.logs_warnings
def test_a_warning_is_logged_when_handshakes_cannot_be_blocked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with socket.socket() as closed:
        closed.close()
        block_new_handshakes(closed)
    assert "may be reset" in caplog.text


def test_nothing_is_done_on_other_systems_than_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.socket() as closed:
        closed.close()
        block_new_handshakes(closed)
