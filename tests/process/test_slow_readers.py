"""Clients that do not read what they asked for take no memory each."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from server.handlers.assets import STATIC
from tests.process.conftest import Start
from tests.process.harness import WITHIN

pytestmark = pytest.mark.process

READERS = 40
MIB = 2**20
FILE = "swagger-ui-bundle.js"


def anonymous_memory(pid: int) -> int:
    """Return how much memory of a process belongs to no file, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def ask_and_read_little(port: int, path: str) -> socket.socket:
    """Send requests for more than the kernel holds, and read the first bytes of an answer."""
    client = socket.socket()
    client.settimeout(WITHIN)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # the kernel holds little of it
    client.connect(("127.0.0.1", port))
    client.sendall(4 * f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_slow_readers_of_a_large_file_share_one_copy(start: Start, transport: str) -> None:
    server = start("--http.transport", transport)
    assert server.connect().send(path=f"/static/{FILE}").answer().status == 200
    before = anonymous_memory(server.process.pid)
    clients = [ask_and_read_little(server.port, f"/static/{FILE}") for _ in range(READERS)]
    grown = anonymous_memory(server.process.pid) - before
    for client in clients:
        client.close()

    print(f"{transport}: {grown / MIB:.1f} MiB for {READERS} readers")
    assert grown < READERS * (STATIC / FILE).stat().st_size / 4
