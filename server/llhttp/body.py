"""Bodies as they arrive."""

from __future__ import annotations

from typing import Final, Protocol

from httptools import HttpParserError, HttpRequestParser

from server.llhttp.head import END, BadRequest


class Body(Protocol):
    """A body on its way; `size` is how many bytes of it have arrived."""

    size: int

    def feed(self, data: bytes) -> bytes | None:
        """Take what has arrived; return what is beyond the body's end, None before that."""

    def take(self) -> bytes:
        """Hand over what has arrived since the last time."""


class LengthBody:
    """A body whose length was declared."""

    def __init__(self, length: int) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._missing = length

    def feed(self, data: bytes) -> bytes | None:
        """Count down."""
        part = data[: self._missing]
        self._parts.append(part)
        self.size += len(part)
        self._missing -= len(part)
        return None if self._missing else data[len(part) :]

    def take(self) -> bytes:
        """Join the parts."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class ChunkedBody:
    """A body in chunks; extensions and trailers are dropped.

    The parser is fed up to one empty line at a time, because a body ends with one, and the parser
    does not tell where in its input that was.
    """

    _HEAD: Final = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    def __init__(self) -> None:
        self.size = 0
        self._content = bytearray()  # and no list: there can be millions of chunks
        self._is_complete = False
        self._last = b""  # the last bytes fed, which may hold the beginning of an empty line
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(self._HEAD)

    def feed(self, data: bytes) -> bytes | None:
        """Decode; raises BadRequest."""
        start = 0
        while start < len(data):
            stop = self._cut(data, start)
            try:
                self._parser.feed_data(data[start:stop])
            except HttpParserError:
                raise BadRequest from None
            if self._is_complete:
                return data[stop:]
            self._last = (self._last + data[start:stop])[1 - len(END) :]
            start = stop
        return None

    def take(self) -> bytes:
        """Copy the content."""
        content, self._content = self._content, bytearray()
        return bytes(content)

    def on_body(self, part: bytes) -> None:
        """Hear of a part from the parser."""
        self._content += part
        self.size += len(part)

    def on_message_complete(self) -> None:
        """Hear of the end from the parser."""
        self._is_complete = True

    def _cut(self, data: bytes, start: int) -> int:
        """Return where the next empty line ends in `data`, or its length."""
        overlap = self._last + data[start : start + len(END) - 1]
        end = overlap.find(END)
        if end >= 0:
            return start + end + len(END) - len(self._last)
        end = data.find(END, start)
        return len(data) if end < 0 else end + len(END)
