"""One message to many listeners, none of whom can hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from server.batching import Draining
from server.errors import TooManyConnections


class Broadcast:
    """Hands each message to everybody who listens.

    Args:
        most: how many may listen at a time.
        behind: how many messages may wait for a listener before it is dropped.
    """

    def __init__(self, most: int = 100, behind: int = 10) -> None:
        self._most = most
        self._behind = behind
        self._queues: dict[asyncio.Task[Any], asyncio.Queue[bytes]] = {}
        self._ended = False

    def __len__(self) -> int:
        """Return how many listen."""
        return len(self._queues)

    async def follow(self, first: bytes, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write `first` and then each message; it is cancelled at the end, or when too far behind.

        Raises TooManyConnections, Draining, or what `write` raises.
        """
        if self._ended:
            raise Draining
        if len(self._queues) >= self._most:
            raise TooManyConnections
        task = asyncio.current_task()
        assert task is not None
        queue = self._queues[task] = asyncio.Queue(self._behind)
        try:
            await write(first)
            while True:
                await write(await queue.get())
        finally:
            del self._queues[task]

    def send(self, message: bytes) -> None:
        """Hand a message over; never waits."""
        for task, queue in self._queues.items():
            if queue.full():
                task.cancel()
            else:
                queue.put_nowait(message)

    def end(self) -> None:
        """Send everybody home, and let nobody in."""
        self._ended = True
        for task in self._queues:
            task.cancel()
