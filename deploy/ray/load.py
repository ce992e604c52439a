"""A load of requests that tries again what fails, and counts what became of each."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Any, Final, Self

TRIES: Final = 6
FIRST_PAUSE_S: Final = 0.05  # twice as long after each try
ANSWER_WITHIN_S: Final = 30.0


class Load:
    """Connections that send one request after the other, in a thread, from `enter` to `exit`.

    Args:
        slopes: an answer is right if it is 1 more than one of them times the input.
    """

    def __init__(self, port: int, slopes: Collection[int], connections: int = 16) -> None:
        self._port = port
        self._slopes = slopes
        self._connections = connections
        self._results: Counter[str] = Counter()
        self._first_failures: Counter[str] = Counter()
        self._slowest = 0.0
        self._is_over = False
        self._began = self._ended = 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()
        self._ended = time.monotonic()

    def run(self, seconds: float) -> None:
        """Go on for a while."""
        time.sleep(seconds)

    def counts(self) -> dict[str, Any]:
        """Return how many requests were answered, failed at the first try, and were lost."""
        return {
            "requests": sum(self._results.values()),
            "wrong": self._results["wrong"],
            "failed at the first try": dict(self._first_failures),
            "lost after all tries": self._results["lost"],
            "slowest answer in s": round(self._slowest, 2),
            "requests per second": round(self._results["right"] / (self._ended - self._began)),
        }

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(self._connections)))

    async def _one(self, number: int) -> None:
        connection = _Connection(self._port)
        while not self._is_over:
            number = (number + self._connections) % 4096
            began = time.monotonic()
            self._results[await self._until_answered(connection, number)] += 1
            self._slowest = max(self._slowest, time.monotonic() - began)
        connection.close()

    async def _until_answered(self, connection: _Connection, number: int) -> str:
        for attempt in range(TRIES):
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    status, body = await connection.ask(number)
            except (OSError, EOFError, TimeoutError) as error:
                connection.close()
                failure = type(error).__name__
            else:
                if status == 200:
                    answer = json.loads(body)["prediction"]
                    rights = [slope * number + 1 for slope in self._slopes]
                    return "right" if any(abs(answer - each) < 0.1 for each in rights) else "wrong"
                failure = str(status)
            if attempt == 0:
                self._first_failures[failure] += 1
            await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
        return "lost"


class _Connection:
    """One connection, opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, number: int) -> tuple[int, bytes]:
        """Return status and body; raises OSError, EOFError."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        body = b'{"data":[%d]}' % number
        self._writer.write(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if "transfer-encoding: chunked" in head:
            answer = await self._chunks()
        else:
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            answer = await self._reader.readexactly(length)
        if "\r\nconnection: close" in head:
            self.close()
        return int(head.split()[1]), answer

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(parts)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
