"""What is written to a connection and not sent yet."""

from __future__ import annotations

import asyncio

from tornado.iostream import StreamClosedError


class Outbox:
    """The unsent bytes of a connection: writers that wait for room, clients that take nothing.

    Attributes:
        is_writable: there is room for more.
        unsent: how many bytes were unsent when `stalled_seconds` was last called.
    """

    __slots__ = (
        "_stalled_since",
        "_transport",
        "_writers",
        "is_writable",
        "unsent",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writers: list[asyncio.Future[None]] = []
        self._stalled_since = 0.0
        self.is_writable = True
        self.unsent = 0

    def write(self, data: bytes, future: asyncio.Future[None]) -> None:
        """Send; complete `future` when there is room for more."""
        self._transport.write(data)
        if self.is_writable:
            future.set_result(None)
        else:
            self._writers.append(future)

    def pause(self) -> None:
        """Let writers wait from now on: the transport's buffer is full."""
        self.is_writable = False

    def resume(self) -> None:
        """Let waiting writers go on: the transport's buffer has room."""
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
        """Return for how long the client has taken none of its unsent bytes.

        None when nothing is unsent, and nothing was at the last call.
        """
        if not unsent and not self.unsent:
            return None
        if unsent != self.unsent:
            self.unsent, self._stalled_since = unsent, now
        return now - self._stalled_since


def fail(writer: asyncio.Future[None]) -> asyncio.Future[None]:
    """Raise StreamClosedError in a writer, as Tornado's streams do."""
    if not writer.done():
        writer.set_exception(StreamClosedError())
        writer.exception()  # a writer that is not awaited must not be reported as forgotten
    return writer
