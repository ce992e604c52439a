"""How late the event loop is."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from itertools import islice


class LoopLag:
    """How late the event loop comes to a timer that is due every `interval` seconds.

    A stall shows when the timer is due in the middle of it: every long one does, and a short one
    as seldom as it is short.
    """

    def __init__(self, interval: float = 0.5, kept: int = 30) -> None:
        self._interval = interval
        self._lags: deque[float] = deque(maxlen=kept)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def longest(self) -> float:
        """The longest of the lags that are kept, those of 15 seconds, in seconds."""
        return max(self._lags, default=0.0)

    @property
    def recent(self) -> float:
        """The longest of the lags of the last second, in seconds."""
        looks = math.ceil(1 / self._interval)
        return max(islice(reversed(self._lags), looks), default=0.0)

    def start(self) -> None:
        """Look from now on; call it on the event loop."""
        # The clock of uvloop counts whole milliseconds.
        self._due = time.perf_counter() + self._interval
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        self._lags.append(max(0.0, time.perf_counter() - self._due))
        self.start()
