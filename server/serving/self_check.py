"""Whether a model still answers rows that it has answered before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.batching import Job, ModelUnavailable, Observer

log = logging.getLogger(__name__)


class SelfCheck(Observer):
    """Asks a model its own example when it has failed for all of a batch, until it answers.

    Rows of clients may be at fault themselves, so that their failures tell nothing of the model;
    those that it answered when it was loaded are not. Nobody's requests are touched or counted.

    Attributes:
        fails: whether the model fails on its example.
    """

    def __init__(self, name: str, ask: Callable[[], Awaitable[object]], pause: float = 1.0) -> None:
        """Take the model's name, what asks the example, and the seconds before each attempt."""
        self.fails = False
        self._name = name
        self._ask = ask
        self._pause = pause
        self._checking: asyncio.Task[None] | None = None

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:  # noqa: ARG002  # Observer's
        """Begin to check, unless others of the batch were answered."""
        if not isolated and self._checking is None and not isinstance(error, ModelUnavailable):
            self._checking = asyncio.ensure_future(self._check())

    def stop(self) -> None:
        """Check no more."""
        if self._checking is not None:
            self._checking.cancel()

    async def _check(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._pause)  # also before the first: failures come in swarms
                if await self._answers():
                    return
        finally:
            self._checking = None

    async def _answers(self) -> bool:
        try:
            await self._ask()
        except Exception as error:
            if not self.fails:
                log.error("%s fails on its own example: not ready", self._name, exc_info=error)
            self.fails = True
            return False
        if self.fails:
            log.info("%s answers its own example again: ready", self._name)
        self.fails = False
        return True
