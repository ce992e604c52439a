"""Refusals in bulk, so that those who are turned away take little from those who are let in.

A refusal needs little of the processor where many are made one after another, and several times as
much where each finds its caches full of the network's weights. So under overload the event loop
lets requests gather for a moment and then refuses all of them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from server.batching import Observer
from server.batching.errors import OVERLOADED
from server.serving.model_thread import ModelThread

# How long they gather: others, also those of another model, wait for as long.
GATHER_SECONDS: Final = 0.01


class BulkRefusals(Observer):
    """Lets the event loop step aside for a model's thread after requests were refused.

    It goes on after `GATHER_SECONDS`, or as soon as the model has ended its call.
    """

    def __init__(self, thread: ModelThread) -> None:
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._is_due = False

    def refused(self, reason: str) -> None:
        """Step aside once the refusals of this turn of the event loop are sent."""
        if reason in OVERLOADED and not self._is_due:
            self._is_due = True
            # uvloop sends what was written at the end of a turn, and callbacks come before that.
            self._loop.call_soon(self._loop.call_soon, self._step_aside)

    def _step_aside(self) -> None:
        self._is_due = False
        self._thread.step_aside(GATHER_SECONDS)
