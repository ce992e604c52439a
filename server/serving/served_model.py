"""One version of a model that is served: its replicas, and the batcher that calls them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from model.engines.choose import Choice
from model.padding import Padding
from model.process.batch_size import BatchSize
from model.process.cores import usable_cores
from model.process.prepare import LoadRequest
from model.signature import Signature
from model.tensors import RowCountMismatch, Rows, merge
from server.batching import Batcher, Job, ModelUnavailable, Observer
from server.config import Settings
from server.dialects.native.dialect import NativeDialect
from server.dialects.native.python_line import PythonLine
from server.dialects.table import Dialects
from server.errors import ModelFails
from server.logs.format import of_requests
from server.serving.client import StartProcess
from server.serving.counts import VersionCounts
from server.serving.labels import read_labels
from server.serving.loading import Example, Loaded, loaded
from server.serving.padded_calls import calls_of, lane_of, plan_of
from server.serving.replica import Replica, RestartPolicy, as_restart
from server.serving.self_check import SelfCheck
from server.serving.versions import Origin

log = logging.getLogger(__name__)

MAX_NAMED = 20  # most request ids in one log line


@dataclass
class EngineRecord:
    """What is known of other engines for a version.

    Attributes:
        choice: what was tried; None if nothing was.
        note: why nothing was tried, or "".
    """

    choice: Choice | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version of a model that is loaded and warmed up, and everything that serves it.

    Its replicas are processes of their own, so that a slow, broken or loading model does not hold
    up another one.
    """

    name: str
    origin: Origin
    loaded: Loaded
    replicas: tuple[Replica, ...]
    batcher: Batcher
    counts: VersionCounts
    self_check: SelfCheck
    serving: asyncio.Task[None]
    since: float = field(default_factory=time.time)
    engines: EngineRecord = field(default_factory=EngineRecord)

    @property
    def engine(self) -> str:
        """What computes it, in the words of `model.engine`."""
        return self.loaded.report.engine

    def about_engines(self) -> dict[str, Any]:
        """Return what computes it, what each engine was timed at, and why others do not."""
        about: dict[str, Any] = {"engine": self.engine}
        if self.engines.note:
            about["engine_note"] = self.engines.note
        if choice := self.engines.choice:
            about["engine_milliseconds"] = {
                name: {str(rows): 1000 * seconds for rows, seconds in timing.seconds.items()}
                for name, timing in choice.timings.items()
            }
            about["engines_not_taken"] = dict(choice.reasons)
        return about

    @property
    def signature(self) -> Signature:
        return self.loaded.signature

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
    def python_line(self) -> PythonLine | None:
        return self.loaded.python_line

    @property
    def dialect(self) -> NativeDialect:
        """The native dialect, which the API documentation uses."""
        return self.dialects.native

    @property
    def version(self) -> str:
        """Its version, which every response contains."""
        return self.origin.file.version

    @property
    def failure(self) -> str:
        """Why no replica can be called any more, or ""."""
        return self.replicas[0].failure if all(each.failure for each in self.replicas) else ""

    @property
    def step(self) -> str:
        """What the first process is doing while no replica can be called, or ""."""
        steps = [each.step for each in self.replicas]
        return steps[0] if all(steps) else ""

    @property
    def trouble(self) -> str:
        """Why no replica can be called now, in a sentence, or ""."""
        if self.failure:
            return self.failure
        step = self.step
        return (
            f"The process of the model {self.name} is being started again: {step}." if step else ""
        )

    @property
    def is_ready(self) -> bool:
        """Whether `check_ready` raises nothing."""
        return not self.trouble and not self.self_check.fails

    def shape_of(self, rows: Rows) -> Hashable:
        """Return what the rows of a batch have in common, where rows have different sizes."""
        return lane_of(rows, self.loaded.padding)

    def check_ready(self) -> None:
        """Raise ModelUnavailable or ModelFails when requests cannot be answered now."""
        if trouble := self.trouble:
            raise ModelUnavailable(trouble)
        if self.self_check.fails:
            raise ModelFails(f"The model {self.name} fails on its own example.")

    def __str__(self) -> str:
        return f"{self.name} version {self.version} ({self.signature})"

    async def drain(self) -> None:
        """Reject new requests; return once every accepted request is settled."""
        self.self_check.stop()
        self.batcher.drain()
        await self.serving

    async def retire(self) -> None:
        """Answer every accepted request, then end the processes."""
        await self.drain()
        await self.close()

    async def close(self) -> None:
        """End the processes."""
        await asyncio.gather(*(each.close() for each in self.replicas))


async def bring_up(
    name: str,
    origin: Origin,
    start: StartProcess,
    request: LoadRequest,
    settings: Settings,
    observer: Observer,
    on_restart: Callable[[str], object],
) -> ServedModel:
    """Load a version in each of its processes, one after another, and start serving it.

    Raises LabelsError, LoadRejected, ProcessEnded, OSError.
    """
    given = await asyncio.to_thread(read_labels, origin.file.source.outputs)
    model, keep_state = settings.model, origin.file.source.keep_state
    policy = RestartPolicy(model.max_restarts, model.load_timeout_s, keep_state)
    replicas = tuple(
        Replica(name, origin, start, policy, on_restart) for _ in range(request.replicas)
    )
    try:
        report = await replicas[0].load(request)
        known = await asyncio.to_thread(loaded, name, origin, report, settings, given)
        for each in replicas[1:]:
            await each.load(as_restart(request, report))
    except BaseException:
        await asyncio.gather(*(each.close() for each in replicas))
        raise
    counts = VersionCounts()
    check = SelfCheck(name, partial(ask_example, known, replicas))
    batcher = batcher_of(known, settings, (observer, counts, FailureLog(name), check))
    return ServedModel(
        name=name,
        origin=origin,
        loaded=known,
        replicas=replicas,
        batcher=batcher,
        counts=counts,
        self_check=check,
        serving=asyncio.ensure_future(serve(batcher, replicas, known.padding)),
    )


async def serve(
    batcher: Batcher, replicas: Sequence[Replica], padding: Padding | None = None
) -> None:
    """Run batches on every replica; return once the batcher has drained."""

    async def ready(replica: Replica) -> None:
        await replica.ready()
        if replica.failure and not all(each.failure for each in replicas):
            # Other replicas still work; the last one to fail rejects requests.
            await asyncio.Event().wait()

    tasks = [
        asyncio.ensure_future(
            batcher.serve(calls_of(replica.call, padding), partial(ready, replica))
        )
        for replica in replicas
    ]
    settled = asyncio.ensure_future(batcher.settled())
    try:
        # A task may still wait for its replica when every request is settled.
        await asyncio.wait([settled, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for each in (settled, *tasks):
            each.cancel()


class FailureLog(Observer):
    """Logs why a model failed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:
        """Log the failure of a batch, with the traceback and the ids of the first requests.

        A model that was given up is not logged here, as the replica has logged it once.
        """
        if isinstance(error, ModelUnavailable):
            return
        whose = "for them alone" if isolated else "for the whole batch"
        text = "the model failed on %d request(s) of %s, %s"
        ids = [job.name for job in jobs[:MAX_NAMED]]
        log.error(text, len(jobs), self._name, whose, exc_info=error, extra=of_requests(ids))


async def ask_example(known: Loaded, replicas: Sequence[Replica]) -> None:
    """Call the model with the examples that it answered when it was loaded; raises its errors."""
    replica = next((each for each in replicas if not each.failure), replicas[0])
    for golden in known.report.golden:
        await replica.ready()
        await replica.call([golden.rows])


def batcher_of(known: Loaded, settings: Settings, observers: Sequence[Observer]) -> Batcher:
    batching = settings.batching
    return Batcher(
        join=merge,
        whole_batch_errors=(RowCountMismatch,),
        max_rows=known.batch_size.rows,
        max_wait=batching.max_wait_ms / 1000,
        read_first=usable_cores() == 1,
        max_queue=batching.max_queue_ms / 1000,
        plan=plan_of(known.padding),
        queue_rows=batching.queue_rows,
        queue_bytes=batching.queue_bytes,
        replicas=settings.model.replicas,
        observers=observers,
        clock=time.perf_counter,
    )
