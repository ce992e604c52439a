"""A server in a thread, with answers chosen by the test."""

from __future__ import annotations

import asyncio
import threading

import orjson

ROW = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 1}
BODY = {
    "type": "object",
    "properties": {"data": {"anyOf": [ROW, {"type": "array", "items": ROW}]}},
}
DOCUMENT = {
    "paths": {
        "/predict": {
            "post": {"requestBody": {"content": {"application/json": {"schema": BODY}}}},
        }
    }
}


def http(body, status="200 OK", *headers):
    """Return the bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def triple(data):
    """Return the answer 3x + 1."""
    prediction = [3 * x + 1 for (x,) in data] if isinstance(data[0], list) else 3 * data[0] + 1
    return http(
        orjson.dumps({"prediction": prediction}), "200 OK", 'Server-Timing: batch;desc="2 rows"'
    )


async def right(number, data):
    """Return the right answer."""
    return triple(data)


def in_place_of_number(wanted, odd):
    """Return an `answer` function: `odd` for one request and the right answer for the others."""

    async def answer(number, data):
        return odd if number == wanted else triple(data)

    return answer


class ScriptedServer:
    """A server in a thread, whose `answer(number, data)` returns the bytes to send back.

    Requests are numbered from 0. It closes the connection after an answer that ends with CLOSE, or
    does not start with `HTTP/1.1`.
    """

    def __init__(self):
        self.answer = right
        self.requests = 0
        self.connections = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def stop_listening(self):
        """Accept no more connections; must be called in the thread of the server."""
        self._server.close()

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._talks = set()
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        self.stop_listening()
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader, writer):
        self._talks.add(asyncio.current_task())
        self.connections += 1
        try:
            while (answer := await self._one(reader)) is not None:
                writer.write(answer.removesuffix(b"CLOSE"))
                if not answer.startswith(b"HTTP/1.1") or answer.endswith(b"CLOSE"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the load test closed the connection
        finally:
            writer.close()

    async def _one(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get"):
            return http(orjson.dumps(DOCUMENT))
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        data = orjson.loads(await reader.readexactly(length))["data"]
        number = self.requests
        self.requests += 1
        return await self.answer(number, data)
