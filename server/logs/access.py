"""The access log: one line a request."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Final

from server.logs.format import Access, LineFormat
from server.logs.line_writer import LineWriter
from server.logs.sinks import NO_FD, STANDARD_ERROR

FAILED: Final = 400  # this status, and all above
MAX_ACCESS_BYTES: Final = 400  # of a line, so that clients cannot fill the disk


class AccessLog:
    """One line on standard error for every finished request, formatted as the application log.

    Requests for a path in `skip` have a line only if they failed: probes and scrapes would fill
    the log, but one that got 503 explains what happened next.
    """

    def __init__(
        self,
        line_format: LineFormat,
        lock: AbstractContextManager[object],
        destination: str | int | None = None,
        skip: Collection[str] = (),
    ) -> None:
        if destination is None:  # if it was closed before the start, its number may be reused
            destination = STANDARD_ERROR if sys.__stderr__ else NO_FD
        self._line = line_format.access
        self._skip = frozenset(skip)
        self._lines = LineWriter(destination, "access", lock=lock)
        self.close = self._lines.close

    def write(self, entry: Access) -> None:
        """Queue one line, or none; never blocks. Call it from one thread only."""
        if entry.path in self._skip and entry.status < FAILED:
            return
        now = time.time()
        if len(entry.path) > MAX_ACCESS_BYTES:
            entry = entry._replace(path=entry.path[:MAX_ACCESS_BYTES])
        line = self._line(now, entry)
        while len(line) > MAX_ACCESS_BYTES and len(entry.path) > 1:
            path = entry.path.removesuffix("…")
            path = f"{path[: -1 - len(entry.path) // 10]}…"
            entry = entry._replace(method=entry.method[:20], path=path)
            line = self._line(now, entry)
        self._lines.put(line)
