"""The application log: records of `logging` on standard error, written in the background."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, Final

from server.logs.format import LineFormat, traceback_of

log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 2.0
BUFFERED_RECORDS: Final = 10_000


# The application log.


def configure(level: str, line_format: LineFormat) -> threading.Lock:
    """Send the application log to standard error, warnings of Python too; safe to call again.

    `level` is a word of `logging.level`. Returns the turn of those who write there.
    """
    turn = threading.Lock()
    handler = _TakingTurns(turn)
    handler.set_name("application")
    handler.setFormatter(line_format.formatter)
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


# The payload log.
