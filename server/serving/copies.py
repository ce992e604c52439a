"""Copies of files as they were loaded, to load them again once they have been overwritten."""

from __future__ import annotations

import logging
import shutil
import tempfile
from itertools import count
from pathlib import Path

log = logging.getLogger(__name__)


class Copies:
    """A folder of its own among the system's temporary ones, made when it is needed."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._numbers = count(1)

    def take(self, path: str) -> Path | None:
        """Copy a file; None when that is not possible, as in a container without a place for it."""
        copy = None
        try:
            if not Path(path).is_file():
                return None
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="keras-batch-server-", ignore_cleanup_errors=True
                )
            copy = Path(self._folder.name) / f"{next(self._numbers)}{Path(path).suffix}"
            shutil.copyfile(path, copy)
        except (OSError, ValueError) as error:
            self.remove(copy)  # a part of it takes what room there is
            log.info(
                "%s: no copy can be kept, so no rollback once it is overwritten: %s", path, error
            )
            return None
        return copy

    def remove(self, copy: Path | None) -> None:
        """Forget a copy."""
        if copy is not None:
            copy.unlink(missing_ok=True)

    def close(self) -> None:
        """Forget all."""
        if self._folder is not None:
            self._folder.cleanup()
