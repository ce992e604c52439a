"""The bytes that a connection has written and its client has not read yet."""

from __future__ import annotations

import asyncio
from typing import Final

from tornado.iostream import StreamClosedError

from server.http.message import ReservedMemory
from server.transport.sockets import unsent_in_kernel

MAX_UNSENT: Final = 64 * 2**10  # bytes; while more wait for the client, no request is read


class Outbox:
    """Back pressure: writers wait while the write buffer is full; stalled clients are detected.

    The memory of answers stays reserved until the write buffer is empty.

    Attributes:
        is_writable: whether the write buffer has room.
        unsent: the number of unsent bytes at the last call of `stalled_seconds`.
    """

    __slots__ = (
        "_is_encrypted",
        "_reserved",
        "_stalled_since",
        "_transport",
        "_writers",
        "is_writable",
        "unsent",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_encrypted = bool(transport.get_extra_info("ssl_object"))
        # Writing goes on, and memory is released, when all is sent.
        transport.set_write_buffer_limits(high=MAX_UNSENT, low=0)
        self._writers: list[asyncio.Future[None]] = []
        self._reserved: list[ReservedMemory] = []
        self._stalled_since = 0.0
        self.is_writable = True
        self.unsent = 0

    def write(self, data: bytes, future: asyncio.Future[None]) -> asyncio.Future[None]:
        """Send, and return `future`: it completes when the write buffer has room."""
        self._transport.write(data)
        if self.is_writable:
            future.set_result(None)
        else:
            self._writers.append(future)
        return future

    def keep(self, reserved: ReservedMemory) -> None:
        """Keep the memory of an answer reserved that was just written."""
        self._reserved.append(reserved)

    def release_if_sent(self) -> None:
        """Release the memory of all answers if nothing is unsent."""
        if self._reserved and not self.unsent_now():
            self.release()

    def release(self) -> None:
        """Release the memory of all answers: they are sent, or the connection is closed."""
        for each in self._reserved:
            each.release()
        self._reserved.clear()

    def pause(self) -> None:
        """Let writers wait: the write buffer is full."""
        self.is_writable = False

    def resume(self) -> None:
        """Wake waiting writers: the write buffer has room."""
        self.is_writable = True
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    def fail_writers(self) -> None:
        """Raise StreamClosedError in waiting writers: the connection is closed."""
        writers, self._writers = self._writers, []
        for writer in writers:
            fail(writer)

    def stalled_seconds(self, unsent: int, now: float) -> float | None:
        """Return for how long the client has read nothing, though `unsent` bytes wait for it.

        None when nothing is unsent, and nothing was at the last call.
        """
        if not unsent and not self.unsent:
            return None
        if unsent != self.unsent:
            self.unsent, self._stalled_since = unsent, now
        return now - self._stalled_since

    def unsent_now(self) -> int:
        """Return how many bytes wait for the client, 0 if the kernel has all of them.

        What the kernel still has is counted, too, because it asks for more only when a third of its
        buffer is free: a slow client has then read megabytes. Over TLS the event loop does not say
        how many encrypted bytes it has, so the kernel must have sent all.
        """
        unsent = self._transport.get_write_buffer_size()
        if unsent or self._is_encrypted:
            unsent += unsent_in_kernel(descriptor_of(self._transport))
        return unsent


def descriptor_of(transport: asyncio.Transport) -> int:
    """Return the file descriptor of a connection's socket."""
    return int(transport.get_extra_info("socket").fileno())


def fail(writer: asyncio.Future[None]) -> asyncio.Future[None]:
    """Raise StreamClosedError in a writer, as Tornado's streams do."""
    if not writer.done():
        writer.set_exception(StreamClosedError())
        writer.exception()  # a writer that is not awaited must not be reported as forgotten
    return writer
