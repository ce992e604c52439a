"""Tries settings: for each a server, and load on it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from server.batching.batch_size import BatchSize
from server.config import BatchingSettings
from server.loadtest.knee import Rates, significant
from server.loadtest.loop import run_coroutine
from server.loadtest.machine import describe_machine
from server.loadtest.narrate import Narrator
from server.loadtest.payload import Payload, draw_pool, encode
from server.loadtest.step import Objective, Step
from server.loadtest.sweep import Plan, Sweep
from server.loadtest.sweep_result import SweepResult, make_result
from server.loadtest.target_server import describe_server, fetch_document, target_of
from server.tune.candidates import Candidate, queue_bound
from server.tune.child import CannotServe, serving
from server.tune.choice import Overload, Trial, bound_is_better

PATH = "/predict"
POOL_REQUESTS = 5_000
POOL_ROWS = 100_000
NEAR = 1.5  # from one rate to the next: where a knee is known, others are not far
BELOW = 0.6  # of a known knee: where the next search begins
OVERLOAD = 2.0  # times the knee


@dataclass(frozen=True)
class UnderLoad:
    """How each server is started and asked."""

    model: str
    objective_seconds: float
    step_seconds: float
    max_rate: float
    rows: int
    command: Sequence[str]

    @property
    def plan(self) -> Plan:
        """The sweep of a server of which nothing is known."""
        objective = Objective(self.objective_seconds)
        rates = Rates(start=min(Rates.start, self.max_rate), most=self.max_rate)
        return Plan(objective, rates, self.step_seconds, rows=self.rows)

    def near(self, knee: float) -> Plan:
        """The sweep where the knee is not far from a known one."""
        start = significant(max(knee * BELOW, Rates.least))
        return replace(self.plan, rates=Rates(start, self.max_rate, factor=NEAR))

    def sweep(self, url: str, plan: Plan) -> Sweep:
        """Prepare load on the server at `url`."""
        document = fetch_document(target_of(url, "/openapi.json"))
        room = max(1, min(POOL_REQUESTS, POOL_ROWS // self.rows))
        pool = draw_pool(Payload(document, PATH), room, self.rows, plan.seed)
        target = target_of(url, PATH)
        messages = [target.message(encode(data)) for data in pool]
        return Sweep(target, messages, plan, Narrator(indent="  "))

    def find_knee(self, candidate: Candidate, plan: Plan) -> SweepResult:
        """Find the knee with these settings; raises CannotServe."""
        settings = self.settings(candidate)
        with serving(self.model, settings, self.command) as url:
            server = describe_server(url, fetch_document(target_of(url, "/openapi.json")))
            sweep = self.sweep(url, plan)
            figures = run_coroutine(sweep.run())
        _see_that_it_ended_well(sweep)
        flags = [word for key, value in settings.items() for word in _flag(key, value)]
        command = shlex.join(["python", "-m", "server", self.model, *flags])
        return make_result(candidate.name, url, plan, command, server, describe_machine(), figures)

    def steps(self, candidate: Candidate, rates: Sequence[float]) -> list[Step]:
        """Make a step at each rate with these settings; raises CannotServe."""
        with serving(self.model, self.settings(candidate), self.command) as url:
            sweep = self.sweep(url, self.near(rates[0]))
            steps = run_coroutine(sweep.at(rates))
        _see_that_it_ended_well(sweep)
        return steps

    def settings(self, candidate: Candidate) -> dict[str, float]:
        """Return all that is set, so that no server measures again what was measured before."""
        return {"max_rows": candidate.rows, **candidate.settings}


def _see_that_it_ended_well(sweep: Sweep) -> None:
    if sweep.ended_by:
        raise CannotServe(f"the load ended early: {sweep.ended_by}")


def _flag(key: str, value: float) -> list[str]:
    return [f"--batching.{key}", f"{value:g}"]


class Trials:
    """Tries all candidates in turn, in several rounds: what disturbs for a while disturbs all.

    Attributes:
        trials: what came out, in the order of the candidates.
        overloads: without and with a bound on the queue.
    """

    def __init__(
        self,
        load: UnderLoad,
        candidates: Sequence[Candidate],
        rounds: int,
        say: Callable[[str], None],
    ) -> None:
        self._load = load
        self._candidates = candidates
        self._rounds = rounds
        self._say = say
        self.trials: list[Trial] = []
        self.overloads: list[Overload] = []

    def run(self) -> None:
        """Try them; raises CannotServe."""
        results: list[list[SweepResult]] = [[] for _ in self._candidates]
        knee = 0.0
        for number in range(self._rounds):
            for candidate, its_results in zip(self._candidates, results, strict=True):
                self._say(f"round {number + 1} of {self._rounds}: {candidate.name}")
                its_results.append(self._load.find_knee(candidate, self._plan(knee)))
                knee = knee or its_results[-1]["knee"]["rate"] or 0.0
        self.trials = [Trial(*pair) for pair in zip(self._candidates, results, strict=True)]

    def _plan(self, knee: float) -> Plan:
        return self._load.near(knee) if knee else self._load.plan

    def bound(self, measured: BatchSize, chosen: Candidate, knee: float) -> tuple[Candidate, str]:
        """Try a bound on the queue for what was chosen; return what is better, and why."""
        milliseconds = queue_bound(measured, chosen.rows, self._load.objective_seconds)
        default = BatchingSettings().max_queue_ms
        if milliseconds >= default:
            return chosen, f"The default bound on the queue, {default:g} ms, is short enough"
        bounded = chosen.with_queue(milliseconds)
        steps: list[list[Step]] = [[], []]
        for _ in range(self._rounds):
            for candidate, its_steps in zip((chosen, bounded), steps, strict=True):
                self._say(f"at the knee and at twice that: {candidate.name}")
                its_steps += self._load.steps(candidate, [knee, knee * OVERLOAD])
        self.overloads = [
            Overload(candidate, its_steps[::2], its_steps[1::2])
            for candidate, its_steps in zip((chosen, bounded), steps, strict=True)
        ]
        is_better, why = bound_is_better(*self.overloads)
        return (bounded if is_better else chosen), why
