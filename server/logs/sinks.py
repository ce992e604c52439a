"""Where lines are written to: a file descriptor, or a file that rotates."""

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
NO_FD: Final = -1  # writing to it fails with EBADF, as to any sink that is gone


class Rotation(NamedTuple):
    """When a file makes room for a new one.

    Attributes:
        max_bytes: no file grows larger, unless a single line is; 0: files grow without end.
        backups: how many files before it are kept: `FILE.1` is the newest of them.
    """

    max_bytes: int = 0
    backups: int = 1


class Sink:
    """A file descriptor. A line that got there in part is completed before the next begins.

    Those who write to one pipe or terminal share their `turn`, so that no line gets into another.
    """

    def __init__(self, fd: int, turn: AbstractContextManager[object]) -> None:
        self._fd = fd
        self._turn = turn
        self._rest = b""  # of the line that got there in part
        self.lost = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines; raises OSError when it cannot, and counts the missing ones in `lost`."""
        data = memoryview(self._rest + b"".join(lines))
        written = 0
        try:
            with self._turn:
                while written < len(data):
                    written += _write_some(self._fd, data[written:])
        except OSError:
            self._give_up(data, written)
            raise
        self._rest = b""

    def close(self) -> None:
        """Let the descriptor go."""
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


class FileSink(Sink):
    """A file by its path, opened anew once the path no longer leads to it.

    It rotates itself where `rotation` says so; when that fails, `cannot_rotate` is called with the
    reason, and the file grows on.
    """

    def __init__(
        self,
        path: Path,
        turn: AbstractContextManager[object],
        rotation: Rotation,
        cannot_rotate: Callable[[str], None],
    ) -> None:
        super().__init__(_open(path), turn)
        self._path = path
        self._rotation = rotation
        self._cannot_rotate = cannot_rotate
        self._end_torn_line()

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all lines, if need be into several files; raises OSError as Sink does."""
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
        """Rotate where not even the first line fits; return how many lines may be written now."""
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
        """Return the file's size; a device or a named pipe has none, and never rotates."""
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
        """Make each backup one older, and the file the newest of them; the oldest goes."""
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
        """Let the first line begin on a line of its own, whatever an earlier process left."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            return
        with contextlib.suppress(OSError), self._path.open("rb") as file:  # OSError: write-only
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            self._rest = b"\n" if file.read(1) not in (b"", b"\n") else b""


def open_sink(
    destination: str | int,
    turn: AbstractContextManager[object],
    rotation: Rotation,
    cannot_rotate: Callable[[str], None],
) -> Sink:
    """Return where lines go: see LineWriter. Raises ConfigError when a file cannot be opened."""
    if isinstance(destination, int):
        return Sink(_duplicate(destination), turn)
    if not destination:
        # Standard output that was closed before the start may be any other file by now.
        return Sink(_duplicate(STANDARD_OUTPUT if sys.__stdout__ else NO_FD), turn)
    try:
        return FileSink(Path(destination), turn, rotation, cannot_rotate)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"logging.file: {destination!r} cannot be opened: {reason}") from None


def outputs_are_one() -> bool:
    """Tell whether standard output and standard error are the same pipe, file or terminal."""
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
