"""An HTTP/1.1 client: keep-alive connections, one request at a time on each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

CONNECTION_CLOSED = "connection closed"
NOT_HTTP = "answer is not HTTP"


@dataclass(frozen=True)
class Target:
    """Where to send requests: `path` starts with a slash."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, path: str) -> Target:
        """Join a base `url` and a `path`; raises ValueError unless the scheme is http."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url}: not an http:// URL")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/") + path)

    def message(self, body: bytes) -> bytes:
        """Return the bytes of a POST request with a JSON `body`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        head = (
            f"POST {self.path} HTTP/1.1\r\n"
            f"Host: {host}:{self.port}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Owner(Protocol):
    """Is notified of the outcome of each request on a connection."""

    def answered(self, connection: Connection) -> None:
        """The answer is complete; the connection holds it until the next `send`."""

    def lost(self, connection: Connection, reason: str) -> None:
        """The request will get no answer, and the connection cannot be used again."""

    def closed(self, connection: Connection) -> None:
        """The connection was closed while no request was in flight."""


class Connection(asyncio.Protocol):
    """One connection.

    `index`, `since` and `sent` are for the owner: number of the request's message, when the request
    was due, and when it was sent.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self.busy = False
        self.index = 0
        self.since = self.sent = 0.0
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.body = b""
        self.server_timing = b""
        self.kept = False
        self._complete = False
        self._framed = False

    @property
    def usable(self) -> bool:
        """Whether the next request can be sent."""
        return not self.busy and not self._transport.is_closing()

    def send(self, message: bytes) -> None:
        """Send one request; the owner is notified of its answer or its loss."""
        self._reset()
        self.busy = True
        self._transport.write(message)

    def abort(self) -> None:
        """Close the connection at once, without notifying the owner of a request in flight."""
        self.busy = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        if not self.busy:  # an answer without a request, such as 408 to an idle connection
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._lose(NOT_HTTP)
            return
        if self._complete:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        """Notify the owner; without a Content-Length, the end of the connection ends the body."""
        if not self.busy:
            self._owner.closed(self)
        elif self.status and not self._framed and error is None:
            self._finish()
        else:
            self._lose(CONNECTION_CLOSED)

    def _finish(self) -> None:
        self.busy = False
        if not self.kept:
            self._transport.close()
        self._owner.answered(self)

    def _lose(self, reason: str) -> None:
        self.abort()
        self._owner.lost(self, reason)

    # Callbacks of the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"server-timing":
            self.server_timing += value
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        """Mark the answer as complete; `data_received` then notifies the owner."""
        self.kept = self._parser.should_keep_alive()
        self._complete = True
