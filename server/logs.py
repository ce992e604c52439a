"""What is written: the application log, a line for every request, a JSON line for every answer."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import time
from collections.abc import Callable, Collection
from functools import lru_cache
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, Final

import orjson

from server.dialects.dialect import Side
from server.dialects.redaction import REDACTED, Redacted, redact_all
from server.line_writer import LineWriter
from server.sinks import NO_FD

BUFFERED_RECORDS: Final = 10_000
STANDARD_ERROR: Final = 2


# The application log.


def configure(level: str) -> None:
    """Send the application log to standard error, one line a record; safe to call again.

    `level` is a word of `logging.level`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name("application")
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.name == handler.name]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


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


class _DroppingQueueHandler(QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a record over, unless the writer is too far behind."""
        with contextlib.suppress(Full):
            self.queue.put_nowait(record)


class LineFormatter(logging.Formatter):
    """Time (UTC), level, logger and message on one line; a traceback follows on its own lines."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """Escape control characters, so that no client's words can look like another line."""
        return super().formatMessage(record).translate(_ESCAPES)


_ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (0x2028, 0x2029)
}


# The access log.


class AccessLog:
    """One line on standard error for every finished request, in the form of the application log."""

    def __init__(self, destination: str | int | None = None) -> None:
        if destination is None:  # one that was closed before the start may be any other file by now
            destination = STANDARD_ERROR if sys.__stderr__ else NO_FD
        self._stamp = _Stamp()
        self._lines = LineWriter(destination, "access")
        self.close = self._lines.close

    def write(
        self, method: str, path: str, status: int, seconds: float, request_id: str, client: str
    ) -> None:
        """Hand over one line; never blocks. Call it from one thread only."""
        text = f"{method} {path} {status} {seconds * 1000:.1f} ms {request_id} from {client}"
        if not text.isprintable():
            text = text.translate(_ESCAPES)
        self._lines.put(
            b"%b INFO server.access: %b\n"
            % (self._stamp.at(time.time()), text.encode(errors="replace"))
        )


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
        self._stamp = _Stamp()
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
        ms: float,
        redacted: Redacted = redact_all,
    ) -> None:
        """Hand over one line; never blocks. Call it from one thread only.

        `input` and `prediction` are JSON and stand in the line as they are; one of more than
        `max_bytes` bytes is `null` there, followed by its size. Where names are to be redacted,
        `redacted` does it.
        """
        self._lines.put(
            b'{"time":"%b","request_id":%b,%b%b%b"ms":%.3f}\n'
            % (
                self._stamp.at(time.time()),
                orjson.dumps(request_id),
                _names(model, version),
                self._member("input", input, redacted),
                self._member("prediction", prediction, redacted),
                ms,
            )
        )

    def _member(self, side: Side, value: bytes, redacted: Redacted) -> bytes:
        key = side.encode()
        if len(value) > self._max_bytes:
            return b'"%b":null,"%b_bytes":%d,' % (key, key, len(value))
        if self._redact:
            value = REDACTED if side in self._redact else redacted(side, value, self._redact)
        elif b"\n" in value or b"\r" in value:  # between its tokens: elsewhere JSON has none
            value = value.replace(b"\n", b" ").replace(b"\r", b" ")
        return b'"%b":%b,' % (key, value)


class _Stamp:
    """Formats times as RFC 3339 in UTC with milliseconds; keeps the part up to the second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def at(self, now: float) -> bytes:
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b"%b.%03dZ" % (self._text, (now - second) * 1000)


@lru_cache(maxsize=8)
def _names(model: str, version: str) -> bytes:
    return b'"model":%b,"version":%b,' % (_json(model), _json(version))


def _json(text: str) -> bytes:
    """Encode a string; a file's name may hold bytes that are no Unicode."""
    return orjson.dumps(text.encode(errors="replace").decode())
