"""The pool of decoder processes: starts them when they are needed, and gives them work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, Protocol

from model.process.cores import usable_cores
from server.batching.deadlines import Deadlines
from server.batching.speed import Speed
from server.errors import DecoderFailed
from server.serving.client import ProcessEnded
from server.serving.counts import Counts
from server.serving.decoders.work import Lines, Work
from server.serving.process_start import Ended

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 2
MANY_CORES: Final = 4


class Decoder(Protocol):
    """What the pool needs of a decoder process."""

    pid: int
    ended: asyncio.Future[Ended]

    async def ready(self) -> None:
        """Wait until it can do jobs; raises ProcessEnded."""

    async def run(self, name: str, arguments: Sequence[Any], nbytes: int) -> Any:
        """Do a job; raises what the job raises, and ProcessEnded."""

    async def close(self) -> None:
        """End it."""


StartDecoder = Callable[[], Decoder]  # raises OSError


class DecoderPool:
    """Does the jobs of `jobs` in decoder processes, which start with the first large body.

    Attributes:
        lines: all work that is not done.
    """

    def __init__(self, start: StartDecoder, counts: Counts, most: int = 0) -> None:
        """Prepare a pool of at most so many processes; 0: as fits the machine."""
        self.lines = Lines()
        self._start = start
        self._counts = counts
        self._most = most or (2 if usable_cores() >= MANY_CORES else 1)
        self._speeds: defaultdict[str, Speed] = defaultdict(Speed)
        self._serving: dict[asyncio.Task[None], Decoder] = {}
        self._idle: list[asyncio.Future[None]] = []

    @cached_property
    def deadlines(self) -> Deadlines:
        """Those of the work that was submitted."""
        return Deadlines(asyncio.get_running_loop())

    @property
    def pids(self) -> list[int]:
        """The process ids of the decoder processes."""
        return [decoder.pid for decoder in self._serving.values()]

    def expect(self, client: str, job: str, nbytes: int) -> Work:
        """Count a job that will be submitted; call `leave` if it will not be, after all."""
        return Work(self, client, job, nbytes)

    def wait(self, client: str) -> float:
        """Return how many seconds a new job of a client is expected to wait."""
        works = self.lines.ahead(client)
        return sum(self._speeds[w.job].predict(1, w.nbytes) for w in works) / self._most

    def submit(self, work: Work, deadline: float, *arguments: Any) -> Work:
        """Do work that was expected; it fails with DeadlineExceeded at `deadline`.

        It also fails with what the job raises, and with DecoderFailed.
        """
        work.arguments = arguments
        work.arm(deadline)
        self._wake_one()
        return work

    async def close(self) -> None:
        """End the processes."""
        serving = dict(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*(decoder.close() for decoder in serving.values()))
        await asyncio.gather(*serving, return_exceptions=True)

    def expired(self, work: Work) -> None:
        """Count a deadline that has passed."""
        self._counts.expired(work)

    def cancelled(self, work: Work) -> None:
        """Count a client that has disconnected."""
        self._counts.cancelled(work)

    def _wake_one(self) -> None:
        """Have an idle process look for work; start one if there is none, and there may be."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return
        if len(self._serving) < self._most:
            self._start_one()

    def _start_one(self) -> None:
        try:
            decoder = self._start()
        except OSError as error:  # no memory, or no more processes
            log.error("no decoder process can be started: %s", error)
            if not self._serving:
                for work in self.lines.untaken():
                    work.fail(DecoderFailed("No decoder process can be started."))
            return
        log.info("decoder process %d started, for large bodies and answers", decoder.pid)
        task = asyncio.ensure_future(self._serve(decoder))
        self._serving[task] = decoder
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        """Forget a process that has ended; start another one if there is work."""
        del self._serving[task]
        if task.cancelled():
            return
        if error := task.exception():
            log.critical("internal error in the decoder pool", exc_info=error)
        if self.lines.untaken():
            self._wake_one()

    async def _serve(self, decoder: Decoder) -> None:
        """Give work to a process until it ends."""
        try:
            await decoder.ready()
        except ProcessEnded:
            for untaken in self.lines.untaken():
                self._interrupted(untaken)
        try:
            while not decoder.ended.done():
                if work := self.lines.take():
                    await self._do(decoder, work)
                else:
                    await self._rest(decoder)
        except ProcessEnded:
            pass
        ended = await asyncio.shield(decoder.ended)
        self._counts.decoder_ended(ended.reason)
        log.error("%s; another one is started when it is needed", ended.text)

    async def _rest(self, decoder: Decoder) -> None:
        """Wait until there is work, or the process has ended."""
        idle = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        await asyncio.wait({idle, decoder.ended}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()

    async def _do(self, decoder: Decoder, work: Work) -> None:
        """Do work in a process; raises ProcessEnded."""
        assert work.arguments is not None, "it was submitted"
        began = time.perf_counter()
        try:
            result = await decoder.run(work.job, work.arguments, work.nbytes)
        except ProcessEnded:
            self._interrupted(work)
            raise
        except Exception as error:
            if not work.done():
                work.fail(error)
        else:
            self._speeds[work.job].learn(work.nbytes, time.perf_counter() - began)
            if not work.done():
                work.succeed(result)

    def _interrupted(self, work: Work) -> None:
        """Have work done again whose process has ended; the second time it has failed."""
        work.attempts += 1
        if work.done():
            return
        if work.attempts < MAX_ATTEMPTS:
            work.is_taken = False
        else:
            work.fail(DecoderFailed("The decoder process ended twice while it did this request."))
