"""The models by name, their versions, and how one takes the place of another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from model.engines.choose import TENSORFLOW
from model.process.prepare import LoadRequest
from server.batching import Draining
from server.config import ModelSource, Settings
from server.errors import LoadFailed, UnknownModel
from server.serving.client import StartProcess
from server.serving.counts import Counts
from server.serving.engines import Engines
from server.serving.loading import request_of
from server.serving.served_model import ServedModel, bring_up
from server.serving.slot import MAX_SHOWN, Entry, Slot
from server.serving.versions import Origin, Seen

log = logging.getLogger(__name__)


class Repository:
    """All models; the first is the default one.

    They change one at a time, each change in a task of its own: a client that asked for one and
    left does not stop it half-way.

    Attributes:
        slots: the models by name.
        batcher_ended: called with the task of a batcher that has ended.
        models_changed: called when models were added or removed, or another is the default one.
    """

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        self.slots = {
            source.served_name: Slot(source, self, settings) for source in settings.sources
        }
        self.models_changed: Callable[[], object] = lambda: None
        self.batcher_ended: Callable[[asyncio.Task[None]], object] = lambda _: None
        self._start: StartProcess
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._sources = settings.sources
        self._reload_waits = False
        self._draining = False
        self._engines = Engines(settings)
        self._improving: set[asyncio.Task[None]] = set()

    @property
    def default(self) -> Slot:
        """The slot of the model of `/predict`."""
        return next(iter(self.slots.values()))

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
        """Load all models, each in a process that `start` starts.

        Raises LoadFailed if none can be served; with `models_strict`, if anything cannot be loaded.
        """
        self._start = start
        await self._change(self._load_all())

    async def load(self, name: str) -> None:
        """Load what is new of a model; raises UnknownModel, LoadFailed."""
        await self._change(self.slot(name).load())

    async def roll_back(self, name: str) -> None:
        """Serve again what was served before; raises UnknownModel, LoadFailed."""
        await self._change(self.slot(name).roll_back())

    async def unload(self, name: str) -> None:
        """Serve a model no longer; raises UnknownModel."""
        await self._change(self.slot(name).unload())

    async def reload(self, sources: Sequence[ModelSource] = ()) -> None:
        """Load what is new of every model that nobody has unloaded; what fails is logged.

        Models of `sources`, if given, are added, and all that are not among them are removed.
        Nothing happens when another reload has not begun yet, which will see the same files.
        """
        self._sources = tuple(sources) or self._sources
        if not self._reload_waits and not self._draining:
            self._reload_waits = True
            await self._change(self._reload())

    async def load_new(self, slot: Slot, seen: Seen) -> None:
        """Load what is new of a model, where `seen` of its files; what fails is logged.

        Nothing happens if another change has come before, which has seen the same.
        """
        await self._change(self._load_unless(slot, seen))

    def busy_seconds(self) -> float:
        """Return how long the longest call in progress has taken."""
        replicas = [each for model in self.models() for each in model.replicas]
        return max((each.busy_seconds for each in replicas), default=0.0)

    async def drain(self) -> None:
        """Change nothing more; return when everything accepted is settled."""
        self._draining = True
        for task in self._improving:
            task.cancel()
        await asyncio.gather(*self._improving, return_exceptions=True)
        for change in self._changes:
            change.cancel()
        for model in self.models():
            model.batcher.drain()
        await asyncio.gather(*self._changes, return_exceptions=True)
        await asyncio.gather(*(model.drain() for model in self.models()), *self._retiring)

    async def close(self) -> None:
        """End all model processes."""
        await asyncio.gather(*(model.close() for model in self.models()))
        await self._engines.close()

    async def bring_up(self, name: str, origin: Origin, before: ServedModel | None) -> ServedModel:
        """Load a version of a model, with the engine that was chosen for it, if one was.

        See `server.serving.served_model.bring_up`.
        """
        request = self._request(origin, before)
        found = await self._engines.known(origin, request)
        if found:
            engine, converted = found.choice.engine, found.converted
            request = replace(request, engine=engine, converted=converted)
        model = await bring_up(
            name,
            origin,
            self._start,
            request,
            self.settings,
            self.counts,
            lambda reason: self.counts.restarted(name, reason),
        )
        model.engines.choice = found.choice if found else None
        return model

    def served(self, slot: Slot, model: ServedModel) -> None:
        """Try other engines with a version that is served from now on, if that is wanted."""
        is_wanted = slot.source.engine != TENSORFLOW and model.engine == TENSORFLOW
        if is_wanted and model.engines.choice is None:
            task = asyncio.ensure_future(self._improve(slot, model))
            self._improving.add(task)
            task.add_done_callback(self._improved)

    def _improved(self, task: asyncio.Task[None]) -> None:
        self._improving.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("other engines were not tried to the end", exc_info=error)

    async def _improve(self, slot: Slot, model: ServedModel) -> None:
        async with self._changing:  # after all models of the start
            request = self._request(model.origin, None)
        if slot.current is not model:
            return

        async def move(model: ServedModel) -> None:
            with contextlib.suppress(Draining):
                await self._change(slot.change_engine(model))

        await self._engines.improve(model, request, self._start, move)

    def _request(self, origin: Origin, before: ServedModel | None) -> LoadRequest:
        known = before.loaded if before else None
        return request_of(origin, self.settings, known, beside_others=bool(self.models()))

    def retire(self, model: ServedModel) -> None:
        """Free a version once it has answered what it accepted."""
        task = asyncio.ensure_future(model.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)

    async def _load_all(self) -> None:
        slots = list(self.slots.values())
        failures = []
        for slot in slots:
            try:
                await slot.load()
            except LoadFailed as error:
                if self.settings.models_strict:
                    raise
                failures.append(error)
                if len(slots) > 1:
                    log_if_not_served(slot, error)
        if any(slot.current for slot in slots):
            return
        if len(slots) == 1:
            raise failures[0]
        raise LoadFailed(f"none of the {len(slots)} models can be loaded")

    async def _reload(self) -> None:
        self._reload_waits = False
        wanted = {source.served_name: source for source in self._sources}
        new = [source for name, source in wanted.items() if name not in self.slots]
        added = {source.served_name: Slot(source, self, self.settings) for source in new}
        self._set_slots(self.slots | added)
        for name, source in wanted.items():
            slot = self.slots[name]
            slot.source = source
            if not slot.is_unloaded:
                await self._load_again(slot)
        await self._remove_all_but(list(wanted))

    async def _load_unless(self, slot: Slot, seen: Seen) -> None:
        is_known = slot.seen == seen or self.slots.get(slot.name) is not slot
        if not is_known and not slot.is_unloaded:
            await self._load_again(slot)

    async def _load_again(self, slot: Slot) -> None:
        was_served = slot.current is not None
        try:
            await slot.load()
        except LoadFailed as error:
            log_if_not_served(slot, error)
        if slot.current is not None and not was_served:
            log.info("ready: %s", slot.current)

    async def _remove_all_but(self, names: Sequence[str]) -> None:
        """Keep the models of these names, in this order.

        The default model stays as it is when the one that takes its place could not be loaded.
        """
        before = self.default
        kept = {name: self.slots[name] for name in names}
        first = kept[names[0]]
        if first is not before and first.current is None and before.current is not None:
            text = "%s stays the default model, because %s is not loaded"
            log.error(text, before.name, first.name)
            kept = {before.name: before, **kept}
        removed = [slot for name, slot in self.slots.items() if name not in kept]
        self._set_slots(kept)
        for slot in removed:
            await slot.unload()

    def _set_slots(self, slots: dict[str, Slot]) -> None:
        if list(slots) != list(self.slots):
            self.slots = slots
            self.models_changed()

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


def log_if_not_served(slot: Slot, error: LoadFailed) -> None:
    if slot.current is None:
        log.error("%s: not served, because it cannot be loaded: %s", slot.name, error)
