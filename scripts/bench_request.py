"""Measure the CPU time that a one-row request takes on the event loop, without sockets.

64 connections of the llhttp transport receive a request each, at the same time, and a numpy model
answers. Only the sockets and the model are fakes. The result is the CPU time of the event loop's
thread in microseconds per request: the minimum of many rounds, since other processes only add to
it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # the line above makes what follows importable

from model.engines.choose import Choice
from model.process.batch_size import BatchSize
from model.process.prepare import LoadRequest, Report
from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors, View, merge, split
from server.app import make_transport
from server.config import BatchingSettings, Settings
from server.http.activity import Activity
from server.logs import AccessLog, PayloadLog
from server.logs.format import json_format
from server.monitoring.live_page import LivePage, read
from server.run import loop_factory
from server.serving.process_start import Ended
from server.serving.service import Service
from server.transport.llhttp.connection import Connection
from server.transport.llhttp.server import LlhttpServer

CONNECTIONS: Final = 64
TURNS: Final = 100  # requests per connection and round
BODY: Final = b'{"data":[10]}'
REQUEST: Final = (
    b"POST /predict HTTP/1.1\r\nHost: localhost:8888\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class Line:
    """A model process that is none: y = 3x + 1, computed at once."""

    signature = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),))
    step = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def load(self, request: LoadRequest, within: float) -> Report:
        """Load nothing."""
        del within
        return Report(self.signature, BatchSize(request.max_rows))

    async def convert(self, request: LoadRequest, within: float) -> Choice:
        """Try nothing."""
        del request, within
        return Choice()

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        """Compute all rows in one call."""
        x = merge(parts).arrays["x"]
        return split(Tensors({"y": x * np.float32(3) + np.float32(1)}), [len(p) for p in parts])

    def kill(self, reason: str, text: str) -> None:
        """End."""
        self.ended.set_result(Ended(reason, text))

    async def close(self) -> None:
        """End."""
        self.kill("closed", "closed")


class Sink(asyncio.Transport):
    """Stands in for a socket: notifies of each answer that a connection writes."""

    def __init__(self, answered: Callable[[], object]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self._answered = answered

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Check that an answer has the status 200, and notify of it."""
        assert bytes(data[:15]) == b"HTTP/1.1 200 OK", bytes(data)
        self._answered()

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have no limits: everything is written at once."""


class Clients:
    """Connections that all send a request at the same time."""

    def __init__(self, server: LlhttpServer) -> None:
        self._missing = 0
        self._done = asyncio.Event()
        self._connections = [Connection(server) for _ in range(CONNECTIONS)]
        for connection in self._connections:
            connection.connection_made(Sink(self._answered))

    async def ask(self) -> None:
        """Send a request on each connection, and wait for all answers."""
        self._missing = CONNECTIONS
        self._done.clear()
        for connection in self._connections:
            connection.data_received(REQUEST)
        await self._done.wait()

    def _answered(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._done.set()


async def measure(rounds: int, *, payloads: bool, access: bool) -> float:
    """Return the microseconds per request."""
    patient = 60_000.0  # on a machine that is busy, too
    batching = BatchingSettings(max_rows=1024, deadline_ms=patient, max_queue_ms=patient)
    service = Service(Settings(batching=batching))
    payload_log = PayloadLog(os.devnull) if payloads else None
    access_log = AccessLog(json_format(), contextlib.nullcontext(), os.devnull) if access else None
    log_access: Any = access_log.write if access_log else lambda _: None
    live_page = LivePage(lambda: read(service))
    transport = make_transport(
        service, Activity(), live_page, payload_log=payload_log, log_access=log_access
    )
    assert isinstance(transport, LlhttpServer)
    await service.start(Line)
    clients = Clients(transport)
    gc.collect()
    gc.freeze()
    best = min([await _round(clients) for _ in range(rounds)])
    await service.drain()
    for log in (payload_log, access_log):
        if log:
            log.close(1)
    return best / CONNECTIONS / TURNS * 1e6


async def _round(clients: Clients) -> float:
    started = time.thread_time()
    for _ in range(TURNS):
        await clients.ask()
    return time.thread_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        default=30,
        help="rounds of 6,400 requests each (default: %(default)s)",
    )
    rounds = parser.parse_args().rounds
    print("| | µs per request |\n| --- | ---: |")
    for name, payloads, access in (
        ("all logs on", True, True),
        ("without payload log", False, True),
        ("without both logs", False, False),
    ):
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            figure = runner.run(measure(rounds, payloads=payloads, access=access))
        print(f"| {name} | {figure:.1f} |", flush=True)


if __name__ == "__main__":
    main()
