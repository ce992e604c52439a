"""Half-closed peers, unsent bytes, and how to stop listening without losing a client.

Between the last `accept` and `close` the kernel goes on to complete handshakes, and `close` resets
those connections, although their clients may have sent a request. Linux lets a listening socket
drop the packets that begin a handshake (socket(7), SO_ATTACH_FILTER). Handshakes that have begun
can then be completed and accepted before the socket closes. A client whose packet was dropped sends
it again after a second; its connection is refused then, or accepted by the next process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import select
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

POLL_HALF_CLOSED: Final = getattr(select, "POLLRDHUP", select.POLLHUP)
HANDSHAKE_SECONDS: Final = 0.1  # how long a handshake that has begun may take

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h; Python has no name for it
_FLAGS: Final = 13  # the offset of the flags in the TCP header (RFC 9293, section 3.1)
_SYN: Final = 0x02
_ACK: Final = 0x10
# Classic BPF, linux/filter.h: code, how far to jump where true and where false, operand.
_DROP_SYN: Final = (
    (0x30, 0, 0, _FLAGS),  # load the byte
    (0x54, 0, 0, _SYN | _ACK),  # and
    (0x15, 0, 1, _SYN),  # equal?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)

_RESET: Final = struct.pack("ii", 1, 0)  # wait for unsent bytes, for 0 seconds

log = logging.getLogger(__name__)


class Sender(Protocol):
    """A socket, or what the event loop shows of one."""

    def setsockopt(self, level: int, name: int, value: bytes, /) -> None: ...


def block_new_handshakes(listener: socket.socket) -> None:
    """Drop packets that begin a handshake; does nothing on systems other than Linux.

    Of a Unix socket, the file is removed.
    """
    remove_file_of(listener)
    if listener.family == socket.AF_UNIX or sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    memory = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(memory))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        log.warning(
            "cannot block new handshakes; clients that connect during shutdown may be reset: %s",
            error,
        )


def remove_file_of(listener: socket.socket) -> None:
    """Remove the file of a Unix socket, so that nobody can connect any more; keep connections."""
    if listener.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is gone, or the folder cannot be written any more
            Path(listener.getsockname()).unlink()


def half_closed(descriptors: Iterable[int]) -> list[int]:
    """Return the sockets whose peer has closed its sending side, even with bytes still unread."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, POLL_HALF_CLOSED)
    return [descriptor for descriptor, _ in poll.poll(0)]


def drop_unsent(connection: Sender) -> None:
    """Have the kernel reset the connection when it is closed, and drop what is unsent.

    Else it keeps up to 4 MiB for as long as a client that reads nothing stays.
    """
    with contextlib.suppress(OSError):  # the client has just left
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def unsent_in_kernel(descriptor: int) -> int:
    """Return how many bytes of a TCP connection the peer has not acknowledged yet."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except OSError:  # closed, or a system without this call
        return 0
    return int.from_bytes(answer, sys.byteorder)
