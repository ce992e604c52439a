"""Lines that a thread of their own writes in bulk, so that nobody ever waits for a disk or pipe."""

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
    """Takes lines from one thread and lets another write them.

    `destination` is a path, "" for standard output, or a file descriptor, which is duplicated. A
    file is appended to, rotated as `rotation` says, and opened anew once somebody else's rotation
    has moved or removed it. A line that cannot be written, or that finds the buffer full, is
    counted in `dropped`; the lines after it are tried again. Who writes to the same pipe shares
    the `turn`. Warnings call the lines by their `name`. Raises ConfigError when the file cannot be
    opened.
    """

    def __init__(
        self,
        destination: str | int,
        name: str,
        *,
        rotation: Rotation = GROWS,
        turn: AbstractContextManager[object] = ALONE,
        buffer_lines: int = 65_536,
        buffer_bytes: int = 64 * 1024 * 1024,
        warn_every_s: float = 60.0,
    ) -> None:
        self._buffer_lines = buffer_lines
        self._buffer_bytes = buffer_bytes
        self._closed = False
        # Counted by the thread that calls `put` alone, so that no lock is needed.
        self._accepted_lines = self._accepted_bytes = self._refused = 0
        self._warning = _Warning(f"{name} lines are lost: %s", warn_every_s)
        unrotated = _Warning(f"the {name} log cannot be rotated, and grows: %s", warn_every_s)
        sink = open_sink(destination, turn, rotation, unrotated.give)
        self._writer = _Writer(sink, self._warning, f"{name}-log")
        self._writer.start()

    def put(self, line: bytes) -> None:
        """Hand over one line with its end; never blocks. Call it from one thread only."""
        writer = self._writer
        if (
            self._closed
            or self._accepted_lines - writer.done_lines >= self._buffer_lines
            or self._accepted_bytes - writer.done_bytes >= self._buffer_bytes
        ):
            self._refuse()
            return
        self._accepted_lines += 1
        self._accepted_bytes += len(line)
        writer.put(line)

    @property
    def dropped(self) -> int:
        """The number of lines that were not written."""
        return self._refused + self._writer.lost

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds; what is left then is dropped."""
        if self._closed:
            return
        self._closed = True
        self._writer.stop(timeout)
        if self._writer.is_alive():  # in a write that does not return; the thread is a daemon
            self._refused += self._accepted_lines - self._writer.done_lines

    def _refuse(self) -> None:
        self._refused += 1
        if not self._closed:
            self._warning.give("its buffer is full, because what it writes to is slow or stuck")


class _Warning:
    """Says what goes wrong, and why; at most once in `pause` seconds, not once a line."""

    def __init__(self, text: str, pause: float) -> None:
        self._text = text
        self._pause = pause
        self._next = 0.0

    def give(self, reason: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._pause
            log.warning(self._text, reason)


class _Writer(threading.Thread):
    """Takes the lines that wait and writes them in one go."""

    # More lines gather while it waits a little: without, the two threads hand the interpreter to
    # each other all the time, and a line costs 9 µs of CPU instead of 3 (64 sockets on a loop).
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
        """End after what waits now; wait for that for `timeout` seconds. No `put` may follow."""
        self._stopping.set()
        self._wake.set()
        self.join(timeout)

    def run(self) -> None:
        last = False
        while not last:
            self._wake.wait()
            self._stopping.wait(self.LINGER_S)
            self._wake.clear()
            last = self._stopping.is_set()  # looked at before the lines: none comes after it
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
