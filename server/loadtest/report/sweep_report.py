"""The report of one sweep, or of several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from server.loadtest.report.charts_over_rate import over_rate
from server.loadtest.report.charts_over_time import over_time
from server.loadtest.report.page import cell, charts, document, facts, section, table, tiles
from server.loadtest.step import Step
from server.loadtest.sweep_result import SweepResult, knee_step, steps_by_rate

LIMITS = {
    "server": "the server was the limit",
    "client": "this client was the limit, as it was too busy to send and to listen in time: "
    "the server may hold more",
    "connections": "all connections of this client were in use, so it could not send in time: "
    "more of them may show more",
}
NOTE = (
    '<p class="faint">A request that was refused, lost or failed was not answered in time. Latency '
    "counts from the moment at which a request was due, whether it could be sent then or not. A "
    "step that missed the objective narrowly, or while this client stalled, was made twice, and "
    "the second one counts. The first tenth of a step, in which connections are opened, is not "
    "looked at.</p>"
)


def report(results: Sequence[SweepResult]) -> str:
    """Return the page that shows them; all have the colour of their place."""
    title = f"Load test of {results[0]['name']}"
    if len(results) > 1:
        title = f"Load tests compared: {', '.join(result['name'] for result in results)}"
    return document(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            *(_summary(number, result, len(results) > 1) for number, result in enumerate(results)),
            *_ratios(results),
            section("Over the rate of requests", charts(over_rate(results))),
            *(over_time(result, len(results) > 1) for result in results),
            *(_numbers(result, len(results) > 1) for result in results),
            *(_about(result, len(results) > 1) for result in results),
            NOTE,
        ],
    )


def sentence(result: SweepResult) -> str:
    """Say in a sentence where the knee is and what it was limited by."""
    knee, objective = result["knee"], result["objective"]["sentence"]
    ended = f" It ended early: {result['ended_by']}." if result["ended_by"] else ""
    if knee["rate"] is None:
        lowest = min((step["rate"] for step in result["steps"]), default=None)
        tried = "no step came to its end" if lowest is None else f"not even at {lowest:,g}/s"
        return f"The objective did not hold, {tried}: {objective}.{ended}"
    held = f"Holds {knee['rate']:,g} requests a second with {objective}"
    if knee["above"] is None:
        return f"{held}; that was the highest rate that was tried.{ended}"
    return f"{held}; at {knee['above']:,g} it did not: {LIMITS[knee['limit']]}.{ended}"


def _summary(place: int, result: SweepResult, named: bool) -> str:
    name = f'<i class="key c{place}"></i><b>{escape(result["name"])}</b>: ' if named else ""
    return f'<p class="verdict">{name}{escape(sentence(result))}</p>\n{tiles(_tiles(result))}'


def _ratios(results: Sequence[SweepResult]) -> Iterator[str]:
    """Say how much more the first holds than each of the others."""
    first = results[0]
    for other in results[1:]:
        one, two = first["knee"]["rate"], other["knee"]["rate"]
        if one and two:
            words = f"{first['name']} holds {one / two:.2f} times the rate of {other['name']}"
            yield f'<p class="verdict">{escape(words)}.</p>'


def _tiles(result: SweepResult) -> list[tuple[str, str]]:
    step = knee_step(result)
    if step is None:
        return []
    latency, rows = step["latency_ms"], step["batches"]["mean_rows"]
    most = steps_by_rate(result)[-1]
    found = [
        (f"{result['knee']['rate']:,g}/s", "at the knee"),
        (f"{latency['p50']:.3g} ms", "p50 there"),
        (f"{latency['p99']:.3g} ms", "p99 there"),
    ]
    if rows:
        found.append((f"{rows:,.3g}", "rows a batch there"))
    if most["rate"] > step["rate"]:
        found.append((f"{most['goodput']:,.0f}/s", f"achieved of {most['rate']:,g}/s offered"))
        found.append((f"{most['in_time']:.0%}", f"in time at {most['rate']:,g}/s"))
    return found


HEAD = (
    *("offered /s", "achieved /s", "in time", "200", "503", "other", "lost"),
    *("p50 ms", "p90 ms", "p99 ms", "max ms", "queue p99", "model p50", "rows a batch", ""),
)


def _numbers(result: SweepResult, named: bool) -> str:
    steps = result["steps"]
    rows = [_row(step, step is knee_step(result)) for step in steps]
    kinds = [
        "chosen" if step is knee_step(result) else "" if step["met"] else "missed" for step in steps
    ]
    title = "Step by step" + (f": {result['name']}" if named else "")
    return section(title, table(HEAD, rows, kinds))


def _row(step: Step, is_knee: bool) -> list[str]:
    statuses = step["statuses"]
    good, refused = statuses.get("200", 0), statuses.get("503", 0)
    return [
        f"{step['rate']:,g}",
        f"{step['goodput']:,.0f}",
        f"{step['in_time']:.2%}",
        f"{good:,}",
        f"{refused:,}",
        f"{sum(statuses.values()) - good - refused:,}",
        f"{step['lost'] + step['unsent']:,}",
        *(cell(step["latency_ms"].get(name)) for name in ("p50", "p90", "p99", "max")),
        cell(step["queue_ms"].get("p99")),
        cell(step["model_ms"].get("p50")),
        cell(step["batches"]["mean_rows"]),
        "the knee" if is_knee else "" if step["met"] else f"missed: {step['limit']}",
    ]


def _about(result: SweepResult, named: bool) -> str:
    title = "How it was measured" + (f": {result['name']}" if named else "")
    parts: list[tuple[str, dict[str, Any]]] = [
        ("Settings", result["settings"]),
        ("Server", {"address": result["url"], **result["server"]}),
        ("Machine of the client", result["machine"]),
    ]
    return section(
        title,
        f"<p>At <time>{escape(result['made'])}</time>, by</p>",
        f"<pre>{escape(result['command'])}</pre>",
        f'<div class="columns">{"".join(facts(name, pairs) for name, pairs in parts)}</div>',
    )
