"""The HTML report of tune: the recommended settings, and the measurements behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from model.process.batch_size import Point
from server.loadtest.report.charts import BarChart, Level, Line, LineChart, compact
from server.loadtest.report.charts_over_rate import (
    OUTCOME_COLOURS,
    OUTCOMES,
    outcome_shares,
    side_by_side,
)
from server.loadtest.report.page import cell, charts, document, facts, section, table
from server.loadtest.sweep_result import SweepResult, knee_step
from server.tune.choice import Overload, Stage, Trial
from server.tune.engines import Measured


@dataclass(frozen=True)
class Findings:
    """All measurements, and the recommendation.

    Attributes:
        engines: how long calls take on each engine; the first is the model's own.
        overloads: without and with a limit on the queueing time; empty if it was not tested.
        settings: the recommended settings file; empty if no settings met the objective.
        reasons: why, one sentence each.
    """

    model: str
    objective_ms: float
    engines: Sequence[Measured]
    stages: Sequence[Stage]
    overloads: Sequence[Overload]
    settings: str
    reasons: Sequence[str]
    command: str
    machine: Mapping[str, str]


def tuning_page(found: Findings) -> str:
    """Return the page as HTML."""
    title = f"Settings for {Path(found.model).name}"
    return document(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            *(f'<p class="verdict">{escape(reason)}.</p>' for reason in found.reasons),
            *_recommended(found.settings),
            section(
                "Duration of model calls on each engine",
                charts([_times(found), _speeds(found)]),
                _not_used(found.engines),
            ),
            *(_stage(stage) for stage in found.stages),
            *_overload(found.overloads),
            section(
                "How it was measured",
                f"<pre>{escape(found.command)}</pre>",
                "<p>The server ran in its own process, with its logs on, on the same machine and "
                "cores as the client. Charts by request rate show the last round. Settings other "
                "than the defaults are recommended only if their worst round beats the best round "
                "of the defaults by more than 5 %.</p>",
                facts("Machine", found.machine),
            ),
        ],
    )


def _recommended(settings: str) -> list[str]:
    return [section("Recommended", f"<pre>{escape(settings)}</pre>")] if settings else []


def _stage(stage: Stage) -> str:
    last = [_renamed(trial) for trial in stage.trials]
    figures = charts([_knees(stage.trials), *side_by_side(last)])
    return section(f"Settings tested: {stage.title}", figures, _table(stage.trials))


def _overload(overloads: Sequence[Overload]) -> list[str]:
    found = _overloads(overloads)
    return (
        [section("Settings tested: a limit on the queueing time", charts(found))] if found else []
    )


def _not_used(engines: Sequence[Measured]) -> str:
    """Return why engines do not compute the model."""
    return facts(
        "Not used", {each.engine: each.reason for each in engines if each.batch_size is None}
    )


def _curves(found: Findings, kind: Callable[[Point], float]) -> list[Line]:
    """Return a line for each engine that computes the model."""
    measured = [(each.engine, each.batch_size) for each in found.engines if each.batch_size]
    return [
        Line(engine, [(float(point.rows), kind(point)) for point in batch_size.curve], number)
        for number, (engine, batch_size) in enumerate(measured)
    ]


def _renamed(trial: Trial) -> SweepResult:
    return {**trial.results[-1], "name": trial.candidate.name}


def _times(found: Findings) -> str:
    level = Level(found.objective_ms, f"objective: p99 {found.objective_ms:g} ms")
    lines = _curves(found, lambda point: point.seconds * 1000)
    return LineChart(
        "Milliseconds per call",
        "rows per call",
        "ms",
        lines,
        log_x=True,
        log_y=True,
        levels=[level],
        marks=_chosen(found),
    ).figure()


def _speeds(found: Findings) -> str:
    lines = _curves(found, lambda point: point.rows_per_second)
    return LineChart(
        "Rows per second, one call at a time",
        "rows per call",
        "rows per second",
        lines,
        log_x=True,
        log_y=True,
        marks=_chosen(found),
    ).figure()


def _chosen(found: Findings) -> list[Level]:
    """Return a mark for each limit on the rows that was tested."""
    tested = {trial.candidate.rows for stage in found.stages for trial in stage.trials}
    return [Level(rows, f"{rows} rows", place) for place, rows in enumerate(sorted(tested))]


def _knees(trials: Sequence[Trial]) -> str:
    rounds = max(len(trial.results) for trial in trials)
    series = [
        (f"round {number + 1}", number, [trial.knees[number] for trial in trials])
        for number in range(rounds)
    ]
    words = [trial.candidate.name for trial in trials]
    return BarChart(
        "The highest rate that met the objective", "", "requests per second", words, series
    ).figure()


def _overloads(overloads: Sequence[Overload]) -> list[str]:
    if not overloads:
        return []
    kinds = zip(("no limit", "limit"), overloads, strict=True)
    pairs = [
        (f"{kind}\n{compact(step['rate'])}/s", step)
        for kind, each in kinds
        for step in (each.at_knee[-1], each.beyond[-1])
    ]
    words, steps = [word for word, _ in pairs], [step for _, step in pairs]
    shares = [outcome_shares(step) for step in steps]
    series = [
        (name, OUTCOME_COLOURS[number], [100 * share[number] for share in shares])
        for number, name in enumerate(OUTCOMES)
        if any(share[number] for share in shares)
    ]
    title = "A limit on the queueing time, at the knee and at twice that rate"
    return [BarChart(title, "", "% of the requests", words, series, stacked=True).figure()]


def _table(trials: Sequence[Trial]) -> str:
    rows = [
        [trial.candidate.name, str(number + 1), *_knee(result)]
        for trial in trials
        for number, result in enumerate(trial.results)
    ]
    head = ("settings", "round", "met /s", "missed /s", "p99 ms", "rows per batch", "limit")
    return table(head, rows, [""] * len(rows))


def _knee(result: SweepResult) -> list[str]:
    knee, step = result["knee"], knee_step(result)
    return [
        cell(knee["rate"]),
        cell(knee["above"]),
        cell(step["latency_ms"]["p99"] if step else None),
        cell(step["batches"]["mean_rows"] if step else None),
        knee["limit"],
    ]
