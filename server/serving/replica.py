"""One replica of a version: a model process, and a new one whenever it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from model.process.messages import MessageError
from model.process.prepare import LoadRequest, Report
from model.tensors import Rows, View
from server.batching import Interrupted, ModelUnavailable
from server.serving.client import LoadRejected, ModelClient, ProcessEnded, StartProcess
from server.serving.process_start import Ended
from server.serving.versions import Origin

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.1  # seconds before the second restart in a row; doubled before each further
LONGEST_PAUSE: Final = 10.0


@dataclass(frozen=True)
class RestartPolicy:
    """When a model process is started again.

    Attributes:
        max_restarts: the replica is given up when its process has ended so many times without an
            answer in between.
        load_timeout: the most seconds that loading may take.
        keeps_state: the model keeps state, so an interrupted call must not be made again.
    """

    max_restarts: int = 5
    load_timeout: float = 600.0
    keeps_state: bool = False


class Replica:
    """Calls a model process, and starts a new one when it ends.

    Attributes:
        failure: why the replica was given up, or "".
    """

    def __init__(
        self,
        name: str,
        origin: Origin,
        start: StartProcess,
        policy: RestartPolicy,
        on_restart: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Prepare a replica of the model `name` from the file of `origin`.

        `on_restart` is called with the reason whenever a process has ended.
        """
        self.failure = ""
        self._name = name
        self._origin = origin
        self._start = start
        self._policy = policy
        self._on_restart = on_restart
        self._request = LoadRequest("")
        self._process: ModelClient | None = None
        self._callable = asyncio.Event()
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._ends = 0  # how often the process ended since the last answer
        self._began = 0.0  # when the call in progress began, by the loop's clock; 0: there is none
        self._watching: asyncio.Task[None] | None = None

    @property
    def step(self) -> str:
        """What the process is doing while it cannot be called, or ""."""
        if self._callable.is_set():
            return ""
        return (self._process.step if self._process else "") or "waiting to be started again"

    @property
    def busy_seconds(self) -> float:
        """How long the call in progress has taken; 0 while there is none."""
        return self._loop.time() - self._began if self._began else 0.0

    async def load(self, request: LoadRequest) -> Report:
        """Load a version for the first time; raises LoadRejected, ProcessEnded, OSError."""
        process = self._process = self._start(self._name)
        try:
            report = await process.load(request, self._policy.load_timeout)
        except BaseException:
            process.kill("closed", "the model was not loaded")
            raise
        self._request = as_restart(request, report)
        self._callable.set()
        self._watching = asyncio.ensure_future(self._watch(process))
        return report

    async def ready(self) -> None:
        """Return once `call` is possible, or the replica was given up (then `call` raises)."""
        await self._callable.wait()

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        """Call the model once.

        Raises ModelRaised and RowCountMismatch; Interrupted when the process ended during the call
        and the call can be made again; ModelUnavailable when it cannot.
        """
        async with self._lock:
            if self.failure:
                raise ModelUnavailable(self.failure)
            process = self._process
            assert process is not None, "it has been loaded"
            self._began = self._loop.time()
            try:
                answers = await process.call(parts)
            except ProcessEnded as error:
                if self._process is process:
                    self._callable.clear()  # before `_watch` does, so that `ready` waits
                raise self._interrupted(error.ended) from error
            finally:
                self._began = 0.0
            self._ends = 0
            return answers

    async def close(self) -> None:
        """End the process."""
        if self._watching:
            self._watching.cancel()
        if self._process:
            await self._process.close()

    def _interrupted(self, ended: Ended) -> Exception:
        if self._policy.keeps_state:
            why = f"{ended.text}; the model keeps state, so the call was not made again"
            return ModelUnavailable(why)
        return Interrupted(ended.text)

    async def _watch(self, process: ModelClient) -> None:
        """Start a new process whenever one ends, until the replica is given up."""
        while True:
            ended = await asyncio.shield(process.ended)
            self._callable.clear()
            self._ends += 1
            self._on_restart(ended.reason)
            if self._ends >= self._policy.max_restarts:
                self._give_up(f"{ended.text}, {self._ends} times without an answer in between")
                return
            if not self._origin.is_there():
                file = self._origin.file.path
                self._give_up(f"{ended.text}, and {file} was overwritten in place meanwhile")
                return
            log.error("%s: %s; starting it again", self._name, ended.text)
            process = await self._started_again()

    async def _started_again(self) -> ModelClient:
        """Start a process and load the version; if loading fails, `_watch` sees that it ended."""
        if self._ends > 1:
            await asyncio.sleep(min(FIRST_PAUSE * 2 ** (self._ends - 2), LONGEST_PAUSE))
        while True:
            try:
                process = self._process = self._start(self._name)
            except OSError as error:  # no memory, or no more processes
                log.error("%s: no process can be started: %s", self._name, error)
                await asyncio.sleep(LONGEST_PAUSE)
                continue
            request = replace(self._request, path=self._origin.path)
            try:
                await process.load(request, self._policy.load_timeout)
            except LoadRejected as error:
                process.kill("load_failed", str(error))
            except ProcessEnded:
                pass
            except MessageError as error:
                process.kill("load_failed", f"the model process sent an invalid message: {error}")
            else:
                self._callable.set()
                log.info("%s: serving again", self._name)
            return process

    def _give_up(self, text: str) -> None:
        self.failure = (
            f"The model {self._name} was given up: {text}. Load it again, or load another version."
        )
        log.critical("%s", self.failure)
        self._callable.set()  # calls now raise the reason


def as_restart(request: LoadRequest, report: Report) -> LoadRequest:
    """Return the request to load, in a new process, a version that another process has tried."""
    return replace(
        request,
        options=replace(request.options, eager=report.is_eager),
        before=None,
        is_restart=True,
        max_rows=report.batch_size.rows,
        beside_others=False,
    )
