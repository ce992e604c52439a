"""Folders that earlier runs of the service left among the temporary ones when they were killed."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

PREFIX: Final = "keras-batch-server-"
DAY: Final = 86_400.0  # seconds; younger ones may be in use by another run


def remove_leftovers() -> None:
    """Remove those of this user that are older than a day."""
    for folder in leftovers():
        shutil.rmtree(folder, ignore_errors=True)
        log.info("removed %s, which an earlier run left", folder)


def leftovers() -> Iterator[Path]:
    """Yield them: folders of this user, no links."""
    oldest = time.time() - DAY
    try:
        entries = list(os.scandir(tempfile.gettempdir()))
    except OSError:  # there is no temporary folder
        return
    for entry in entries:
        if not entry.name.startswith(PREFIX):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:  # another run has removed it
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and status.st_uid == os.getuid() and status.st_mtime < oldest:
            yield Path(entry.path)
