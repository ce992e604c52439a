"""The results with networks that people serve, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median

from scripts.comparison.contestants import Contestant
from scripts.comparison.markdown import (
    Setup,
    how_measured,
    one_line,
    shown_connections,
    shown_ms,
    shown_rate,
    shown_ratio,
    table,
)
from scripts.comparison.networks.prepare import NETWORKS
from scripts.comparison.results import Results

OURS = "ours-auto"

HOW = """\
The networks have random weights and are made by the script. Every server gets the same load from \
[wrk](https://github.com/wg/wrk) with one thread, which runs on the same machine and shares its \
cores. Each request has one row, and each connection has one request in flight. Tensors are bytes, \
not JSON, in the form that each server takes. Threads are each server's own choice, of the same \
cores. All servers of a network are started, and their answers to 8 rows, asked for at the same \
time, are compared with those of one direct call of TensorFlow (within 1e-4 of the largest \
number). Then all are stopped with SIGSTOP. In each round, one after another continues, is \
compared again, warmed up for a second, and measured at each number of connections for {seconds} \
seconds. There are {rounds} rounds; each starts with a different server.

Figures are medians over the rounds; ratios are taken within each round and count more than the \
figures, since the speed of the machine changes over time. "TensorFlow" is the compiled call, the \
same for all servers. FastAPI with ONNX Runtime and OpenVINO gets the network as this project \
converts it.\
"""


@dataclass(frozen=True)
class Measured:
    """All that was measured.

    Attributes:
        networks: results by the key of the network.
        engines: the engine that `auto` chose, by the key of the network.
        failed: why a network could not be made, by its key.
    """

    networks: Mapping[str, Results]
    engines: Mapping[str, str]
    failed: Mapping[str, str]


def page(contestants: Sequence[Contestant], measured: Measured, setup: Setup, day: str) -> str:
    """Return the page; contestants without results are listed with the reason."""
    parts = [
        "# Comparison with networks that people serve",
        f"Written by `{setup.command}`, {day}. [`comparison-models.json`](comparison-models.json) "
        "has the figures of each run. [`comparison.md`](comparison.md) compares more servers, with "
        "a network that costs nothing.",
        "![Requests per second of each server](comparison-models.svg)",
        *chain.from_iterable(_requests(contestants, measured, n) for n in setup.connections),
        "## Where another server is better",
        "\n".join(where_a_peer_wins(contestants, measured, setup.connections)),
        "## Latency",
        *chain.from_iterable(_latencies(contestants, measured, n) for n in setup.connections),
        *_missing(contestants, measured),
        *how_measured(HOW, contestants, setup),
    ]
    return "\n\n".join(parts) + "\n"


def overview(
    contestants: Sequence[Contestant], measured: Measured, connections: int
) -> list[list[str]]:
    """Return the requests per second, and how many times as many this server answers."""
    rows = [_head(measured)]
    for each in contestants:
        cells = []
        for results in measured.networks.values():
            rate = shown_rate(results.rate(each.name, connections))
            ratio = results.ratio(OURS, each.name, connections)
            is_peer = each.name != OURS and ratio is not None
            cells.append(f"{rate} ({shown_ratio(ratio, '×')})" if is_peer else rate)
        rows.append([each.title, *cells])
    return rows


def where_a_peer_wins(
    contestants: Sequence[Contestant], measured: Measured, connections: Sequence[int]
) -> Iterator[str]:
    """Yield a line for each network and number of connections where a peer answers more."""
    lines = [
        f"- **{NETWORKS[key]}, {shown_connections(number)}**: {'; '.join(wins)} as many requests "
        "per second."
        for key, results in measured.networks.items()
        for number in connections
        if (wins := list(_wins(contestants, results, number)))
    ]
    yield from lines or ["Nowhere: no other server answered more requests per second."]


def _wins(contestants: Sequence[Contestant], results: Results, connections: int) -> Iterator[str]:
    for each in contestants:
        ratios = results.ratios(each.name, OURS, connections)
        if each.kind == "peer" and ratios and median(ratios) > 1:
            more = sum(ratio > 1 for ratio in ratios)
            yield (
                f"{each.title} {shown_ratio(median(ratios), ' times')} (more in {more} of "
                f"{len(ratios)} rounds)"
            )


def _requests(
    contestants: Sequence[Contestant], measured: Measured, connections: int
) -> Iterator[str]:
    yield f"## Requests per second, {shown_connections(connections)}"
    yield table(*overview(contestants, measured, connections), numbers_from=1)
    yield "In brackets: how many times as many this server with `engine: auto` answers."


def _latencies(
    contestants: Sequence[Contestant], measured: Measured, connections: int
) -> Iterator[str]:
    yield f"p50 and p99 in ms, {shown_connections(connections)}:"
    rows = [_head(measured)]
    for each in contestants:
        cells = []
        for results in measured.networks.values():
            p50 = results.median(each.name, connections, lambda run: run.p50_ms)
            p99 = results.median(each.name, connections, lambda run: run.p99_ms)
            cells.append(f"{shown_ms(p50)}, {shown_ms(p99)}")
        rows.append([each.title, *cells])
    yield table(*rows, numbers_from=1)


def _head(measured: Measured) -> list[str]:
    chosen = measured.engines
    names = [
        f"{NETWORKS[key]} (`auto`: {chosen[key]})" if key in chosen else NETWORKS[key]
        for key in measured.networks
    ]
    return ["server", *names]


def missing_lines(contestants: Sequence[Contestant], measured: Measured) -> Iterator[str]:
    """Yield a line for each network that cannot be made, and each server that is missing."""
    for key, why in measured.failed.items():
        yield f"{NETWORKS[key]}: {one_line(why)}"
    titles = {each.name: each.title for each in contestants}
    for key, results in measured.networks.items():
        for name, why in results.missing.items():
            yield f"{titles[name]}, {NETWORKS[key]}: {one_line(why)}"


def _missing(contestants: Sequence[Contestant], measured: Measured) -> Iterator[str]:
    if lines := list(missing_lines(contestants, measured)):
        yield "## Missing"
        yield "\n".join(f"- {line}" for line in lines)
