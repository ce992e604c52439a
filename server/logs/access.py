"""The access log: one line a request."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import Final

from server.logs.format import Access, LineFormat
from server.logs.line_writer import LineWriter
from server.logs.sinks import NO_FD, STANDARD_ERROR

MAX_ACCESS_BYTES: Final = 400  # of a line: whatever a client sends, it fills no disk


class AccessLog:
    """One line on standard error for every finished request, in the form of the application log."""

    def __init__(
        self,
        line_format: LineFormat,
        turn: AbstractContextManager[object],
        destination: str | int | None = None,
    ) -> None:
        if destination is None:  # one that was closed before the start may be any other file by now
            destination = STANDARD_ERROR if sys.__stderr__ else NO_FD
        self._line = line_format.access
        self._lines = LineWriter(destination, "access", turn=turn)
        self.close = self._lines.close

    def write(self, entry: Access) -> None:
        """Hand over one line; never blocks. Call it from one thread only."""
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
