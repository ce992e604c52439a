"""The results as a page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from scripts.comparison.contestants import CALIBRATION, Contestant
from scripts.comparison.results import Results
from scripts.comparison.venvs import REQUIREMENTS
from scripts.comparison.wrk import Measurement

NONE = "–"

HOW = """\
Every server gets the same load from [wrk](https://github.com/wg/wrk) with one thread, which runs \
on the same machine and shares its cores. Each request has one row, and each connection has one \
request in flight. Only one server runs at a time. In every round, each server is started, checked \
for a correct answer, warmed up for a second, and measured at each number of connections for \
{seconds} seconds. There are {rounds} rounds; each starts with a different server.

Figures are medians over the rounds. The speed of the machine changes over time, so ratios are \
computed within each round; they are more reliable than the absolute figures. "Of the ceiling" is \
the ratio to a Python server that only parses HTTP. Latencies include only answers that arrived \
during the measurement; 0 means that none did. Rejected requests count in the latencies, but not \
in the requests per second.

The model is the example, with one number as input and one as output, so this compares servers, \
not models. All servers that call the model use the same compiled function, except the first \
design, which calls `model.predict`.\
"""


@dataclass(frozen=True)
class Setup:
    """How the comparison was made."""

    machine: Mapping[str, str]
    rounds: int
    seconds: int
    connections: Sequence[int]
    command: str


def page(contestants: Sequence[Contestant], results: Results, setup: Setup) -> str:
    """Return the page; contestants without results are listed with the reason."""
    present = [each for each in contestants if results.has(each.name)]
    parts = [
        "# Comparison with other servers",
        f"Written by `{setup.command}`. [`comparison.json`](comparison.json) has the figures of "
        "each run.",
        "![Requests per second of each server](comparison.svg)",
        "## Requests per second",
        table(*overview(present, results, setup.connections), numbers_from=1),
        "## Where another server is better",
        "\n".join(where_a_peer_wins(present, results, setup.connections)),
        *chain.from_iterable(_details(present, results, each) for each in setup.connections),
        *missing(contestants, results),
        *how_measured(HOW, contestants, setup),
    ]
    return "\n\n".join(parts) + "\n"


def how_measured(how: str, contestants: Sequence[Contestant], setup: Setup) -> list[str]:
    """Return the last parts of a page: how it was measured, and the settings of the servers."""
    return [
        "## How it was measured",
        how.format(seconds=setup.seconds, rounds=setup.rounds),
        table(["", ""], *setup.machine.items()),
        "## Settings",
        table(
            ["server", "installed", "settings"],
            *([each.title, installed(each), each.settings] for each in contestants),
        ),
    ]


def overview(
    present: Sequence[Contestant], results: Results, connections: Sequence[int]
) -> list[list[str]]:
    """Return the table of requests per second: the head, then a row for each contestant."""
    head = ["server", *(shown_connections(each) for each in connections)]
    return [head] + [
        [each.title, *(shown_rate(results.rate(each.name, number)) for number in connections)]
        for each in present
    ]


def where_a_peer_wins(
    present: Sequence[Contestant], results: Results, connections: Sequence[int]
) -> Iterator[str]:
    """Yield a line for each figure in which a peer that calls the model beats this server."""
    ours = next((each for each in present if each.kind == "ours"), None)
    peers = [each for each in present if each.kind == "peer"]
    if ours is None or not peers:
        yield "There is nothing to compare: this server or all others are missing."
        return
    wins = [line for peer in peers for line in _wins(ours, peer, results, connections)]
    if not wins:
        counts = " and ".join(f"{each:,}" for each in connections)
        yield (
            f"Nowhere: at {counts} connections, no other server that calls the model answered more "
            "requests per second, or had a lower median or 99th percentile of the latency."
        )
    yield from wins


def _wins(
    ours: Contestant, peer: Contestant, results: Results, connections: Sequence[int]
) -> Iterator[str]:
    for number in connections:
        ratios = results.ratios(peer.name, ours.name, number)
        ratio = results.ratio(peer.name, ours.name, number)
        if ratio and ratio > 1:
            yield (
                f"- **{peer.title}** answers {ratio:.2f} times as many requests per second at "
                f"{shown_connections(number)} (more than this server in "
                f"{sum(each > 1 for each in ratios)} of {len(ratios)} rounds)."
            )
        for what, value in (("median latency", _p50), ("99th percentile", _p99)):
            its = results.median(peer.name, number, value)
            mine = results.median(ours.name, number, value)
            if its is not None and mine is not None and its < mine:
                yield (
                    f"- **{peer.title}** has a lower {what} at {shown_connections(number)}: "
                    f"{shown_ms(its)} ms, this server {shown_ms(mine)} ms."
                )


def _details(present: Sequence[Contestant], results: Results, connections: int) -> tuple[str, str]:
    ours = next((each.name for each in present if each.kind == "ours"), "")
    head = [
        "server",
        "requests/s",
        "lowest – highest",
        "of the ceiling",
        "this server is faster by",
    ]
    head += ["p50, ms", "p99, ms", "rejected", "socket errors"]
    rows = []
    for each in present:
        runs = [run.rate for run in results.of(each.name, connections).values()]
        if not runs:
            continue
        rows.append(
            [
                each.title,
                shown_rate(results.rate(each.name, connections)),
                f"{shown_rate(min(runs))} – {shown_rate(max(runs))}",
                shown_ratio(results.ratio(each.name, CALIBRATION, connections)),
                shown_ratio(results.ratio(ours, each.name, connections), "×"),
                shown_ms(results.median(each.name, connections, _p50)),
                shown_ms(results.median(each.name, connections, _p99)),
                *(f"{count:,}" for count in results.bad(each.name, connections)),
            ]
        )
    return f"## At {shown_connections(connections)}", table(head, *rows, numbers_from=1)


def missing(contestants: Sequence[Contestant], results: Results) -> list[str]:
    if not results.missing:
        return []
    titles = {each.name: each.title for each in contestants}
    lines = [f"- {titles[name]}: {one_line(why)}" for name, why in results.missing.items()]
    return ["## Missing servers", "\n".join(lines)]


def table(head: Sequence[str], *rows: Sequence[str], numbers_from: int = 99) -> str:
    rule = ["---:" if column >= numbers_from else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def installed(contestant: Contestant) -> str:
    if not contestant.venv:
        return "this project's locked dependencies"
    return ", ".join(f"`{each}`" for each in REQUIREMENTS[contestant.venv])


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _p50(measured: Measurement) -> float | None:
    return measured.p50_ms


def _p99(measured: Measurement) -> float | None:
    return measured.p99_ms


def shown_connections(number: int) -> str:
    return f"{number:,} connection{'s' * (number != 1)}"


def shown_rate(rate: float | None) -> str:
    if rate is None:
        return NONE
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def shown_ratio(ratio: float | None, sign: str = "") -> str:
    if ratio is None:
        return NONE
    if math.isinf(ratio):
        return "∞"
    if ratio < 0.1:
        return f"{ratio:.2g}{sign}"
    return f"{ratio:,.0f}{sign}" if ratio >= 100 else f"{ratio:.2f}{sign}"


def shown_ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return NONE
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"
