"""Runs a request through a Tornado application, on a connection that is not Tornado's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from server.http.message import request_id
from server.logs.format import of_request
from server.transport.llhttp.head import Head
from server.transport.llhttp.interface import Wire

log = logging.getLogger(__name__)

BODYLESS = (204, 304)


class TornadoExchange(HTTPConnection):
    """Passes a request to the application, whose handler answers by calling this connection.

    The request is complete, so a streaming handler gets its body in one piece.

    Attributes:
        context: where Tornado looks for the client's address and protocol.
    """

    def __init__(self, connection: Wire, head: Head, body: bytes, application: Application) -> None:
        self.context = connection
        self._connection = connection
        self._head = head
        self._body = body
        self._delegate: HTTPMessageDelegate = application.start_request(connection, self)
        self._task: asyncio.Task[None] | None = None
        self._handed_over = False
        self._finished = False
        self._in_chunks = False
        self._missing: int | None = None  # bytes of the declared Content-Length
        self._on_close: Callable[[], None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._hand_over())

    def cancel(self) -> None:
        """Notify the handler that the client has disconnected."""
        if not self._handed_over:
            assert self._task is not None
            self._task.cancel()
            self._delegate.on_connection_close()
        elif self._on_close is not None:
            callback, self._on_close = self._on_close, None
            callback()

    async def _hand_over(self) -> None:
        try:
            await self._give_request(self._delegate)
        except HTTPInputError:
            self._connection.reject_bytes()
        except Exception:
            extra = of_request(request_id(self._head.fields), self._head.trace)
            log.exception("request for %.80s failed", self._head.path, extra=extra)
            self._connection.abort()

    async def _give_request(self, delegate: HTTPMessageDelegate) -> None:
        """Call the delegate as Tornado's own connection does; it may answer at any point."""
        head = self._head
        headers = HTTPHeaders()
        for name, value in head.pairs:
            headers.add(name, value)
        start_line = RequestStartLine(head.method, head.target, head.version)
        if (prepared := delegate.headers_received(start_line, headers)) is not None:
            await prepared
        if self._body and not self._finished:
            received = delegate.data_received(self._body)
            if received is not None:
                await received
        self._handed_over = True
        if not self._finished:
            delegate.finish()

    # Called by the handler.

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what is called when the client disconnects before it is answered."""
        self._on_close = callback

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Send the head of the response and the first part of its body."""
        assert isinstance(start_line, ResponseStartLine)
        has_body = start_line.code not in BODYLESS and start_line.code >= 200
        if self._head.method == "HEAD" or start_line.code == 304:
            self._missing = 0
        elif "Content-Length" in headers:
            self._missing = int(headers["Content-Length"])
        elif has_body and self._head.is_http_1_0:
            self._connection.close_after_answer()
        elif has_body:
            self._in_chunks = True
            headers["Transfer-Encoding"] = "chunked"
        if headers.get("Connection", "").lower() == "close":
            del headers["Connection"]  # connection_option() adds it
            self._connection.close_after_answer()
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError(f"line end in a response header: {lines}")
        text = "\r\n".join(lines) + "\r\n" + self._connection.connection_option() + "\r\n"
        return self._connection.write(text.encode("latin-1") + self._framed(chunk or b""))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Send a part of the body."""
        return self._connection.write(self._framed(chunk))

    def finish(self) -> None:
        """End the response."""
        if self._missing:
            self._connection.abort()
            raise HTTPOutputError(
                f"response is {self._missing} bytes shorter than its Content-Length"
            )
        self._finished = True
        self._on_close = None
        if self._in_chunks:
            self._connection.write(b"0\r\n\r\n")
        self._connection.end_request()

    def _framed(self, chunk: bytes) -> bytes:
        if self._missing is not None:
            self._missing -= len(chunk)
            if self._missing < 0:
                self._connection.abort()
                raise HTTPOutputError("response is longer than its Content-Length")
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._in_chunks and chunk else chunk
