"""The bytes that a connection has received and not used yet."""

from __future__ import annotations

import asyncio

from server.config import HttpSettings
from server.transport.interface import MAX_DISCARDED_BYTES
from server.transport.llhttp.head import (
    END,
    Head,
    HeadTooLong,
    check_incomplete,
    parse_head,
    without_empty_lines,
)


class Inbox:
    """Buffers received bytes, reads requests from them, and pauses reading from the socket.

    Attributes:
        data: the received bytes; empty once all are used.
        position: where the unused part of `data` begins.
        is_reading: whether the event loop reads from the socket.
    """

    __slots__ = ("_discarded", "_transport", "data", "is_reading", "position")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._discarded = 0
        self.data = b""
        self.position = 0
        self.is_reading = True

    def add(self, data: bytes) -> None:
        if self.data:
            self.data = self.data[self.position :] + data
            self.position = 0
        else:
            self.data = data

    def use(self, end: int) -> None:
        """Mark `data` as used up to `end`."""
        if end == len(self.data):
            self.data, self.position = b"", 0
        else:
            self.position = end

    def read_request(self, limits: HttpSettings) -> tuple[Head, bytes | None] | None:
        """Return the next request, or None while its head is incomplete.

        Raises BadRequest, HeadTooLong.

        The body is None when it is incomplete, chunked or too large; then only the head is used.
        """
        data, start = self.data, self.position
        end = data.find(END, start) + len(END)
        if end < len(END) or data[start] in b"\r\n":
            return self._read_unusual(data[start:], limits)
        if end - start > limits.max_header_bytes:
            raise HeadTooLong
        head = parse_head(data[start:end])
        stop = end + head.length
        if len(data) < stop or head.chunked or head.length > limits.max_body_bytes:
            self.use(end)
            return head, None
        if stop == len(data):  # as `use` does; calling it would add 1 % to `Connection`
            self.data, self.position = b"", 0
        else:
            self.position = stop
        return head, data[end:stop]

    def clear(self) -> None:
        self.data = b""
        self.position = 0

    def discard(self, size: int) -> bool:
        """Count discarded bytes; return whether there are too many by now."""
        self._discarded += size
        return self._discarded > MAX_DISCARDED_BYTES

    def steer_reading(self, *, is_busy: bool) -> None:
        """Pause reading while a busy connection has unused bytes; else resume it."""
        reading = not (self.data and is_busy)
        if reading is self.is_reading or self._transport.is_closing():
            return
        self.is_reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _read_unusual(
        self, unread: bytes, limits: HttpSettings
    ) -> tuple[Head, bytes | None] | None:
        """Skip empty lines before a head; check an incomplete head."""
        rest = without_empty_lines(unread)
        self.use(len(self.data) - len(rest))
        if len(rest) < len(unread) and rest:
            return self.read_request(limits)
        check_incomplete(rest)
        if len(rest) > limits.max_header_bytes:
            raise HeadTooLong
        return None

    def beginning(self, size: int) -> bytes:
        """Return the first bytes that are not used yet, at most `size`."""
        return self.data[self.position : self.position + size]
