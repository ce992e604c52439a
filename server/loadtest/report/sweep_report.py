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
    "client": "the client was the limit, because it was too busy to send and receive in time; the "
    "server may sustain more",
    "connections": "all connections of the client were in use, so it sent requests too late; try "
    "more --connections",
}
NOTE = (
    '<p class="faint">A request that was rejected, lost or failed counts as not answered in time. '
    "Latency is measured from the time at which a request was due, even if it was sent later. A "
    "step that missed the objective narrowly, or during which the client stalled, was repeated, "
    "and only the repetition counts. The first tenth of a step, in which connections are opened, "
    "is not counted.</p>"
)


def report(results: Sequence[SweepResult]) -> str:
    """Return the HTML page of one sweep, or of several that are compared."""
    title = f"Load test of {results[0]['name']}"
    if len(results) > 1:
        title = f"Load tests compared: {', '.join(result['name'] for result in results)}"
    return document(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            *(_summary(number, result, len(results) > 1) for number, result in enumerate(results)),
            *_ratios(results),
            section("By request rate", charts(over_rate(results))),
            *(over_time(result, len(results) > 1) for result in results),
            *(_numbers(result, len(results) > 1) for result in results),
            *(_about(result, len(results) > 1) for result in results),
            NOTE,
        ],
    )


def sentence(result: SweepResult) -> str:
    """Return a sentence with the knee and what limited it."""
    knee, objective = result["knee"], result["objective"]["sentence"]
    ended = f" It ended early: {result['ended_by']}." if result["ended_by"] else ""
    if knee["rate"] is None:
        lowest = min((step["rate"] for step in result["steps"]), default=None)
        tried = "no step was completed" if lowest is None else f"not even {lowest:,g}/s"
        return f"No rate met the objective, {tried}: {objective}.{ended}"
    met = f"Sustains {knee['rate']:,g} requests per second: {objective}"
    if knee["above"] is None:
        return f"{met}. This was the highest rate tried.{ended}"
    limit = LIMITS[knee["limit"]]
    return f"{met}. It missed this objective at {knee['above']:,g} per second: {limit}.{ended}"


def _summary(place: int, result: SweepResult, named: bool) -> str:
    name = f'<i class="key c{place}"></i><b>{escape(result["name"])}</b>: ' if named else ""
    return f'<p class="verdict">{name}{escape(sentence(result))}</p>\n{tiles(_tiles(result))}'


def _ratios(results: Sequence[SweepResult]) -> Iterator[str]:
    """Yield a sentence for each other sweep: how its knee compares with the first one's."""
    first = results[0]
    for other in results[1:]:
        one, two = first["knee"]["rate"], other["knee"]["rate"]
        if one and two:
            words = f"{first['name']} sustains {one / two:.2f} times the rate of {other['name']}"
            yield f'<p class="verdict">{escape(words)}.</p>'


def _tiles(result: SweepResult) -> list[tuple[str, str]]:
    step = knee_step(result)
    if step is None:
        return []
    latency, rows = step["latency_ms"], step["batches"]["mean_rows"]
    most = steps_by_rate(result)[-1]
    found = [
        (f"{result['knee']['rate']:,g}/s", "at the knee"),
        (f"{latency['p50']:.3g} ms", "p50 at the knee"),
        (f"{latency['p99']:.3g} ms", "p99 at the knee"),
    ]
    if rows:
        found.append((f"{rows:,.3g}", "rows per batch at the knee"))
    if most["rate"] > step["rate"]:
        found.append((f"{most['goodput']:,.0f}/s", f"achieved at {most['rate']:,g}/s offered"))
        found.append((f"{most['in_time']:.0%}", f"in time at {most['rate']:,g}/s offered"))
    return found


HEAD = (
    *("offered /s", "achieved /s", "in time", "200", "503", "other", "lost"),
    *("p50 ms", "p90 ms", "p99 ms", "max ms", "queue p99", "model p50", "rows per batch", ""),
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
    good, rejected = statuses.get("200", 0), statuses.get("503", 0)
    return [
        f"{step['rate']:,g}",
        f"{step['goodput']:,.0f}",
        f"{step['in_time']:.2%}",
        f"{good:,}",
        f"{rejected:,}",
        f"{sum(statuses.values()) - good - rejected:,}",
        f"{step['lost'] + step['unsent']:,}",
        *(cell(step["latency_ms"].get(name)) for name in ("p50", "p90", "p99", "max")),
        cell(step["queue_ms"].get("p99")),
        cell(step["model_ms"].get("p50")),
        cell(step["batches"]["mean_rows"]),
        "knee" if is_knee else "" if step["met"] else f"missed, limit: {step['limit']}",
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
        f"<p>Measured at <time>{escape(result['made'])}</time> with</p>",
        f"<pre>{escape(result['command'])}</pre>",
        f'<div class="columns">{"".join(facts(name, pairs) for name, pairs in parts)}</div>',
    )
