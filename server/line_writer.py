"""Lines that a thread of their own writes in bulk, so that nobody ever waits for a disk or pipe."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.config import ConfigError

log = logging.getLogger(__name__)

LINE_END: Final = 0x0A
NO_FD: Final = -1  # writing to it fails with EBADF, as to any sink that is gone


class LineWriter:
    """Takes lines from one thread and lets another write them.

    `destination` is a path, "" for standard output, or a file descriptor, which is duplicated. A
    file is appended to, and opened anew once a rotation has moved or removed it. A line that
    cannot be written, or that finds the buffer full, is counted in `dropped`; the lines after it
    are tried again. Warnings call the lines by their `name`. Raises ConfigError when the file
    cannot be opened.
    """

    def __init__(
        self,
        destination: str | int,
        name: str,
        *,
        buffer_lines: int = 65_536,
        buffer_bytes: int = 64 * 1024 * 1024,
        warn_every_s: float = 60.0,
    ) -> None:
        self._buffer_lines = buffer_lines
        self._buffer_bytes = buffer_bytes
        self._closed = False
        # Counted by the thread that calls `put` alone, so that no lock is needed.
        self._accepted_lines = self._accepted_bytes = self._refused = 0
        self._warning = _Warning(name, warn_every_s)
        self._writer = _Writer(_sink(destination), self._warning, f"{name}-log")
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
    """Says that lines are lost, and why; at most once in `pause` seconds, not once a line."""

    def __init__(self, name: str, pause: float) -> None:
        self._name = name
        self._pause = pause
        self._next = 0.0

    def give(self, reason: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._pause
            log.warning("%s lines are lost: %s", self._name, reason)


class _Writer(threading.Thread):
    """Takes the lines that wait and writes them in one go."""

    # More lines gather while it waits a little: without, the two threads hand the interpreter to
    # each other all the time, and a line costs 9 µs of CPU instead of 3 (64 sockets on a loop).
    LINGER_S: Final = 0.02
    MAX_WRITE_BYTES: Final = 1024 * 1024

    def __init__(self, sink: _Sink, warning: _Warning, name: str) -> None:
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


class _Sink:
    """A file descriptor. A line that got there in part is completed before the next begins."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""  # of the line that got there in part
        self.lost = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines; raises OSError when it cannot, and counts the missing ones in `lost`."""
        data = memoryview(self._rest + b"".join(lines))
        written = 0
        try:
            while written < len(data):
                written += _write_some(self._fd, data[written:])
        except OSError:
            self._give_up(data, written)
            raise
        self._rest = b""

    def close(self) -> None:
        self._drop_rest()
        if self._fd != NO_FD:
            os.close(self._fd)

    def _give_up(self, data: memoryview, written: int) -> None:
        """Keep the rest of a line that was begun; the lines after it are lost."""
        begun = data[written - 1] != LINE_END if written else bool(self._rest)
        left = bytes(data[written:])
        self._rest = left[: left.index(LINE_END) + 1] if begun else b""
        self.lost += left.count(LINE_END) - begun

    def _drop_rest(self) -> None:
        if self._rest not in (b"", b"\n"):  # all of a line but its end is a line
            self.lost += 1
        self._rest = b""


class _FileSink(_Sink):
    """A file by its path, opened anew once the path no longer leads to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(_open(path))
        self._path = path
        self._end_torn_line()

    def write(self, lines: Sequence[bytes]) -> None:
        try:
            self._follow()
        except OSError:
            self.lost += len(lines)
            raise
        super().write(lines)

    def _follow(self) -> None:
        if self._is_current():
            return
        fd = _open(self._path)
        os.close(self._fd)
        self._fd = fd
        self._drop_rest()
        self._end_torn_line()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _end_torn_line(self) -> None:
        """Let the first line begin on a line of its own, whatever an earlier process left."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            return
        with contextlib.suppress(OSError), self._path.open("rb") as file:  # OSError: write-only
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            self._rest = b"\n" if file.read(1) not in (b"", b"\n") else b""


def _sink(destination: str | int) -> _Sink:
    if isinstance(destination, int):
        return _Sink(_duplicate(destination))
    if not destination:
        # Standard output that was closed before the start may be any other file by now.
        return _Sink(_duplicate(1 if sys.__stdout__ else NO_FD))
    try:
        return _FileSink(Path(destination))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"logging.file: {destination!r} cannot be opened: {reason}") from None


def _duplicate(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError:
        return NO_FD


def _open(path: Path) -> int:
    """Open a file to append; a named pipe that nobody reads is an error instead of a wait."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    os.set_blocking(fd, True)
    return fd


def _write_some(fd: int, data: memoryview) -> int:
    """Write what fits and return how much; wait, where the sink was made non-blocking."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        room = select.poll()
        room.register(fd, select.POLLOUT)
        room.poll()
        return 0
