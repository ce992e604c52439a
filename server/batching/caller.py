"""Calls a model with a batch, and settles its requests even if the model fails."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Protocol

from server.batching.errors import Interrupted, WrongRowCount
from server.batching.fair_queue import Piece
from server.batching.job import Job, Rows
from server.batching.observer import Observer

CallModel = Callable[[list[Rows]], Awaitable[Sequence[Rows]]]
Ready = Callable[[], Awaitable[object]]


async def always_ready() -> None:
    """Return at once, for a model that can always be called."""


def halves(pieces: list[Piece[Job]]) -> list[list[Piece[Job]]]:
    """Split a batch into two, without splitting requests."""
    middle = len(pieces) // 2
    return [pieces[:middle], pieces[middle:]]


class CallerOwner(Protocol):
    """The part of a batcher that a caller uses."""

    clock: Callable[[], float]

    @property
    def observers(self) -> Sequence[Observer]: ...

    def in_time(self, pieces: list[Piece[Job]]) -> list[Piece[Job]]: ...

    def fail(self, pieces: list[Piece[Job]], error: Exception, isolated: bool) -> None: ...

    def called(self, pieces: list[Piece[Job]], rows: int, seconds: float) -> None: ...

    def is_about_the_batch(self, error: Exception) -> bool: ...

    def call_again(self, pieces: list[Piece[Job]]) -> None: ...


class Caller:
    """Calls one replica of the model."""

    def __init__(self, owner: CallerOwner, call_model: CallModel) -> None:
        self._owner = owner
        self._call_model = call_model

    async def answer(self, pieces: list[Piece[Job]], *, again: bool) -> None:
        """Settle every request of a batch, even if the model fails.

        If the call is interrupted, each of its requests gets another call of its own. `again` means
        that this is such a call; if it is interrupted too, its request is at fault.
        """
        error = await self._try(pieces)
        if isinstance(error, Interrupted) and not again:
            self._owner.call_again(pieces)
        elif error and (again or self._owner.is_about_the_batch(error)):
            self._owner.fail(pieces, error, isolated=isinstance(error, Interrupted))
        elif error:
            await self._isolate(pieces, error)

    async def _call(self, pieces: list[Piece[Job]]) -> None:
        """Call the model once and give each job its answer; raises what the model raises."""
        sizes = [stop - start for _, start, stop in pieces]
        rows = sum(sizes)
        started = self._owner.clock()
        try:
            answers = await self._call_model([job.rows(start, stop) for job, start, stop in pieces])
        except Interrupted:  # its duration says nothing about the model's speed
            raise
        except Exception:
            self._owner.called(pieces, rows, self._owner.clock() - started)
            raise
        seconds = self._owner.clock() - started
        self._owner.called(pieces, rows, seconds)
        if [len(answer) for answer in answers] != sizes:
            raise WrongRowCount(f"{rows} rows went in and {sum(map(len, answers))} came out")
        answered = [
            job
            for (job, start, _), answer in zip(pieces, answers, strict=True)
            # A job may have expired, or its client may have disconnected.
            if not job.done() and job.add(start, answer, started, seconds, rows)
        ]
        for observer in self._owner.observers:
            observer.answered(answered)

    async def _isolate(self, pieces: list[Piece[Job]], error: Exception) -> None:
        """Find the requests that fail by halving, with at most 4 log2(n) more calls."""
        calls = int(4 * math.log2(len(pieces)))
        suspects = halves(pieces)
        failures: list[tuple[list[Piece[Job]], Exception]] = []
        answered = False
        while suspects:
            group = self._owner.in_time(suspects.pop())
            if not group:
                continue
            if calls:
                calls -= 1
                failure = await self._try(group)
                if failure is None:
                    answered = True
                    continue
                error = failure
                if isinstance(error, Interrupted):
                    self._owner.call_again([*group, *chain.from_iterable(suspects)])
                    break
                if len(group) > 1 and not self._owner.is_about_the_batch(error):
                    suspects += halves(group)
                    continue
            failures.append((group, error))
        for group, error in failures:
            self._owner.fail(group, error, isolated=answered)

    async def _try(self, pieces: list[Piece[Job]]) -> Exception | None:
        """Call the model once and give each job its answer; return what the model raised."""
        try:
            await self._call(pieces)
        except Exception as error:
            return error
        return None
