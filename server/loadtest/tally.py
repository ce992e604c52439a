"""What came back: counts, latencies, batch sizes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9, "max": 100}
EXCERPT = 200  # characters of an answer that are shown
SAMPLES = 3  # wrong answers that are shown


@dataclass
class Tally:
    """Counts while the load runs; as little as possible for each answer."""

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
        since: float = 0.0,  # noqa: ARG002  # for those who look closer
        delay: float = 0.0,  # noqa: ARG002  # the same
    ) -> None:
        """Count an answer.

        `latency` is in seconds from `since`, when its request was due; it was sent `delay` later.
        `server_timing` is the header or nothing.
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
        """Hear when the client itself wanted to look at what is due, and when it did."""

    def wrong(self, index: int, body: bytes) -> None:
        """Count an answer that is not that of message number `index`."""
        self.wrongs += 1
        if len(self.wrong_samples) < SAMPLES:
            self.wrong_samples.append((index, _excerpt(body)))

    @property
    def answers(self) -> int:
        """How many answers came, of whatever status."""
        return sum(map(len, self.latencies.values()))

    @property
    def settled(self) -> int:
        """How many requests were answered or lost."""
        return self.answers + self.lost.total()


def batch_rows(server_timing: bytes) -> int:
    """Return the 17 of `batch;desc="17 rows"`, or 0 where there is none."""
    _, found, rest = server_timing.partition(b'batch;desc="')
    number = rest.partition(b" ")[0]
    return int(number) if found and number.isdigit() else 0


def figures(tally: Tally, expected: Collection[int]) -> dict[str, Any]:
    """Return all numbers as JSON takes them; statuses other than the `expected` are failures."""
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
    """Turn requests by batch size into batches by size.

    Each of the requests of a batch of n rows reports n, so one request is `rows` / n of a batch.
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
