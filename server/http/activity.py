"""The requests in progress, and the function that logs a finished one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.logs import Access

# Writes the access line of a finished request.
LogAccess = Callable[[Access], object]


class Activity:
    """The requests in progress, from their headers to the last byte of their answer."""

    def __init__(self) -> None:
        self._active: set[object] = set()
        self._waiting: list[Callable[[], None]] = []
        self._endless: list[Callable[[], None]] = []

    def end_first(self, end: Callable[[], None]) -> None:
        """Have `end` called before the others are waited for: it ends answers that go on."""
        self._endless.append(end)

    def begin(self, request: object) -> None:
        """Count a request."""
        self._active.add(request)

    def end(self, request: object) -> None:
        """Stop counting it; nothing happens when it has ended already."""
        self._active.discard(request)
        if not self._active and self._waiting:
            waiting, self._waiting = self._waiting, []
            for wake in waiting:
                wake()

    async def idle(self) -> None:
        """Wait until there are none."""
        for end in self._endless:
            end()
        while self._active:
            woken = asyncio.Event()
            self._waiting.append(woken.set)
            await woken.wait()
