"""The tables and failure lines that a load test prints."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from server.loadtest.tally import PERCENTILES, Tally


def print_report(console: Console, numbers: dict[str, Any], tally: Tally) -> None:
    """Print the tables, then a line for each kind of failure."""
    console.print(_summary(numbers))
    console.print(_answers(numbers))
    if numbers["batches"]["count"]:
        console.print(_batch_sizes(numbers["batches"]))
    for line in failures(numbers, tally):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)


def failures(numbers: dict[str, Any], tally: Tally) -> list[str]:
    """Return a line for each reason why the load test failed."""
    lines = [f"LOST {count:,}: {reason}" for reason, count in numbers["lost_by_reason"].items()]
    if numbers["gone"]:
        lines.append("GONE: the server no longer accepts connections")
    if numbers["unsent"]:
        lines.append(f"UNSENT {numbers['unsent']:,}: no connection was free in time")
    for status, count in numbers["unexpected"].items():
        body = tally.excerpts[int(status)]
        lines.append(f"STATUS {status}: {count:,} times, first body: {body}")
    if numbers["wrong"]:
        lines.append(f"WRONG {numbers['wrong']:,}: answers that differ from the model's")
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
    """Return a table of batch sizes, grouped by powers of two."""
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
