"""The access log: one line a request."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import Final

from server.logs.format import Form
from server.logs.line_writer import LineWriter
from server.logs.sinks import NO_FD, STANDARD_ERROR

MAX_ACCESS_BYTES: Final = 400  # of a line: whatever a client sends, it fills no disk


class AccessLog:
    """One line on standard error for every finished request, in the form of the application log."""

    def __init__(
        self, form: Form, turn: AbstractContextManager[object], destination: str | int | None = None
    ) -> None:
        if destination is None:  # one that was closed before the start may be any other file by now
            destination = STANDARD_ERROR if sys.__stderr__ else NO_FD
        self._line = form.access
        self._lines = LineWriter(destination, "access", turn=turn)
        self.close = self._lines.close

    def write(
        self, method: str, path: str, status: int, seconds: float, request_id: str, client: str
    ) -> None:
        """Hand over one line; never blocks. Call it from one thread only."""
        path = path[:MAX_ACCESS_BYTES]
        now = time.time()
        line = self._line(now, method, path, status, seconds, request_id, client)
        while len(line) > MAX_ACCESS_BYTES and len(path) > 1:
            method, path = method[:20], f"{path.removesuffix('…')[: -1 - len(path) // 10]}…"
            line = self._line(now, method, path, status, seconds, request_id, client)
        self._lines.put(line)
