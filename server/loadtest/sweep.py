"""A sweep: steps at rising rates until the objective is missed, then at rates around the knee."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from time import perf_counter
from typing import Any, Protocol

from server.loadtest.client import Target
from server.loadtest.knee import Outcome, Rates, Search
from server.loadtest.load_generator import LoadGenerator
from server.loadtest.schedule import OpenLoop, constant_arrivals, poisson_arrivals
from server.loadtest.step import Objective, Step, Trace, judge, step_figures

WARM_UP_SECONDS = 1.0
LEAD = 0.1  # share of a step that does not count, because connections are opened then


@dataclass(frozen=True)
class Plan:
    """The settings of a sweep.

    Attributes:
        step_seconds: duration of each step.
        connections: maximum number of connections.
        timeout: seconds after which a request without an answer counts as lost.
        rows: number of rows in each request.
        pause: seconds between two steps, in which the server finishes the requests of the first.
    """

    objective: Objective
    rates: Rates = field(default_factory=Rates)
    step_seconds: float = 5.0
    connections: int = 512
    timeout: float = 5.0
    rows: int = 1
    arrivals: str = "poisson"
    seed: int = 0
    pause: float = 0.2


class SweepObserver(Protocol):
    """Is notified of the progress of a sweep."""

    def begins(self, rate: float) -> None:
        """A step begins."""

    def ended(self, step: Step) -> None:
        """A step is over."""


class Stopped(Exception):
    """There will be no more steps: `Sweep.stop` was called, or the server is gone."""


class Sweep:
    """Finds the knee of one server.

    Attributes:
        steps: the completed steps, in order.
        ended_by: why the sweep ended early; empty if it did not.
    """

    def __init__(
        self,
        target: Target,
        messages: Sequence[bytes],
        plan: Plan,
        observer: SweepObserver,
        load: Callable[..., LoadGenerator] = LoadGenerator,
    ) -> None:
        self._make_load = load
        self._target = target
        self._messages = messages
        self._plan = plan
        self._observer = observer
        self._search = Search(plan.rates)
        self._seeds = count(plan.seed)
        self._load: LoadGenerator | None = None
        self.steps: list[Step] = []
        self.ended_by = ""

    async def run(self) -> dict[str, Any]:
        """Find the knee; return the figures of all completed steps, also if it is stopped."""
        await self._warm_up_and_run(self._search.run(self._attempt))
        return self.figures()

    async def at(self, rates: Sequence[float]) -> list[Step]:
        """Make a step at each of these rates; return the completed steps, also if it is stopped."""
        await self._warm_up_and_run(self._each(rates))
        return self.steps

    async def _each(self, rates: Sequence[float]) -> None:
        for rate in rates:
            await self._attempt(rate)

    async def _warm_up_and_run(self, steps: Coroutine[Any, Any, None]) -> None:
        """Warm up, then run the steps, without garbage collections of old objects."""
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # no main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.stop)
        gc.collect()
        gc.freeze()  # a full collection during a step would show as latency
        self._began = perf_counter()
        try:
            seconds = min(WARM_UP_SECONDS, self._plan.step_seconds)
            await self._put_load(self._plan.rates.start, seconds)
            await steps
        except Stopped:
            pass
        finally:
            gc.unfreeze()

    def stop(self) -> None:
        """Send no more requests; `run` returns when those in flight are answered or lost."""
        self.ended_by = "it was stopped"
        if self._load:
            self._load.stop()

    def figures(self) -> dict[str, Any]:
        """Return the knee and the steps."""
        good, bad = self._search.good, self._search.bad
        at_knee = next((s for s in reversed(self.steps) if s["met"] and s["rate"] == good), None)
        above = next((s for s in reversed(self.steps) if s["rate"] == bad), None)
        return {
            "knee": {
                "rate": good,
                "above": bad,
                "limit": above["limit"] if above else "",
                "step": self.steps.index(at_knee) if at_knee else None,
            },
            "ended_by": self.ended_by,
            "steps": self.steps,
        }

    async def _attempt(self, rate: float) -> Outcome:
        if self.ended_by:
            raise Stopped
        self._observer.begins(rate)
        began = perf_counter() - self._began
        trace = await self._put_load(rate, self._plan.step_seconds)
        verdict = judge(trace, self._plan.objective, self._plan.connections)
        if not self.ended_by:  # a step that was cut short has no valid figures
            self.steps.append(step_figures(trace, rate, began, verdict))
            self._observer.ended(self.steps[-1])
        if trace.gone:
            self.ended_by = self.ended_by or "the server no longer accepts connections"
        if self.ended_by:
            raise Stopped
        await asyncio.sleep(self._plan.pause)
        return Outcome(verdict.met, verdict.doubtful)

    async def _put_load(self, rate: float, seconds: float) -> Trace:
        trace = Trace(rows=self._plan.rows, lead=LEAD * seconds)
        self._load = self._make_load(
            self._target,
            self._messages,
            OpenLoop(self._arrivals(rate), seconds + trace.lead),
            trace,
            connections=self._plan.connections,
            timeout=self._plan.timeout,
        )
        await self._load.run()
        return trace

    def _arrivals(self, rate: float) -> Any:
        if self._plan.arrivals == "constant":
            return constant_arrivals(rate)
        return poisson_arrivals(rate, Random(next(self._seeds)))
