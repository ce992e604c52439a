"""The models by name, their versions, and how one takes the place of another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from server.batching import Draining
from server.config import Settings
from server.errors import LoadFailed, UnknownModel
from server.serving.client import StartProcess
from server.serving.counts import Counts
from server.serving.loading import request_of
from server.serving.served_model import ServedModel, bring_up
from server.serving.slot import MAX_SHOWN, Entry, Slot
from server.serving.versions import Origin

log = logging.getLogger(__name__)


class Repository:
    """All models; the first is the default one.

    They change one at a time, each change in a task of its own: a client that asked for one and
    left does not stop it half-way.

    Attributes:
        slots: the models by name.
        batcher_ended: called with the task of a batcher that has ended.
    """

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        self.slots = {
            source.served_name: Slot(source, self, settings) for source in settings.sources
        }
        self.default = next(iter(self.slots.values()))
        self.batcher_ended: Callable[[asyncio.Task[None]], object] = lambda _: None
        self._start: StartProcess
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._reload_waits = False
        self._draining = False

    def slot(self, name: str) -> Slot:
        """Return a model's slot; raises UnknownModel."""
        slot = self.slots.get(name)
        if slot is None:
            raise UnknownModel(f"There is no model {name[:MAX_SHOWN]}.")
        return slot

    def models(self) -> list[ServedModel]:
        """Return every version that is loaded."""
        return [model for slot in self.slots.values() for model in slot.versions.values()]

    def index(self) -> list[Entry]:
        """Return what there is, and in which state."""
        return [entry for slot in self.slots.values() for entry in slot.index()]

    async def start(self, start: StartProcess) -> None:
        """Load all models, each in a process that `start` starts; raises LoadFailed."""
        self._start = start
        for slot in self.slots.values():
            await self._change(slot.load())

    async def load(self, name: str) -> None:
        """Load what is new of a model; raises UnknownModel, LoadFailed."""
        await self._change(self.slot(name).load())

    async def roll_back(self, name: str) -> None:
        """Serve again what was served before; raises UnknownModel, LoadFailed."""
        await self._change(self.slot(name).roll_back())

    async def unload(self, name: str) -> None:
        """Serve a model no longer; raises UnknownModel."""
        await self._change(self.slot(name).unload())

    async def reload(self) -> None:
        """Load what is new of every model that is served; what fails is logged.

        Nothing happens when another reload has not begun yet, which will see the same files.
        """
        if not self._reload_waits and not self._draining:
            self._reload_waits = True
            await self._change(self._reload())

    def busy_seconds(self) -> float:
        """Return how long the longest call in progress has taken."""
        replicas = [each for model in self.models() for each in model.replicas]
        return max((each.busy_seconds for each in replicas), default=0.0)

    async def drain(self) -> None:
        """Change nothing more; return when everything accepted is settled."""
        self._draining = True
        for change in self._changes:
            change.cancel()
        for model in self.models():
            model.batcher.drain()
        await asyncio.gather(*self._changes, return_exceptions=True)
        await asyncio.gather(*(model.drain() for model in self.models()), *self._retiring)

    async def close(self) -> None:
        """End all model processes."""
        await asyncio.gather(*(model.close() for model in self.models()))

    def bring_up(
        self, name: str, origin: Origin, before: ServedModel | None
    ) -> Coroutine[Any, Any, ServedModel]:
        """Load a version of a model; see `server.serving.served_model.bring_up`."""
        known = before.loaded if before else None
        request = request_of(origin, self.settings, known, beside_others=bool(self.models()))
        return bring_up(
            name,
            origin,
            self._start,
            request,
            self.settings,
            self.counts,
            lambda reason: self.counts.restarted(name, reason),
        )

    def retire(self, model: ServedModel) -> None:
        """Free a version once it has answered what it accepted."""
        task = asyncio.ensure_future(model.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)

    async def _reload(self) -> None:
        self._reload_waits = False
        for slot in self.slots.values():
            if slot.current is not None:
                try:
                    await slot.load()
                except LoadFailed:  # it has said so
                    continue

    async def _change(self, change: Coroutine[Any, Any, None]) -> None:
        if self._draining:
            change.close()
            raise Draining
        task = asyncio.ensure_future(self._one_at_a_time(change))
        self._changes.add(task)
        task.add_done_callback(self._changed)
        await asyncio.shield(task)

    def _changed(self, task: asyncio.Task[None]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked for it may have left

    async def _one_at_a_time(self, change: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._changing:
                await change
        finally:
            change.close()
