"""Stand-ins: a model of plain integers, an observer that remembers, a clock that jumps.

And a measure of the memory that something keeps.
"""

from __future__ import annotations

import asyncio
import selectors
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from server.batching import Job, Observer


class FakeModel:
    """Answers ten times each row, when and how the test wants.

    Attributes:
        calls: the parts of every call so far.
        poison: a call with any of these rows raises.
        seconds: how long a call with so many rows takes.
        spoil: what is returned in place of the right answers.
        overlapped: whether it was ever called while it was still busy.
    """

    def __init__(self) -> None:
        self.calls: list[list[list[int]]] = []
        self.poison: set[int] = set()
        self.seconds: Callable[[int], float] = lambda rows: 0
        self.spoil: Callable[[list[list[int]]], Any] = lambda answers: answers
        self.overlapped = False
        self._busy = False
        self._called = asyncio.Event()
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def batches(self) -> list[list[int]]:
        """The rows of every call so far."""
        return [[*chain.from_iterable(parts)] for parts in self.calls]

    @property
    def rows(self) -> list[int]:
        """All rows of all calls so far."""
        return [*chain.from_iterable(self.batches)]

    def hold(self) -> None:
        """Let calls from now on take until they are released."""
        self._gate = asyncio.Event()

    def release(self) -> None:
        """Let the held call end, and later ones run freely."""
        self._gate.set()

    def step(self) -> None:
        """Let the held call end, and hold the next one."""
        self.release()
        self.hold()

    async def called(self, times: int = 1) -> None:
        """Wait until so many calls have begun."""
        while len(self.calls) < times:
            self._called.clear()
            await self._called.wait()

    async def run(self, parts: Sequence[Sequence[int]]) -> Any:
        """Be the model: one call with the rows of several requests."""
        self.calls.append([list(part) for part in parts])
        rows = self.batches[-1]
        self._called.set()
        self.overlapped |= self._busy
        self._busy = True
        try:
            await self._gate.wait()
            if seconds := self.seconds(len(rows)):  # sleep(0) would let timers go first
                await asyncio.sleep(seconds)
        finally:
            self._busy = False
        if guilty := self.poison.intersection(rows):
            raise ValueError(f"cannot stand {sorted(guilty)}")
        return self.spoil([[10 * row for row in part] for part in parts])


@contextmanager
def keeping_less_than(nbytes: int) -> Iterator[None]:
    """Fail if what the block allocates in Python, and does not give back, is more than that."""
    tracemalloc.start()
    try:
        yield
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < nbytes


class Diary(Observer):
    """Writes down what it hears.

    Attributes:
        refusals: the reasons.
        runs: rows, requests and seconds of every call.
        fates: every settled job with the word for how it ended.
        failures: the jobs, the error and whether it was isolated.
    """

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.runs: list[tuple[int, int, float]] = []
        self.fates: list[tuple[Job, str]] = []
        self.failures: list[tuple[list[Job], Exception, bool]] = []

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)

    def ran(self, rows: int, requests: int, seconds: float) -> None:
        self.runs.append((rows, requests, seconds))

    def answered(self, jobs: list[Job]) -> None:
        self.fates += [(job, "answered") for job in jobs]

    def expired(self, job: Job) -> None:
        self.fates.append((job, "expired"))

    def cancelled(self, job: Job) -> None:
        self.fates.append((job, "cancelled"))

    def failed(self, jobs: list[Job], error: Exception, isolated: bool) -> None:
        self.failures.append((list(jobs), error, isolated))
        self.fates += [(job, "failed") for job in jobs]


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: with nothing left to do, its clock jumps to the next timer.

    So an hour passes in no time, durations are exact, and what would hang fails.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        self._quiet: list[asyncio.Future[None]] = []
        super().__init__(_NeverWaiting(self._idle))

    def time(self) -> float:
        """Return the fake time in seconds."""
        return self._now

    def block(self, seconds: float) -> None:
        """Let time pass as if something kept the loop from its work."""
        self._now += seconds

    def quiet(self) -> asyncio.Future[None]:
        """Wait until nothing is left to do at this time; the clock stands still."""
        self._quiet.append(self.create_future())
        return self._quiet[-1]

    def _idle(self, seconds: float | None) -> None:
        if self._quiet:
            self._quiet.pop().set_result(None)
        elif seconds is None:
            raise RuntimeError("nothing will ever happen again")
        else:
            self._now += seconds + 1e-9  # rounding must not leave it just before the timer


class _NeverWaiting(selectors.DefaultSelector):
    """Tells how long it was to wait, and does not."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout != 0:
            self._idle(timeout)
        return events
