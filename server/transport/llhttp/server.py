"""The server: its sockets, its connections, and what they share."""

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
from server.transport.interface import (
    BACKLOG,
    LINGER_SECONDS,
    MAX_TURNED_AWAY,
    SWEEP_SECONDS,
    EndpointLookup,
)
from server.transport.llhttp.connection import Connection
from server.transport.llhttp.interface import Hosted
from server.transport.sockets import half_closed

SHUTDOWN_SECONDS: Final = 3600.0  # the sweep cuts who takes nothing; a slow client has its time


class LlhttpServer:
    """Carries requests: those of `endpoints` straight to them, all others through Tornado.

    Args:
        application: answers what no endpoint does.
        limits: how much, and how slowly, a client may send.
        endpoints: by method and path.
        activity: follows the requests in progress.
        log_access: writes the line of a request that an endpoint answered.
        tls: makes the connections HTTPS.
    """

    def __init__(
        self,
        application: Application,
        limits: HttpSettings,
        endpoints: EndpointLookup,
        activity: Activity,
        log_access: LogAccess,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.application = application
        self.endpoints = endpoints
        self.activity = activity
        self.limits = limits
        self.log_access = log_access
        self.closes_after_answers = False
        self.loop = asyncio.get_running_loop()
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Hosted] = set()
        self._turned_away: set[Hosted] = set()
        self._accepting: set[asyncio.Task[object]] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._beginnings = Beginnings()
        self._timer = self.loop.call_later(SWEEP_SECONDS, self._sweep)

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections on sockets that are bound."""
        self._sockets = sockets
        for each in sockets:
            if self._tls:
                self.loop.add_reader(each, self._accept, each)
                continue
            server = await self.loop.create_server(
                lambda: Connection(self),
                sock=each.dup(),  # the loop closes its own
                backlog=BACKLOG,
            )
            self._servers.append(server)

    def close_after_answers(self) -> None:
        """Answer every request from now on with `Connection: close`."""
        self.closes_after_answers = True

    def stop(self) -> None:
        """Stop listening, once what the system has accepted for us is ours."""
        for server in self._servers:
            server.close()
        for listener in self._sockets:
            self.loop.remove_reader(listener)
            with contextlib.suppress(OSError):  # none is left
                while True:
                    self._take_over(listener.accept()[0])
            listener.close()
        self._sockets = []

    async def close_all_connections(self) -> None:
        """Close connections, and wait until all answers have been sent."""
        if self._accepting:
            _, late = await asyncio.wait(self._accepting, timeout=LINGER_SECONDS)
            for task in late:
                task.cancel()
        for connection in list(self._connections | self._turned_away):
            connection.close()
        await self._all_closed.wait()
        self._timer.cancel()

    def admit(self, connection: Hosted) -> bool:
        """Count a new connection, unless there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        self._all_closed.clear()
        return True

    def turns_away(self, connection: Hosted) -> bool:
        """Tell whether there is time for a word of refusal to a connection that is one too many."""
        if len(self._turned_away) >= MAX_TURNED_AWAY:
            return False
        self._turned_away.add(connection)
        self._all_closed.clear()
        return True

    def forget(self, connection: Hosted) -> None:
        """Stop counting a connection."""
        self._connections.discard(connection)
        self._turned_away.discard(connection)
        if not self._connections and not self._turned_away:
            self._all_closed.set()

    def to_bytes(self, response: Response, option: str, method: str = "POST") -> bytes:
        """Return an endpoint's answer as a message; `option` is a header line or nothing."""
        status, headers, body = response
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        beginning = self._beginnings.of(status)
        head = f"{beginning}{fields}Content-Length: {len(body)}\r\n{option}\r\n"
        return head.encode("latin-1") + (body if method != "HEAD" else b"")

    def _accept(self, listener: socket.socket) -> None:
        """Take over what will be encrypted.

        A server of the loop's own would not count connections before they are.
        """
        try:
            for _ in range(BACKLOG):
                self._take_over(listener.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:  # out of file descriptors: some will come back
            self.loop.remove_reader(listener)
            self.loop.call_later(LINGER_SECONDS, self._accept_again, listener)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            self.loop.add_reader(listener, self._accept, listener)

    def _take_over(self, accepted: socket.socket) -> None:
        """Serve a connection that was accepted by hand."""
        count = len(self._accepting) + len(self._connections) + len(self._turned_away)
        if count >= self.limits.max_connections + MAX_TURNED_AWAY:
            accepted.close()
            return
        accepted.setblocking(False)
        task = self.loop.create_task(
            self.loop.connect_accepted_socket(
                lambda: Connection(self),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.header_timeout_s if self._tls else None,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS if self._tls else None,
            )
        )
        self._accepting.add(task)
        task.add_done_callback(self._accepted)

    def _accepted(self, task: asyncio.Task[object]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # a client that does not know TLS is no error of ours

    def _sweep(self) -> None:
        """Look at all connections; one timer for all of them costs requests nothing."""
        now = self.loop.time()
        unread: dict[int, Hosted] = {}
        for connection in [*self._connections, *self._turned_away]:
            if connection.is_over(now):
                connection.cut()
            elif (descriptor := connection.unread_socket()) is not None:
                unread[descriptor] = connection
        for descriptor in half_closed(unread):
            unread[descriptor].cut()
        self._timer = self.loop.call_later(SWEEP_SECONDS, self._sweep)


class Beginnings:
    """The status line and the fields that every answer has; made once a second, for the date."""

    def __init__(self) -> None:
        self._second = 0
        self._by_status: dict[int, str] = {}

    def of(self, status: int) -> str:
        """Return the lines with which an answer of this status begins."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._by_status.clear()
        beginning = self._by_status.get(status)
        if beginning is None:
            date = formatdate(second, usegmt=True)
            line = f"HTTP/1.1 {status} {responses[status]}\r\n"
            beginning = self._by_status[status] = f"{line}Date: {date}\r\n{COMMON_FIELDS}"
        return beginning
