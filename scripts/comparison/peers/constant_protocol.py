"""The ceiling of one Python process: parses HTTP and always sends the same answer.

Run as `python -m scripts.comparison.peers.constant_protocol PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import httptools
import uvloop

BODY = b'{"prediction":31.0}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Constant(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of it
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse; invalid HTTP closes the connection with a traceback."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Send the answer; called by the parser."""
        self._transport.write(ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        Constant, "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
