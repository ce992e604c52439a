"""The socket on which systemd listens to a service (sd_notify(3))."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager


@contextmanager
def listening_as_systemd(address: str, seconds: float) -> Iterator[socket.socket]:
    """Listen at an address, whose messages may take so long."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(address)
        listener.settimeout(seconds)
        yield listener
