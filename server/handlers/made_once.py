"""Bodies that take long to make: made in a thread, once, and shared by all who read them."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

# How long a thread may keep the event loop waiting for the interpreter. An iteration of the loop
# waits several times: with Python's 5 ms, requests were late by 40 to 110 ms, with these by 15.
SWITCH_SECONDS: Final = 0.0005

_USUAL_SWITCH_SECONDS: Final = sys.getswitchinterval()


class Body(NamedTuple):
    """The body of a response, as it is and compressed."""

    plain: bytes
    gzipped: bytes


class MadeOnce:
    """Makes bodies and keeps the last ones; the event loop only waits for them.

    One is made at a time, so that requests for many different ones keep no more than one core busy.
    """

    def __init__(self, most: int) -> None:
        """Keep up to `most` bodies: those that were asked for last."""
        self._most = most
        self._making: OrderedDict[Hashable, asyncio.Task[Body]] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def get(self, key: Hashable, make: Callable[[], bytes]) -> Body:
        """Return the body with this key, which `make` makes in a thread if it is not kept.

        Raises what `make` raises; then it is made again for the next one who asks.
        """
        task = self._making.get(key)
        if task is None or _has_failed(task):
            task = self._making[key] = asyncio.ensure_future(self._make(make))
        self._making.move_to_end(key)
        while len(self._making) > self._most:
            self._making.popitem(last=False)
        return await asyncio.shield(task)

    async def _make(self, make: Callable[[], bytes]) -> Body:
        async with self._one_at_a_time:
            return await asyncio.to_thread(_body, make)


def _body(make: Callable[[], bytes]) -> Body:
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        plain = make()
        return Body(plain, gzip.compress(plain, mtime=0))
    finally:
        sys.setswitchinterval(_USUAL_SWITCH_SECONDS)


def _has_failed(task: asyncio.Task[Body]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
