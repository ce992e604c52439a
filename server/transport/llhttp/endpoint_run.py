"""An endpoint's coroutine, run without a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from server.http.message import Response

RunCoroutine = Coroutine[Any, Any, Response]


class EndpointRun:
    """Runs an endpoint: at once up to its first `await`, then on when the awaited future is done.

    A task would start in the next iteration of the event loop, and cost 3 µs more. Without a task
    `asyncio.current_task()` is None, so an endpoint can await futures, but not use what needs a
    task, such as `asyncio.timeout`.
    """

    __slots__ = ("_coroutine", "_done", "_is_cancelled", "_waits_for")

    def __init__(self, coroutine: RunCoroutine, done: Callable[[Response], None]) -> None:
        self._coroutine: Final = coroutine
        self._done: Final = done
        self._waits_for: asyncio.Future[Any] | None = None
        self._is_cancelled = False

    def start(self) -> None:
        """Run up to the first `await`; `done` is called with the response, now or later."""
        self._step(None)

    def cancel(self) -> None:
        """Raise CancelledError in the endpoint, where it waits."""
        self._is_cancelled = True
        if self._waits_for:
            self._waits_for.cancel()

    def _step(self, _: object) -> None:
        coroutine = self._coroutine
        try:
            if self._is_cancelled:
                future = coroutine.throw(asyncio.CancelledError())
            else:
                future = coroutine.send(None)
        except StopIteration as stop:
            self._waits_for = None
            self._done(stop.value)
        except asyncio.CancelledError:
            self._waits_for = None
        else:
            future._asyncio_future_blocking = False  # as a task does; see private_names.py
            self._waits_for = future
            future.add_done_callback(self._step)
