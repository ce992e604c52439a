"""What is served, and in which state it is: loading, ready or draining."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from functools import partial

from server.config import Settings
from server.serving.answer_bytes import AnswerBytes
from server.serving.client import StartProcess
from server.serving.counts import Counts
from server.serving.decoders.pool import DecoderPool, StartDecoder
from server.serving.decoders.process import DecoderProcess
from server.serving.loop_lag import LoopLag
from server.serving.repository import Repository
from server.serving.served_model import ServedModel
from server.serving.slot import Slot

log = logging.getLogger(__name__)


class ServiceState(Enum):
    """Whether predictions can be asked for."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Service:
    """All that answers requests knows of what is served.

    Attributes:
        repository: the models.
        counts: what has happened so far.
        answers: the memory of answers that are being computed or read.
        decoders: the processes that decode large bodies and encode large answers.
        loop_lag: how late the event loop is.
    """

    def __init__(self, settings: Settings, start_decoder: StartDecoder | None = None) -> None:
        self.settings = settings
        self.state = ServiceState.LOADING
        self.counts = Counts()
        self.answers = AnswerBytes(settings.http.answer_bytes, self.counts.refused)
        self.decoders = DecoderPool(
            start_decoder or partial(DecoderProcess, settings.hang_timeout), self.counts
        )
        self.loop_lag = LoopLag()
        self.repository = Repository(settings, self.counts)

    @property
    def default(self) -> Slot:
        """The slot of the model of `/predict`."""
        return self.repository.default

    @property
    def model(self) -> ServedModel:
        """The default model.

        Raises Loading before there is one, ModelUnavailable when it could not be loaded,
        UnknownModel once unloaded.
        """
        return self.default.current or self.default.find()

    @property
    def models(self) -> list[ServedModel]:
        """The current version of every model that is served, the default one first."""
        slots = self.repository.slots.values()
        return [slot.current for slot in slots if slot.current is not None]

    @property
    def condition(self) -> str:
        """What the pages show: its state, and what is wrong with the default model."""
        model = self.default.current
        if self.state is ServiceState.READY and model is not None and (why := model.trouble):
            return f"not ready: {why}"
        if self.state is ServiceState.READY and model is None and self.default.failure:
            return f"not ready: {self.default.not_loaded}"
        return self.state.value

    def when_broken(self, callback: Callable[[], object]) -> None:
        """Have `callback` called if a batcher ever ends with an error, a mistake of ours."""

        def ended(serving: asyncio.Task[None]) -> None:
            if not serving.cancelled() and (error := serving.exception()):
                log.critical("the batcher broke", exc_info=error)
                callback()

        self.repository.batcher_ended = ended
        for model in self.repository.models():
            model.serving.add_done_callback(ended)

    async def start(self, start: StartProcess) -> None:
        """Load and warm up the models, each in its process, then be ready; raises LoadFailed.

        Some may be missing; see `Repository.start`.
        """
        self.loop_lag.start()
        await self.repository.start(start)
        if self.state is ServiceState.LOADING:
            self.state = ServiceState.READY

    def stop_being_ready(self) -> bool:
        """Announce the end; predictions are still answered. False when they never were."""
        was_ready = self.state is ServiceState.READY
        self.state = ServiceState.DRAINING
        return was_ready

    async def drain(self) -> None:
        """Accept nothing more; return when everything accepted is settled."""
        self.loop_lag.stop()
        await self.repository.drain()

    async def close(self) -> None:
        """End the model processes and the decoder processes."""
        await asyncio.gather(self.repository.close(), self.decoders.close())
