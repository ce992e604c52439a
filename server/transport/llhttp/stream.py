"""The bytes of a connection: buffers, back pressure, time limits, and ways to close it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from server.http.outside import UNIX_PEER
from server.transport.interface import LINGER_SECONDS
from server.transport.llhttp.inbox import Inbox
from server.transport.llhttp.interface import Host
from server.transport.llhttp.outbox import Outbox, descriptor_of, fail
from server.transport.llhttp.state import CLOSING, IDLE, State
from server.transport.sockets import drop_unsent

NEVER: Final = float("inf")


class Stream(asyncio.Protocol):
    """What a connection receives and sends, whatever it means.

    All timeouts share one field: the server closes the connection when the loop's clock has passed
    `deadline`.

    Attributes:
        state: what the connection waits for; `State` has the table.
        deadline: when the server closes the connection, by the loop's clock, in seconds.
        protocol: `http` or `https`.
        remote_ip: the address of the client.
    """

    __slots__ = (
        "deadline",
        "host",
        "inbox",
        "outbox",
        "protocol",
        "remote_ip",
        "state",
        "transport",
    )

    def __init__(self, host: Host) -> None:
        self.deadline = NEVER
        self.remote_ip = UNIX_PEER
        self.protocol = "http"
        self.host = host
        self.transport: asyncio.Transport
        self.inbox: Inbox
        self.outbox: Outbox
        self.state: State = IDLE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of it
        self.inbox = Inbox(self.transport)
        self.outbox = Outbox(self.transport)
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.remote_ip = address[0]
        if transport.get_extra_info("ssl_object"):
            self.protocol = "https"
        self.deadline = self.host.loop.time() + self.host.limits.idle_timeout_s

    def connection_lost(self, _: Exception | None) -> None:
        self.outbox.fail_writers()
        self.outbox.release()

    def pause_writing(self) -> None:
        self.outbox.pause()

    def resume_writing(self) -> None:
        self.outbox.resume()
        self.outbox.release_if_sent()

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Send; the future is done when the write buffer has room."""
        future = self.host.loop.create_future()
        return fail(future) if self.state is CLOSING else self.outbox.write(data, future)

    def is_timed_out(self, now: float) -> bool:
        """Return whether a time limit has passed. While a client reads, only a stall counts."""
        unsent = self.outbox.unsent_now()
        if not unsent:
            self.outbox.release()
        stalled = self.outbox.stalled_seconds(unsent, now)
        if stalled is None:
            return self.deadline <= now and not self._body_goes_on(now)
        if not self.outbox.unsent and self.deadline < now:  # all was sent since the last call
            self.deadline = now + LINGER_SECONDS
        return stalled > self.host.limits.body_timeout_s

    def paused_socket(self) -> int | None:
        """Return the file descriptor while reading is paused, and a disconnect goes unnoticed."""
        if self.inbox.is_reading or self.state is CLOSING:
            return None
        return descriptor_of(self.transport)

    def close(self, seconds: float = LINGER_SECONDS) -> None:
        """Close once all that was written is sent.

        Over TLS, wait up to `seconds` for close_notify; idle clients never send it.
        """
        if self.state is CLOSING:
            return
        if not self.inbox.is_reading or self.inbox.data:
            self.linger()
        else:
            self.state = CLOSING
            self.deadline = self.host.loop.time() + seconds
            self.transport.close()

    def linger(self) -> None:
        """Close our side, and discard what still arrives.

        Closing with data unread resets the connection, and the client loses its last answer.
        """
        self.state = CLOSING
        self.inbox.clear()
        self.deadline = self.host.loop.time() + LINGER_SECONDS
        if not self.transport.can_write_eof():  # TLS sends close_notify instead
            self.transport.close()
            return
        with contextlib.suppress(OSError):  # of asyncio's transport, if the client has reset it
            self.transport.write_eof()
        self.inbox.steer_reading(is_busy=False)

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self.state = CLOSING
        drop_unsent(self.transport.get_extra_info("socket"))
        self.transport.abort()

    def _body_goes_on(self, now: float) -> bool:
        """Return whether a body arrives fast enough; then it has as much time again."""
        raise NotImplementedError
