"""Tornado's HTTP server with the limits it lacks: connections, slow clients, large bodies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream
from tornado.netutil import add_accept_handler
from tornado.web import Application

from server.config import HttpSettings
from server.http.activity import LogAccess
from server.http.message import Response
from server.http.outside import Outside
from server.http.rejections import REQUEST_LINE_BYTES, Rejections
from server.transport.interface import LINGER_SECONDS, MAX_REJECTED, SWEEP_SECONDS
from server.transport.sockets import drop_unsent, half_closed, unsent_in_kernel
from server.transport.tls import first_bytes, is_plain_http
from server.transport.tornado_body import BoundedBody, to_bytes
from server.transport.tornado_streams import (
    Stream,
    TLSStream,
    beginning_of,
    client_of,
    demote_lines_about_clients,
    is_in_tls_handshake,
    send_and_linger,
    unread_bytes,
)


class BoundedHTTPServer(HTTPServer):
    """An HTTPServer that answers 408, 413, 431 and 503 itself, and closes slow connections.

    Tornado answers a body that is too large with a 400 without a problem document, closes the
    connection when headers are too large or late, has one timeout for headers and idle connections,
    and none for clients that do not read their answer.
    """

    def initialize(  # type: ignore[override]  # Tornado's is a constructor under another name
        self,
        application: Application,
        limits: HttpSettings,
        rejections: Rejections,
        log_access: LogAccess,
        outside: Outside,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Set the limits; called by Tornado with the constructor's arguments."""
        super().initialize(
            application,
            max_header_size=limits.max_header_bytes,
            idle_connection_timeout=limits.idle_timeout_s,
            max_body_size=sys.maxsize,  # BoundedBody enforces the limit
        )
        demote_lines_about_clients()
        self.limits = limits
        self._tls = tls
        self.rejections = rejections
        self.log_access = log_access
        self.outside = outside
        self._listeners: dict[socket.socket, Callable[[], None]] = {}
        self._accepting: set[asyncio.Task[None]] = set()
        self._awaiting_headers: dict[HTTP1Connection, float] = {}
        self._awaiting_bodies: dict[BoundedBody, float] = {}
        self._stalled: dict[IOStream, tuple[tuple[int, int], float]] = {}
        self._rejected: set[asyncio.Task[None]] = set()
        self._sweeping = PeriodicCallback(self._sweep, SWEEP_SECONDS * 1000)
        self._sweeping.start()

    async def listen(self, sockets: list[socket.socket]) -> None:  # type: ignore[override]  # Tornado's takes an address
        """Accept connections on sockets that are bound and listen."""
        for listener in sockets:
            self._listeners[listener] = add_accept_handler(listener, self._serve_accepted)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a new connection, or answer 503 and close it when there are too many."""
        if len(self._connections) < self.limits.max_connections:
            super().handle_stream(stream, address)
            return
        rejection = self.rejections.too_many_connections(client_of(stream.socket))
        self.answer_and_close(stream, to_bytes(rejection))

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Watch the next request of a connection, from before its first byte."""
        self._awaiting_headers[request_conn] = 0.0
        inner = super().start_request(server_conn, request_conn)
        return BoundedBody(self, inner, request_conn, self.limits.max_body_bytes)

    def headers_arrived(self, connection: HTTP1Connection) -> None:
        """Stop watching a request's headers; those of a closed connection never arrive."""
        self._awaiting_headers.pop(connection, None)

    def body_expected(self, body: BoundedBody) -> None:
        """Begin to watch a body."""
        self._awaiting_bodies[body] = asyncio.get_running_loop().time()

    def body_ended(self, body: BoundedBody) -> None:
        """Stop watching a body, which has arrived or never will."""
        self._awaiting_bodies.pop(body, None)

    def answer_to_long_line(self, stream: IOStream) -> bytes:
        """Return the answer to a head that is too long, or to a long line in a chunked body."""
        if any(connection.stream is stream for connection in self._awaiting_headers):
            return self._answer_to_head(stream, self.rejections.headers_too_large)
        return self.answer_to_no_http(stream)

    def answer_to_no_http(self, stream: IOStream) -> bytes:
        """Return the answer to bytes that Tornado has rejected."""
        return self.rejections.not_http(client_of(stream.socket))

    def answer_and_close(self, stream: IOStream, answer: bytes) -> None:
        """Send an answer, and close the stream once its client has read it."""
        if len(self._rejected) >= MAX_REJECTED:
            stream.close()
            return
        task = asyncio.ensure_future(send_and_linger(stream, answer))
        self._rejected.add(task)
        task.add_done_callback(self._rejected.discard)

    def close_after_answers(self) -> None:
        """Answer every request from now on with `Connection: close`."""
        self.conn_params.no_keep_alive = True

    def stop(self) -> None:
        """Accept the connections that the kernel has completed, then stop listening."""
        for listener, ignore_new in self._listeners.items():
            ignore_new()
            with contextlib.suppress(OSError):  # none is left
                while True:
                    self._serve_accepted(*listener.accept())
            listener.close()
        self._listeners = {}

    async def close_all_connections(self) -> None:
        """Close every connection."""
        if self._accepting:
            _, late = await asyncio.wait(self._accepting, timeout=LINGER_SECONDS)
            for task in late:
                task.cancel()
        self._sweeping.stop()
        await super().close_all_connections()

    def _serve_accepted(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        """Serve an accepted connection, after a look at its first bytes where TLS is required."""
        count = len(self._accepting) + len(self._connections) + len(self._rejected)
        if count >= self.limits.max_connections + MAX_REJECTED:
            accepted.close()
        elif self._tls is None:
            self.handle_stream(Stream(accepted, self), address)
        else:
            task = asyncio.ensure_future(self._serve_tls(accepted, address, self._tls))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _serve_tls(
        self, accepted: socket.socket, address: tuple[Any, ...], tls: ssl.SSLContext
    ) -> None:
        """Serve a connection that begins with a TLS handshake, or say that it should."""
        accepted.setblocking(False)
        start = b""
        try:
            start = await first_bytes(accepted, self.limits.header_timeout_s)
        finally:
            if not start:
                accepted.close()
        if is_plain_http(start):
            rejection = self.rejections.plain_http(client_of(accepted), start)
            self.answer_and_close(Stream(accepted, self), to_bytes(rejection))
        elif start:
            with contextlib.suppress(OSError):  # the client has closed it
                wrapped = tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                self.handle_stream(TLSStream(wrapped, self), address)

    def _sweep(self) -> None:
        """Check the limits of all connections; one timer for all costs requests nothing."""
        now = asyncio.get_running_loop().time()
        self._reject_late_headers(now)
        self._reject_late_bodies(now)
        self._close_slow_readers(now)
        self._close_half_closed()

    def _reject_late_headers(self, now: float) -> None:
        """Answer 408 where headers take too long; close where the TLS handshake does."""
        for connection, since in list(self._awaiting_headers.items()):
            stream = connection.stream
            if stream is None or stream.closed():
                del self._awaiting_headers[connection]
            elif not unread_bytes(stream) and not is_in_tls_handshake(stream):
                continue
            elif not since:
                self._awaiting_headers[connection] = now
            elif now - since > self.limits.header_timeout_s:
                if is_in_tls_handshake(stream):
                    stream.close()
                else:
                    assert isinstance(stream, Stream)
                    stream.end_with(self._answer_to_head(stream, self.rejections.late_headers))

    def _answer_to_head(self, stream: IOStream, reject: Callable[[str, bytes], Response]) -> bytes:
        """Return the answer to a head that is too long or too late, or is none at all."""
        start = beginning_of(stream, REQUEST_LINE_BYTES)
        if not self.rejections.is_http(start):
            return self.answer_to_no_http(stream)
        return to_bytes(reject(client_of(stream.socket), start))

    def _reject_late_bodies(self, now: float) -> None:
        """Answer 408 where bodies take too long, and arrive too slowly."""
        for body, since in list(self._awaiting_bodies.items()):
            if now - since <= self.limits.body_timeout_s:
                continue
            if body.goes_on():
                self._awaiting_bodies[body] = now
            else:
                self.body_ended(body)
                body.reject_as_late()

    def _close_slow_readers(self, now: float) -> None:
        """Close connections whose client has read nothing of its answer for too long."""
        stalled: dict[IOStream, tuple[tuple[int, int], float]] = {}
        for connection in list(self._connections):
            stream = connection.stream
            if not stream.writing():
                continue
            # The kernel takes more only when a third of its buffer is free.
            sent = (stream._total_write_done_index, unsent_in_kernel(stream.socket.fileno()))
            before, since = self._stalled.get(stream, (None, now))
            stalled[stream] = (sent, since if sent == before else now)
            if now - stalled[stream][1] > self.limits.body_timeout_s:
                drop_unsent(stream.socket)
                stream.close()
        self._stalled = stalled

    def _close_half_closed(self) -> None:
        """Close connections that the client has closed while bytes of it are still unread.

        Tornado does not poll a socket while its stream has unread bytes, and so misses the end.
        """
        streams = [connection.stream for connection in self._connections]
        unread = {s.socket.fileno(): s for s in streams if not s.closed() and unread_bytes(s)}
        for descriptor in half_closed(unread):
            unread[descriptor].close()
