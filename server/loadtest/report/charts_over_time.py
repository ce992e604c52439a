"""The charts of a sweep that have the time on their x axis."""

from __future__ import annotations

from server.loadtest.report.charts import Level, Line, LineChart
from server.loadtest.report.page import charts, section
from server.loadtest.sweep_result import SweepResult


def over_time(result: SweepResult, named: bool) -> str:
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
        Line("not answered with 200", _in_time(result, "bad"), 1, dots=False),
        Line("offered", _offered(result), 3, dashed=True, dots=False),
    ]
    return section(
        title,
        charts(
            [
                LineChart(
                    "Latency", seconds, "ms", latency, log_y=True, levels=[level], spans=spans
                ).figure(),
                LineChart(
                    "Requests per second", seconds, "per second", rates, spans=spans
                ).figure(),
            ]
        ),
    )


def _in_time(result: SweepResult, name: str) -> list[tuple[float, float | None]]:
    """Return the points of all steps, with a gap between two steps."""
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
