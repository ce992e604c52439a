"""A model file that is kept open, so that it can be loaded again after it was replaced.

With an open descriptor, the content of a file stays readable after another file was renamed to its
path, or after it was deleted. That needs no copy, and nothing to clean up when this process ends. A
file that was overwritten in place is lost; a changed modification time or size reveals it. The
same holds for a folder that was renamed; the files of one that was deleted are lost.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from model.formats.files import is_saved_model


class KeptFile:
    """An open descriptor of a file or a folder, closed when nothing refers to it any more."""

    def __init__(self, path: str) -> None:
        """Open a file; raises OSError, ValueError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._state = state_of(self.path)

    @property
    def path(self) -> Path:
        """A path at which another process of the same user can open the file (Linux)."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def is_unchanged(self) -> bool:
        """Return whether nothing was overwritten or deleted, by times and sizes."""
        return state_of(self.path) == self._state

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def state_of(path: Path) -> tuple[int, ...]:
    """Return what tells a file, or a SavedModel, from one that has been put in its place."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode) and is_saved_model(path):
            return *_files_in(path), status.st_ino
    except (OSError, ValueError):  # loading it says what is wrong
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _files_in(folder: Path) -> Iterator[int]:
    """Yield the number of files in a folder, their size, and a hash of their names and times."""
    count = size = 0
    names = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            count, size = count + 1, size + status.st_size
            name = path.relative_to(folder).as_posix()
            names.update(os.fsencode(f"{status.st_mtime_ns} {status.st_size} {name}\0"))
    yield from (count, size, int.from_bytes(names.digest()[:8]))
