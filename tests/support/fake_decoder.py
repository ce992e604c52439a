"""A decoder process that is none: jobs are done in the test's own process, when the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.serving.client import ProcessEnded
from server.serving.decoders.jobs import JOBS
from server.serving.decoders.protocol import arrays_of, value_of
from server.serving.process_start import Ended

KILLED = Ended("killed", "the decoder process was killed")


class FakeDecoder:
    """Has the methods of `server.serving.decoders.process.DecoderProcess`.

    Attributes:
        free: no job is done while this is not set.
        jobs: the names of the jobs that have begun.
    """

    def __init__(self, jobs: Mapping[str, Callable[..., Any]], pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.jobs: list[str] = []
        self.free = asyncio.Event()
        self.free.set()
        self._begun = asyncio.Condition()
        self._jobs = jobs

    async def ready(self) -> None:
        if self.ended.done():
            raise ProcessEnded(self.ended.result())

    async def run(self, name: str, arguments: Sequence[Any], nbytes: int) -> Any:
        sent = [array.tobytes() for array in arrays_of(arguments)]
        async with self._begun:
            self.jobs.append(name)
            self._begun.notify_all()
        freed = asyncio.ensure_future(self.free.wait())
        await asyncio.wait({freed, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        freed.cancel()
        await self.ready()
        result = self._jobs[name](*value_of(sent))
        return value_of([array.tobytes() for array in arrays_of(result)])

    def kill(self) -> None:
        self.ended.set_result(KILLED)

    async def close(self) -> None:
        if not self.ended.done():
            self.ended.set_result(Ended("closed", "closed"))

    async def began(self, times: int) -> None:
        """Wait until so many jobs have begun."""
        async with self._begun:
            await self._begun.wait_for(lambda: len(self.jobs) >= times)


class FakeDecoders:
    """Starts fake decoder processes.

    Attributes:
        started: those that were started.
        starts_held: new ones do no job until their `free` is set.
        dies_at_start: new ones end before they are ready.
        cannot_start: starting one raises OSError.
    """

    def __init__(self, jobs: Mapping[str, Callable[..., Any]] = JOBS) -> None:
        self.started: list[FakeDecoder] = []
        self.starts_held = False
        self.dies_at_start = False
        self.cannot_start = False
        self._jobs = jobs

    def __call__(self) -> FakeDecoder:
        if self.cannot_start:
            raise OSError(11, "Resource temporarily unavailable")
        decoder = FakeDecoder(self._jobs, pid=len(self.started))
        if self.starts_held:
            decoder.free.clear()
        if self.dies_at_start:
            decoder.kill()
        self.started.append(decoder)
        return decoder

    async def working(self, starts: int = 1) -> FakeDecoder:
        """Return the last one once so many were started, and it has begun a job."""
        while len(self.started) < starts:
            await asyncio.sleep(0)
        await self.started[-1].began(1)
        return self.started[-1]
