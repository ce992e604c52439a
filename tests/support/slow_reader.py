"""A client that reads its answer slowly, and a model whose answers are large."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import numpy as np

from model.signature import Signature, TensorSpec
from server.config import Settings
from server.dialects.native.npy import dumps
from tests.support.harness import SOON, FakeModel, Server, request_bytes, serving

CELLS, ROWS = 4096, 1024  # an answer has 16 MiB, more than the kernel takes
ANSWER_BYTES = 4 * ROWS * CELLS + 128
WIDE = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (CELLS,), "float32"),))


class WideModel(FakeModel):
    """Answers with 16 KiB for every row, whatever its signature says."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        [y] = super().call(arrays)
        return [np.repeat(y[:, :1], CELLS, axis=1)]


def asking(headers: dict[str, str] | None = None) -> bytes:
    """Return a request whose answer has 16 MiB."""
    body = dumps(np.ones((ROWS, 1), np.float32))
    headers = {"Content-Type": "application/x-npy", **(headers or {})}
    return request_bytes("POST", "/predict", headers, body)


class SlowReader:
    """A client that reads exactly as much as a test wants, and has a small receive buffer."""

    def __init__(self, server: Server) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(SOON)
        connection.connect(("127.0.0.1", server.port))
        if server.tls:
            connection = server.tls.wrap_socket(connection, server_hostname="127.0.0.1")
        self.socket = connection

    def ask(self, request: bytes) -> None:
        """Send a request, and read the head of its answer."""
        self.socket.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")

    def read(self, size: int) -> int:
        """Read so many bytes, or up to the end; return how many there were."""
        received = 0
        with suppress(ConnectionError):
            while received < size and (part := self.socket.recv(min(size - received, 2**20))):
                received += len(part)
        return received


@asynccontextmanager
async def holding(server: Server, number: int) -> AsyncIterator[list[SlowReader]]:
    """Give clients with an answer of which they have read only the head."""
    clients: list[SlowReader] = []
    try:
        for _ in range(number):
            clients.append(await asyncio.to_thread(SlowReader, server))
            await asyncio.to_thread(clients[-1].ask, asking())
        yield clients
    finally:
        for client in clients:
            client.socket.close()


@asynccontextmanager
async def serving_wide(settings: Settings, signature: Signature = WIDE) -> AsyncIterator[Server]:
    settings = replace(settings, batching=replace(settings.batching, max_rows=ROWS))
    async with serving(WideModel(signature), settings) as server:
        yield server
