"""A step of a sweep: an open loop at one rate for some seconds, its verdict and its figures."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from server.loadtest.tally import PERCENTILES, Tally, batch_figures

SLICES = 10  # of a step, for the charts over time
CLOSE = 0.9  # share of requests in time from which a missed objective may be chance
LATE_CLIENT = 0.5  # share of the objective; a client that is later than this is the limit itself
BUSIEST = 99  # percentile of the client's delays

Step = dict[str, Any]


@dataclass(frozen=True)
class Objective:
    """The share of all requests that must be answered with 200 within `seconds`.

    A request that was rejected, lost, failed or never sent was not answered in time.
    """

    seconds: float
    share: float = 0.99

    def __str__(self) -> str:
        return f"{100 * self.share:g} % of the requests answered within {self.seconds * 1000:g} ms"


@dataclass
class Trace(Tally):
    """A tally that also keeps the times of every answer with 200, in seconds.

    Requests that were due in the first `lead` seconds do not count: connections are opened then.
    """

    lead: float = 0.0
    early: int = 0
    dues: array[float] = field(default_factory=lambda: array("d"))
    delays: array[float] = field(default_factory=lambda: array("d"))
    timings: list[bytes] = field(default_factory=list)
    failures: array[float] = field(default_factory=lambda: array("d"))  # when they were due
    lags: array[float] = field(default_factory=lambda: array("d"))

    def answered(
        self,
        status: int,
        latency: float,
        server_timing: bytes,
        body: bytes,
        *,
        since: float = 0.0,
        delay: float = 0.0,
    ) -> None:
        if since < self.lead:
            self.early += 1
            return
        super().answered(status, latency, server_timing, body)
        if status == 200:
            self.dues.append(since)
            self.delays.append(delay)
            self.timings.append(server_timing)
        else:
            self.failures.append(since)

    def looked(self, planned: float, now: float) -> None:
        """Record how late the client was."""
        if planned >= self.lead:
            self.lags.append(max(0.0, now - planned))  # a timer may fire slightly early

    @property
    def answers(self) -> int:
        """The number of answers, including those to early requests."""
        return super().answers + self.early

    @property
    def due(self) -> int:
        """The number of requests that count and should have been answered."""
        return self.sent + self.unsent - self.early

    @property
    def measured_seconds(self) -> float:
        """The duration of the part that counts."""
        return self.seconds - self.lead


@dataclass(frozen=True)
class Verdict:
    """Whether the objective was met, and if not, what the limit was.

    Attributes:
        share: share of the requests that were answered in time.
        limit: "server", "connections" (all of them were waiting for answers) or "client" (it was
            too busy to send and receive in time); empty if the objective was met.
    """

    met: bool
    share: float
    limit: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether the objective may have been missed by chance: narrowly, or in a client stall."""
        return not self.met and (self.share >= CLOSE or self.limit == "client")


def judge(trace: Trace, objective: Objective, connections: int) -> Verdict:
    """Compare a step with the objective; the load test had at most `connections`."""
    due = trace.due
    if not due:
        return Verdict(False, 0.0, "client")
    latencies = np.frombuffer(trace.latencies.get(200, array("d")))
    share = _in_time(latencies, objective) / due
    if share >= objective.share:
        return Verdict(True, share)
    if lag_percentile(trace.lags, BUSIEST) >= objective.seconds * LATE_CLIENT:
        return Verdict(False, share, "client")
    from_sending = latencies - np.frombuffer(trace.delays)
    if _in_time(from_sending, objective) / due >= objective.share:
        all_in_use = trace.connections >= connections
        return Verdict(False, share, "connections" if all_in_use else "client")
    return Verdict(False, share, "server")


def _in_time(latencies: np.ndarray, objective: Objective) -> int:
    return int(np.count_nonzero(latencies <= objective.seconds))


def lag_percentile(lags: Sequence[float], percent: float) -> float:
    """Return the percentile of the client's delays, each weighted by its length.

    A long delay hits more requests than a short one: they arrive evenly over time.
    """
    if not len(lags):
        return 0.0
    ordered = np.sort(np.asarray(lags, float))
    reached = np.cumsum(ordered)
    return float(ordered[np.searchsorted(reached, reached[-1] * percent / 100)])


def step_figures(trace: Trace, rate: float, began: float, verdict: Verdict) -> Step:
    """Return the figures of a step as JSON values; `began` is in seconds since the sweep began."""
    latencies = np.frombuffer(trace.latencies.get(200, array("d")))
    statuses = {str(status): len(each) for status, each in sorted(trace.latencies.items())}
    return {
        "rate": rate,
        "began": began,
        "seconds": trace.measured_seconds,
        "due": trace.due,
        "goodput": len(latencies) / trace.measured_seconds,
        "in_time": verdict.share,
        "met": verdict.met,
        "limit": verdict.limit,
        "statuses": statuses,
        "lost": trace.lost.total(),
        "lost_by_reason": dict(trace.lost),
        "unsent": trace.unsent,
        "latency_ms": _milliseconds(latencies),
        "queue_ms": _milliseconds(durations(trace.timings, b"queue") / 1000),
        "model_ms": _milliseconds(durations(trace.timings, b"model") / 1000),
        "batches": batch_figures(trace.batches, trace.rows),
        "client": {
            "lag_p99_ms": lag_percentile(trace.lags, BUSIEST) * 1000,
            "delay_p99_ms": _milliseconds(np.frombuffer(trace.delays)).get("p99"),
            "cpu": trace.cpu_seconds / trace.seconds,
            "connections": trace.connections,
        },
        "over_time": _over_time(trace, latencies),
    }


def durations(timings: Sequence[bytes], name: bytes) -> np.ndarray:
    """Return the milliseconds of entries such as `queue;dur=1.5`, from the headers with one."""
    wanted = name + b";dur="
    texts = (timing.partition(wanted)[2].partition(b",")[0] for timing in timings)
    return np.array([float(text) for text in texts if _is_number(text)])


def _is_number(text: bytes) -> bool:
    return text.replace(b".", b"", 1).isdigit()


def _milliseconds(seconds: np.ndarray) -> dict[str, float]:
    """Return the percentiles, or an empty dict without values."""
    if not len(seconds):
        return {}
    values = np.percentile(seconds, list(PERCENTILES.values())) * 1000
    return dict(zip(PERCENTILES, values.tolist(), strict=True))


def _over_time(trace: Trace, latencies: np.ndarray) -> dict[str, list[float | None]]:
    """Return the figures of each slice of a step, by the time at which requests were due."""
    dues, failures = np.frombuffer(trace.dues), np.frombuffer(trace.failures)
    end = max([*dues, *failures], default=trace.seconds)
    edges = np.linspace(trace.lead, end + 1e-9, SLICES + 1)
    width = float(edges[1] - edges[0])
    columns: dict[str, list[float | None]] = {"at": [], "p50": [], "p99": [], "good": [], "bad": []}
    for low, high in pairwise(edges):
        found = _milliseconds(latencies[(dues >= low) & (dues < high)])
        columns["at"].append(float(low + high) / 2)
        columns["p50"].append(found.get("p50"))
        columns["p99"].append(found.get("p99"))
        columns["good"].append(_number_between(dues, low, high) / width)
        columns["bad"].append(_number_between(failures, low, high) / width)
    return columns


def _number_between(times: np.ndarray, low: float, high: float) -> int:
    return int(np.count_nonzero((times >= low) & (times < high)))
