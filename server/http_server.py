"""Tornado's HTTP server with the limits that it lacks: connections, slow headers, large bodies."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from http.client import responses
from typing import Any

from tornado.concurrent import Future
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream
from tornado.web import Application

from server.config import HttpSettings
from server.endpoints import Response, problem, request_id
from server.errors import BodyTooLarge, TooManyConnections
from server.logs import log_access

MAX_DISCARDED_BYTES = 64 * 2**20
SWEEP_SECONDS = 0.5


class BoundedHTTPServer(HTTPServer):
    """An HTTPServer that answers 413 and 503 itself, and cuts headers that come too slowly.

    Tornado's own limit on bodies gives a 400 without a document, and its timeout for headers is
    that of an idle connection.
    """

    def initialize(self, application: Application, limits: HttpSettings) -> None:  # type: ignore[override]  # Tornado's is a constructor under another name
        """Set the limits; called by Tornado with the constructor's arguments."""
        super().initialize(
            application,
            max_header_size=limits.max_header_bytes,
            idle_connection_timeout=limits.idle_timeout_s,
            body_timeout=limits.body_timeout_s,
            max_body_size=sys.maxsize,  # BoundedBody looks after it
        )
        self._limits = limits
        self._awaiting_headers: dict[HTTP1Connection, float] = {}
        self._sweep = PeriodicCallback(self._cut_slow_headers, SWEEP_SECONDS * 1000)
        self._sweep.start()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a new connection, or refuse it with a 503 when there are too many."""
        if len(self._connections) < self._limits.max_connections:
            super().handle_stream(stream, address)
            return
        refusal = problem(TooManyConnections(), request_id(HTTPHeaders()))
        written = stream.write(to_bytes(refusal))

        def close(written: Future[None]) -> None:
            written.exception()  # it may have left
            stream.close()

        written.add_done_callback(close)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Follow the next request of a connection, from before its first byte."""
        self._awaiting_headers[request_conn] = 0.0
        inner = super().start_request(server_conn, request_conn)
        return BoundedBody(self, inner, request_conn, self._limits.max_body_bytes)

    def headers_arrived(self, connection: HTTP1Connection) -> None:
        """Stop watching a request's headers; those of a closed connection never arrive."""
        self._awaiting_headers.pop(connection, None)

    def close_after_answers(self) -> None:
        """Answer every request from now on with `Connection: close`."""
        self.conn_params.no_keep_alive = True

    def stop(self) -> None:
        """Stop listening."""
        super().stop()
        self._sweep.stop()

    def _cut_slow_headers(self) -> None:
        """Close connections whose headers began to arrive too long ago."""
        now = asyncio.get_running_loop().time()
        for connection, since in list(self._awaiting_headers.items()):
            stream = connection.stream
            if stream is None or stream.closed():
                del self._awaiting_headers[connection]
            elif not stream._read_buffer_size:  # Tornado tells it nowhere else
                continue
            elif not since:
                self._awaiting_headers[connection] = now
            elif now - since > self._limits.header_timeout_s:
                stream.close()


class BoundedBody(HTTPMessageDelegate):
    """Passes a request on to Tornado as long as its body is not too large; else answers 413.

    The rest of the body is read and thrown away, because closing a connection with unread data
    resets it, and the client would not see the answer.
    """

    def __init__(
        self,
        server: BoundedHTTPServer,
        inner: HTTPMessageDelegate,
        connection: HTTP1Connection,
        max_bytes: int,
    ) -> None:
        self._server = server
        self._inner = inner
        self._connection = connection
        self._max_bytes = max_bytes
        self._received = 0
        self._refused = False
        self._start_line: RequestStartLine
        self._headers: HTTPHeaders

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Refuse a declared length that is too large, before its body is read."""
        self._server.headers_arrived(self._connection)
        assert isinstance(start_line, RequestStartLine)
        self._start_line, self._headers = start_line, headers
        if declared_length(headers) > self._max_bytes:
            self._refuse()
            return None
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Count what arrives."""
        self._received += len(chunk)
        if not self._refused and self._received > self._max_bytes:
            self._inner.on_connection_close()
            self._refuse()
        if not self._refused:
            return self._inner.data_received(chunk)
        if self._received > MAX_DISCARDED_BYTES:
            self._connection.close()
        return None

    def finish(self) -> None:
        """End the body."""
        if self._refused:
            self._connection.finish()
        else:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Tell the handler, if it has not been told that its request was refused."""
        if not self._refused:
            self._inner.on_connection_close()

    def _refuse(self) -> None:
        self._refused = True
        response = problem(
            BodyTooLarge(f"The body is larger than {self._max_bytes} bytes."),
            request_id(self._headers),
        )
        headers = HTTPHeaders({**response.headers, "Content-Length": str(len(response.body))})
        start_line = ResponseStartLine("HTTP/1.1", response.status, responses[response.status])
        self._connection.write_headers(start_line, headers, response.body)
        if "Expect" in self._headers:
            self._connection.finish()  # the client has not sent the body and need not
        log_access(
            self._start_line.method,
            self._start_line.path.partition("?")[0],
            response.status,
            0.0,
            response.headers["X-Request-ID"],
            getattr(self._connection.context, "remote_ip", ""),
        )


def declared_length(headers: HTTPHeaders) -> int:
    """Return the Content-Length; 0 where there is none or Tornado will refuse it."""
    value = headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


def to_bytes(response: Response) -> bytes:
    """Return a whole HTTP/1.1 message that ends its connection."""
    headers = {**response.headers, "Content-Length": len(response.body), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {responses[response.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body
