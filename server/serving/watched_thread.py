"""A model's thread, and whether the model comes back from its calls."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from server.batching import ModelStuck
from server.serving.model_thread import ModelThread

T = TypeVar("T")

LOOKS: Final = 10  # within the patience
LONGEST_PAUSE: Final = 1.0  # seconds between two looks


class WatchedThread(ModelThread):
    """A thread that gives a call up when it takes longer than `patience` seconds; 0: never.

    A call whose thread has died is given up whatever the patience. Loading and first calls go
    through `call` and may take their time; `serve` is watched. There is no way to end a call of
    native code, so nothing can be computed in this thread afterwards.

    Time in which the whole process stood still does not count: the model did, too.

    Attributes:
        stuck: why the model was given up, or "".
        on_stuck: called once with this thread, when it is.
    """

    def __init__(self, patience: float, on_stuck: Callable[[WatchedThread], object]) -> None:
        super().__init__()
        self.stuck = ""
        self._on_stuck = on_stuck
        self._patience = patience or math.inf
        self._pause = min(self._patience / LOOKS, LONGEST_PAUSE)
        self._loop = asyncio.get_running_loop()
        self._call: asyncio.Future[Any] | None = None
        self._started = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._seen: asyncio.Future[Any] | None = None  # at the last look, since when
        self._looked = self._taken = 0.0

    @property
    def seconds(self) -> float:
        """How long the call that is being served has been going on; 0 where there is none."""
        return 0.0 if self._call is None else self._loop.time() - self._started

    async def serve(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return `function(*arguments)`; one at a time. Raises ModelStuck when it is given up."""
        if self.stuck:
            raise ModelStuck(self.stuck)
        self._call = call = self.call(function, *arguments)
        self._started = self._loop.time()
        if self._timer is None:  # one for many calls: a timer a call would cost as much as all this
            self._look_again()
        try:
            return await call
        finally:
            self._call = None

    def _look_again(self) -> None:
        self._looked = self._loop.time()
        self._timer = self._loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        self._timer = None
        call, now = self._call, self._loop.time()
        if call is None or call.done():
            self._seen = None
            return
        if call is self._seen:
            self._taken += min(now - self._looked, 2 * self._pause)
        else:
            self._seen, self._taken = call, 0.0
        if reason := self._why_stuck():
            self._give_up(call, reason)
        else:
            self._look_again()

    def _why_stuck(self) -> str:
        if not self.is_alive():
            return "The model's thread has ended in the middle of a call."
        if self._taken >= self._patience:
            return f"The model has not come back from a call within {self._patience:g} s."
        return ""

    def _give_up(self, call: asyncio.Future[Any], reason: str) -> None:
        self.stuck = reason
        call.set_exception(ModelStuck(reason))
        self._on_stuck(self)
