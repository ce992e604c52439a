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
from typing import NamedTuple, Protocol

from model.signature import Signature
from model.tensors import Tensors, WrongRowCount, merge
from server.batch_size import BatchSize, Limits, measure
from server.batching import Batcher, Job, Observer, Observers
from server.config import Settings
from server.counts import Counts, LoopLag
from server.dialects.native import NativeDialect
from server.errors import Loading
from server.model_thread import ModelThread

log = logging.getLogger("server")

MAX_ROW_DEPENDENCE = 1e-4
EXAMPLE_SIZES = (2, 8, 32, 128)  # of a variable dimension


class Model(Protocol):
    """What the service needs of a model; all of it is called in the model's thread."""

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""

    @property
    def row_nbytes(self) -> int:
        """The size of one row of input in bytes."""

    def warm_up(self, max_rows: int) -> None:
        """Make the first calls, which are slow."""

    def trial(self, rows: int) -> Callable[[], object]:
        """Return a call with so many rows, to be timed, after making it once."""

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
    batch_size: BatchSize
    examples: list[Example]

    def __str__(self) -> str:
        return f"{self.name} version {self.version} ({self.signature})"


class Loaded(NamedTuple):
    """What comes out of the model's thread at the start."""

    model: Model
    dialect: NativeDialect
    batch_size: BatchSize
    examples: list[Example]


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
        self._model = self._serve(loaded)
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

    def _load(self, load: Callable[[], Model]) -> Loaded:
        model = load()
        batch_size = self._warm_up(model)
        warn_of_dependent_rows(model.row_dependence())
        as_null = self.settings.predict.non_finite == "as_null"
        dialect = NativeDialect(model.signature, non_finite_as_null=as_null)
        return Loaded(model, dialect, batch_size, examples_of(model, dialect))

    def _warm_up(self, model: Model) -> BatchSize:
        """Make the first calls; measure how many rows a call should have, unless that is set."""
        settings = self.settings.batching
        if settings.max_rows != "auto":
            model.warm_up(settings.max_rows)
            return BatchSize(settings.max_rows)
        model.warm_up(1)
        limits = Limits(call_seconds=settings.max_batch_ms / 1000)
        batch_size = measure(model.trial, model.row_nbytes, limits)
        log.info("batching.max_rows: %s", batch_size)
        return batch_size

    def _serve(self, loaded: Loaded) -> ServedModel:
        batcher = self._batcher(loaded.model, loaded.batch_size.rows)
        self._serving = asyncio.ensure_future(batcher.serve())
        return ServedModel(
            name=self.settings.model.served_name,
            version=self.settings.model.version,
            signature=loaded.model.signature,
            dialect=loaded.dialect,
            batcher=batcher,
            batch_size=loaded.batch_size,
            examples=loaded.examples,
        )

    def _batcher(self, model: Model, max_rows: int) -> Batcher:
        settings = self.settings.batching
        return Batcher(
            lambda parts: self._thread.call(model.predict, parts),
            join=merge,
            whole_batch_errors=(WrongRowCount,),
            max_rows=max_rows,
            max_wait=settings.max_wait_ms / 1000,
            max_queue=settings.max_queue_ms / 1000,
            queue_rows=settings.queue_rows,
            queue_bytes=settings.queue_bytes,
            observer=Observers(self.counts, FailureLog()),
            clock=time.perf_counter,
        )


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
