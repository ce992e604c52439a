"""A model file that is kept open, so that it can be loaded again after it was replaced.

With an open descriptor, the content of a file stays readable after another file was renamed to its
path, or after it was deleted. That needs no copy, and nothing to clean up when this process ends. A
file that was overwritten in place is lost; a changed modification time or size reveals it.
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
        """A path at which another process of the same user can open the file (Linux)."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def is_unchanged(self) -> bool:
        """Return whether the file has not been overwritten, by its time and size."""
        return self._now() == self._state

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_mtime_ns, status.st_size
