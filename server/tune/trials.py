"""Tests settings: starts a server with each of them and finds its knee."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from model.engines.choose import TENSORFLOW
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
from server.loadtest.target_server import describe_server, fetch, fetch_document, target_of
from server.tune.candidates import Candidate, Values, queue_limit_ms
from server.tune.child import CannotServe, Sections, serving
from server.tune.choice import Overload, Stage, Trial, choose_trial, queue_limit_helps

PATH = "/predict"
POOL_REQUESTS = 5_000
POOL_ROWS = 100_000
NEAR = 1.5  # from one rate to the next, once the knee of other settings is known
BELOW = 0.6  # share of a known knee at which the next search starts
OVERLOAD = 2.0  # times the knee


@dataclass(frozen=True)
class UnderLoad:
    """Starts servers with given settings, and load-tests them.

    Attributes:
        cache_dir: where servers find what was converted for their engine.
        prepare: puts it there, for a server with these settings of `model`.
    """

    model: str
    objective_seconds: float
    step_seconds: float
    max_rate: float
    rows: int
    command: Sequence[str]
    cache_dir: str
    prepare: Callable[[Values], None]

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
        with self._serving(candidate) as url:
            server = describe_server(url, fetch_document(target_of(url, "/openapi.json")))
            sweep = self.sweep(url, plan)
            figures = run_coroutine(sweep.run())
        _check_completed(sweep)
        flags = [
            word
            for section, values in self.settings(candidate).items()
            for key, value in values.items()
            for word in (f"--{section}.{key}", f"{value}")
        ]
        command = shlex.join(["python", "-m", "server", self.model, *flags])
        return make_result(candidate.name, url, plan, command, server, describe_machine(), figures)

    def steps(self, candidate: Candidate, rates: Sequence[float]) -> list[Step]:
        """Load-test these settings at each of `rates`; raises CannotServe."""
        with self._serving(candidate) as url:
            sweep = self.sweep(url, self.near(rates[0]))
            steps = run_coroutine(sweep.at(rates))
        _check_completed(sweep)
        return steps

    def settings(self, candidate: Candidate) -> Sections:
        """Return the settings of a server; with a fixed max_rows it need not measure the model."""
        batching = {"max_rows": candidate.rows, **candidate.settings}
        return {"model": candidate.model, "batching": batching}

    @contextmanager
    def _serving(self, candidate: Candidate) -> Iterator[str]:
        """Serve with these settings, and yield the URL; raises CannotServe."""
        self.prepare(candidate.model)
        settings = dict(self.settings(candidate))
        settings["model"] = {**candidate.model, "cache_dir": self.cache_dir}
        with serving(self.model, settings, self.command) as url:
            if candidate.engine != TENSORFLOW:
                _check_engine(url, candidate.engine)
            yield url


def _check_engine(url: str, wanted: str) -> None:
    """Raise CannotServe unless the engine computes the model from the start."""
    _, body = fetch(target_of(url, "/metrics"))
    found = re.search(rb'^predict_model_info\{[^}]*engine="(\w+)"', body, re.MULTILINE)
    if not found or found[1].decode() != wanted:
        raise CannotServe(f"{wanted} does not compute the model")


def _check_completed(sweep: Sweep) -> None:
    if sweep.ended_by:
        raise CannotServe(f"the load test ended early: {sweep.ended_by}")


class Trials:
    """Tests candidates in several rounds, so that a busy phase of the machine affects them all.

    Attributes:
        stages: what was tested so far.
        overloads: without and with a limit on the queueing time.
    """

    def __init__(self, load: UnderLoad, rounds: int, say: Callable[[str], None]) -> None:
        self._load = load
        self._rounds = rounds
        self._say = say
        self._knee = 0.0
        self.stages: list[Stage] = []
        self.overloads: list[Overload] = []

    def run(self, title: str, candidates: Sequence[Candidate]) -> Candidate:
        """Test the candidates; return the one that is recommended. Raises CannotServe.

        The first has what is recommended so far. It is not tested without others.
        """
        if len(candidates) < 2:
            return candidates[0]
        results: list[list[SweepResult]] = [[] for _ in candidates]
        for number in range(self._rounds):
            for candidate, its_results in zip(candidates, results, strict=True):
                self._say(f"round {number + 1} of {self._rounds}: {candidate.name}")
                its_results.append(self._load.find_knee(candidate, self._plan(self._knee)))
                self._knee = self._knee or its_results[-1]["knee"]["rate"] or 0.0
        trials = [Trial(*pair) for pair in zip(candidates, results, strict=True)]
        self.stages.append(Stage(title, trials, choose_trial(trials)))
        return self.stages[-1].choice.trial.candidate

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
