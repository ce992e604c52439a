"""Notices a call that does not come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LOOKS: Final = 10  # at a call within its time
LONGEST_PAUSE: Final = 1.0  # seconds between two looks


class HangWatch:
    """Calls `on_hang` when a call takes longer than `patience` seconds; 0: never.

    Time in which this process stood still does not count: the model process did, too. One timer
    serves many calls, as a timer for each would cost as much as all else here.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, patience: float, on_hang: Callable[[float], None]
    ) -> None:
        self._loop = loop
        self._patience = patience
        self._pause = min(patience / LOOKS, LONGEST_PAUSE)
        self._on_hang = on_hang
        self._call = 0  # its number; 0 while there is none
        self._calls = 0
        self._seen = 0  # at the last look
        self._looked = self._taken = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Watch a call that begins now."""
        self._calls += 1
        self._call = self._calls
        if self._timer is None and self._patience:
            self._look_again()

    def end(self) -> None:
        """Watch no more."""
        self._call = 0

    def _look_again(self) -> None:
        self._looked = self._loop.time()
        self._timer = self._loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._call:
            return
        if self._call == self._seen:
            self._taken += min(self._loop.time() - self._looked, 2 * self._pause)
        else:
            self._seen, self._taken = self._call, 0.0
        if self._taken >= self._patience:
            self._on_hang(self._patience)
        self._look_again()
