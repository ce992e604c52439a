"""A model's file as it was loaded: kept open, to load it again once another is in its place.

An open descriptor keeps the content of a file that was replaced by renaming or was deleted, takes
no room, and is gone when this process ends, however it ends. A file that was overwritten in place
cannot be kept so, and is told by its time and size.
"""

from __future__ import annotations

import os
from pathlib import Path


class KeptFile:
    """An open descriptor of a file, closed when nothing refers to it any more."""

    def __init__(self, path: str) -> None:
        """Open a file; raises OSError, ValueError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._state = self._now()

    @property
    def path(self) -> Path:
        """Where another process of the same user can open it (Linux)."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def is_unchanged(self) -> bool:
        """Return whether the content is what it was."""
        return self._now() == self._state

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_mtime_ns, status.st_size
