"""Where lines are written: a file descriptor, or a file that is rotated."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

from server.config import ConfigError

LINE_END: Final = 0x0A
STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2
NO_FD: Final = -1  # writing to it fails with EBADF, as with any closed descriptor


class Rotation(NamedTuple):
    """When a file is replaced by a new one.

    Attributes:
        max_bytes: the largest size, except for a single longer line; 0: no limit.
        backups: how many earlier files are kept; `FILE.1` is the newest.
    """

    max_bytes: int = 0
    backups: int = 1


class Sink:
    """A file descriptor. A partly written line is completed before the next one starts.

    Writers of one pipe or terminal share a `lock`, so that lines do not mix.
    """

    def __init__(self, fd: int, lock: AbstractContextManager[object]) -> None:
        self._fd = fd
        self._lock = lock
        self._rest = b""  # of a partly written line
        self.lost = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines; on failure raises OSError and counts the missing ones in `lost`."""
        data = memoryview(self._rest + b"".join(lines))
        written = 0
        try:
            with self._lock:
                while written < len(data):
                    written += _write_some(self._fd, data[written:])
        except OSError:
            self._keep_rest(data, written)
            raise
        self._rest = b""

    def close(self) -> None:
        """Close the descriptor."""
        self._drop_rest()
        if self._fd != NO_FD:
            os.close(self._fd)

    def _keep_rest(self, data: memoryview, written: int) -> None:
        """Keep the rest of a partly written line; the lines after it are lost."""
        is_partial = data[written - 1] != LINE_END if written else bool(self._rest)
        left = bytes(data[written:])
        self._rest = left[: left.index(LINE_END) + 1] if is_partial else b""
        self.lost += left.count(LINE_END) - is_partial

    def _drop_rest(self) -> None:
        if self._rest not in (b"", b"\n"):  # a line without its end still counts as written
            self.lost += 1
        self._rest = b""


class FileSink(Sink):
    """A file; it is opened again when its path leads to another file.

    It is rotated as `rotation` says. If that fails, `cannot_rotate` is called with the reason, and
    the file keeps growing.
    """

    def __init__(
        self,
        path: Path,
        lock: AbstractContextManager[object],
        rotation: Rotation,
        cannot_rotate: Callable[[str], None],
    ) -> None:
        super().__init__(_open(path), lock)
        self._path = path
        self._rotation = rotation
        self._cannot_rotate = cannot_rotate
        self._end_torn_line()

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines, into several files if necessary; raises OSError as Sink does."""
        left = lines
        try:
            self._follow()
            while left:
                count = self._make_room(left)
                part, left = left[:count], left[count:]
                super().write(part)
        except OSError:
            self.lost += len(left)
            raise

    def _make_room(self, lines: Sequence[bytes]) -> int:
        """Rotate if the first line does not fit; return how many lines may be written now."""
        max_bytes = self._rotation.max_bytes
        if not max_bytes:
            return len(lines)
        if self._rest:
            super().write(())
        ends = list(accumulate(map(len, lines)))
        size = self._size()
        if size and size + ends[0] > max_bytes:
            if not self._rotate():
                return len(lines)
            size = 0
        return max(1, bisect_right(ends, max_bytes - size))

    def _size(self) -> int:
        """Return the size; 0 for a device or a named pipe, so that it is never rotated."""
        status = os.fstat(self._fd)
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def _rotate(self) -> bool:
        try:
            self._move_away()
            self._follow()
        except OSError as error:
            self._cannot_rotate(error.strerror or str(error))
            return False
        return True

    def _move_away(self) -> None:
        """Rename each backup to the next number, and the file to number 1; the oldest is lost."""
        for number in range(self._rotation.backups - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._backup(number).replace(self._backup(number + 1))
        self._path.replace(self._backup(1))

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

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
        """Start a new line if an earlier process left an incomplete one."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            return
        with (
            contextlib.suppress(OSError),
            self._path.open("rb") as file,
        ):  # OSError if it is write-only
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            self._rest = b"\n" if file.read(1) not in (b"", b"\n") else b""


def open_sink(
    destination: str | int,
    lock: AbstractContextManager[object],
    rotation: Rotation,
    cannot_rotate: Callable[[str], None],
) -> Sink:
    """Return the sink of a destination (see LineWriter); raises ConfigError for a file."""
    if isinstance(destination, int):
        return Sink(_duplicate(destination), lock)
    if not destination:
        # If standard output was closed before the start, its number may be reused.
        return Sink(_duplicate(STANDARD_OUTPUT if sys.__stdout__ else NO_FD), lock)
    try:
        return FileSink(Path(destination), lock, rotation, cannot_rotate)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"logging.file: {destination!r} cannot be opened: {reason}") from None


def outputs_are_one() -> bool:
    """Return whether standard output and standard error are one pipe, file or terminal."""
    try:
        return os.path.sameopenfile(STANDARD_OUTPUT, STANDARD_ERROR)
    except OSError:  # one of them is closed
        return False


def _duplicate(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError:
        return NO_FD


def _open(path: Path) -> int:
    """Open a file to append; a named pipe without a reader is an error instead of a wait."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    os.set_blocking(fd, True)
    return fd


def _write_some(fd: int, data: memoryview) -> int:
    """Write some bytes and return how many; wait if the descriptor is non-blocking."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        room = select.poll()
        room.register(fd, select.POLLOUT)
        room.poll()
        return 0
