"""Tornado's streams, which can end with an answer that their client is sure to read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any, Final, Protocol

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError, UnsatisfiableReadError
from tornado.log import gen_log

from server.http.outside import UNIX_PEER
from server.transport.interface import LINGER_SECONDS

# What Tornado answers to bytes that are not HTTP; it has no hook for this.
TORNADO_REFUSAL: Final = b"HTTP/1.1 400 Bad Request\r\n\r\n"
# Beginnings of what Tornado logs about them, at level info.
_ABOUT_CLIENTS: Final = ("Malformed HTTP message from", "Unsatisfiable read, closing")


class Owner(Protocol):
    """What a stream needs of its server."""

    def answer_to_long_line(self, stream: IOStream) -> bytes:
        """Return the answer to a head or a line of a body that is too long."""

    def answer_to_no_http(self, stream: IOStream) -> bytes:
        """Return the answer to bytes that Tornado has rejected."""

    def answer_and_close(self, stream: IOStream, answer: bytes) -> None:
        """Send an answer, and close the stream once its client has read it."""


class Stream(IOStream):
    """A connection without TLS.

    Tornado closes a connection with bytes unread, which resets it, and the client loses the answer.
    So `end_with` closes the stream, and lets its socket live until the answer has been read.
    """

    def __init__(self, connection: socket.socket, owner: Owner) -> None:
        super().__init__(connection)
        self._owner = owner
        self._answer = b""

    def end_with(self, answer: bytes) -> None:
        """Close the stream; its client still gets `answer`."""
        self._answer = answer
        self.close()

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        if data == TORNADO_REFUSAL and not self.closed():
            data = self._owner.answer_to_no_http(self)
        return super().write(data)

    def close_fd(self) -> None:
        """Close the socket, or give it to the stream that sends the answer."""
        if isinstance(self.error, UnsatisfiableReadError):
            self._answer = self._owner.answer_to_long_line(self)
        if not self._answer:
            super().close_fd()
            return
        connection: Any = self.socket
        self.socket = None  # type: ignore[assignment]  # as Tornado's own does
        self._owner.answer_and_close(type(self)(connection, self._owner), self._answer)


class TLSStream(Stream, SSLIOStream):
    """A connection with TLS."""


async def send_and_linger(stream: IOStream, answer: bytes) -> None:
    """Send an answer, discard what still arrives, and close."""
    with contextlib.suppress(StreamClosedError, TimeoutError, OSError):
        async with asyncio.timeout(LINGER_SECONDS):
            # Shielded: Tornado does not expect that its own future is cancelled.
            await asyncio.shield(stream.write(answer))
            stream.socket.shutdown(socket.SHUT_WR)
            while True:
                await stream.read_bytes(65_536, partial=True)
    stream.close()


def client_of(connection: socket.socket) -> str:
    """Return the address of the client."""
    try:
        address = connection.getpeername()
    except OSError:  # it has disconnected
        return "unknown"
    return str(address[0]) if isinstance(address, tuple) else UNIX_PEER


def unread_bytes(stream: IOStream) -> int:
    """Return how many bytes the client has sent and nobody has used."""
    return stream._read_buffer_size


def beginning_of(stream: IOStream, size: int) -> bytes:
    """Return the first bytes that the client has sent and nobody has used, at most `size`."""
    return bytes(stream._read_buffer[:size])


def is_in_tls_handshake(stream: IOStream) -> bool:
    """Return whether the TLS handshake of a stream is still in progress."""
    return isinstance(stream, SSLIOStream) and stream._ssl_accepting


def demote_lines_about_clients() -> None:
    """Have Tornado's lines about bytes that are not HTTP at level debug, as on llhttp."""
    gen_log.addFilter(_demote)


def _demote(record: logging.LogRecord) -> bool:
    if not str(record.msg).startswith(_ABOUT_CLIENTS):
        return True
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return gen_log.isEnabledFor(logging.DEBUG)
