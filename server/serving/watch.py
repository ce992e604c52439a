"""New versions of models, loaded by themselves."""

from __future__ import annotations

import asyncio
import logging

from server.batching import Draining
from server.serving.repository import Repository
from server.serving.slot import Slot
from server.serving.versions import Seen

log = logging.getLogger(__name__)


class Watch:
    """Looks at the files of all models, and loads what has changed.

    A change is loaded when two looks in a row see the same, so that what is still being written is
    left alone. What cannot be loaded is tried again when it has changed once more.

    Symbolic links are followed: Kubernetes swaps the link `..data` to replace all files at once.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._before: dict[Slot, Seen] = {}

    async def run(self, seconds: float) -> None:
        """Look every so many seconds, until the service drains."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.look()
            except Draining:
                return

    async def look(self) -> None:
        """Look once at the files of every model that nobody has unloaded; raises Draining."""
        slots = [each for each in self._repository.slots.values() if not each.is_unloaded]
        before, self._before = self._before, {}
        for slot in slots:
            seen = await slot.look()
            if seen == slot.seen:
                continue
            self._before[slot] = seen
            if before.get(slot) == seen:
                log.info("%s: its files have changed", slot.name)
                await self._repository.load_new(slot, seen)
