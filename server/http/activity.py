"""The requests in progress, and the function that logs a finished one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.logs import Access

# Writes the access line of a finished request.
LogAccess = Callable[[Access], object]


class Activity:
    """The requests in progress: from their headers to the last byte of the response."""

    def __init__(self) -> None:
        self._active: set[object] = set()
        self._waiting: list[Callable[[], None]] = []
        self._endless: list[Callable[[], None]] = []  # each ends responses that never end

    def end_first(self, end: Callable[[], None]) -> None:
        """Have `idle` call `end` first: it ends responses that would never end, such as events."""
        self._endless.append(end)

    def begin(self, request: object) -> None:
        """Add a request."""
        self._active.add(request)

    def end(self, request: object) -> None:
        """Remove a request, if it is still there."""
        self._active.discard(request)
        if not self._active and self._waiting:
            waiting, self._waiting = self._waiting, []
            for wake in waiting:
                wake()

    async def idle(self) -> None:
        """End endless responses, then wait until no request is in progress."""
        for end in self._endless:
            end()
        while self._active:
            woken = asyncio.Event()
            self._waiting.append(woken.set)
            await woken.wait()
