"""Tornado's HTTP server with the limits that it lacks: connections, slow headers, large bodies."""

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
from server.http.message import COMMON_HEADERS, Response, problem, request_id
from server.logs import Access
from server.transport.interface import (
    LINGER_SECONDS,
    MAX_DISCARDED_BYTES,
    MAX_TURNED_AWAY,
    SWEEP_SECONDS,
    EndpointLookup,
    origin_form,
)
from server.transport.sockets import half_closed


class BoundedHTTPServer(HTTPServer):
    """An HTTPServer that answers 413 and 503 itself, and cuts headers that come too slowly.

    Tornado's own limit on bodies gives a 400 without a document, its timeout for headers is that of
    an idle connection, and it has none for a client that does not read its answer.
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
            max_body_size=sys.maxsize,  # BoundedBody looks after it
        )
        self._limits = limits
        self.endpoints = endpoints
        self.log_access = log_access
        self._awaiting_headers: dict[HTTP1Connection, float] = {}
        self._stalled: dict[IOStream, tuple[int, float]] = {}
        self._turned_away: set[asyncio.Task[None]] = set()
        self._sweeping = PeriodicCallback(self._sweep, SWEEP_SECONDS * 1000)
        self._sweeping.start()

    async def listen(self, sockets: list[socket.socket]) -> None:  # type: ignore[override]  # Tornado's takes an address
        """Accept connections on sockets that are bound."""
        self.add_sockets(sockets)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a new connection, or refuse it with a 503 when there are too many."""
        if len(self._connections) < self._limits.max_connections:
            super().handle_stream(stream, address)
        elif len(self._turned_away) < MAX_TURNED_AWAY:
            task = asyncio.ensure_future(turn_away(stream))
            self._turned_away.add(task)
            task.add_done_callback(self._turned_away.discard)
        else:
            stream.close()

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
        """Stop listening, once what the system has accepted for us is ours."""
        for listener in list(self._sockets.values()):
            with contextlib.suppress(OSError):  # none is left
                while True:
                    self._handle_connection(*listener.accept())
        super().stop()

    async def close_all_connections(self) -> None:
        """Close what is open."""
        self._sweeping.stop()
        await super().close_all_connections()

    def _sweep(self) -> None:
        """Look at all connections; one timer for all of them costs requests nothing."""
        now = asyncio.get_running_loop().time()
        self._cut_slow_headers(now)
        self._cut_slow_readers(now)
        self._notice_those_who_left()

    def _cut_slow_headers(self, now: float) -> None:
        """Close connections whose headers, or TLS, began to arrive too long ago.

        Tornado tells only in private attributes what has arrived.
        """
        for connection, since in list(self._awaiting_headers.items()):
            stream = connection.stream
            if stream is None or stream.closed():
                del self._awaiting_headers[connection]
            elif not stream._read_buffer_size and not is_greeting(stream):
                continue
            elif not since:
                self._awaiting_headers[connection] = now
            elif now - since > self._limits.header_timeout_s:
                stream.close()

    def _cut_slow_readers(self, now: float) -> None:
        """Close connections whose client has taken nothing of its answer for too long."""
        stalled: dict[IOStream, tuple[int, float]] = {}
        for connection in list(self._connections):
            stream = connection.stream
            if not stream.writing():
                continue
            written = stream._total_write_done_index  # Tornado tells it nowhere else
            before, since = self._stalled.get(stream, (-1, now))
            stalled[stream] = (written, since if written == before else now)
            if now - stalled[stream][1] > self._limits.body_timeout_s:
                stream.close()
        self._stalled = stalled

    def _notice_those_who_left(self) -> None:
        """Close connections that the client has ended, behind bytes that nobody has read yet.

        While such bytes wait, Tornado does not look at the socket, and so does not see its end.
        """
        streams = [connection.stream for connection in self._connections]
        unread = {s.socket.fileno(): s for s in streams if not s.closed() and s._read_buffer_size}
        for descriptor in half_closed(unread):
            unread[descriptor].close()


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
        path, host = origin_form(start_line.path)
        if host is not None:
            start_line = start_line._replace(path=path)
            headers["Host"] = host
        self._start_line, self._headers = start_line, headers
        if self._connection.stream.closed():  # pipelined, by a client that has left
            self._refused = True
            return None
        if asks_to_end(headers):
            self._connection._disconnect_on_finish = True  # Tornado takes the word alone for it
        if declared_length(headers) > self._max_bytes:
            self._refuse()
            if expects_continue(headers):
                self._connection.finish()  # the client has not sent the body and need not
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
        if self._connection.stream.closed():  # which Tornado does not tell from here on
            self.on_connection_close()
            self._connection.close()
        elif self._refused:
            self._connection.finish()
        else:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Tell the handler, if it has not been told that its request was refused."""
        if not self._refused:
            self._inner.on_connection_close()

    def _refuse(self) -> None:
        self._refused = True
        method, path = self._start_line.method, self._start_line.path.partition("?")[0]
        error = BodyTooLarge(f"The body is larger than {self._max_bytes} bytes.")
        response = self._server.endpoints.refuse((method, path), error, self._headers)
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
        )
        self._server.log_access(entry)


def is_greeting(stream: IOStream) -> bool:
    """Tell whether TLS has not been agreed upon yet."""
    return isinstance(stream, SSLIOStream) and stream._ssl_accepting


async def turn_away(stream: IOStream) -> None:
    """Answer 503 to a connection that is one too many, and close it when it has been read."""
    refusal = problem(TooManyConnections(), request_id(HTTPHeaders()))
    with contextlib.suppress(StreamClosedError, TimeoutError, OSError):
        async with asyncio.timeout(LINGER_SECONDS):
            # Shielded: Tornado stumbles over the cancellation of a future that is its own.
            await asyncio.shield(stream.write(to_bytes(refusal)))
            stream.socket.shutdown(socket.SHUT_WR)
            while True:
                await stream.read_bytes(65_536, partial=True)
    stream.close()


def expects_continue(headers: HTTPHeaders) -> bool:
    """Tell whether the client waits for leave to send its body."""
    return headers.get("Expect", "").lower() == "100-continue"


def asks_to_end(headers: HTTPHeaders) -> bool:
    """Tell whether `close` is among the options of the connection."""
    options = headers.get("Connection", "").lower().split(",")
    return "close" in [option.strip() for option in options]


def declared_length(headers: HTTPHeaders) -> int:
    """Return the Content-Length; 0 where there is none or Tornado will refuse it."""
    value = headers.get("Content-Length", "")
    if not (value.isascii() and value.isdigit()):
        return 0
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else sys.maxsize


def to_bytes(response: Response) -> bytes:
    """Return a whole HTTP/1.1 message that ends its connection."""
    ending = {"Content-Length": len(response.body), "Connection": "close"}
    headers = {**COMMON_HEADERS, **response.headers, **ending}
    lines = [f"HTTP/1.1 {response.status} {responses[response.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body
