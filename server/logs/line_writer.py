"""A thread that writes lines in bulk, so that requests never wait for a disk or a pipe."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from server.logs.sinks import Rotation, Sink, open_sink

log = logging.getLogger(__name__)

GROWS: Final = Rotation()
ALONE: Final = nullcontext()


class LineWriter:
    """Takes lines from one thread and lets another one write them.

    `destination` is a path, "" for standard output, or a file descriptor, which is duplicated.
    Files are appended to, rotated as `rotation` says, and opened again after another program has
    moved or removed them. A line that cannot be written, or does not fit into the buffer, is
    counted in `dropped`; later lines are tried again. Writers of one pipe share a `lock`. `name` is
    the name of the log in warnings. Raises ConfigError if the file cannot be opened.
    """

    def __init__(
        self,
        destination: str | int,
        name: str,
        *,
        rotation: Rotation = GROWS,
        lock: AbstractContextManager[object] = ALONE,
        buffer_lines: int = 65_536,
        buffer_bytes: int = 64 * 1024 * 1024,
        warn_every_s: float = 60.0,
    ) -> None:
        self._buffer_lines = buffer_lines
        self._buffer_bytes = buffer_bytes
        self._closed = False
        # Only the thread that calls `put` changes these, so they need no lock.
        self._accepted_lines = self._accepted_bytes = self._rejected = 0
        self._warning = _Warning(f"{name} lines are lost: %s", warn_every_s)
        unrotated = _Warning(
            f"the {name} log cannot be rotated and keeps growing: %s", warn_every_s
        )
        sink = open_sink(destination, lock, rotation, unrotated.give)
        self._writer = _Writer(sink, self._warning, f"{name}-log")
        self._writer.start()

    def put(self, line: bytes) -> None:
        """Queue one line with its line end; never blocks. Call it from one thread only."""
        writer = self._writer
        if (
            self._closed
            or self._accepted_lines - writer.done_lines >= self._buffer_lines
            or self._accepted_bytes - writer.done_bytes >= self._buffer_bytes
        ):
            self._reject()
            return
        self._accepted_lines += 1
        self._accepted_bytes += len(line)
        writer.put(line)

    @property
    def dropped(self) -> int:
        """The number of lines that were not written."""
        return self._rejected + self._writer.lost

    def close(self, timeout: float) -> None:
        """Write the lines that wait, for at most `timeout` seconds; drop the rest."""
        if self._closed:
            return
        self._closed = True
        self._writer.stop(timeout)
        if self._writer.is_alive():  # it hangs in a write; it is a daemon thread
            self._rejected += self._accepted_lines - self._writer.done_lines

    def _reject(self) -> None:
        self._rejected += 1
        if not self._closed:
            self._warning.give("the buffer is full because writing is slow or blocked")


class _Warning:
    """Logs a warning at most once in `pause` seconds, instead of once a line."""

    def __init__(self, text: str, pause: float) -> None:
        self._text = text
        self._pause = pause
        self._next = 0.0

    def give(self, reason: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._pause
            log.warning(self._text, reason)


class _Writer(threading.Thread):
    """Writes the waiting lines in bulk."""

    # It waits so that more lines gather. Without, the two threads switch all the time, and a line
    # costs 9 µs of CPU time instead of 3 (64 sockets on one loop).
    LINGER_S: Final = 0.02
    MAX_WRITE_BYTES: Final = 1024 * 1024

    def __init__(self, sink: Sink, warning: _Warning, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._sink = sink
        self._warning = warning
        self._waiting: deque[bytes] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self.done_lines = self.done_bytes = 0

    @property
    def lost(self) -> int:
        return self._sink.lost

    def put(self, line: bytes) -> None:
        self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def stop(self, timeout: float) -> None:
        """Write the lines that wait, for at most `timeout` seconds. No `put` may follow."""
        self._stopping.set()
        self._wake.set()
        self.join(timeout)

    def run(self) -> None:
        last = False
        while not last:
            self._wake.wait()
            self._stopping.wait(self.LINGER_S)
            self._wake.clear()
            last = (
                self._stopping.is_set()
            )  # read before the lines are taken: none is added after it is set
            while lines := self._take():
                self._write(lines)
        self._sink.close()

    def _take(self) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        while self._waiting and size < self.MAX_WRITE_BYTES:
            lines.append(self._waiting.popleft())
            size += len(lines[-1])
        return lines

    def _write(self, lines: Sequence[bytes]) -> None:
        try:
            self._sink.write(lines)
        except OSError as error:
            self._warning.give(error.strerror or str(error))
        self.done_lines += len(lines)
        self.done_bytes += sum(map(len, lines))
