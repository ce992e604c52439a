"""A fake load generator, and sweeps with it."""

from __future__ import annotations

import asyncio

from server.loadtest.client import Target
from server.loadtest.knee import Rates
from server.loadtest.step import Objective
from server.loadtest.sweep import Plan, Sweep
from server.loadtest.sweep_result import make_result

STEP_SECONDS = 0.5  # of a step
TARGET = Target("127.0.0.1", 1, "/predict")
HEADER = b'queue;dur=%.3f, model;dur=%.3f, batch;desc="%d rows", total;dur=9.000'


class Silent:
    """A sweep observer that prints nothing."""

    def begins(self, rate):
        pass

    def ended(self, step):
        pass


class FakeLoad:
    """Simulates a server: in time up to `capacity` requests per second, and too late above.

    With `refuses`, it rejects requests instead of answering late. No time passes.
    """

    def __init__(self, capacity, refuses=False, gone_after=None):
        self.capacity = capacity
        self.refuses = refuses
        self.gone_after = gone_after
        self.runs = 0

    def __call__(self, target, messages, schedule, trace, **options):
        self._schedule, self._trace = schedule, trace
        return self

    def stop(self):
        self._schedule.close()

    async def run(self):
        self.runs += 1
        trace, seconds = self._trace, STEP_SECONDS + self._trace.lead
        trace.seconds = seconds
        dues = []
        while self._schedule.waiting(seconds):
            dues.append(self._schedule.take(seconds))
        trace.sent, trace.connections = len(dues), 1
        rate = len(dues) / seconds
        for due in dues:
            self._answer(due, rate)
        trace.gone = self.gone_after == self.runs

    def _answer(self, due, rate):
        header = HEADER % (rate / 100, 0.5, max(1, rate // 100))
        if rate <= self.capacity:
            self._trace.answered(200, 0.005, header, b"{}", since=due)
        elif self.refuses:
            self._trace.answered(503, 0.001, b"", b"{}", since=due)
        else:
            self._trace.answered(200, 3.0, header, b"{}", since=due)


def plan(**changes):
    rates = Rates(start=100, most=changes.pop("most", 100_000))
    wanted = {
        "rates": rates,
        "step_seconds": STEP_SECONDS,
        "arrivals": "constant",
        "pause": 0,
        **changes,
    }
    return Plan(Objective(0.05), **wanted)


def sweep_of(load, **changes):
    return Sweep(TARGET, [b""], plan(**changes), Silent(), load=load)


def result_of(capacity, name="a server", *, refuses=False, **changes):
    """Return the result of a sweep of a server with this capacity."""
    figures = asyncio.run(sweep_of(FakeLoad(capacity, refuses), **changes).run())
    url, machine = "http://127.0.0.1:1/predict", {"processor": "an abacus"}
    return make_result(name, url, plan(**changes), "load --sweep", {"API": "A"}, machine, figures)
