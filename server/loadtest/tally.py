"""Counts the outcomes of requests: statuses, latencies, batch sizes, losses."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9, "max": 100}
EXCERPT = 200  # characters shown of an answer
SAMPLES = 3  # number of wrong answers shown


@dataclass
class Tally:
    """Counts while the load test runs; does as little as possible per answer."""

    rows: int = 1  # in each request
    sent: int = 0
    unsent: int = 0
    lost: Counter[str] = field(default_factory=Counter)  # by reason
    latencies: dict[int, array[float]] = field(default_factory=dict)  # seconds, by status
    excerpts: dict[int, str] = field(default_factory=dict)  # the first answer of each status
    wrongs: int = 0
    wrong_samples: list[tuple[int, str]] = field(default_factory=list)  # number of the message
    batches: Counter[int] = field(default_factory=Counter)  # requests, by rows of their batch
    connections: int = 0
    refused_connections: int = 0
    gone: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def answered(
        self,
        status: int,
        latency: float,
        server_timing: bytes,
        body: bytes,
        *,
        since: float = 0.0,  # noqa: ARG002  # used by `Trace`
        delay: float = 0.0,  # noqa: ARG002  # the same
    ) -> None:
        """Count an answer.

        The request was due at `since` and sent `delay` seconds later; `latency` is the seconds from
        `since` to the answer. `server_timing` is the value of the header, or empty.
        """
        if status not in self.latencies:
            self.latencies[status] = array("d")
            self.excerpts[status] = _excerpt(body)
        self.latencies[status].append(latency)
        if status == 200:
            rows = batch_rows(server_timing)
            if rows:
                self.batches[rows] += 1

    def looked(self, planned: float, now: float) -> None:
        """Record when the client planned to check what is due, and when it did."""

    def wrong(self, index: int, body: bytes) -> None:
        """Count a wrong answer to message number `index`."""
        self.wrongs += 1
        if len(self.wrong_samples) < SAMPLES:
            self.wrong_samples.append((index, _excerpt(body)))

    @property
    def answers(self) -> int:
        """The number of answers of any status."""
        return sum(map(len, self.latencies.values()))

    @property
    def settled(self) -> int:
        """The number of requests answered or lost."""
        return self.answers + self.lost.total()


def batch_rows(server_timing: bytes) -> int:
    """Return the 17 of `batch;desc="17 rows"`, or 0 if the header has no such entry."""
    _, found, rest = server_timing.partition(b'batch;desc="')
    number = rest.partition(b" ")[0]
    return int(number) if found and number.isdigit() else 0


def figures(tally: Tally, expected: Collection[int]) -> dict[str, Any]:
    """Return the results as JSON values; statuses other than the `expected` ones are failures."""
    seconds = tally.seconds or float("nan")
    good = len(tally.latencies.get(200, ()))
    statuses = {status: len(each) for status, each in sorted(tally.latencies.items())}
    unexpected = {status: n for status, n in statuses.items() if status not in expected}
    lost = tally.lost.total()
    return {
        "ok": not (lost or tally.unsent or tally.gone or tally.wrongs or unexpected),
        "seconds": tally.seconds,
        "sent": tally.sent,
        "answered": tally.answers,
        "achieved_rate": tally.answers / seconds,
        "goodput": good / seconds,
        "rows_per_request": tally.rows,
        "rows_per_second": good * tally.rows / seconds,
        "statuses": _text_keys(statuses),
        "unexpected": _text_keys(unexpected),
        "latency_ms": {str(status): _latency(tally.latencies[status]) for status in statuses},
        "batches": batch_figures(tally.batches, tally.rows),
        "wrong": tally.wrongs,
        "lost": lost,
        "lost_by_reason": dict(tally.lost),
        "unsent": tally.unsent,
        "gone": tally.gone,
        "connections_opened": tally.connections,
        "connections_refused": tally.refused_connections,
        "client_cpu": tally.cpu_seconds / seconds,
    }


def _latency(seconds: array[float]) -> dict[str, float]:
    values = np.percentile(np.frombuffer(seconds), list(PERCENTILES.values())) * 1000
    return dict(zip(PERCENTILES, values.tolist(), strict=True))


def batch_figures(requests: Counter[int], rows: int) -> dict[str, Any]:
    """Return the number of batches by size, from the number of requests by the size of their batch.

    Every request in a batch of n rows reports n, so each accounts for `rows` / n of a batch.
    """
    batches = {size: requests[size] * rows / size for size in sorted(requests)}
    total = sum(batches.values())
    return {
        "count": round(total),
        "mean_rows": requests.total() * rows / total if total else None,
        "by_rows": {str(size): round(number, 2) for size, number in batches.items()},
    }


def _text_keys(counts: dict[int, int]) -> dict[str, int]:
    return {str(key): count for key, count in counts.items()}


def _excerpt(body: bytes) -> str:
    return body.decode(errors="replace")[:EXCERPT]
