"""Clients that ask for large answers, and read them slowly or at once; many in one event loop."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass, field
from http.client import parse_headers
from io import BytesIO

import numpy as np

from server.dialects.native.npy import dumps

PIECE = 64 * 2**10  # what a slow reader reads at a time
PAUSE = 0.2  # seconds between two pieces, and before a rejected request is sent again


def request(media_type: str, body: bytes) -> bytes:
    """Return a request as it goes over the wire."""
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


FOR_JSON = request("application/json", b'{"data":[[1]]}')
FOR_ARRAY = request("application/x-npy", dumps(np.ones((1, 1), np.float32)))


@dataclass
class Tally:
    """What clients have seen.

    Attributes:
        statuses: how often each status came.
        asked: clients that have had a response.
        complete: answers that were read to their end.
        longest: bytes of the largest body.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    asked: int = 0
    complete: int = 0
    longest: int = 0


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with a small receive buffer, so that the kernel holds little of an answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=client, limit=PIECE)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Return the status of a response, and the length of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    start, _, rest = head.partition(b"\r\n")
    return int(start.split()[1]), int(parse_headers(BytesIO(rest))["Content-Length"])


async def ask_until_accepted(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asking: bytes, tally: Tally
) -> int:
    """Repeat a request while it gets 503; return the length of its answer."""
    is_first = True
    while True:
        writer.write(asking)
        status, length = await read_head(reader)
        tally.statuses[status] += 1
        tally.asked += is_first
        is_first = False
        if status == 200:
            tally.longest = max(tally.longest, length)
            return length
        await reader.readexactly(length)
        await asyncio.sleep(PAUSE)


async def read_slowly(port: int, tally: Tally) -> None:
    """Ask for an array until it comes, and read it slowly, until cancelled."""
    reader, writer = await connect(port)
    try:
        while True:
            left = await ask_until_accepted(reader, writer, FOR_ARRAY, tally)
            while left:
                left -= len(await reader.readexactly(min(left, PIECE)))
                await asyncio.sleep(PAUSE)
            tally.complete += 1
    finally:
        writer.transport.abort()


async def read_at_once(port: int, tally: Tally) -> None:
    """Ask for an answer in JSON until it comes, and read it."""
    reader, writer = await connect(port)
    try:
        left = await ask_until_accepted(reader, writer, FOR_JSON, tally)
        while left:
            left -= len(await reader.read(left))
        tally.complete += 1
    finally:
        writer.transport.abort()
