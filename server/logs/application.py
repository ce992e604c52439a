"""The application log: records of `logging` on standard error, written by a thread."""

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


def configure(level: str, line_format: LineFormat) -> threading.Lock:
    """Send the application log, and warnings of Python, to standard error; safe to call again.

    `level` is a value of the setting `logging.level`. Returns the lock of standard error.
    """
    lock = threading.Lock()
    handler = _LockingHandler(lock)
    handler.set_name("application")
    handler.setFormatter(line_format.formatter)
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.name == handler.name]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    return lock


def write_in_background() -> Callable[[float], bool]:
    """Let a thread write the application log, so that a blocked standard error blocks nothing else.

    If the buffer is full, records are dropped. Returns a function that waits, for at most the given
    seconds, until all records are written, and returns whether they are.
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


def log_unhandled_exceptions(flush: Callable[[float], bool]) -> None:
    """Log unhandled exceptions of the process and of threads, and `flush` before the process ends.

    Python would write them on many lines.
    """

    def end_process(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.critical("unhandled exception, exiting", exc_info=(kind, error, trace))
        flush(FLUSH_SECONDS)

    def end_thread(it: threading.ExceptHookArgs) -> None:
        if it.exc_value is not None and not issubclass(it.exc_type, SystemExit):
            name = it.thread.name if it.thread else "?"
            log.critical("unhandled exception in thread %s", name, exc_info=it.exc_value)

    sys.excepthook = end_process
    threading.excepthook = end_thread


class _LockingHandler(logging.StreamHandler[Any]):
    """Writes to standard error under a lock, because the access log writes there too."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        super().__init__(sys.stderr)
        self._lock = lock

    def emit(self, record: logging.LogRecord) -> None:
        with self._lock:
            super().emit(record)


class _DroppingQueueHandler(QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a copy that does not change any more; its traceback stays a separate part."""
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        record.exc_text, record.stack_info = traceback_of(_PLAIN, record), None
        record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record; drop it if the queue is full."""
        with contextlib.suppress(Full):
            self.queue.put_nowait(record)


_PLAIN: Final = logging.Formatter()
