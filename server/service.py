"""What is served, and in which state it is: loading, ready or draining."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from model.signature import Signature
from model.tensors import Tensors, WrongRowCount, merge
from server.batching import Batcher, Job, Observer, Observers
from server.config import Settings
from server.counts import Counts, LoopLag
from server.dialects.native import NativeDialect
from server.errors import Loading
from server.model_thread import ModelThread

log = logging.getLogger("server")

DEFAULT_MAX_ROWS = 64
MAX_ROW_DEPENDENCE = 1e-4
EXAMPLE_SIZES = (2, 8, 32, 128)  # of a variable dimension


class Model(Protocol):
    """What the service needs of a model; all of it is called in the model's thread."""

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""

    def warm_up(self, max_rows: int) -> None:
        """Make the first calls, which are slow."""

    def row_dependence(self) -> float:
        """Return how far, relatively, a row's answer moves when it rides in a batch."""

    def predict(self, parts: Sequence[Tensors]) -> list[Tensors]:
        """Call the network once for all parts; return an answer for each."""


class State(Enum):
    """Whether predictions can be asked for."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True)
class Example:
    """A request and the model's own answer to it, both as bodies."""

    summary: str
    request: bytes
    answer: bytes


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that is loaded and warm, with what belongs to it."""

    name: str
    version: str
    signature: Signature
    dialect: NativeDialect
    batcher: Batcher
    max_rows: int
    examples: list[Example]

    def __str__(self) -> str:
        return f"{self.name} version {self.version} ({self.signature})"


class Service:
    """One model behind one batcher.

    Attributes:
        counts: what has happened so far.
        loop_lag: how late the event loop is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.LOADING
        self.counts = Counts()
        self.loop_lag = LoopLag()
        self._model: ServedModel | None = None
        self._thread = ModelThread()
        self._serving: asyncio.Task[None] | None = None

    @property
    def model(self) -> ServedModel:
        """The model that is served; raises Loading before there is one."""
        if self._model is None:
            raise Loading
        return self._model

    def when_broken(self, callback: Callable[[], object]) -> None:
        """Have `callback` called if the batcher ever ends with an error, a mistake of ours."""

        def ended(serving: asyncio.Task[None]) -> None:
            if not serving.cancelled() and (error := serving.exception()):
                log.critical("the batcher broke", exc_info=error)
                callback()

        if self._serving:
            self._serving.add_done_callback(ended)

    async def start(self, load: Callable[[], Model]) -> None:
        """Load and warm up in the model's thread, then be ready; raises what `load` raises."""
        self.loop_lag.start()
        loaded = await self._thread.call(self._load, load)
        self._model = self._serve(*loaded)
        gc.collect()
        gc.freeze()  # a full collection goes through all of TensorFlow: 160 ms
        if self.state is State.LOADING:
            self.state = State.READY

    def is_busy(self) -> bool:
        """Tell whether the model's thread is in the middle of something."""
        return self._thread.busy

    def stop_being_ready(self) -> bool:
        """Announce the end; predictions are still answered. False when they never were."""
        was_ready = self.state is State.READY
        self.state = State.DRAINING
        return was_ready

    async def drain(self) -> None:
        """Accept nothing more; return when everything accepted is settled."""
        self.loop_lag.stop()
        if self._serving:
            self.model.batcher.drain()
            await self._serving

    def _load(self, load: Callable[[], Model]) -> tuple[Model, NativeDialect, list[Example]]:
        model = load()
        model.warm_up(self._max_rows())
        warn_of_dependent_rows(model.row_dependence())
        as_null = self.settings.predict.non_finite == "as_null"
        dialect = NativeDialect(model.signature, non_finite_as_null=as_null)
        return model, dialect, examples_of(model, dialect)

    def _serve(self, model: Model, dialect: NativeDialect, examples: list[Example]) -> ServedModel:
        batcher = self._batcher(model)
        self._serving = asyncio.ensure_future(batcher.serve())
        return ServedModel(
            name=self.settings.model.served_name,
            version=self.settings.model.version,
            signature=model.signature,
            dialect=dialect,
            batcher=batcher,
            max_rows=self._max_rows(),
            examples=examples,
        )

    def _batcher(self, model: Model) -> Batcher:
        settings = self.settings.batching
        return Batcher(
            lambda parts: self._thread.call(model.predict, parts),
            join=merge,
            whole_batch_errors=(WrongRowCount,),
            max_rows=self._max_rows(),
            max_wait=settings.max_wait_ms / 1000,
            max_queue=settings.max_queue_ms / 1000,
            queue_rows=settings.queue_rows,
            queue_bytes=settings.queue_bytes,
            observer=Observers(self.counts, FailureLog()),
            clock=time.perf_counter,
        )

    def _max_rows(self) -> int:
        setting = self.settings.batching.max_rows
        return setting if isinstance(setting, int) else DEFAULT_MAX_ROWS


class FailureLog(Observer):
    """Writes down why a model failed."""

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:
        """Log one batch's failure, with its traceback."""
        whose = "for them alone" if isolated else "for the whole batch"
        log.error("the model failed on %d request(s), %s", len(jobs), whose, exc_info=error)


def warn_of_dependent_rows(difference: float) -> None:
    """Say so when a model must not be batched."""
    if difference > MAX_ROW_DEPENDENCE:
        log.warning(
            "a row's answer differs by %.1e when it is in a batch: the rows of this model depend "
            "on each other, or it keeps state; set batching.max_rows to 1",
            difference,
        )


def examples_of(model: Model, dialect: NativeDialect) -> list[Example]:
    """Ask the model itself for the answers that the documentation shows.

    A model may refuse what is only plausible, such as a sequence shorter than its window; what it
    does not answer is not shown.
    """
    for size in EXAMPLE_SIZES:
        with contextlib.suppress(Exception):
            return [
                example_of(model, dialect, "one example", dialect.example(variable_size=size)),
                example_of(
                    model, dialect, "a batch of two", dialect.example(2, variable_size=size)
                ),
            ]
    log.warning("the model answers none of the made-up examples: the documentation has none")
    return []


def example_of(model: Model, dialect: NativeDialect, summary: str, body: bytes) -> Example:
    """Return a request with the model's answer; raises what the model raises."""
    request = dialect.decode(body)
    [answer] = model.predict([request.tensors])
    return Example(summary, body, dialect.encode(answer, request.single))
