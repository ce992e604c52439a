"""Tornado's HTTP server with the limits it lacks: connections, slow clients, large bodies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Awaitable
from http.client import responses
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.web import Application

from server.config import HttpSettings
from server.errors import BodyTooLarge, TooManyConnections
from server.http.activity import LogAccess
from server.http.message import COMMON_HEADERS, Response, problem, replaced_id, request_id
from server.http.paths import normal_target
from server.logs import Access
from server.transport.interface import (
    LINGER_SECONDS,
    MAX_DISCARDED_BYTES,
    MAX_REJECTED,
    SWEEP_SECONDS,
    EndpointLookup,
    origin_form,
)
from server.transport.sockets import half_closed


class BoundedHTTPServer(HTTPServer):
    """An HTTPServer that answers 413 and 503 itself, and closes connections of slow clients.

    Tornado answers a body that is too large with a 400 without a problem document, has one timeout
    for headers and idle connections, and none for clients that do not read their answer.
    """

    def initialize(  # type: ignore[override]  # Tornado's is a constructor under another name
        self,
        application: Application,
        limits: HttpSettings,
        endpoints: EndpointLookup,
        log_access: LogAccess,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Set the limits; called by Tornado with the constructor's arguments."""
        super().initialize(
            application,
            ssl_options=tls,
            max_header_size=limits.max_header_bytes,
            idle_connection_timeout=limits.idle_timeout_s,
            body_timeout=limits.body_timeout_s,
            max_body_size=sys.maxsize,  # BoundedBody enforces the limit
        )
        self._limits = limits
        self.endpoints = endpoints
        self.log_access = log_access
        self._awaiting_headers: dict[HTTP1Connection, float] = {}
        self._stalled: dict[IOStream, tuple[int, float]] = {}
        self._rejected: set[asyncio.Task[None]] = set()
        self._sweeping = PeriodicCallback(self._sweep, SWEEP_SECONDS * 1000)
        self._sweeping.start()

    async def listen(self, sockets: list[socket.socket]) -> None:  # type: ignore[override]  # Tornado's takes an address
        """Accept connections on sockets that are bound and listen."""
        self.add_sockets(sockets)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a new connection, or answer 503 and close it when there are too many."""
        if len(self._connections) < self._limits.max_connections:
            super().handle_stream(stream, address)
        elif len(self._rejected) < MAX_REJECTED:
            task = asyncio.ensure_future(reject(stream))
            self._rejected.add(task)
            task.add_done_callback(self._rejected.discard)
        else:
            stream.close()

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Watch the next request of a connection, from before its first byte."""
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
        """Accept the connections that the kernel has completed, then stop listening."""
        for listener in list(self._sockets.values()):
            with contextlib.suppress(OSError):  # none is left
                while True:
                    self._handle_connection(*listener.accept())
        super().stop()

    async def close_all_connections(self) -> None:
        """Close every connection."""
        self._sweeping.stop()
        await super().close_all_connections()

    def _sweep(self) -> None:
        """Check the limits of all connections; one timer for all costs requests nothing."""
        now = asyncio.get_running_loop().time()
        self._close_slow_headers(now)
        self._close_slow_readers(now)
        self._close_half_closed()

    def _close_slow_headers(self, now: float) -> None:
        """Close connections whose headers or TLS handshake take too long."""
        for connection, since in list(self._awaiting_headers.items()):
            stream = connection.stream
            if stream is None or stream.closed():
                del self._awaiting_headers[connection]
            elif not stream._read_buffer_size and not is_in_tls_handshake(stream):
                continue
            elif not since:
                self._awaiting_headers[connection] = now
            elif now - since > self._limits.header_timeout_s:
                stream.close()

    def _close_slow_readers(self, now: float) -> None:
        """Close connections whose client has read nothing of its answer for too long."""
        stalled: dict[IOStream, tuple[int, float]] = {}
        for connection in list(self._connections):
            stream = connection.stream
            if not stream.writing():
                continue
            written = stream._total_write_done_index
            before, since = self._stalled.get(stream, (-1, now))
            stalled[stream] = (written, since if written == before else now)
            if now - stalled[stream][1] > self._limits.body_timeout_s:
                stream.close()
        self._stalled = stalled

    def _close_half_closed(self) -> None:
        """Close connections that the client has closed while bytes of it are still unread.

        Tornado does not poll a socket while its stream has unread bytes, and so misses the end.
        """
        streams = [connection.stream for connection in self._connections]
        unread = {s.socket.fileno(): s for s in streams if not s.closed() and s._read_buffer_size}
        for descriptor in half_closed(unread):
            unread[descriptor].close()


class BoundedBody(HTTPMessageDelegate):
    """Passes a request to Tornado, or answers 413 when its body is too large.

    The rest of a rejected body is read and discarded. Closing the connection with data unread would
    reset it, and the client would not see the answer.
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
        self._is_rejected = False
        self._start_line: RequestStartLine
        self._headers: HTTPHeaders

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Reject a Content-Length that is too large, before the body is read."""
        self._server.headers_arrived(self._connection)
        assert isinstance(start_line, RequestStartLine)
        target, host = origin_form(start_line.path)
        start_line = start_line._replace(path=normal_target(target))
        if host is not None:
            headers["Host"] = host
        self._start_line, self._headers = start_line, headers
        if self._connection.stream.closed():  # pipelined, and the client has disconnected
            self._is_rejected = True
            return None
        if asks_to_close(headers):
            # Tornado itself looks for the value `close` alone, and not in a list.
            self._connection._disconnect_on_finish = True
        if declared_length(headers) > self._max_bytes:
            self._reject()
            if expects_continue(headers):
                self._connection.finish()  # the client waits for 100 and will not send the body
            return None
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._received += len(chunk)
        if not self._is_rejected and self._received > self._max_bytes:
            self._inner.on_connection_close()
            self._reject()
        if not self._is_rejected:
            return self._inner.data_received(chunk)
        if self._received > MAX_DISCARDED_BYTES:
            self._connection.close()
        return None

    def finish(self) -> None:
        if self._connection.stream.closed():  # Tornado does not report this from here on
            self.on_connection_close()
            self._connection.close()
        elif self._is_rejected:
            self._connection.finish()
        else:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Notify the handler, unless the request was rejected."""
        if not self._is_rejected:
            self._inner.on_connection_close()

    def _reject(self) -> None:
        self._is_rejected = True
        method, path = self._start_line.method, self._start_line.path.partition("?")[0]
        error = BodyTooLarge(f"The body is larger than {self._max_bytes} bytes.")
        response = self._server.endpoints.reject((method, path), error, self._headers)
        headers = HTTPHeaders({**COMMON_HEADERS, **response.headers})
        headers["Content-Length"] = str(len(response.body))
        if expects_continue(self._headers):
            headers["Connection"] = "close"
        start_line = ResponseStartLine("HTTP/1.1", response.status, responses[response.status])
        self._connection.write_headers(start_line, headers, response.body)
        entry = Access(
            method,
            path,
            response.status,
            0.0,
            response.headers["X-Request-ID"],
            getattr(self._connection.context, "remote_ip", ""),
            replaced_id(self._headers, response.headers["X-Request-ID"]),
        )
        self._server.log_access(entry)


def is_in_tls_handshake(stream: IOStream) -> bool:
    """Return whether the TLS handshake of a stream is still in progress."""
    return isinstance(stream, SSLIOStream) and stream._ssl_accepting


async def reject(stream: IOStream) -> None:
    """Answer 503 to a connection over the limit; close it once the client has read that."""
    rejection = problem(TooManyConnections(), request_id(HTTPHeaders()))
    with contextlib.suppress(StreamClosedError, TimeoutError, OSError):
        async with asyncio.timeout(LINGER_SECONDS):
            # Shielded: Tornado does not expect that its own future is cancelled.
            await asyncio.shield(stream.write(to_bytes(rejection)))
            stream.socket.shutdown(socket.SHUT_WR)
            while True:
                await stream.read_bytes(65_536, partial=True)
    stream.close()


def expects_continue(headers: HTTPHeaders) -> bool:
    """Return whether the client waits for `100 Continue` before it sends the body."""
    return headers.get("Expect", "").lower() == "100-continue"


def asks_to_close(headers: HTTPHeaders) -> bool:
    """Return whether `close` is one of the options of the Connection header."""
    options = headers.get("Connection", "").lower().split(",")
    return "close" in [option.strip() for option in options]


def declared_length(headers: HTTPHeaders) -> int:
    """Return the Content-Length; 0 when it is missing or so malformed that Tornado rejects it."""
    value = headers.get("Content-Length", "")
    if not (value.isascii() and value.isdigit()):
        return 0
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else sys.maxsize


def to_bytes(response: Response) -> bytes:
    """Return a complete HTTP/1.1 response with `Connection: close`."""
    ending = {"Content-Length": len(response.body), "Connection": "close"}
    headers = {**COMMON_HEADERS, **response.headers, **ending}
    lines = [f"HTTP/1.1 {response.status} {responses[response.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body
