"""What the service does before it imports the rest: it reads its settings, and listens.

Importing the rest takes a third of a second. Clients that connect meanwhile are answered after it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tornado.netutil import bind_sockets

from server.config import ConfigError, HttpSettings, Settings, load_settings
from server.config.settings import UNIX

BACKLOG: Final = 1024  # connections that the kernel keeps until they are accepted
EXIT_CANNOT_START: Final = 2
PROBE_SECONDS: Final = 1.0  # a server that does not accept for so long is one all the same
UNIX_MODE: Final = 0o660  # the user and the group of the service may connect


class CannotStart(Exception):
    """One line that says why the service does not start."""


class Listening(NamedTuple):
    """A service that listens, and answers nobody yet.

    Attributes:
        read: reads the settings again; raises ConfigError.
    """

    settings: Settings
    sockets: list[socket.socket]
    read: Callable[[], Settings]


def listen(arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> Listening:
    """Read the settings, and listen on their address; raises CannotStart."""
    read = partial(load_settings, arguments, environ, folder)
    try:
        settings = read()
    except ConfigError as error:
        raise CannotStart(str(error)) from error
    return Listening(settings, bind(settings.http), read)


def bind(settings: HttpSettings) -> list[socket.socket]:
    """Listen on all addresses; raises CannotStart when that is not possible.

    If the port is 0, the one that is picked for the first address is used for all.
    """
    sockets: list[socket.socket] = []
    port = settings.port
    for address in settings.addresses:
        is_unix = address.startswith(UNIX)
        try:
            sockets += [_bind_unix(address)] if is_unix else _bind_tcp(address, port)
        except (OSError, ValueError) as error:  # UnicodeError: a name that cannot be looked up
            where = address if is_unix else f"{address}, port {port}"
            reason = getattr(error, "strerror", None) or error
            raise CannotStart(f"cannot listen on {where}: {reason}") from error
        if not is_unix:
            port = sockets[-1].getsockname()[1]
    return sockets


def _bind_tcp(address: str, port: int) -> list[socket.socket]:
    """Listen on an address; on `::`, in a socket for each family that the system has."""
    sockets = bind_sockets(port, None if address == "::" else address, backlog=BACKLOG)
    if not sockets:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return sockets


def _bind_unix(address: str) -> socket.socket:
    """Listen on a Unix socket, in place of one that a process has left behind."""
    path = Path(address.removeprefix(UNIX))
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        is_deserted = probe.connect_ex(str(path)) == errno.ECONNREFUSED
    if is_deserted and path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(UNIX_MODE)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket, scheme: str) -> str:
    """Return where a socket listens: `http://127.0.0.1:8888`, `unix:/path`."""
    if listener.family == socket.AF_UNIX:
        return f"{UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
