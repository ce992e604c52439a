"""The report of one sweep, or of several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from server.loadtest.report.charts import BarChart, Level, Line, LineChart, compact
from server.loadtest.report.page import charts, document, facts, section, table, tiles
from server.loadtest.step import Step
from server.loadtest.sweep_result import SweepResult

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
OUTCOMES = ("answered in time", "answered too late", "refused (503)", "other status", "lost")
OUTCOME_COLOURS = (2, 3, 1, 4, 5)

Pick = Callable[[Step], float | None]


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
            *(_over_time(result, len(results) > 1) for result in results),
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


def counted(result: SweepResult) -> list[Step]:
    """Return the steps by rate; of a rate that was tried twice, the second counts."""
    by_rate = {step["rate"]: step for step in result["steps"]}
    return [by_rate[rate] for rate in sorted(by_rate)]


def at_knee(result: SweepResult) -> Step | None:
    """Return the step at the knee, if the objective held at all."""
    number = result["knee"]["step"]
    return None if number is None else result["steps"][number]


# The charts over the rate.


def side_by_side(results: Sequence[SweepResult]) -> list[str]:
    """Return those charts that show best how settings differ."""
    return [
        _rates(results).figure(),
        _chart(
            results,
            "Latency",
            "ms",
            {"p99": _percentiles("latency_ms")["p99"]},
            _objectives(results),
        ).figure(),
        _chart(results, "Rows a batch, on average", "rows", {"mean": _mean_rows}).figure(),
    ]


def over_rate(results: Sequence[SweepResult]) -> list[str]:
    """Return the charts that have the rate on their x axis."""
    return [
        _rates(results).figure(),
        _chart(results, "Latency", "ms", _percentiles("latency_ms"), _objectives(results)).figure(),
        _chart(results, "Waiting in the queue", "ms", _percentiles("queue_ms")).figure(),
        _chart(results, "Time in the model", "ms", _percentiles("model_ms")).figure(),
        _chart(
            results, "Rows a batch", "rows", {"mean": _mean_rows, "largest": _most_rows}
        ).figure(),
        _batch_sizes(results).figure(),
        *(_outcomes(result, len(results) > 1).figure() for result in results),
        _chart(
            results,
            "How late this client was itself",
            "ms",
            {"listening, p99": _lag, "sending, p99": _delay},
        ).figure(),
    ]


def _objectives(results: Sequence[SweepResult]) -> list[Level]:
    return [
        Level(p99, f"objective: p99 {p99:g} ms")
        for p99 in sorted({result["objective"]["p99_ms"] for result in results})
    ]


def _rates(results: Sequence[SweepResult]) -> LineChart:
    rates = [step["rate"] for result in results for step in result["steps"]]
    as_offered = [(rate, rate) for rate in (min(rates, default=1), max(rates, default=1))]
    chart = _chart(results, "Offered and achieved", "200s a second", {"achieved": _goodput})
    offered = Line("as offered", as_offered, 3 if len(results) == 1 else len(results), dashed=True)
    return LineChart(
        title=chart.title,
        x=chart.x,
        y=chart.y,
        lines=[*chart.lines, offered],
        log_x=True,
        log_y=True,
        marks=chart.marks,
    )


def _chart(
    results: Sequence[SweepResult],
    title: str,
    unit: str,
    picks: dict[str, Pick],
    levels: Sequence[Level] = (),
) -> LineChart:
    """Draw a line for each result and each entry of `picks`."""
    lines = []
    for place, result in enumerate(results):
        for number, (name, pick) in enumerate(picks.items()):
            points = [(step["rate"], pick(step)) for step in counted(result)]
            if len(results) == 1:
                lines.append(Line(name, points, number))
            else:
                words = f"{result['name']}, {name}" if len(picks) > 1 else result["name"]
                lines.append(Line(words, points, place, dashed=number < len(picks) - 1))
    marks = [
        Level(
            result["knee"]["rate"],
            f"the knee of {result['name']}",
            None if len(results) == 1 else place,
        )
        for place, result in enumerate(results)
        if result["knee"]["rate"] is not None
    ]
    return LineChart(title, "offered requests a second", unit, lines, True, True, levels, marks)


def _percentiles(key: str) -> dict[str, Pick]:
    return {"p50": lambda step: step[key].get("p50"), "p99": lambda step: step[key].get("p99")}


def _goodput(step: Step) -> float | None:
    return float(step["goodput"])


def _mean_rows(step: Step) -> float | None:
    rows: float | None = step["batches"]["mean_rows"]
    return rows


def _most_rows(step: Step) -> float | None:
    return max(map(float, step["batches"]["by_rows"]), default=None)


def _lag(step: Step) -> float | None:
    lag: float | None = step["client"]["lag_p99_ms"]
    return lag


def _delay(step: Step) -> float | None:
    delay: float | None = step["client"]["delay_p99_ms"]
    return delay


def _batch_sizes(results: Sequence[SweepResult]) -> BarChart:
    """Share the rows out over batches of 1, 2-3, 4-7, … rows, at the knee."""
    shares = [_row_shares(at_knee(result)) for result in results]
    highest = max((max(share, default=0) for share in shares), default=0)
    words = [_span(power) for power in range(1, highest + 1)]
    series = [
        (
            result["name"] if len(results) > 1 else "at the knee",
            place,
            [100 * share.get(power, 0.0) for power in range(1, highest + 1)],
        )
        for place, (result, share) in enumerate(zip(results, shares, strict=True))
    ]
    title = "Rows by the size of their batch, at the knee"
    return BarChart(title, "rows in the batch", "% of the rows", words, series)


def _row_shares(step: Step | None) -> dict[int, float]:
    shares: dict[int, float] = {}
    for size, number in (step["batches"]["by_rows"] if step else {}).items():
        power = int(size).bit_length()
        shares[power] = shares.get(power, 0.0) + int(size) * number
    total = sum(shares.values())
    return {power: rows / total for power, rows in shares.items()} if total else {}


def _span(power: int) -> str:
    low, high = 2 ** (power - 1), 2**power - 1
    return f"{low}" if low == high else f"{low}–{high}"


def _outcomes(result: SweepResult, named: bool) -> BarChart:
    steps = counted(result)
    shares = [outcome_shares(step) for step in steps]
    series = [
        (name, OUTCOME_COLOURS[number], [100 * share[number] for share in shares])
        for number, name in enumerate(OUTCOMES)
        if any(share[number] for share in shares)
    ]
    title = "What became of the requests" + (f": {result['name']}" if named else "")
    words = [compact(step["rate"]) for step in steps]
    return BarChart(title, "offered requests a second", "%", words, series, stacked=True)


def outcome_shares(step: Step) -> list[float]:
    """Return the share of the requests that had each of the OUTCOMES."""
    due = max(1, step["due"])
    good = step["statuses"].get("200", 0)
    refused = step["statuses"].get("503", 0)
    other = sum(step["statuses"].values()) - good - refused
    in_time = step["in_time"]
    lost = step["lost"] + step["unsent"]
    return [in_time, max(0.0, good / due - in_time), refused / due, other / due, lost / due]


# Over time.


def _over_time(result: SweepResult, named: bool) -> str:
    title = "Over time" + (f": {result['name']}" if named else "")
    spans = [
        (step["began"], step["began"] + step["over_time"]["at"][-1], f"{step['rate']:,g}/s offered")
        for step in result["steps"]
    ]
    level = Level(
        result["objective"]["p99_ms"], f"objective: p99 {result['objective']['p99_ms']:g} ms"
    )
    seconds = "seconds since the sweep began"
    latency = [
        Line(name, _in_time(result, name), place, dots=False)
        for place, name in enumerate(("p50", "p99"))
    ]
    rates = [
        Line("answered with 200", _in_time(result, "good"), 2, dots=False),
        Line("others", _in_time(result, "bad"), 1, dots=False),
        Line("offered", _offered(result), 3, dashed=True, dots=False),
    ]
    return section(
        title,
        charts(
            [
                LineChart(
                    "Latency", seconds, "ms", latency, log_y=True, levels=[level], spans=spans
                ).figure(),
                LineChart("Requests a second", seconds, "a second", rates, spans=spans).figure(),
            ]
        ),
    )


def _in_time(result: SweepResult, name: str) -> list[tuple[float, float | None]]:
    """Return the slices of all steps, with a gap between two steps."""
    points: list[tuple[float, float | None]] = []
    for step in result["steps"]:
        slices = step["over_time"]
        points += [
            (step["began"] + at, y) for at, y in zip(slices["at"], slices[name], strict=True)
        ]
        points.append((points[-1][0], None))
    return points


def _offered(result: SweepResult) -> list[tuple[float, float | None]]:
    points: list[tuple[float, float | None]] = []
    for step in result["steps"]:
        begin, end = (step["began"] + step["over_time"]["at"][place] for place in (0, -1))
        points += [(begin, step["rate"]), (end, step["rate"]), (end, None)]
    return points


# Numbers and words.


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
    step = at_knee(result)
    if step is None:
        return []
    latency, rows = step["latency_ms"], step["batches"]["mean_rows"]
    most = counted(result)[-1]
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
    rows = [_row(step, step is at_knee(result)) for step in steps]
    kinds = [
        "chosen" if step is at_knee(result) else "" if step["met"] else "missed" for step in steps
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
        *(number_of(step["latency_ms"].get(name)) for name in ("p50", "p90", "p99", "max")),
        number_of(step["queue_ms"].get("p99")),
        number_of(step["model_ms"].get("p50")),
        number_of(step["batches"]["mean_rows"]),
        "the knee" if is_knee else "" if step["met"] else f"missed: {step['limit']}",
    ]


def number_of(value: float | None) -> str:
    """Return a number as a cell of a table has it."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


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
