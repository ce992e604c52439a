"""A process that the main process has started: its socket, its log and its end.

The main process starts it with exec. It inherits one end of a Unix socket and the standard streams,
and ends as soon as the other end of the socket is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Final, NoReturn

from model.process.channel import Channel
from model.process.protocol import LOG

MAX_TEXT: Final = 8_000  # most characters of an error, a traceback or a log record
OOM_SCORE_ADJ: Final = 500  # the kernel ends this process before the main one

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def connect(arguments: list[str]) -> Channel:
    """Return the channel to the main process, and end with it; log records go there, too.

    `arguments` are the socket's descriptor and the parent's process id. Raises EOFError,
    ConnectionError.
    """
    descriptor, parent = map(int, arguments)
    end_with_parent(parent)
    ignore_signals()
    be_killed_first()
    faulthandler.enable()
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=end_with_socket, args=[connection], daemon=True).start()
    channel = Channel(connection)
    log = logging.getLogger()
    log.addHandler(ChannelHandler(channel))
    log.setLevel(logging.INFO)
    return channel


def end() -> NoReturn:
    """End this process without waiting for threads of libraries."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def trace_of(error: BaseException) -> str:
    """Return the end of an exception's traceback."""
    return "".join(traceback.format_exception(error))[-MAX_TEXT:]


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before prctl was called
        os._exit(0)


def end_with_socket(connection: socket.socket) -> None:
    """End this process when the other end of its socket is closed, even during a call."""
    poll = select.poll()
    poll.register(connection, getattr(select, "POLLRDHUP", 0))  # POLLHUP is always reported
    poll.poll()
    os._exit(0)


def ignore_signals() -> None:
    """Leave signals to the main process, which ends this one after the last answer."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # they were blocked until here


def be_killed_first(score: int = OOM_SCORE_ADJ) -> None:
    """Have the kernel kill this process before those of a lower score when memory runs out."""
    with contextlib.suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text(str(score))


class ChannelHandler(logging.Handler):
    """Sends log records to the main process, which writes them to the service's log."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)[:MAX_TEXT]
            self._channel.send(LOG, level=record.levelno, text=text)
        except OSError:  # the main process has ended
            return
        except Exception:  # the record cannot be formatted
            self.handleError(record)
