"""What systemd is told: that the service is ready, alive, stopping (sd_notify(3)).

A unit with `Type=notify` gives the service the address of a datagram socket; without one, nothing
is sent. With `WatchdogSec`, systemd restarts the service when it has not heard of it for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

log = logging.getLogger(__name__)

SEND_SECONDS: Final = 1.0  # how long systemd may take to make room for a message
PINGS: Final = 2  # in the time after which systemd restarts a silent service


class Supervisor:
    """Sends messages to systemd.

    Args:
        address: of the socket; a leading `@` is a name that has no file. Empty: nothing is sent.
        watchdog_seconds: how long the service may be silent; 0: for ever.
    """

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._pause = watchdog_seconds / PINGS
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Supervisor:
        """Return the supervisor of this process; its variables are removed.

        So no child of this process sends messages in its name.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        process = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        is_watched = microseconds.isdigit() and process == str(os.getpid())
        return cls(address, int(microseconds) / 1e6 if is_watched else 0.0)

    def ready(self, status: str) -> None:
        """Say that the start is over; `status` is shown by `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Say what the service is doing."""
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the service is shutting down."""
        self._send("STOPPING=1\nSTATUS=shutting down")

    def start_watchdog(self) -> None:
        """Say from now on that the event loop is alive, for as long as it is."""
        if self._pause:
            self._ping(asyncio.get_running_loop())

    def stop_watchdog(self) -> None:
        """Say so no more."""
        if self._timer:
            self._timer.cancel()

    def _ping(self, loop: asyncio.AbstractEventLoop) -> None:
        self._send("WATCHDOG=1")
        self._timer = loop.call_later(self._pause, self._ping, loop)

    def _send(self, message: str) -> None:
        """Send a message; a supervisor that does not listen is none of the service's problems."""
        if not self._address:
            return
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
            sender.settimeout(SEND_SECONDS)
            try:
                sender.sendto(message.encode(), self._address)
            except OSError as error:
                log.warning("systemd cannot be told %s: %s", message.partition("\n")[0], error)
