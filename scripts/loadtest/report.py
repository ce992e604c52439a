"""What came back: counts, latencies, batch sizes, and the tables that show them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

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
    timings: Counter[bytes] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)  # requests, by rows of their batch
    connections: int = 0
    refused_connections: int = 0
    gone: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def answered(self, status: int, latency: float, server_timing: bytes, body: bytes) -> None:
        """Count an answer; `latency` in seconds, `server_timing` the header or nothing."""
        if status not in self.latencies:
            self.latencies[status] = array("d")
            self.excerpts[status] = _excerpt(body)
        self.latencies[status].append(latency)
        if status == 200:
            rows = batch_rows(server_timing)
            if rows:
                self.batches[rows] += 1

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
        "batches": _batches(tally.batches, tally.rows),
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


def _batches(requests: Counter[int], rows: int) -> dict[str, Any]:
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


def print_report(console: Console, numbers: dict[str, Any], tally: Tally) -> None:
    """Print the tables, then a line for each thing that is wrong."""
    console.print(_summary(numbers))
    console.print(_answers(numbers))
    if numbers["batches"]["count"]:
        console.print(_batch_sizes(numbers["batches"]))
    for line in failures(numbers, tally):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)


def failures(numbers: dict[str, Any], tally: Tally) -> list[str]:
    """Say in one line each what makes the run a failure."""
    lines = [f"LOST {count:,}: {reason}" for reason, count in numbers["lost_by_reason"].items()]
    if numbers["gone"]:
        lines.append("GONE: the server takes no connections any more")
    if numbers["unsent"]:
        lines.append(f"UNSENT {numbers['unsent']:,}: no connection was free in time")
    for status, count in numbers["unexpected"].items():
        lines.append(f"STATUS {status}, {count:,} times, first: {tally.excerpts[int(status)]}")
    if numbers["wrong"]:
        lines.append(f"WRONG {numbers['wrong']:,} answers")
    return lines


def _summary(numbers: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, value in (
        ("time", f"{numbers['seconds']:.2f} s"),
        ("answers", f"{numbers['answered']:,} of {numbers['sent']:,} sent"),
        ("achieved rate", f"{numbers['achieved_rate']:,.1f} /s"),
        ("goodput (200)", f"{numbers['goodput']:,.1f} /s"),
        ("rows", f"{numbers['rows_per_second']:,.1f} /s"),
        ("connections opened", f"{numbers['connections_opened']:,}"),
        ("this client's CPU", f"{numbers['client_cpu']:.0%} of a core"),
    ):
        table.add_row(name, value)
    return table


def _answers(numbers: dict[str, Any]) -> Table:
    table = Table(title="latency, ms", title_justify="left")
    for name in ("status", "answers", *PERCENTILES):
        table.add_column(name, justify="right")
    for status, latency in numbers["latency_ms"].items():
        values = [f"{value:,.2f}" for value in latency.values()]
        table.add_row(status, f"{numbers['statuses'][status]:,}", *values)
    return table


def _batch_sizes(batches: dict[str, Any]) -> Table:
    """Show the sizes in steps of powers of two."""
    steps: Counter[int] = Counter()
    for size, number in batches["by_rows"].items():
        steps[int(size).bit_length()] += number
    title = f"{batches['count']:,} batches, {batches['mean_rows']:.2f} rows on average"
    table = Table(title=title, title_justify="left")
    for name in ("rows", "batches"):
        table.add_column(name, justify="right")
    table.add_column("")
    total = sum(steps.values())
    for step, number in sorted(steps.items()):
        low, high = 2 ** (step - 1), 2**step - 1
        share = number / total
        span = f"{low}" if low == high else f"{low}-{high}"
        table.add_row(span, f"{number:,.0f}", f"{'█' * round(30 * share)} {share:.1%}")
    return table


def _text_keys(counts: dict[int, int]) -> dict[str, int]:
    return {str(key): count for key, count in counts.items()}


def _excerpt(body: bytes) -> str:
    return body.decode(errors="replace")[:EXCERPT]
