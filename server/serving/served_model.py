"""One version of a model: loaded and checked in a thread of its own, served from there, freed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from model.signature import Signature
from model.tensors import RowCountMismatch, merge
from server.batching import Batcher, Job, ModelStuck, Observer
from server.batching.batch_size import BatchSize
from server.config import BatchingSettings, Settings
from server.dialects.native.dialect import NativeDialect
from server.dialects.table import Dialects
from server.errors import ModelFails
from server.logs.format import of_requests
from server.serving.bulk_refusals import BulkRefusals
from server.serving.counts import VersionCounts
from server.serving.loading import Example, Loaded, Model, prepare
from server.serving.self_check import SelfCheck
from server.serving.versions import Origin
from server.serving.watched_thread import WatchedThread

log = logging.getLogger(__name__)

MAX_NAMED = 20  # requests in one line of the log


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version of a model that is loaded and warm, with what belongs to it.

    Each has a thread of its own, because a slow model must not hold up a fast one, and a new
    version is loaded while the old one answers.
    """

    name: str
    origin: Origin
    loaded: Loaded
    batcher: Batcher
    counts: VersionCounts
    thread: WatchedThread
    self_check: SelfCheck
    serving: asyncio.Task[None]
    since: float = field(default_factory=time.time)

    @property
    def signature(self) -> Signature:
        return self.loaded.model.signature

    @property
    def dialects(self) -> Dialects:
        return self.loaded.dialects

    @property
    def batch_size(self) -> BatchSize:
        return self.loaded.batch_size

    @property
    def examples(self) -> list[Example]:
        return self.loaded.examples

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
        loaded = await thread.call(
            prepare, name, origin.file.version, load, settings, before and before.loaded
        )
    except BaseException:
        thread.stop()
        raise
    counts = VersionCounts()
    check = SelfCheck(name, partial(_ask_example, loaded, thread))
    observers = [observer, counts, FailureLog(name), check, BulkRefusals(thread)]
    batcher = _batcher(loaded, thread, settings.batching, observers)
    return ServedModel(
        name=name,
        origin=origin,
        loaded=loaded,
        batcher=batcher,
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


# On the event loop.


async def _ask_example(loaded: Loaded, thread: WatchedThread) -> None:
    """Ask what was answered when the model was loaded; raises what the model raises."""
    for golden in loaded.golden:
        await thread.call(loaded.model.predict, [golden.rows])


def _batcher(
    loaded: Loaded,
    thread: WatchedThread,
    settings: BatchingSettings,
    observers: Sequence[Observer],
) -> Batcher:
    predict = loaded.model.predict
    return Batcher(
        lambda parts: thread.serve(predict, parts),
        join=merge,
        whole_batch_errors=(RowCountMismatch,),
        max_rows=loaded.batch_size.rows,
        max_wait=settings.max_wait_ms / 1000,
        max_queue=settings.max_queue_ms / 1000,
        queue_rows=settings.queue_rows,
        queue_bytes=settings.queue_bytes,
        observers=observers,
        clock=time.perf_counter,
    )
