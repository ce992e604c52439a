"""Half-closed peers, unsent bytes, and how to stop listening without losing a client.

Between the last `accept` and `close` the system goes on to complete handshakes, and `close` resets
those connections: their clients have been let in, and may have sent a request. Linux lets a
listening socket drop the packets that begin a handshake (socket(7), SO_ATTACH_FILTER), so that
those already begun can be completed and accepted before it closes. A client whose packet was
dropped sends it again after a second: it is refused then, or meets the service's next process.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import select
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from typing import Final

POLL_HALF_CLOSED: Final = getattr(select, "POLLRDHUP", select.POLLHUP)
HANDSHAKE_SECONDS: Final = 0.1  # what a handshake that has begun may take

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

log = logging.getLogger(__name__)


def block_new_handshakes(listener: socket.socket) -> None:
    """Let no new handshake begin; where the system cannot do that, the risk stays."""
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    memory = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(memory))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        log.warning("a client that connects while listening ends may be reset: %s", error)


def half_closed(descriptors: Iterable[int]) -> list[int]:
    """Return the sockets whose other end has closed its sending side, whatever is still unread."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, POLL_HALF_CLOSED)
    return [descriptor for descriptor, _ in poll.poll(0)]


def unsent_in_kernel(descriptor: int) -> int:
    """Return how many bytes of a TCP connection its other end has not acknowledged yet."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except OSError:  # closed, or a system that does not tell
        return 0
    return int.from_bytes(answer, sys.byteorder)
