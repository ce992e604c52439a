"""Sends each message to many listeners; a slow one does not delay the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from server.batching import Draining
from server.errors import TooManyConnections


class Broadcast:
    """Sends each message to every listener.

    Args:
        most: the most listeners at a time.
        behind: the most messages that wait for a listener; it is disconnected before another.
    """

    def __init__(self, most: int = 100, behind: int = 10) -> None:
        self._most = most
        self._behind = behind
        self._queues: dict[asyncio.Task[Any], asyncio.Queue[bytes]] = {}
        self._ended = False

    def __len__(self) -> int:
        """Return the number of listeners."""
        return len(self._queues)

    async def follow(self, first: bytes, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write `first`, then each message, until cancelled: by `end`, or because it is too slow.

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
        """Queue a message for every listener; never waits."""
        for task, queue in self._queues.items():
            if queue.full():
                task.cancel()
            else:
                queue.put_nowait(message)

    def end(self) -> None:
        """Disconnect all listeners and reject new ones."""
        self._ended = True
        for task in self._queues:
            task.cancel()
