"""The llhttp server: listening sockets, open connections, and what connections share."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from email.utils import formatdate
from http.client import responses
from typing import Final

from tornado.web import Application

from server.config import HttpSettings
from server.http.activity import Activity, LogAccess
from server.http.message import COMMON_FIELDS, Response
from server.http.outside import Outside
from server.http.rejections import Rejections
from server.listening import BACKLOG
from server.transport.interface import (
    LINGER_SECONDS,
    MAX_REJECTED,
    SWEEP_SECONDS,
    EndpointLookup,
)
from server.transport.llhttp.connection import Connection
from server.transport.llhttp.interface import Hosted
from server.transport.sockets import half_closed
from server.transport.tls import first_bytes, is_plain_http

SHUTDOWN_SECONDS: Final = 3600.0  # the sweep closes stalled clients; slow ones may go on


class LlhttpServer:
    """An HTTP server that calls endpoints directly, and Tornado for all other requests.

    Args:
        application: answers requests that have no endpoint.
        limits: how much a client may send, and how slowly.
        endpoints: finds the endpoint of a method and path.
        rejections: answers, counts and logs what connections reject.
        activity: counts the requests in progress.
        log_access: writes the access line of a request that an endpoint answered.
        outside: what proxies tell of clients, and add to paths.
        tls: for HTTPS; None for HTTP.
    """

    def __init__(
        self,
        application: Application,
        limits: HttpSettings,
        endpoints: EndpointLookup,
        rejections: Rejections,
        activity: Activity,
        log_access: LogAccess,
        outside: Outside,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.application = application
        self.endpoints = endpoints
        self.rejections = rejections
        self.activity = activity
        self.limits = limits
        self.log_access = log_access
        self.outside = outside
        self.closes_after_answers = False
        self.loop = asyncio.get_running_loop()
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Hosted] = set()
        self._rejected: set[Hosted] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._starts = ResponseStarts()
        self._timer = self.loop.call_later(SWEEP_SECONDS, self._sweep)

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections on sockets that are bound and listen."""
        self._sockets = sockets
        for each in sockets:
            if self._tls:
                self.loop.add_reader(each, self._accept, each)
                continue
            is_unix = each.family == socket.AF_UNIX
            create = self.loop.create_unix_server if is_unix else self.loop.create_server
            server = await create(
                lambda: Connection(self),
                sock=each.dup(),  # the loop closes its own
                backlog=BACKLOG,
            )
            self._servers.append(server)

    def close_after_answers(self) -> None:
        """Answer every request from now on with `Connection: close`."""
        self.closes_after_answers = True

    def stop(self) -> None:
        """Accept the connections that the kernel has completed, then stop listening."""
        for server in self._servers:
            server.close()
        for listener in self._sockets:
            self.loop.remove_reader(listener)
            with contextlib.suppress(OSError):  # none is left
                while True:
                    self._serve_accepted(listener.accept()[0])
            listener.close()
        self._sockets = []

    async def close_all_connections(self) -> None:
        """Close every connection, and wait until all answers have been sent."""
        if self._accepting:
            _, late = await asyncio.wait(self._accepting, timeout=LINGER_SECONDS)
            for task in late:
                task.cancel()
        for connection in list(self._connections | self._rejected):
            connection.close()
        await self._all_closed.wait()
        self._timer.cancel()

    def admit(self, connection: Hosted) -> bool:
        """Count a new connection; return False if there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        self._all_closed.clear()
        return True

    def add_rejected(self, connection: Hosted) -> bool:
        """Count a connection over the limit; return False if it must be closed unanswered."""
        if len(self._rejected) >= MAX_REJECTED:
            return False
        self._rejected.add(connection)
        self._all_closed.clear()
        return True

    def remove(self, connection: Hosted) -> None:
        """Stop counting a connection."""
        self._connections.discard(connection)
        self._rejected.discard(connection)
        if not self._connections and not self._rejected:
            self._all_closed.set()

    def to_bytes(self, response: Response, option: str, method: str = "POST") -> bytes:
        """Return a response as bytes; `option` is the Connection header line, or empty."""
        status, headers, body, _ = response
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        start = self._starts.of(status)
        head = f"{start}{fields}Content-Length: {len(body)}\r\n{option}\r\n"
        return head.encode("latin-1") + (body if method != "HEAD" else b"")

    def _accept(self, listener: socket.socket) -> None:
        """Accept HTTPS connections.

        `loop.create_server` would not count connections during their TLS handshake.
        """
        try:
            for _ in range(BACKLOG):
                self._serve_accepted(listener.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # out of file descriptors; retry later
            self.loop.remove_reader(listener)
            self.loop.call_later(LINGER_SECONDS, self._accept_again, listener)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            self.loop.add_reader(listener, self._accept, listener)

    def _serve_accepted(self, accepted: socket.socket) -> None:
        """Serve a connection that was accepted here, and not by the event loop's server."""
        count = len(self._accepting) + len(self._connections) + len(self._rejected)
        if count >= self.limits.max_connections + MAX_REJECTED:
            accepted.close()
            return
        accepted.setblocking(False)
        serving = self._serve_tls(accepted) if self._tls else self._serve_plain(accepted)
        task = self.loop.create_task(serving)
        self._accepting.add(task)
        task.add_done_callback(self._accepted)

    async def _serve_plain(self, accepted: socket.socket, rejected: bytes = b"") -> None:
        """Serve a connection without TLS; `rejected` is what came of a request that needs it."""
        await self.loop.connect_accepted_socket(lambda: Connection(self, rejected), accepted)

    async def _serve_tls(self, accepted: socket.socket) -> None:
        """Serve a connection that begins with a TLS handshake, or say that it should."""
        seconds = self.limits.header_timeout_s
        start = b""
        try:
            start = await first_bytes(accepted, seconds)
        finally:
            if not start:
                accepted.close()
        if is_plain_http(start):
            await self._serve_plain(accepted, start)
        elif start:
            await self.loop.connect_accepted_socket(
                lambda: Connection(self),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )

    def _accepted(self, task: asyncio.Task[None]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: a failed handshake is the client's error

    def _sweep(self) -> None:
        """Check the limits of all connections; one timer for all costs requests nothing."""
        now = self.loop.time()
        unread: dict[int, Hosted] = {}
        for connection in [*self._connections, *self._rejected]:
            if connection.is_timed_out(now):
                connection.time_out()
            elif (descriptor := connection.paused_socket()) is not None:
                unread[descriptor] = connection
        for descriptor in half_closed(unread):
            unread[descriptor].abort()
        self._timer = self.loop.call_later(SWEEP_SECONDS, self._sweep)


class ResponseStarts:
    """Status lines with the headers of every response; rebuilt once a second, for `Date`."""

    def __init__(self) -> None:
        self._second = 0
        self._by_status: dict[int, str] = {}

    def of(self, status: int) -> str:
        """Return the first lines of a response with this status."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._by_status.clear()
        start = self._by_status.get(status)
        if start is None:
            date = formatdate(second, usegmt=True)
            line = f"HTTP/1.1 {status} {responses[status]}\r\n"
            start = self._by_status[status] = f"{line}Date: {date}\r\n{COMMON_FIELDS}"
        return start
