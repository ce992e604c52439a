"""An HTTP/1.1 client for one request at a time on a connection that is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools

CONNECTION_CLOSED = "connection ended"
NOT_HTTP = "answer is not HTTP"


@dataclass(frozen=True)
class Target:
    """Where to send requests: `path` starts with a slash."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, path: str) -> Target:
        """Join a base `url` and a `path`; raises ValueError when the URL is not plain HTTP."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url}: not an http:// address")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/") + path)

    def message(self, body: bytes) -> bytes:
        """Return the bytes of a POST of a JSON `body`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        head = (
            f"POST {self.path} HTTP/1.1\r\n"
            f"Host: {host}:{self.port}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Owner(Protocol):
    """Who hears what became of the requests of a connection."""

    def answered(self, connection: Connection) -> None:
        """Hear of a whole answer, which the connection holds until its next `send`."""

    def lost(self, connection: Connection, reason: str) -> None:
        """Hear that the request will get no answer; the connection is of no more use."""

    def closed(self, connection: Connection) -> None:
        """Hear that the connection ended while it owed nothing."""


class Connection(asyncio.Protocol):
    """One connection; `index` and `since` belong to whoever sends."""

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
        """Whether another request may be sent."""
        return not self.busy and not self._transport.is_closing()

    def send(self, message: bytes) -> None:
        """Send one request; the owner hears of its answer or its loss."""
        self._reset()
        self.busy = True
        self._transport.write(message)

    def abort(self) -> None:
        """End the connection at once; nobody hears of what it still owed."""
        self.busy = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        if not self.busy:  # an answer that nobody asked for, such as 408 to an idle connection
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
        """Tell the owner what this means for the request, if one is under way."""
        if not self.busy:
            self._owner.closed(self)
        elif self.status and not self._framed and error is None:  # this end is the body's end
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

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters of a header."""
        name = name.lower()
        if name == b"server-timing":
            self.server_timing += value
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Keep the status."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Mark the end; `data_received` goes on from there."""
        self.kept = self._parser.should_keep_alive()
        self._complete = True
