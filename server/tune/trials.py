"""Tests settings: starts a server with each of them and finds its knee."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model.process.batch_size import BatchSize
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
from server.tune.candidates import Candidate, queue_limit_ms
from server.tune.child import CannotServe, serving
from server.tune.choice import Overload, Trial, queue_limit_helps

PATH = "/predict"
POOL_REQUESTS = 5_000
POOL_ROWS = 100_000
NEAR = 1.5  # from one rate to the next, once the knee of other settings is known
BELOW = 0.6  # share of a known knee at which the next search starts
OVERLOAD = 2.0  # times the knee


@dataclass(frozen=True)
class UnderLoad:
    """Starts servers with given settings, and load-tests them."""

    model: str
    objective_seconds: float
    step_seconds: float
    max_rate: float
    rows: int
    command: Sequence[str]

    @property
    def plan(self) -> Plan:
        """The sweep of the first server: nothing is known about its knee."""
        objective = Objective(self.objective_seconds)
        rates = Rates(start=min(Rates.start, self.max_rate), most=self.max_rate)
        return Plan(objective, rates, self.step_seconds, rows=self.rows)

    def near(self, knee: float) -> Plan:
        """Return the sweep of a server whose knee is probably near a known one."""
        start = significant(max(knee * BELOW, Rates.least))
        return replace(self.plan, rates=Rates(start, self.max_rate, factor=NEAR))

    def sweep(self, url: str, plan: Plan) -> Sweep:
        """Return a sweep of the server at `url`."""
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
        _check_completed(sweep)
        flags = [word for key, value in settings.items() for word in _flag(key, value)]
        command = shlex.join(["python", "-m", "server", self.model, *flags])
        return make_result(candidate.name, url, plan, command, server, describe_machine(), figures)

    def steps(self, candidate: Candidate, rates: Sequence[float]) -> list[Step]:
        """Load-test these settings at each of `rates`; raises CannotServe."""
        with serving(self.model, self.settings(candidate), self.command) as url:
            sweep = self.sweep(url, self.near(rates[0]))
            steps = run_coroutine(sweep.at(rates))
        _check_completed(sweep)
        return steps

    def settings(self, candidate: Candidate) -> dict[str, float]:
        """Return the settings of a server; with a fixed max_rows it need not measure the model."""
        return {"max_rows": candidate.rows, **candidate.settings}


def _check_completed(sweep: Sweep) -> None:
    if sweep.ended_by:
        raise CannotServe(f"the load test ended early: {sweep.ended_by}")


def _flag(key: str, value: float) -> list[str]:
    return [f"--batching.{key}", f"{value:g}"]


class Trials:
    """Tests all candidates in several rounds, so that a busy phase of the machine affects them all.

    Attributes:
        trials: the results, in the order of the candidates.
        overloads: without and with a limit on the queueing time.
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
        """Test all candidates; raises CannotServe."""
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

    def try_queue_limit(
        self, measured: BatchSize, chosen: Candidate, knee: float
    ) -> tuple[Candidate, str]:
        """Test the chosen settings with a limit on the queueing time.

        Return the better of both, and the reason.
        """
        milliseconds = queue_limit_ms(measured, chosen.rows, self._load.objective_seconds)
        default = BatchingSettings().max_queue_ms
        if milliseconds >= default:
            return chosen, (
                f"The default limit on the queueing time, {default:g} ms, is short enough"
            )
        limited = chosen.with_queue(milliseconds)
        steps: list[list[Step]] = [[], []]
        for _ in range(self._rounds):
            for candidate, its_steps in zip((chosen, limited), steps, strict=True):
                self._say(f"at the knee and at twice that rate: {candidate.name}")
                its_steps += self._load.steps(candidate, [knee, knee * OVERLOAD])
        self.overloads = [
            Overload(candidate, its_steps[::2], its_steps[1::2])
            for candidate, its_steps in zip((chosen, limited), steps, strict=True)
        ]
        is_better, why = queue_limit_helps(*self.overloads)
        return (limited if is_better else chosen), why
