"""Decoders of request bodies that arrive in pieces."""

from __future__ import annotations

import re
from typing import Final, Protocol

from server.transport.llhttp.head import TOKEN, BadRequest

BYTES_PER_TURN: Final = (
    16 * 2**10
)  # bytes of chunks decoded at a time; chunks of one byte each take 2 ms
MAX_LINE_BYTES: Final = 4 * 2**10
MAX_EXTRA_BYTES: Final = 16 * 2**10

_CRLF: Final = b"\r\n"
_PLAIN_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_QUOTED: Final = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~])*\""
_EXTENSION: Final = rb";[ \t]*%b(?:=(?:%b|%b))?" % (TOKEN, TOKEN, _QUOTED)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})((?:%b)*)\r\n" % _EXTENSION)
_TRAILER: Final = re.compile(rb"(?:%b:[\t -~\x80-\xff]*)?\r\n" % TOKEN)
_UNFINISHED: Final = re.compile(rb"[\t -~\x80-\xff]*\r?")


class Body(Protocol):
    """A body that is arriving.

    Attributes:
        size: how many bytes of it have arrived.
        is_complete: its end has arrived.
    """

    size: int
    is_complete: bool

    def feed(self, data: bytes, start: int) -> int:
        """Decode what has arrived, from `start`; return the position behind the decoded part.

        That is the end of the body once it is complete. Before, it is the end of `data`, or less
        when decoding more would block the event loop for too long. Raises BadRequest.
        """

    def take(self) -> bytes:
        """Return and remove what was decoded since the last call."""


class LengthBody:
    """A body with a Content-Length."""

    def __init__(self, length: int) -> None:
        self.size = 0
        self.is_complete = False
        self._parts: list[bytes] = []
        self._missing = length

    def feed(self, data: bytes, start: int) -> int:
        part = data[start : start + self._missing]
        self._parts.append(part)
        self.size += len(part)
        self._missing -= len(part)
        self.is_complete = not self._missing
        return start + len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class ChunkedBody:
    """A body in chunks (RFC 9112, section 7.1); extensions and trailers are dropped.

    Does not use llhttp, which does not report where in its input a body ended, and would have to
    be fed in small pieces, one up to each possible end.
    """

    def __init__(self) -> None:
        self.size = 0
        self.is_complete = False
        self._content = bytearray()  # and no list: there can be millions of chunks
        self._missing = 0  # bytes of the chunk that has begun
        self._in_chunk = False  # the line end behind the content has not arrived
        self._in_trailers = False
        self._extra = 0  # bytes of extensions and trailers
        self._rest = b""  # an incomplete line

    def feed(self, data: bytes, start: int) -> int:
        stop = min(len(data), start + BYTES_PER_TURN)
        piece = self._rest + data[start:stop]
        used = self._decode(piece)
        if self.is_complete:
            return stop - (len(piece) - used)
        self._rest = piece[used:]
        return stop

    def take(self) -> bytes:
        content, self._content = self._content, bytearray()
        return bytes(content)

    def _decode(self, piece: bytes) -> int:
        """Decode as much as possible; return the position behind it."""
        position = 0
        while position < len(piece) and not self.is_complete:
            if self._in_trailers:
                next_position = self._read_trailer(piece, position)
            elif self._in_chunk:
                next_position = self._read_content(piece, position)
            else:
                position = self._read_whole_chunks(piece, position)
                next_position = self._read_size(piece, position)
            if next_position == position:
                break
            position = next_position
        return position

    def _read_whole_chunks(self, piece: bytes, position: int) -> int:
        """Decode complete chunks without extensions, by far the most common ones."""
        while line := _PLAIN_SIZE.match(piece, position):
            start = line.end()
            end = start + int(line[1], 16)
            if end == start or piece[end : end + 2] != _CRLF:
                break
            self._content += piece[start:end]
            self.size += end - start
            position = end + 2
        return position

    def _read_size(self, piece: bytes, position: int) -> int:
        line = _match(_SIZE, piece, position)
        if not line:
            return position
        self._missing = int(line[1], 16)
        self._in_chunk = self._missing > 0
        self._in_trailers = not self._in_chunk
        self._count_extra(len(line[2]))
        return line.end()

    def _read_content(self, piece: bytes, position: int) -> int:
        """Decode content, and the line end behind it once both are there."""
        if self._missing:
            content = piece[position : position + self._missing]
            self._content += content
            self.size += len(content)
            self._missing -= len(content)
            position += len(content)
        if self._missing:
            return position
        end = piece[position : position + 2]
        if end == _CRLF:
            self._in_chunk = False
            return position + 2
        if not _CRLF.startswith(end):
            raise BadRequest
        return position

    def _read_trailer(self, piece: bytes, position: int) -> int:
        line = _match(_TRAILER, piece, position)
        if not line:
            return position
        self.is_complete = line.end() == position + len(_CRLF)
        self._count_extra(line.end() - position)
        return line.end()

    def _count_extra(self, size: int) -> None:
        self._extra += size
        if self._extra > MAX_EXTRA_BYTES:
            raise BadRequest


def _match(pattern: re.Pattern[bytes], piece: bytes, position: int) -> re.Match[bytes] | None:
    """Match a line; None when its end has not arrived. Raises BadRequest."""
    line = pattern.match(piece, position)
    end = line.end() if line else len(piece)
    if end - position > MAX_LINE_BYTES or not (line or _UNFINISHED.fullmatch(piece, position)):
        raise BadRequest
    return line
