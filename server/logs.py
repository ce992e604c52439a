"""What is written: the application log, a line for every request, a JSON line for every answer."""

from __future__ import annotations

import contextlib
import copy
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import lru_cache
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, Final

import orjson

from server.dialects.interface import Side
from server.dialects.redaction import REDACTED, Redacted, redact_all
from server.line_writer import LineWriter
from server.log_format import Form, Stamp, traceback_of
from server.sinks import NO_FD, STANDARD_ERROR

log = logging.getLogger("server")

FLUSH_SECONDS: Final = 2.0
BUFFERED_RECORDS: Final = 10_000
LF: Final = 0x0A  # bytes find a number in them five times as fast as they find bytes
CR: Final = 0x0D
MAX_ACCESS_BYTES: Final = 400  # of a line: whatever a client sends, it fills no disk


# The application log.


def configure(level: str, form: Form) -> threading.Lock:
    """Send the application log to standard error, warnings of Python too; safe to call again.

    `level` is a word of `logging.level`. Returns the turn of those who write there.
    """
    turn = threading.Lock()
    handler = _TakingTurns(turn)
    handler.set_name("application")
    handler.setFormatter(form.formatter)
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.name == handler.name]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    return turn


def write_in_background() -> Callable[[float], bool]:
    """Let a thread write the application log: a standard error that nobody reads blocks nobody.

    Records that find the buffer full are dropped. Returns a function that waits, for at most so
    many seconds, until what was logged is written, and tells whether it is.
    """
    root = logging.getLogger()
    records: Queue[logging.LogRecord] = Queue(BUFFERED_RECORDS)
    QueueListener(records, *root.handlers).start()  # its thread is a daemon
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_DroppingQueueHandler(records))

    def flush(seconds: float) -> bool:
        with records.all_tasks_done:
            return records.all_tasks_done.wait_for(lambda: not records.unfinished_tasks, seconds)

    return flush


def log_what_nobody_catches(flush: Callable[[float], bool]) -> None:
    """Log exceptions that end the process, or a thread, as all others: with `flush` before it ends.

    Python alone writes them on many lines.
    """

    def end_process(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.critical("a mistake of ours ends the process", exc_info=(kind, error, trace))
        flush(FLUSH_SECONDS)

    def end_thread(it: threading.ExceptHookArgs) -> None:
        if it.exc_value is not None and not issubclass(it.exc_type, SystemExit):
            name = it.thread.name if it.thread else "?"
            log.critical("a mistake of ours ends the thread %s", name, exc_info=it.exc_value)

    sys.excepthook = end_process
    threading.excepthook = end_thread


class _TakingTurns(logging.StreamHandler[Any]):
    """Standard error, which the access log writes to as well: no line gets into another."""

    def __init__(self, turn: AbstractContextManager[object]) -> None:
        super().__init__(sys.stderr)
        self._turn = turn

    def emit(self, record: logging.LogRecord) -> None:
        with self._turn:
            super().emit(record)


class _DroppingQueueHandler(QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a record that nobody changes any more; its traceback stays a part of its own."""
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        record.exc_text, record.stack_info = traceback_of(_PLAIN, record), None
        record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a record over, unless the writer is too far behind."""
        with contextlib.suppress(Full):
            self.queue.put_nowait(record)


_PLAIN: Final = logging.Formatter()


# The access log.


class AccessLog:
    """One line on standard error for every finished request, in the form of the application log."""

    def __init__(
        self, form: Form, turn: AbstractContextManager[object], destination: str | int | None = None
    ) -> None:
        if destination is None:  # one that was closed before the start may be any other file by now
            destination = STANDARD_ERROR if sys.__stderr__ else NO_FD
        self._line = form.access
        self._lines = LineWriter(destination, "access", turn=turn)
        self.close = self._lines.close

    def write(
        self, method: str, path: str, status: int, seconds: float, request_id: str, client: str
    ) -> None:
        """Hand over one line; never blocks. Call it from one thread only."""
        path = path[:MAX_ACCESS_BYTES]
        now = time.time()
        line = self._line(now, method, path, status, seconds, request_id, client)
        while len(line) > MAX_ACCESS_BYTES and len(path) > 1:
            method, path = method[:20], f"{path.removesuffix('…')[: -1 - len(path) // 10]}…"
            line = self._line(now, method, path, status, seconds, request_id, client)
        self._lines.put(line)


# The payload log.


class PayloadLog:
    """One JSON line for every answered request.

    `destination` is a path, "" for standard output, or a file descriptor; how lines are written,
    and counted when they cannot be, says LineWriter, which takes the `options`. Of all answers the
    `share` gets a line, as `draw` has it, which returns numbers from 0 up to 1. The inputs and
    outputs called in `redact` are not shown; `input` and `prediction` are all of them.
    """

    def __init__(
        self,
        destination: str | int = "",
        *,
        max_bytes: int = 65_536,
        share: float = 1.0,
        draw: Callable[[], float] = random.random,
        redact: Collection[str] = (),
        **options: Any,
    ) -> None:
        self._max_bytes = max_bytes
        self._share = share
        self._draw = draw
        self._redact = frozenset(redact)
        self._stamp = Stamp()
        self._lines = LineWriter(destination, "payload", **options)
        self.close = self._lines.close

    @property
    def dropped(self) -> int:
        """The number of lines that were not written."""
        return self._lines.dropped

    def takes_next(self) -> bool:
        """Tell whether the next answer is one of those that get a line; to be asked once each."""
        return self._share >= 1 or self._draw() < self._share

    def write(
        self,
        *,
        request_id: str,
        model: str,
        version: str,
        input: bytes,
        prediction: bytes,
        ms: str,
        redacted: Redacted = redact_all,
    ) -> None:
        """Hand over one line; never blocks. Call it from one thread only.

        `input` and `prediction` are JSON and stand in the line as they are, as does `ms`, a number;
        one of more than `max_bytes` bytes is `null` there, followed by its size. Where names are to
        be redacted, `redacted` does it.
        """
        self._lines.put(
            b'{"time":"%b","request_id":%b,%b"input":%b,"prediction":%b,"ms":%b}\n'
            % (
                self._stamp.at(time.time()).encode(),
                orjson.dumps(request_id),
                _names(model, version),
                self._shown("input", input, redacted),
                self._shown("prediction", prediction, redacted),
                ms.encode(),
            )
        )

    def _shown(self, side: Side, value: bytes, redacted: Redacted) -> bytes:
        """Return a value as its line holds it, with a field for its size if it is too large."""
        if len(value) > self._max_bytes:
            return b'null,"%b_bytes":%d' % (side.encode(), len(value))
        if self._redact:
            return REDACTED if side in self._redact else redacted(side, value, self._redact)
        if LF in value or CR in value:  # between its tokens: elsewhere JSON has none
            return value.replace(b"\n", b" ").replace(b"\r", b" ")
        return value


@lru_cache(maxsize=8)
def _names(model: str, version: str) -> bytes:
    return b'"model":%b,"version":%b,' % (_json(model), _json(version))


def _json(text: str) -> bytes:
    """Encode a string; a file's name may hold bytes that are no Unicode."""
    return orjson.dumps(text.encode(errors="replace").decode())
