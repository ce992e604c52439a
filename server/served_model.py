"""One version of a model: loaded and checked in a thread of its own, served from there, freed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from model.signature import Signature
from model.tensors import Row, Tensors, WrongRowCount, distance, is_finite, merge
from server.batching import Batcher, Job, ModelStuck, Observer, Observers
from server.batching.batch_size import BatchSize, Limits, measure
from server.bulk_refusals import BulkRefusals
from server.config import BatchingSettings, Settings
from server.counts import VersionCounts
from server.dialects.native.dialect import NativeDialect
from server.dialects.table import Dialects
from server.errors import ModelFails
from server.log_format import of_requests
from server.self_check import SelfCheck
from server.versions import Origin
from server.watched_thread import WatchedThread

log = logging.getLogger("server")

MAX_ROW_DEPENDENCE = 1e-4
MAX_NAMED = 20  # requests in one line of the log
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

    def predict(self, parts: Sequence[Tensors | Row]) -> list[Tensors]:
        """Call the network once for all parts; return an answer for each."""


class NotServable(Exception):
    """A model that could be loaded, and must not take the place of the one that is served."""


class Golden(NamedTuple):
    """Rows and the model's own answer to them, which the next version is held against."""

    rows: Tensors | Row
    answer: Tensors


@dataclass(frozen=True)
class Example:
    """A request and the model's own answer to it, both as bodies."""

    summary: str
    request: bytes
    answer: bytes


class Loaded(NamedTuple):
    """What comes out of the thread in which a model was loaded."""

    model: Model
    dialects: Dialects
    batch_size: BatchSize
    examples: list[Example]
    golden: list[Golden]
    moved: float | None  # how far answers are from those of the version before


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version of a model that is loaded and warm, with what belongs to it.

    Each has a thread of its own, because a slow model must not hold up a fast one, and a new
    version is loaded while the old one answers.
    """

    name: str
    origin: Origin
    signature: Signature
    dialects: Dialects
    batcher: Batcher
    batch_size: BatchSize
    examples: list[Example]
    golden: list[Golden]
    moved: float | None
    counts: VersionCounts
    thread: WatchedThread
    self_check: SelfCheck
    serving: asyncio.Task[None]
    since: float = field(default_factory=time.time)

    @property
    def dialect(self) -> NativeDialect:
        """The native dialect, which the documentation is written in."""
        return self.dialects.native

    @property
    def version(self) -> str:
        """Its version, which every answer tells."""
        return self.origin.file.version

    def check_ready(self) -> None:
        """Raise ModelStuck or ModelFails when it cannot be asked with success."""
        if self.thread.stuck:
            raise ModelStuck(self.thread.stuck)
        if self.self_check.fails:
            raise ModelFails(f"The model {self.name} fails on the example that it once answered.")

    def __str__(self) -> str:
        return f"{self.name} version {self.version} ({self.signature})"

    async def drain(self) -> None:
        """Accept nothing more; return when everything accepted is settled."""
        self.self_check.stop()
        self.batcher.drain()
        await self.serving

    async def retire(self) -> None:
        """Answer what was accepted, then let go of the model."""
        await self.drain()
        self.thread.stop()


async def bring_up(
    name: str,
    origin: Origin,
    load: Callable[[], Model],
    thread: WatchedThread,
    settings: Settings,
    observer: Observer,
    before: ServedModel | None,
) -> ServedModel:
    """Load a model in its thread, hold it against the one `before`, and begin to serve it.

    Raises what `load` raises, and NotServable.
    """
    try:
        loaded = await thread.call(_prepare, name, origin.file.version, load, settings, before)
    except BaseException:
        thread.stop()
        raise
    counts = VersionCounts()
    check = SelfCheck(name, partial(_ask_example, loaded, thread))
    observers = Observers(observer, counts, FailureLog(name), check, BulkRefusals(thread))
    batcher = _batcher(loaded, thread, settings.batching, observers)
    return ServedModel(
        name=name,
        origin=origin,
        signature=loaded.model.signature,
        dialects=loaded.dialects,
        batcher=batcher,
        batch_size=loaded.batch_size,
        examples=loaded.examples,
        golden=loaded.golden,
        moved=loaded.moved,
        counts=counts,
        thread=thread,
        self_check=check,
        serving=asyncio.ensure_future(batcher.serve()),
    )


class FailureLog(Observer):
    """Writes down why a model failed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:
        """Log one batch's failure, with its traceback and the first of its requests.

        Of a stuck model others tell, once.
        """
        if isinstance(error, ModelStuck):
            return
        whose = "for them alone" if isolated else "for the whole batch"
        text = "the model failed on %d request(s) of %s, %s"
        ids = [job.name for job in jobs[:MAX_NAMED]]
        log.error(text, len(jobs), self._name, whose, exc_info=error, extra=of_requests(ids))


# In the model's thread.


def _prepare(
    name: str,
    version: str,
    load: Callable[[], Model],
    settings: Settings,
    before: ServedModel | None,
) -> Loaded:
    model = load()
    if before and not settings.model.allow_signature_change:
        check_signature(before.signature, model.signature)
    batch_size = _warm_up(model, settings.batching, before)
    warn_of_dependent_rows(model.row_dependence())
    dialects = Dialects(name, version, model.signature, settings.predict)
    moved = hold_against(model, before) if before else None
    examples, golden = examples_of(model, dialects.native)
    return Loaded(model, dialects, batch_size, examples, golden, moved)


def _warm_up(model: Model, settings: BatchingSettings, before: ServedModel | None) -> BatchSize:
    """Make the first calls; find out how many rows a call should have, unless that is set."""
    if settings.max_rows != "auto":
        model.warm_up(settings.max_rows)
        return BatchSize(settings.max_rows)
    limits = Limits(call_seconds=settings.max_batch_ms / 1000)
    if before and _is_as_fast(model, before.batch_size.rows, limits.call_seconds):
        return before.batch_size
    model.warm_up(1)
    batch_size = measure(model.trial, model.row_nbytes, limits)
    log.info("batching.max_rows: %s", batch_size)
    return batch_size


def _is_as_fast(model: Model, rows: int, seconds: float) -> bool:
    """Tell whether a call with so many rows is short enough.

    Then what was measured before is kept: measuring beside a model that is at work would tell of
    both.
    """
    model.warm_up(rows)
    call = model.trial(rows)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started <= seconds


def check_signature(before: Signature, now: Signature) -> None:
    """Raise NotServable when a model takes or gives something else than the one before."""
    if before != now:
        raise NotServable(
            f"its signature is {now}, where {before} is served; "
            "set model.allow_signature_change if that is meant"
        )


def hold_against(model: Model, before: ServedModel) -> float | None:
    """Return how far answers to recorded rows have moved, relatively; None if there are none.

    Raises NotServable when an answer is not finite that was finite before.
    """
    if not before.golden or before.signature.inputs != model.signature.inputs:
        return None
    moved = 0.0
    for rows, answer in before.golden:
        [now] = model.predict([rows])
        if is_finite(answer) and not is_finite(now):
            raise NotServable("it answers NaN or infinity to rows that had finite answers before")
        moved = max(moved, distance(answer, now))
    return moved


def warn_of_dependent_rows(difference: float) -> None:
    """Say so when a model must not be batched."""
    if difference > MAX_ROW_DEPENDENCE:
        log.warning(
            "a row's answer differs by %.1e when it is in a batch: the rows of this model depend "
            "on each other, or it keeps state; set batching.max_rows to 1",
            difference,
        )


def examples_of(model: Model, dialect: NativeDialect) -> tuple[list[Example], list[Golden]]:
    """Ask the model itself for the answers that the documentation shows.

    A model may refuse what is only plausible, such as a sequence shorter than its window; what it
    does not answer is not shown.
    """
    for size in EXAMPLE_SIZES:
        with contextlib.suppress(Exception):
            pairs = [
                example_of(model, dialect, "one example", dialect.example(variable_size=size)),
                example_of(
                    model, dialect, "a batch of two", dialect.example(2, variable_size=size)
                ),
            ]
            return [example for example, _ in pairs], [golden for _, golden in pairs]
    log.warning("the model answers none of the made-up examples: the documentation has none")
    return [], []


def example_of(
    model: Model, dialect: NativeDialect, summary: str, body: bytes
) -> tuple[Example, Golden]:
    """Return a request with the model's answer; raises what the model raises."""
    request = dialect.decode(body)
    [answer] = model.predict([request.tensors])
    example = Example(summary, body, dialect.write(answer, request.form))
    return example, Golden(request.tensors, answer)


# On the event loop.


async def _ask_example(loaded: Loaded, thread: WatchedThread) -> None:
    """Ask what was answered when the model was loaded; raises what the model raises."""
    for golden in loaded.golden:
        await thread.call(loaded.model.predict, [golden.rows])


def _batcher(
    loaded: Loaded, thread: WatchedThread, settings: BatchingSettings, observer: Observer
) -> Batcher:
    predict = loaded.model.predict
    return Batcher(
        lambda parts: thread.serve(predict, parts),
        join=merge,
        whole_batch_errors=(WrongRowCount,),
        max_rows=loaded.batch_size.rows,
        max_wait=settings.max_wait_ms / 1000,
        max_queue=settings.max_queue_ms / 1000,
        queue_rows=settings.queue_rows,
        queue_bytes=settings.queue_bytes,
        observer=observer,
        clock=time.perf_counter,
    )
