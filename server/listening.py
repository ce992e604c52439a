"""What the service does before it imports the rest: it reads its settings, and listens.

Importing the rest takes a third of a second. Clients that connect meanwhile are answered after it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tornado.netutil import bind_sockets

from server.config import ConfigError, HttpSettings, Settings, load_settings

BACKLOG: Final = 1024  # connections that the kernel keeps until they are accepted
EXIT_CANNOT_START: Final = 2


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
    """Listen on the address; raises CannotStart when that is not possible."""
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter for names that cannot be looked up
        where = f"{settings.host}, port {settings.port}"
        reason = getattr(error, "strerror", None) or error
        raise CannotStart(f"cannot listen on {where}: {reason}") from error
