"""The life cycle of a model process: start, load a model, answer calls, end.

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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from model.engines.interface import Engine
from model.formats.files import ModelError
from model.process.channel import Channel
from model.process.cores import usable_cores, use_cores, use_one_core
from model.process.messages import Message
from model.process.prepare import LoadRequest, NotServable, Report, prepare
from model.process.protocol import (
    ANSWER,
    ERROR,
    FAILED,
    LOG,
    PROGRESS,
    READY,
    load_request,
    report_fields,
)

MAX_TEXT: Final = 8_000  # most characters of an error, a traceback or a log record
OOM_SCORE_ADJ: Final = 500  # the kernel ends this process before the main one

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

Load = Callable[[LoadRequest], Engine]


def main(load: Load, arguments: list[str]) -> None:
    """Run a model process; `arguments` are the socket's descriptor and the parent's process id."""
    descriptor, parent = map(int, arguments)
    end_with_parent(parent)
    ignore_signals()
    be_killed_first()
    faulthandler.enable()
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=end_with_socket, args=[connection], daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        channel = Channel(connection)
        log = logging.getLogger()
        log.addHandler(ChannelHandler(channel))
        log.setLevel(logging.INFO)
        engine = load_engine(channel, load)
        while engine:
            answer(channel, engine, channel.receive())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without waiting for TensorFlow's threads


def load_engine(channel: Channel, load: Load) -> Engine | None:
    """Load what the main process requests, and send a report; None if loading failed."""
    request = with_threads(load_request(channel.receive()))
    cores = use_one_core() if request.beside_others else set()
    try:
        engine, report = prepare(load, request, lambda step: channel.send(PROGRESS, step=step))
        use_cores(cores)
        send_report(channel, report)
    except BaseException as error:
        channel.send(FAILED, reason=reason(error, request), detail=trace_of(error))
        return None
    return engine


def with_threads(request: LoadRequest) -> LoadRequest:
    """Choose the number of threads, before this process is restricted to one core."""
    threads = request.options.threads or max(1, usable_cores() // request.replicas)
    return replace(request, options=replace(request.options, threads=threads))


def send_report(channel: Channel, report: Report) -> None:
    fields, arrays = report_fields(report)
    channel.send(READY, arrays, **fields)


def answer(channel: Channel, engine: Engine, message: Message) -> None:
    """Call the network with the arrays of a message; send its outputs, or its error."""
    try:
        reply = channel.pack(ANSWER, engine.call(message.arrays))
    except BaseException as error:
        text = " ".join(str(error).split())[:MAX_TEXT]
        reply = channel.pack(ERROR, type=type(error).__name__, text=text, trace=trace_of(error))
    channel.send_packed(reply)


def reason(error: BaseException, request: LoadRequest) -> str:
    """Return why a version was not loaded, with the name of its file."""
    shown = request.shown_path or request.path
    if isinstance(error, ModelError | NotServable):
        text = str(error)
    else:
        text = f"{shown}: cannot be served: {type(error).__name__}: {error}"
    return " ".join(text.replace(request.path, shown).split())[:MAX_TEXT]


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


def be_killed_first() -> None:
    """Have the kernel kill this process before the main one when memory runs out."""
    with contextlib.suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))


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
