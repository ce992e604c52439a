"""The charts of a sweep that have the rate of requests on their x axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.loadtest.report.charts import BarChart, Level, Line, LineChart, compact
from server.loadtest.step import Step
from server.loadtest.sweep_result import SweepResult, knee_step, steps_by_rate

OUTCOMES = ("answered in time", "answered too late", "rejected (503)", "other status", "lost")
OUTCOME_COLOURS = (2, 3, 1, 4, 5)

Pick = Callable[[Step], float | None]


def side_by_side(results: Sequence[SweepResult]) -> list[str]:
    """Return the charts that show best how settings differ."""
    return [
        _rates(results).figure(),
        _chart(
            results,
            "Latency",
            "ms",
            {"p99": _percentiles("latency_ms")["p99"]},
            _objectives(results),
        ).figure(),
        _chart(results, "Rows per batch, on average", "rows", {"mean": _mean_rows}).figure(),
    ]


def over_rate(results: Sequence[SweepResult]) -> list[str]:
    return [
        _rates(results).figure(),
        _chart(results, "Latency", "ms", _percentiles("latency_ms"), _objectives(results)).figure(),
        _chart(results, "Time in the queue", "ms", _percentiles("queue_ms")).figure(),
        _chart(results, "Time in the model", "ms", _percentiles("model_ms")).figure(),
        _chart(
            results, "Rows per batch", "rows", {"mean": _mean_rows, "largest": _most_rows}
        ).figure(),
        _batch_sizes(results).figure(),
        *(_outcomes(result, len(results) > 1).figure() for result in results),
        _chart(
            results,
            "Delay caused by the client itself",
            "ms",
            {"receiving, p99": _lag, "sending, p99": _delay},
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
    chart = _chart(
        results, "Offered and achieved rate", "answers with 200 per second", {"achieved": _goodput}
    )
    offered = Line("offered", as_offered, 3 if len(results) == 1 else len(results), dashed=True)
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
    """Return a chart with a line for each result and each of `picks`.

    With one result, each pick has its own colour; with several, each result has its own.
    """
    lines = []
    for place, result in enumerate(results):
        for number, (name, pick) in enumerate(picks.items()):
            points = [(step["rate"], pick(step)) for step in steps_by_rate(result)]
            if len(results) == 1:
                lines.append(Line(name, points, number))
            else:
                words = f"{result['name']}, {name}" if len(picks) > 1 else result["name"]
                lines.append(Line(words, points, place, dashed=number < len(picks) - 1))
    marks = [
        Level(
            result["knee"]["rate"],
            f"knee of {result['name']}",
            None if len(results) == 1 else place,
        )
        for place, result in enumerate(results)
        if result["knee"]["rate"] is not None
    ]
    return LineChart(title, "offered requests per second", unit, lines, True, True, levels, marks)


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
    """Return which share of the rows went into batches of 1, 2-3, 4-7, … rows, at the knee."""
    shares = [_row_shares(knee_step(result)) for result in results]
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
    title = "Rows by batch size, at the knee"
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
    steps = steps_by_rate(result)
    shares = [outcome_shares(step) for step in steps]
    series = [
        (name, OUTCOME_COLOURS[number], [100 * share[number] for share in shares])
        for number, name in enumerate(OUTCOMES)
        if any(share[number] for share in shares)
    ]
    title = "Outcome of the requests" + (f": {result['name']}" if named else "")
    words = [compact(step["rate"]) for step in steps]
    return BarChart(title, "offered requests per second", "%", words, series, stacked=True)


def outcome_shares(step: Step) -> list[float]:
    """Return the share of the requests with each of the OUTCOMES."""
    due = max(1, step["due"])
    good = step["statuses"].get("200", 0)
    rejected = step["statuses"].get("503", 0)
    other = sum(step["statuses"].values()) - good - rejected
    in_time = step["in_time"]
    lost = step["lost"] + step["unsent"]
    return [in_time, max(0.0, good / due - in_time), rejected / due, other / due, lost / due]
